//! Keeps the layers: a module uses only modules of lower layers, or its own children. Within a
//! folder too the files lie in layers: none uses, directly or through others, one that uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The layers, from the bottom up. A module may use those before its own.
const LAYERS: &[&[&str]] = &[
    &["clock", "hash", "json", "outcome"],
    &["event"],
    &["expr"],
    &["config"],
    &["http", "payload", "profile"],
    &["select", "map", "telemetry", "queue"],
    &["sync"],
    &["ingest", "deliver"],
    &["admin", "control"],
    &["app"],
    &["cli"],
];

/// The sandbox is an independent witness: it may use only this.
const SANDBOX_USES: &[&str] = &["event", "expr", "json", "outcome", "clock"];

#[test]
fn modules_use_only_lower_layers() {
    let mut wrong = Vec::new();
    for (module, used, file) in edges() {
        if module == used || module == "main" || module == "lib" {
            continue;
        }
        let allowed = if module == "sandbox" {
            SANDBOX_USES.contains(&used.as_str())
        } else if used == "sandbox" {
            layer("app") <= layer(&module)
        } else {
            layer(&used) < layer(&module)
        };
        if !allowed {
            wrong.push(format!("{}: `{module}` uses `{used}`", file.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "edges that point up:\n{}",
        wrong.join("\n")
    );
}

/// What a file takes from the one that its folder belongs to (`queue/schema.rs` from `queue.rs`) does
/// not count: that is the module's face, such as its errors, and the files behind it share it.
#[test]
fn files_of_a_folder_use_each_other_in_one_direction() {
    let circles = circles(neighbours());
    assert!(circles.is_empty(), "circles of files: {circles:#?}");
}

#[test]
fn finds_a_circle_and_only_that() {
    let uses = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "b"), ("d", "e")];
    let uses = uses.map(|(user, used)| (user.to_owned(), used.to_owned()));
    let circle: Vec<_> = circles(uses.into_iter().collect())
        .into_iter()
        .map(|(user, used)| user + &used)
        .collect();
    assert_eq!(circle, ["bc", "cd", "db"]);
}

#[test]
fn reads_every_branch_of_a_path() {
    let text =
        "use super::{Error, row::{self, Bits as B}};\nuse std::fmt; // crate::x\ncrate::path::of()";
    let read: Vec<String> = named_paths(text)
        .iter()
        .map(|path| path.join("/"))
        .collect();
    let expected = [
        "super/Error",
        "super/row/self",
        "super/row/Bits",
        "crate/path/of",
    ];
    assert_eq!(read, expected);
}

#[test]
fn no_file_is_longer_than_six_hundred_lines() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|file| (fs::read_to_string(&file).unwrap().lines().count(), file))
        .filter(|(lines, _)| *lines > 600)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn a_type_name_stands_for_one_type() {
    let mut places: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for file in product_sources() {
        let text = fs::read_to_string(&file).unwrap();
        for name in text.lines().filter_map(declared_type) {
            places
                .entry(name.to_owned())
                .or_default()
                .push(file.clone());
        }
    }
    places.retain(|_, places| places.len() > 1);
    assert!(places.is_empty(), "borne by several types: {places:#?}");
}

#[test]
fn finds_the_types_that_lines_declare() {
    for (line, name) in [
        ("pub struct Lane {", Some("Lane")),
        ("    pub(super) enum Step<'a> {", Some("Step")),
        ("pub(in crate::map) trait Recorder {", Some("Recorder")),
        ("type Cause = (Option<i64>, Option<i64>);", Some("Cause")),
        ("struct Peer(SocketAddr);", Some("Peer")),
        ("    type Value = ();", None),
        ("/// A struct Lane", None),
        ("impl Lane {", None),
    ] {
        assert_eq!(declared_type(line), name, "{line}");
    }
}

/// The type that a line declares; an associated type is none of the crate's.
fn declared_type(line: &str) -> Option<&str> {
    let item = line.trim_start();
    let is_inner = item.len() < line.len();
    let item = match item.strip_prefix("pub(") {
        Some(rest) => rest.split_once(") ")?.1,
        None => item.strip_prefix("pub ").unwrap_or(item),
    };
    let (kind, rest) = item.split_once(' ')?;
    let is_type = matches!(kind, "struct" | "enum" | "trait" | "union");
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
    let name = rest.get(..end.unwrap_or(rest.len()))?;
    (is_type || kind == "type" && !is_inner).then_some(name)
}

#[test]
fn every_file_begins_with_its_purpose() {
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.starts_with("//!"),
            "{} has no module documentation",
            file.display()
        );
    }
}

fn layer(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|layer| layer.contains(&module))
        .unwrap_or_else(|| panic!("`{module}` stands in no layer"))
}

/// Every use of one top-level module by another, with the file that holds it.
fn edges() -> Vec<(String, String, PathBuf)> {
    let mut edges = BTreeMap::new();
    for file in product_sources() {
        let module = top_level_module(file.strip_prefix(root()).unwrap());
        let text = fs::read_to_string(&file).unwrap();
        for used in text.split("crate::").skip(1) {
            let used: String = used
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            edges
                .entry((module.clone(), used))
                .or_insert_with(|| file.clone());
        }
    }
    edges
        .into_iter()
        .map(|((module, used), file)| (module, used, file))
        .collect()
}

/// Every use of one file or folder by another that stands beside it.
fn neighbours() -> BTreeSet<(String, String)> {
    let files: BTreeMap<Vec<String>, PathBuf> = product_sources()
        .map(|file| (module_path(&file), file))
        .collect();
    let mut uses = BTreeSet::new();
    for (module, file) in &files {
        let text = fs::read_to_string(file).unwrap();
        // Clippy sees to it that nothing follows a file's own tests.
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for path in named_paths(text) {
            let mut used = match path[0] {
                "crate" => Vec::new(),
                _ => module.clone(),
            };
            for name in path {
                match name {
                    "crate" => {}
                    "super" => drop(used.pop()),
                    name => used.push(name.to_owned()),
                }
            }
            // The path leads to an item; the file is the part of it that is one.
            while !used.is_empty() && !files.contains_key(&used) {
                used.pop();
            }
            let shared = module.iter().zip(&used).take_while(|(a, b)| a == b).count();
            if shared < module.len() && shared < used.len() {
                let name = |path: &[String]| path[..=shared].join("::");
                uses.insert((name(module), name(&used)));
            }
        }
    }
    uses
}

/// The uses that are part of a circle, or lead from one to another.
fn circles(mut uses: BTreeSet<(String, String)>) -> BTreeSet<(String, String)> {
    loop {
        let users: BTreeSet<String> = uses.iter().map(|(user, _)| user.clone()).collect();
        let used: BTreeSet<String> = uses.iter().map(|(_, used)| used.clone()).collect();
        let before = uses.len();
        // What uses nothing is at the bottom, and what nothing uses is at the top.
        uses.retain(|(a, b)| users.contains(b) && used.contains(a));
        if uses.len() == before {
            return uses;
        }
    }
}

/// The paths in a text that begin with `crate` or `super`, outside comments.
fn named_paths(text: &str) -> Vec<Vec<&str>> {
    let mut paths = Vec::new();
    let mut rest = text;
    while let Some(at) = ["//", "crate::", "super::"]
        .iter()
        .filter_map(|mark| rest.find(mark))
        .min()
    {
        (_, rest) = rest.split_at(at);
        rest = if rest.starts_with("//") {
            rest.split_once('\n').map_or("", |(_, next)| next)
        } else {
            branches(rest, &[], &mut paths)
        };
    }
    paths
}

/// Reads a path with all its branches, which `before` leads to; gives what follows it.
fn branches<'t>(text: &'t str, before: &[&'t str], paths: &mut Vec<Vec<&'t str>>) -> &'t str {
    let mut path = before.to_vec();
    let mut rest = text.trim_start();
    loop {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
        path.extend(Some(name).filter(|name| !name.is_empty()));
        let Some(deeper) = after.strip_prefix("::") else {
            paths.push(path);
            return after;
        };
        rest = deeper;
        while let Some(list) = rest.strip_prefix(['{', ',']) {
            rest = branches(list, &path, paths);
            // What stands between is a new name for what was read.
            (_, rest) = rest.split_at(rest.find([',', '}']).unwrap_or(rest.len()));
        }
        if let Some(after) = rest.strip_prefix('}') {
            return after;
        }
    }
}

fn module_path(file: &Path) -> Vec<String> {
    let file = file.strip_prefix(root()).unwrap().with_extension("");
    file.iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect()
}

fn top_level_module(file: &Path) -> String {
    let first = file
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// What a module's tests use is no part of the structure.
fn product_sources() -> impl Iterator<Item = PathBuf> {
    sources()
        .into_iter()
        .filter(|file| !module_path(file).iter().any(|part| part == "tests"))
}

fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}
