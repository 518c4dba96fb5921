//! Writes TOML: values on one line, and tables of them.

use std::fmt::Display;

use crate::config::names::{basic_string, join, join_all, quoted};

/// Printed in place of a secret.
pub(super) const REDACTED: &str = "\"[redacted]\"";

/// A table as it is written: its values, then the tables below it.
#[derive(Debug, Default)]
pub(super) struct Page {
    at: String,
    values: Vec<(String, String)>,
    tables: Vec<String>,
}

impl Page {
    /// Writes a key with its value, which is TOML.
    pub(super) fn key(&mut self, name: &str, value: impl Display) {
        self.values.push((name.to_owned(), value.to_string()));
    }

    /// Writes a key in the place of another.
    pub(super) fn key_instead_of(&mut self, other: &str, name: &str, value: impl Display) {
        self.values.retain(|(name, _)| name != other);
        self.key(name, value);
    }

    /// Writes the table that these names lead to.
    pub(super) fn table(&mut self, names: &[&str], print: impl FnOnce(&mut Self)) {
        let mut page = Self {
            at: join_all(&self.at, names),
            ..Self::default()
        };
        print(&mut page);
        let text = page.to_text();
        self.tables.push(format!("\n[{}]\n{text}", page.at));
    }

    /// Says what the absence of a table means.
    pub(super) fn no_table(&mut self, name: &str, meaning: &str) {
        let at = join(&self.at, name);
        self.tables.push(format!("\n# No [{at}]: {meaning}\n"));
    }

    /// The table between braces.
    pub(super) fn into_inline(self) -> String {
        table(self.values)
    }

    pub(super) fn to_text(&self) -> String {
        let values = self.values.iter();
        let lines: String = values
            .map(|(name, value)| line(name, value) + "\n")
            .collect();
        lines + &self.tables.concat()
    }
}

fn line(name: &str, value: &str) -> String {
    format!("{} = {value}", quoted(name))
}

/// An inline table, on one line as TOML 1.0 wants it.
pub(super) fn table<N: AsRef<str>>(members: impl IntoIterator<Item = (N, String)>) -> String {
    let members: Vec<String> = members
        .into_iter()
        .map(|(name, value)| line(name.as_ref(), &value))
        .collect();
    format!("{{ {} }}", members.join(", "))
}

pub(super) fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

pub(super) fn texts<T: ToString>(items: &[T]) -> String {
    list(items.iter().map(text))
}

/// A text: between single quotes where that spares escapes, as in a path with brackets.
pub(super) fn text<T: ToString + ?Sized>(text: &T) -> String {
    let text = text.to_string();
    let spares = text.contains('"') && !text.contains('\'') && !text.contains(char::is_control);
    if spares {
        format!("'{text}'")
    } else {
        basic_string(&text)
    }
}
