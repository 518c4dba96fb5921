//! The files of src, and their tokens.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::uses::paths_of;

const SQL: &[&str] = &[
    "SELECT ",
    "INSERT INTO ",
    "INSERT OR ",
    "REPLACE INTO ",
    "DELETE FROM ",
    "CREATE TABLE ",
    "CREATE INDEX ",
    "ALTER TABLE ",
    "DROP TABLE ",
    "PRAGMA ",
];

/// One file.
pub struct SourceFile {
    /// Below src.
    pub path: String,
    pub text: String,
    /// The names that lead to it from the crate's root.
    pub module: Vec<String>,
    syntax: OnceCell<syn::File>,
    tokens: OnceCell<Vec<String>>,
}

impl SourceFile {
    pub fn of(path: &str, text: &str) -> Self {
        let module = path.trim_end_matches(".rs").split('/');
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            module: module.map(str::to_owned).collect(),
            syntax: OnceCell::new(),
            tokens: OnceCell::new(),
        }
    }

    pub fn top_level_module(&self) -> &str {
        &self.module[0]
    }

    /// The modules of the crate that a path in it begins with.
    pub fn modules_used(&self) -> BTreeSet<String> {
        let paths = paths_of(self).into_iter();
        paths
            .filter(|path| path[0] == "crate")
            .map(|path| path[1].clone())
            .collect()
    }

    pub fn syntax(&self) -> &syn::File {
        self.syntax
            .get_or_init(|| syn::parse_file(&self.text).unwrap())
    }

    /// Its tokens without attributes, comments and tests. The delimiters of a group are separate tokens.
    pub fn tokens(&self) -> &[String] {
        self.tokens.get_or_init(|| self.flat_tokens(false))
    }

    /// Whether it, or its tests, contain SQL.
    pub fn speaks_sql(&self) -> bool {
        self.flat_tokens(true).iter().any(|token| {
            let is_text = token.contains('"');
            token == "rusqlite"
                || is_text && SQL.iter().any(|words| token.contains(words))
                || is_text && token.contains("UPDATE ") && token.contains(" SET ")
        })
    }

    fn flat_tokens(&self, with_tests: bool) -> Vec<String> {
        let mut flat = Vec::new();
        flatten(self.text.parse().unwrap(), with_tests, &mut flat);
        flat
    }
}

fn flatten(tokens: TokenStream, with_tests: bool, flat: &mut Vec<String>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(mark) if mark.as_char() == '#' => {
                tokens.next_if(|token| token.to_string() == "!");
                let attribute = tokens.next_if(|token| matches!(token, TokenTree::Group(_)));
                let attribute = attribute.map(|group| group.to_string().replace(' ', ""));
                if attribute.as_deref() == Some("[cfg(test)]") && !with_tests {
                    // An item ends at the first of these.
                    tokens
                        .by_ref()
                        .find(|token| is_block(token) || token.to_string() == ";");
                }
            }
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                flat.push(open.to_owned());
                flatten(group.stream(), with_tests, flat);
                flat.push(close.to_owned());
            }
            token => flat.push(token.to_string()),
        }
    }
}

fn is_block(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

/// What tests use does not count as structure.
pub fn product_sources() -> Vec<SourceFile> {
    let mut files = sources();
    files.retain(|file| file.module.iter().all(|part| part != "tests"));
    files
}

pub fn sources() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    find(&root, &mut files);
    files.sort();
    let read = |file: PathBuf| {
        let path = file.strip_prefix(&root).unwrap().to_str().unwrap();
        SourceFile::of(path, &fs::read_to_string(&file).unwrap())
    };
    files.into_iter().map(read).collect()
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
