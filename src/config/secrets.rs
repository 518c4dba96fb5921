//! Reads secrets, written in place or in a file. A file may be read again while the daemon runs.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use config::ValueKind;
use secrecy::{ExposeSecret, SecretString};

use crate::config::is_metas_secret;
use crate::config::node::Node;
use crate::config::placeholders::is_placeholder;
use crate::config::print::{self, Page, REDACTED};
use crate::config::schema::{Codec, KnownTable};

/// Most bytes of a secret's file.
const MOST: u64 = 64 * 1024;

const SECRET: &str = "a text of printable ASCII characters";

const BROKEN: &str = "found white space within a secret that is not shown, expected none";

/// Whether a printable text can be the secret.
type SecretCheck = fn(&str) -> bool;

/// A secret that stands under its own key, or in the file that another key names.
pub(super) fn secret(file: &'static str, check: SecretCheck) -> Codec<Option<SecretString>> {
    let read = move |table: &KnownTable<'_>, name| Some(one(table, name, file, check));
    Codec::of_table(Some(SECRET), [], read, |secret, name, page| {
        if secret.is_some() {
            page.key(name, REDACTED);
        }
    })
    .hidden()
}

/// An access token, which cannot be absent.
pub(super) fn access_token(file: &'static str) -> Codec<SecretString> {
    let read = move |table: &KnownTable<'_>, name: &'static str| {
        if table.get(name).is_none() && table.get(file).is_none() {
            let message = "missing, expected the Conversions API access token";
            table.refuse(name, format!("{message} (or {file})"));
        }
        one(table, name, file, is_metas_secret)
    };
    let print = |_: &SecretString, name: &'static str, page: &mut Page| page.key(name, REDACTED);
    Codec::of_table(Some(SECRET), [], read, print).hidden()
}

/// Secrets of which any is accepted.
pub(super) fn secrets(file: &'static str) -> Codec<Vec<SecretString>> {
    let expects = "a text of printable ASCII characters, or a list of them";
    let read = move |table: &KnownTable<'_>, name: &'static str| {
        if table.get(name).is_none() && table.get(file).is_none() {
            return Some(Vec::new());
        }
        let (node, read) = find(table, name, file)?;
        node.each(read)
    };
    let print =
        |secrets: &Vec<SecretString>, name: &'static str, page: &mut Page| match secrets.len() {
            0 => {}
            1 => page.key(name, REDACTED),
            several => page.key(name, format!("[{}]", vec![REDACTED; several].join(", "))),
        };
    Codec::of_table(Some(expects), [], read, print).hidden()
}

/// The file of a secret. The secret's own row reads it, notes its errors, and prints the secret.
pub(super) fn file_of(secret: &'static str) -> Codec<Option<PathBuf>> {
    file_printed(secret, |_, _, _| {})
}

/// The file of a secret, printed in place of the secret.
pub(super) fn printed_file_of(secret: &'static str) -> Codec<Option<PathBuf>> {
    file_printed(secret, move |path, name, page| {
        if let Some(path) = path {
            page.key_instead_of(secret, name, print::text(&path.display()));
        }
    })
}

fn file_printed(
    secret: &'static str,
    print: impl Fn(&Option<PathBuf>, &'static str, &mut Page) + 'static,
) -> Codec<Option<PathBuf>> {
    let read = move |table: &KnownTable<'_>, name| Some(paths(table, secret, name).pop());
    Codec::of_table(Some("the path of a file"), [], read, print)
}

/// The files of secrets, whose own row reads and prints them.
pub(super) fn files_of(secret: &'static str) -> Codec<Vec<PathBuf>> {
    let read = move |table: &KnownTable<'_>, name| Some(paths(table, secret, name));
    let expects = "the path of a file, or a list of them";
    Codec::of_table(Some(expects), [], read, |_, _, _| {})
}

fn paths(table: &KnownTable<'_>, secret: &str, name: &str) -> Vec<PathBuf> {
    let (None, Some(node)) = either(table, secret, name) else {
        return Vec::new();
    };
    let path = |node: &Node<'_>| match node.kind() {
        ValueKind::String(path) => Some(PathBuf::from(path)),
        _ => None,
    };
    node.items().iter().filter_map(path).collect()
}

fn one(table: &KnownTable<'_>, name: &str, file: &str, check: SecretCheck) -> Option<SecretString> {
    let (node, read) = find(table, name, file)?;
    let secret = read(&node)?;
    if check(secret.expose_secret()) || is_placeholder(&secret) {
        Some(secret)
    } else {
        node.refuse(BROKEN)
    }
}

/// Reads a secret from its value.
type ReadSecret = fn(&Node<'_>) -> Option<SecretString>;

/// Finds the secret's value, and how to read it.
fn find<'v>(table: &KnownTable<'v>, name: &str, file: &str) -> Option<(Node<'v>, ReadSecret)> {
    match either(table, name, file) {
        (Some(_), Some(file)) => {
            file.refuse(format!("found beside `{name}`, expected one of the two"))
        }
        (Some(node), None) => Some((node, in_place)),
        (None, Some(file)) => Some((file, from_file)),
        (None, None) => None,
    }
}

/// The secret and its file. If only one of them is in the environment, it replaces the other.
fn either<'v>(
    table: &KnownTable<'v>,
    name: &str,
    file: &str,
) -> (Option<Node<'v>>, Option<Node<'v>>) {
    let (secret, file) = (table.get(name), table.get(file));
    let is_stronger =
        |node: &Option<Node<'_>>| node.as_ref().is_some_and(Node::is_from_environment);
    match (is_stronger(&secret), is_stronger(&file)) {
        (true, false) => (secret, None),
        (false, true) => (None, file),
        _ => (secret, file),
    }
}

fn in_place(node: &Node<'_>) -> Option<SecretString> {
    let text = node.text()?.trim();
    let secret = SecretString::from(text);
    if is_printable(text) || is_placeholder(&secret) {
        Some(secret)
    } else {
        node.unexpected()
    }
}

fn from_file(node: &Node<'_>) -> Option<SecretString> {
    read(Path::new(node.text()?), is_printable).map_or_else(|problem| node.refuse(problem), Some)
}

/// Reads the secret that a file holds, or says why it holds none.
pub(super) fn read(path: &Path, check: SecretCheck) -> Result<SecretString, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MOST).read_to_string(&mut text))
        .map_err(|error| format!("the file cannot be read: {error}"))?;
    let text = text.trim();
    if text.is_empty() {
        Err("the file is empty".to_owned())
    } else if !is_printable(text) {
        Err("the file holds something else than one line of printable ASCII".to_owned())
    } else if !check(text) {
        Err(BROKEN.to_owned())
    } else {
        Ok(text.into())
    }
}

/// Whether an HTTP header can carry the text.
pub(super) fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}
