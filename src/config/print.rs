//! Writes TOML: values on one line, and tables of them.

use std::fmt::Display;

use crate::config::names::{basic_string, join, quoted};

/// What stands in the place of a secret.
pub(super) const REDACTED: &str = "\"[redacted]\"";

/// A table as it is written: its values, then the tables below it.
#[derive(Debug, Default)]
pub(super) struct Page {
    at: String,
    values: Vec<(&'static str, String)>,
    tables: Vec<String>,
    /// What the parts of the table say that it shares with others: values follow its own, tables
    /// stand before its own.
    part_values: Vec<(&'static str, String)>,
    part_tables: Vec<String>,
}

impl Page {
    /// Writes a key with its value, which is TOML.
    pub(super) fn key(&mut self, name: &'static str, value: impl Display) {
        self.values.push((name, value.to_string()));
    }

    /// Writes a key in the place of another.
    pub(super) fn key_instead_of(&mut self, other: &str, name: &'static str, value: impl Display) {
        self.values.retain(|(name, _)| *name != other);
        self.key(name, value);
    }

    /// Writes the table that these names lead to.
    pub(super) fn table(&mut self, names: &[&str], print: impl FnOnce(&mut Self)) {
        let at = names
            .iter()
            .fold(self.at.clone(), |at, name| join(&at, name));
        let mut page = Self {
            at,
            ..Self::default()
        };
        print(&mut page);
        let text = page.to_text();
        self.tables.push(format!("\n[{}]\n{text}", page.at));
    }

    /// Writes the table of these names, whose keys may be any, if there are keys.
    pub(super) fn map<'n>(
        &mut self,
        name: &str,
        members: impl IntoIterator<Item = (&'n str, String)>,
    ) {
        let lines: Vec<String> = members
            .into_iter()
            .map(|(name, value)| line(name, &value))
            .collect();
        if !lines.is_empty() {
            let at = join(&self.at, name);
            self.tables.push(format!("\n[{at}]\n{}", lines.concat()));
        }
    }

    /// Writes keys that this table shares with others.
    pub(super) fn part(&mut self, print: impl FnOnce(&mut Self)) {
        let mut page = Self {
            at: self.at.clone(),
            ..Self::default()
        };
        print(&mut page);
        self.part_values.append(&mut page.values);
        self.part_tables.append(&mut page.tables);
    }

    /// Says why there is no table of this name.
    pub(super) fn no_table(&mut self, name: &str, meaning: &str) {
        let at = join(&self.at, name);
        self.tables.push(format!("\n# No [{at}]: {meaning}\n"));
    }

    /// The table between braces.
    pub(super) fn into_inline(self) -> String {
        table(self.values)
    }

    pub(super) fn to_text(&self) -> String {
        let values = self.values.iter().chain(&self.part_values);
        let lines: String = values.map(|(name, value)| line(name, value)).collect();
        lines + &self.part_tables.concat() + &self.tables.concat()
    }
}

fn line(name: &str, value: &str) -> String {
    format!("{} = {value}\n", quoted(name))
}

/// An inline table, on one line as TOML 1.0 wants it.
pub(super) fn table<'n>(members: impl IntoIterator<Item = (&'n str, String)>) -> String {
    let members: Vec<String> = members
        .into_iter()
        .map(|(name, value)| format!("{} = {value}", quoted(name)))
        .collect();
    format!("{{ {} }}", members.join(", "))
}

pub(super) fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

pub(super) fn texts<T: ToString>(items: &[T]) -> String {
    list(items.iter().map(|item| text(&item.to_string())))
}

/// A text: between single quotes where that spares escapes, as in a path with brackets.
pub(super) fn text(text: &str) -> String {
    let spares = text.contains('"') && !text.contains('\'') && !text.contains(char::is_control);
    if spares {
        format!("'{text}'")
    } else {
        basic_string(text)
    }
}
