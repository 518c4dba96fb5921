//! Reads secrets, written in place or in a file. A file may be read again while the daemon runs.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use crate::config::is_metas_secret;
use crate::config::placeholders::is_placeholder;
use crate::config::values::{KnownTable, Node};

/// Most bytes of a secret's file.
const MOST: u64 = 64 * 1024;

/// What is wrong with a secret of Meta's that is none.
const BROKEN: &str = "found white space within a secret that is not shown, expected none";

/// Reads one secret, and the file that it came from; `None` where there is neither.
pub(super) fn one(
    table: &KnownTable<'_>,
    name: &'static str,
    file_name: &'static str,
) -> Option<(SecretString, Option<PathBuf>)> {
    match twins(table, name, file_name) {
        (Some(_), Some(file)) => both(&file, name),
        (Some(node), None) => in_place(&node).map(|secret| (secret, None)),
        (None, Some(file)) => from_file(&file).map(|(secret, path)| (secret, Some(path))),
        (None, None) => None,
    }
}

/// Reads a secret that Meta gave out. None of those holds white space: what does was pasted wrongly.
pub(super) fn unbroken(
    table: &KnownTable<'_>,
    name: &'static str,
    file_name: &'static str,
) -> Option<(SecretString, Option<PathBuf>)> {
    let (secret, file) = one(table, name, file_name)?;
    if !is_metas_secret(secret.expose_secret()) && !is_placeholder(&secret) {
        let key = if file.is_some() { file_name } else { name };
        table.refuse(key, BROKEN);
        return None;
    }
    Some((secret, file))
}

/// Reads secrets of which any is accepted, and the files that they came from; `None` where one could not be
/// read.
pub(super) fn several(
    table: &KnownTable<'_>,
    name: &'static str,
    file_name: &'static str,
) -> Option<(Vec<SecretString>, Vec<PathBuf>)> {
    match twins(table, name, file_name) {
        (Some(_), Some(file)) => both(&file, name),
        (Some(node), None) => node.each(in_place).map(|secrets| (secrets, Vec::new())),
        (None, Some(file)) => Some(file.each(from_file)?.into_iter().unzip()),
        (None, None) => Some((Vec::new(), Vec::new())),
    }
}

/// The secret and its file. What stands in the environment takes the place of either in the file,
/// as the stronger layer does.
fn twins<'v>(
    table: &KnownTable<'v>,
    name: &'static str,
    file_name: &'static str,
) -> (Option<Node<'v>>, Option<Node<'v>>) {
    match (table.get(name), table.get(file_name)) {
        (Some(secret), Some(file))
            if secret.is_from_environment() && !file.is_from_environment() =>
        {
            (Some(secret), None)
        }
        (Some(secret), Some(file))
            if file.is_from_environment() && !secret.is_from_environment() =>
        {
            (None, Some(file))
        }
        both => both,
    }
}

fn both<T>(file: &Node<'_>, name: &str) -> Option<T> {
    file.refuse(format!("found beside `{name}`, expected one of the two"))
}

fn in_place(node: &Node<'_>) -> Option<SecretString> {
    let text = node.text()?.trim();
    if is_printable(text) {
        return Some(text.into());
    }
    let secret = SecretString::from(text);
    if is_placeholder(&secret) {
        return Some(secret);
    }
    node.unexpected_unshown()
}

fn from_file(node: &Node<'_>) -> Option<(SecretString, PathBuf)> {
    let path = PathBuf::from(node.text()?);
    match read(&path) {
        Ok(secret) => Some((secret, path)),
        Err(problem) => node.refuse(problem),
    }
}

/// Reads the secret that a file holds, or says why it holds none.
pub(super) fn read(path: &Path) -> Result<SecretString, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MOST).read_to_string(&mut text))
        .map_err(|error| format!("the file cannot be read: {error}"))?;
    match text.trim() {
        "" => Err("the file is empty".to_owned()),
        secret if is_printable(secret) => Ok(secret.into()),
        _ => Err("the file holds something else than one line of printable ASCII".to_owned()),
    }
}

/// Reads the secret of Meta's that a file holds, or says why it holds none.
pub(super) fn read_unbroken(path: &Path) -> Result<SecretString, String> {
    let secret = read(path)?;
    if is_metas_secret(secret.expose_secret()) {
        Ok(secret)
    } else {
        Err(BROKEN.to_owned())
    }
}

/// Whether an HTTP header can carry the text.
fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}
