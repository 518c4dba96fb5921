//! Keeps the layers: a module uses only modules of lower layers, or its own children.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The layers, from the bottom up. A module may use those before its own.
const LAYERS: &[&[&str]] = &[
    &["event", "path", "outcome", "clock"],
    &["config"],
    &["select", "map", "batch", "telemetry"],
    &["sync"],
    &["queue"],
    &["ingest", "deliver"],
    &["admin", "control"],
    &["app"],
    &["cli"],
];

/// What a module may use although it stands in the same layer.
const NEIGHBOURS: &[(&str, &str)] = &[
    ("event", "outcome"),
    ("path", "event"),
    ("map", "select"),
    ("select", "map"),
];

/// The sandbox is an independent witness: it may use only this.
const SANDBOX_USES: &[&str] = &["event", "path", "outcome", "clock"];

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
            layer(&used) < layer(&module) || NEIGHBOURS.contains(&(module.as_str(), used.as_str()))
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut edges = BTreeMap::new();
    // What a module's tests use is no part of the structure.
    let is_test = |file: &PathBuf| {
        file.components().any(|part| part.as_os_str() == "tests")
            || file.file_name().is_some_and(|name| name == "tests.rs")
    };
    for file in sources().into_iter().filter(|file| !is_test(file)) {
        let module = top_level_module(file.strip_prefix(&root).unwrap());
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

fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
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
