//! Writes the reference, and keeps its files as they are written here.

use super::*;

use std::path::Path;

use crate::config::expressions::{CUSTOM_VALUE, VALUE};
use crate::config::load::{effective, from_toml};
use crate::config::names::quoted;
use crate::config::schema::{Key, KeyDefault};
use crate::normalize::field::UserDataField;

/// Widest line of a comment.
const WIDTH: usize = 98;

const SAMPLE_HEAD: &str = "\
    Every key of pixel-relay, with its default and what it does.\n\n\
    A line that is commented out has no default: what it shows is an example. Your own file needs \
    only what differs from this one; examples/minimal.toml holds the least. docs/CONFIG.md tells \
    the rest. Any key can be given in the environment: PIXEL_RELAY__SYNC__WEB__ACCESS_TOKEN.";

/// Writes the tables of `docs/CONFIG.md`, one per section.
fn key_tables() -> String {
    let mut page = ReferencePage::default();
    for section in sections() {
        page.line(format!("### `[{}]`\n", section.name));
        page.line(format!("{}\n", section.doc));
        page.line("| key | takes | default | |");
        page.line("| --- | --- | --- | --- |");
        for key in &section.keys {
            let Some(default) = default(key) else {
                continue;
            };
            let cells = [
                name_cell(&section, key),
                takes(key).to_owned(),
                default,
                key.doc.to_owned(),
            ];
            let cells = cells.map(|cell| cell.replace('|', "\\|"));
            page.line(format!("| {} |", cells.join(" | ")));
        }
        page.line("");
    }
    page.text
}

/// Writes `config/pixel-relay.toml`.
fn sample_file() -> String {
    let mut page = ReferencePage::default();
    page.comment(SAMPLE_HEAD);
    for section in sections() {
        let name = section
            .name
            .replace("<name>", "web")
            .replace("<event>", "Order Completed");
        let mark = if section.by_presence { "# " } else { "" };
        page.line("");
        page.comment(section.doc);
        page.line(match section.name {
            "sync.<name>.test" => format!("{mark}[[{name}]]"),
            _ => format!("{mark}[{name}]"),
        });
        for key in section.keys {
            let (mark, value) = match key.default {
                KeyDefault::Table => continue,
                KeyDefault::Example(example) => ("# ", example),
                KeyDefault::Value(value)
                | KeyDefault::Warned(value)
                | KeyDefault::Required(value) => (mark, value),
            };
            page.line("");
            page.comment(key.doc);
            page.line(format!("{mark}{} = {value}", quoted(key.name)));
        }
    }
    page.text
}

/// The text so far.
#[derive(Debug, Default)]
struct ReferencePage {
    text: String,
}

impl ReferencePage {
    fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    /// Adds paragraphs as comments, wrapped.
    fn comment(&mut self, text: &str) {
        for paragraph in text.split('\n') {
            let mut line = String::from("#");
            for word in paragraph.split_whitespace() {
                if line.chars().count() + 1 + word.chars().count() > WIDTH {
                    self.line(&line);
                    "#".clone_into(&mut line);
                }
                line.push(' ');
                line.push_str(word);
            }
            self.line(&line);
        }
    }
}

/// The key, and Meta's own name of it.
fn name_cell(section: &Section, key: &Key) -> String {
    let name = quoted(key.name);
    let field = UserDataField::parse(key.name).filter(|_| section.name.ends_with(".user_data"));
    match field.map(UserDataField::meta_key) {
        Some(short) if short != key.name => format!("`{name}` or `{short}`"),
        _ => format!("`{name}`"),
    }
}

fn takes(key: &Key) -> &'static str {
    match key.expects {
        VALUE => "a [value](#values)",
        CUSTOM_VALUE => "a [value](#values), or `each`",
        other if other.starts_with("a list of conditions") => "[conditions](#conditions)",
        other => other,
    }
}

/// What holds where the key is absent; `None` for a table, which has a section of its own.
fn default(key: &Key) -> Option<String> {
    Some(match key.default {
        KeyDefault::Value(value) => format!("`{value}`"),
        KeyDefault::Example(example) => format!("none; such as `{example}`"),
        KeyDefault::Warned(example) => format!("none, and a warning; such as `{example}`"),
        KeyDefault::Required(example) => format!("**required**; such as `{example}`"),
        KeyDefault::Table => return None,
    })
}

/// Ends the written part of `docs/CONFIG.md`.
const MARK: &str = "UPDATE_DOCS=1 cargo test --lib config -->\n";

/// Compares a file with what it must hold, or writes it where `UPDATE_DOCS` is set.
#[expect(
    clippy::disallowed_methods,
    reason = "a variable says whether to write the files"
)]
#[track_caller]
fn keep(path: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is out of date: set UPDATE_DOCS=1",
        path.display()
    );
}

fn file(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_reference_lists_the_keys_as_they_are() {
    let page = file("docs/CONFIG.md");
    let (written, _) = page.split_once(MARK).unwrap();
    keep(
        "docs/CONFIG.md",
        &format!(
            "{written}{MARK}\n{}",
            key_tables().trim_end().to_owned() + "\n"
        ),
    );
}

#[test]
fn the_sample_file_lists_the_keys_as_they_are() {
    keep("config/pixel-relay.toml", &sample_file());
}

#[test]
fn the_sample_file_changes_nothing() {
    let minimal = from_toml(&file("config/examples/minimal.toml"), &[]).unwrap();
    let sample = from_toml(&sample_file(), &[]).unwrap();
    assert_eq!(effective(&sample), effective(&minimal));
}

#[test]
fn every_example_of_a_key_is_right() {
    for section in sections() {
        for key in &section.keys {
            let (KeyDefault::Value(example)
            | KeyDefault::Example(example)
            | KeyDefault::Warned(example)
            | KeyDefault::Required(example)) = key.default
            else {
                continue;
            };
            let reads_a_file = key.name.ends_with("_file");
            if !reads_a_file {
                check_example(&section, key, example);
            }
        }
    }
}

/// Loads a configuration that holds the example, and beside it what cannot be absent.
#[track_caller]
fn check_example(section: &Section, key: &Key, example: &str) {
    let beside = match (section.name, key.name) {
        ("sync.<name>.limited_data_use", "when") => "mode = 'when'",
        ("sync.<name>.test", _) => "name = 'n'\nevent = {}\nnow = '2026-11-20T18:05:00Z'",
        _ => "",
    };
    let mut tables = BTreeMap::from([
        // Passing SDK traffic on needs keys to tell it by.
        ("ingest", "secret = 's'\napi_keys = ['k']"),
        ("sync.<name>", "pixel_id = '1'\naccess_token = 't'"),
    ]);
    tables.entry(section.name).or_insert(beside);
    let mut page = ReferencePage::default();
    for (name, needed) in tables {
        page.line(format!("[{}]", name.replace("<name>", "web")));
        let is_the_table = name == section.name;
        let assigned = format!("{} = ", quoted(key.name));
        for line in needed.lines() {
            if !(is_the_table && line.starts_with(&assigned)) {
                page.line(line);
            }
        }
        if is_the_table {
            page.line(format!("{assigned}{example}"));
        }
    }
    let text = page.text;
    let loaded = from_toml(&text, &[]);
    assert!(loaded.is_ok(), "{text}\n{:?}", loaded.err());
}

#[test]
fn every_example_file_loads_and_means_the_same_when_written_back() {
    for name in ["minimal", "ecommerce", "mobile_app", "sdk", "two_pixels"] {
        let config = from_toml(&file(&format!("config/examples/{name}.toml")), &[]);
        let written = effective(&config.unwrap_or_else(|errors| panic!("{name}: {errors:#?}")));
        let again = from_toml(&written, &[]);
        let again = again.unwrap_or_else(|errors| panic!("{name}: {errors:#?}\n{written}"));
        assert_eq!(effective(&again), written, "{name}");
    }
}
