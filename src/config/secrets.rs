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
const FILE: &str = "the path of a file";

const BROKEN: &str = "found white space within a secret that is not shown, expected none";

/// A secret that stands under its own key, or in the file that another key names.
pub(super) fn secret(file: &'static str) -> Codec<Option<SecretString>> {
    secret_by(file, one)
}

/// A secret that Meta gave out.
pub(super) fn secret_of_meta(file: &'static str) -> Codec<Option<SecretString>> {
    secret_by(file, one_of_meta)
}

fn secret_by(
    file: &'static str,
    read: fn(&KnownTable<'_>, &'static str, &'static str) -> Option<SecretString>,
) -> Codec<Option<SecretString>> {
    Codec::of_table(
        |key| vec![key.expecting(SECRET).hidden()],
        move |table, name| Some(read(table, name, file)),
        |secret, name, page| {
            if secret.is_some() {
                page.key(name, REDACTED);
            }
        },
    )
}

/// An access token of Meta's, which cannot be absent.
pub(super) fn access_token(file: &'static str) -> Codec<SecretString> {
    let read = move |table: &KnownTable<'_>, name: &'static str| {
        if table.get(name).is_none() && table.get(file).is_none() {
            let message = "missing, expected the Conversions API access token";
            table.refuse(name, format!("{message} (or {file})"));
        }
        one_of_meta(table, name, file)
    };
    Codec::of_table(
        |key| vec![key.expecting(SECRET).hidden()],
        read,
        |_, name, page| page.key(name, REDACTED),
    )
}

/// Secrets of which any is accepted.
pub(super) fn secrets(file: &'static str) -> Codec<Vec<SecretString>> {
    let expects = "a text of printable ASCII characters, or a list of them";
    let read = move |table: &KnownTable<'_>, name: &'static str| match twins(table, name, file) {
        (Some(_), Some(file)) => both(&file, name),
        (Some(node), None) => node.each(in_place),
        (None, Some(file)) => file.each(from_file),
        (None, None) => Some(Vec::new()),
    };
    let print =
        |secrets: &Vec<SecretString>, name: &'static str, page: &mut Page| match secrets.len() {
            0 => {}
            1 => page.key(name, REDACTED),
            several => page.key(name, format!("[{}]", vec![REDACTED; several].join(", "))),
        };
    Codec::of_table(
        move |key| vec![key.expecting(expects).hidden()],
        read,
        print,
    )
}

/// The file of a secret. The secret's own row reads the file, and notes what is wrong with it; it is
/// printed alike wherever it stands.
pub(super) fn file_of(secret: &'static str) -> Codec<Option<PathBuf>> {
    file_printed(secret, |_, _, _| {})
}

/// The file of a secret, which is printed in the place of the secret.
pub(super) fn printed_file_of(secret: &'static str) -> Codec<Option<PathBuf>> {
    file_printed(secret, move |path, name, page| {
        if let Some(path) = path {
            let path = print::text(&path.display().to_string());
            page.key_instead_of(secret, name, path);
        }
    })
}

fn file_printed(
    secret: &'static str,
    print: impl Fn(&Option<PathBuf>, &'static str, &mut Page) + 'static,
) -> Codec<Option<PathBuf>> {
    Codec::of_table(
        |key| vec![key.expecting(FILE)],
        move |table, name| Some(paths(table, secret, name).into_iter().next()),
        print,
    )
}

/// The files of secrets, printed as those are.
pub(super) fn files_of(secret: &'static str) -> Codec<Vec<PathBuf>> {
    Codec::of_table(
        |key| vec![key.expecting("the path of a file, or a list of them")],
        move |table, name| Some(paths(table, secret, name)),
        |_, _, _| {},
    )
}

fn paths(table: &KnownTable<'_>, secret: &'static str, name: &'static str) -> Vec<PathBuf> {
    let (None, Some(node)) = twins(table, secret, name) else {
        return Vec::new();
    };
    let path = |node: &Node<'_>| match node.kind() {
        ValueKind::String(path) => Some(PathBuf::from(path)),
        _ => None,
    };
    node.items().iter().filter_map(path).collect()
}

fn one(table: &KnownTable<'_>, name: &'static str, file: &'static str) -> Option<SecretString> {
    match twins(table, name, file) {
        (Some(_), Some(file)) => both(&file, name),
        (Some(node), None) => in_place(&node),
        (None, Some(file)) => from_file(&file),
        (None, None) => None,
    }
}

/// None of Meta's secrets holds white space: what does was pasted wrongly.
fn one_of_meta(
    table: &KnownTable<'_>,
    name: &'static str,
    file: &'static str,
) -> Option<SecretString> {
    let secret = one(table, name, file)?;
    if !is_metas_secret(secret.expose_secret()) && !is_placeholder(&secret) {
        let (in_place, _) = twins(table, name, file);
        table.refuse(in_place.map_or(file, |_| name), BROKEN);
        return None;
    }
    Some(secret)
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

fn from_file(node: &Node<'_>) -> Option<SecretString> {
    read(Path::new(node.text()?)).map_or_else(|problem| node.refuse(problem), Some)
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
