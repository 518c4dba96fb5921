//! Keeps the structure that docs/ARCHITECTURE.md promises, by reading the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

mod calls;
mod layers;
mod source;
mod types;
mod uses;

use calls::{calls_between, calls_of};
use layers::Layers;
use source::{SourceFile, product_sources, sources};
use types::{declared_types, strangers};
use uses::{circles, insides_used, paths_of, uses_between};

/// The engine of the queue that speaks SQL.
const SQL_ENGINE: &str = "sqlite";

/// Former names of types and files, for which the field has a common word.
const RETIRED_TYPES: &[&str] = &[
    "Absent",
    "Account",
    "Arrivals",
    "Bodies",
    "Charge",
    "Content",
    "Cut",
    "Desk",
    "Done",
    "Door",
    "Doubts",
    "Draft",
    "Dress",
    "Ended",
    "Fate",
    "Gate",
    "Ground",
    "Hand",
    "Held",
    "Intake",
    "Introduced",
    "Known",
    "Lanes",
    "Ledger",
    "Lesson",
    "Letter",
    "Line",
    "Loan",
    "Mistake",
    "Moment",
    "Notebook",
    "Notes",
    "Parts",
    "Pixel",
    "Reading",
    "Recall",
    "Refused",
    "Rig",
    "Room",
    "Seen",
    "Seldom",
    "Shelf",
    "Shop",
    "Sighting",
    "Slices",
    "Standing",
    "Standstill",
    "Streak",
    "Suspect",
    "Taken",
    "Tally",
    "Ticket",
    "Told",
    "Way",
    "Who",
];
const RETIRED_FILES: &[&str] = &[
    "amounts",
    "desk",
    "disk",
    "effective",
    "ending",
    "isolate",
    "lanes",
    "ledger",
    "lending",
    "letters",
    "remembered",
    "seen",
    "slices",
    "stages",
    "standing",
    "standstill",
    "supply",
    "tidy",
];

#[test]
fn modules_use_only_lower_layers() {
    let layers = Layers::read();
    let mut wrong = Vec::new();
    let mut modules = BTreeSet::new();
    for source in product_sources() {
        let module = source.top_level_module();
        modules.insert(module.to_owned());
        for used in source.modules_used() {
            if module != "lib" && !layers.allow(module, &used) {
                wrong.push(format!("{}: `{module}` uses `{used}`", source.path));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "edges that point up:\n{}",
        wrong.join("\n")
    );
    modules.remove("lib");
    assert_eq!(
        layers.modules(),
        modules,
        "in docs/ARCHITECTURE.md and in src"
    );
}

#[test]
fn reads_the_layers_from_a_table() {
    let layers = Layers::of(
        "# Heading\n\n| `x` | `y` |\n\n## Layers\n\n| layer | modules |\n| --- | --- |\n\
         | 1 | `a`, `b` |\n| 2 | `c` |\n| 3 | `app` |\n\n`sandbox` stands aside: it uses only `a`.\n",
    );
    for (user, used, is_allowed) in [
        ("c", "a", true),
        ("c", "c", true),
        ("a", "b", false),
        ("a", "c", false),
        ("sandbox", "a", true),
        ("sandbox", "b", false),
        ("app", "sandbox", true),
        ("c", "sandbox", false),
    ] {
        assert_eq!(layers.allow(user, used), is_allowed, "{user} uses {used}");
    }
}

/// What a file uses of its parent (`queue/core.rs` of `queue.rs`) does not count: the parent holds what the
/// module's files share, such as its errors.
#[test]
fn files_of_a_folder_use_each_other_in_one_direction() {
    let sources = product_sources();
    let mut edges = uses_between(&sources);
    edges.extend(calls_between(&sources));
    let found = circles(edges);
    assert!(found.is_empty(), "circles of files: {found:#?}");
}

/// What wires the parts together, or shows them, knows only their fronts.
#[test]
fn app_admin_and_control_take_nothing_from_the_insides_of_a_module() {
    let sources = product_sources();
    let mut found = Vec::new();
    for source in &sources {
        if ["app", "admin", "control"].contains(&source.top_level_module()) {
            let insides = insides_used(source, &sources);
            found.extend(
                insides
                    .into_iter()
                    .map(|inside| format!("{}: {inside}", source.path)),
            );
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn sees_the_insides_of_a_module_behind_any_path() {
    let sources = [
        ("queue.rs", "pub use dead::Letters;"),
        ("queue/dead.rs", "pub struct Letters;"),
        (
            "control.rs",
            "use crate::{config::Config, queue::{self, dead::Letters}};\nuse crate::control::command;",
        ),
        ("control/command.rs", "use crate::queue::Letters;"),
        (
            "app.rs",
            "use crate::queue;\nfn f() { queue::dead::open(queue::open()) }",
        ),
        ("admin.rs", "fn f(list: crate::queue::dead::Letters) {}"),
    ];
    let sources = sources.map(|(path, text)| SourceFile::of(path, text));
    let found: Vec<_> = sources
        .iter()
        .map(|source| insides_used(source, &sources).len())
        .collect();
    assert_eq!(found, [0, 0, 1, 0, 1, 1]);
}

#[test]
fn finds_a_circle_and_only_that() {
    let uses = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "b"), ("d", "e")];
    let uses = uses.map(|(user, used)| ((user.to_owned(), used.to_owned()), "use"));
    let circle: Vec<_> = circles(uses.map(|(edge, why)| (edge, why.to_owned())).into())
        .into_keys()
        .map(|(user, used)| user + &used)
        .collect();
    assert_eq!(circle, ["bc", "cd", "db"]);
}

#[test]
fn reads_every_branch_of_a_path() {
    let source = SourceFile::of(
        "a/b.rs",
        "use super::{Error, row::{self, Bits as B}, all::*};\nuse std::fmt; // crate::x\n\
         pub(super) fn f() { join!(crate::path::of::<u8>(), \"crate::text\") }\n\
         #[cfg(test)]\nmod tests { use crate::tests; }\n",
    );
    let read: Vec<String> = paths_of(&source)
        .iter()
        .map(|path| path.join("/"))
        .collect();
    let expected = [
        "super/Error",
        "super/row/self",
        "super/row/Bits",
        "super/all",
        "crate/path/of",
    ];
    assert_eq!(read, expected);
}

#[test]
fn sees_a_call_of_a_method_that_one_type_alone_has() {
    let folder = [
        ("a.rs", "struct Face; impl Face { fn shown(&self) {} }"),
        (
            "a/one.rs",
            "struct One; impl One { fn scrub(&self) {} fn len(&self) {} fn run(&self) {} }",
        ),
        (
            "a/two.rs",
            "trait Two { fn run(&self); }\nfn f(x: X) { y!(x.scrub::<u8>()); x.len(); x.run() }",
        ),
        (
            "a/three.rs",
            "fn f(x: X) { x.shown(); x.none(0..scrub()) }\n#[cfg(test)]\nmod tests { fn f() { x.scrub() } }",
        ),
        ("b.rs", "fn f(x: &str) { x.len() }"),
    ];
    let folder = folder.map(|(path, text)| SourceFile::of(path, text));
    let calls: Vec<_> = calls_between(&folder).into_iter().collect();
    let edge = ("a::two".to_owned(), "a::one".to_owned());
    assert_eq!(calls, [(edge, "calls `scrub` of `One`".to_owned())]);
    assert_eq!(
        calls_of(&folder[2]).into_iter().collect::<Vec<_>>(),
        ["len", "run", "scrub"]
    );
}

#[test]
fn an_inherent_impl_stands_in_its_types_file() {
    let sources = product_sources();
    let found: BTreeMap<String, Vec<&str>> = strangers(&sources);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_type_name_stands_for_one_type() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in product_sources() {
        for name in declared_types(&source) {
            places.entry(name).or_default().push(source.path.clone());
        }
    }
    places.retain(|_, places| places.len() > 1);
    assert!(places.is_empty(), "borne by several types: {places:#?}");
}

#[test]
fn no_type_or_file_bears_a_retired_name() {
    let mut found = BTreeSet::new();
    for source in sources() {
        let types = declared_types(&source).into_iter();
        let retired = types.filter(|name| RETIRED_TYPES.contains(&name.as_str()));
        found.extend(retired.map(|name| format!("{name} in {}", source.path)));
        let file = source.module.last().map(String::as_str);
        if file.is_some_and(|name| RETIRED_FILES.contains(&name)) {
            found.insert(source.path);
        }
    }
    assert!(found.is_empty(), "the field has better words: {found:#?}");
}

#[test]
fn finds_the_types_that_a_file_declares() {
    let source = SourceFile::of(
        "a.rs",
        "pub struct Lane { step: u8 }\nmod inner { pub(super) enum Step<'a> { A(&'a str) } }\n\
         trait Recorder { type Value; }\ntype Cause = (Option<i64>, Option<i64>);\n\
         impl Recorder for Lane { type Value = (); }\nfn f() { struct Peer(u8); }\n\
         table! { pub struct Made { key: u8 } }\n/// A struct Told.\nunion Bits { a: u8 }\n",
    );
    assert_eq!(
        declared_types(&source),
        ["Lane", "Step", "Recorder", "Cause", "Peer", "Made", "Bits"]
    );
}

#[test]
fn finds_an_impl_away_from_its_type() {
    let sources = [
        (
            "a.rs",
            "struct One; impl One {} impl<T> Two<T> {} impl Clone for Three {}",
        ),
        (
            "a/b.rs",
            "pub(super) struct Two<T>(T); struct Three; impl super::One {}",
        ),
    ];
    let sources = sources.map(|(path, text)| SourceFile::of(path, text));
    let found: Vec<_> = strangers(&sources).into_iter().collect();
    let expected = [
        ("One".to_owned(), vec!["a/b.rs"]),
        ("Two".to_owned(), vec!["a.rs"]),
    ];
    assert_eq!(found, expected);
}

#[test]
fn only_an_engine_speaks_sql() {
    let engine = ["queue", SQL_ENGINE].map(str::to_owned);
    let found: Vec<String> = sources()
        .into_iter()
        .filter(|source| !source.module.starts_with(&engine) && source.speaks_sql())
        .map(|source| source.path)
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn knows_sql_from_english() {
    for (text, speaks) in [
        ("fn f() { run(\"SELECT 1\") }", true),
        (
            "fn f() { run(\"\\n    DELETE FROM row WHERE id = ?1\") }",
            true,
        ),
        ("use rusqlite::Connection;", true),
        ("fn f() { say!(\"UPDATE the configuration\") }", false),
        ("/// SELECT 1\nfn f() { say(\"select one\") }", false),
    ] {
        assert_eq!(SourceFile::of("a.rs", text).speaks_sql(), speaks, "{text}");
    }
}

/// In both, what looks like a path below `src` is one.
#[test]
fn the_pages_for_developers_name_places_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = Vec::new();
    for page in ["docs/CONTRIBUTING.md", "docs/ARCHITECTURE.md"] {
        let text = fs::read_to_string(root.join(page)).unwrap();
        for name in text.split('`').skip(1).step_by(2) {
            let is_source = Path::new(name).extension().is_some_and(|it| it == "rs");
            let is_path = is_source || name.contains('/') && !name.contains(' ');
            let is_there = ["", "src"]
                .iter()
                .any(|folder| root.join(folder).join(name).exists());
            if is_path && !name.starts_with('/') && !is_there {
                missing.push(format!("{page}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn no_file_is_longer_than_six_hundred_lines() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|source| (source.text.lines().count(), source.path))
        .filter(|(lines, _)| *lines > 600)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn every_file_begins_with_its_purpose() {
    for source in sources() {
        let begins_well = source.text.starts_with("//!");
        assert!(begins_well, "{} has no module documentation", source.path);
    }
}
