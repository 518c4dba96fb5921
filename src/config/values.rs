//! Reads the merged tree of values, and collects every mistake on the way.
//!
//! A [`Node`] is one value under its full key; its methods give what was meant, or note what was
//! found and what is expected, and give `None`. Reading goes on after a mistake, so that one run
//! reports them all. The value of a secret is never shown, nor that of an unknown key.
//!
//! What stands in the environment is text: there, numbers and booleans are read from it, and one
//! text is a list of one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use config::{Value, ValueKind};

use crate::config::Mistake;
use crate::config::keys::{self, Section};

/// The origin of a value from the environment, as the `config` crate names it.
pub(super) const ENVIRONMENT: &str = "the environment";

/// Longest text of a value that a message repeats.
const SHOWN: usize = 80;

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(super) struct Mistakes(RefCell<Vec<Mistake>>);

impl Mistakes {
    /// Notes a mistake.
    pub(super) fn push(&self, mistake: Mistake) {
        self.0.borrow_mut().push(mistake);
    }

    /// Hands out what was noted.
    pub(super) fn into_inner(self) -> Vec<Mistake> {
        self.0.into_inner()
    }
}

/// One value.
#[derive(Clone, Debug)]
pub(super) struct Node<'v> {
    at: String,
    value: &'v Value,
    expects: &'static str,
    secret: bool,
    mistakes: &'v Mistakes,
}

/// A table whose keys are known.
#[derive(Clone, Debug)]
pub(super) struct Table<'v> {
    at: String,
    values: BTreeMap<&'v str, &'v Value>,
    section: &'static Section,
    mistakes: &'v Mistakes,
}

impl<'v> Node<'v> {
    /// The whole tree.
    pub(super) const fn root(value: &'v Value, mistakes: &'v Mistakes) -> Self {
        Self {
            at: String::new(),
            value,
            expects: "a table",
            secret: false,
            mistakes,
        }
    }

    /// The value as it came from its layer.
    pub(super) const fn kind(&self) -> &'v ValueKind {
        &self.value.kind
    }

    /// The same value, of which something else is expected.
    pub(super) fn expecting(&self, expects: &'static str) -> Self {
        Self {
            expects,
            ..self.clone()
        }
    }

    /// Notes a mistake here.
    pub(super) fn note(&self, message: impl Into<String>) {
        self.mistakes
            .push(Mistake::new(self.at.clone(), message.into()));
    }

    /// Notes a mistake here, so that there is no value.
    pub(super) fn refuse<T>(&self, message: impl Into<String>) -> Option<T> {
        self.note(message);
        None
    }

    /// Notes that the value is not what is expected.
    pub(super) fn unexpected<T>(&self) -> Option<T> {
        self.refuse(format!("found {}, expected {}", self.found(), self.expects))
    }

    /// Notes that the value is not what is expected, without repeating it.
    pub(super) fn unexpected_unshown<T>(&self) -> Option<T> {
        let unshown = Self {
            secret: true,
            ..self.clone()
        };
        unshown.unexpected()
    }

    /// A text; blank ones are refused.
    pub(super) fn text(&self) -> Option<&'v str> {
        match &self.value.kind {
            ValueKind::String(text) if text.trim().is_empty() => {
                self.refuse(format!("found a blank text, expected {}", self.expects))
            }
            ValueKind::String(text) => Some(text),
            _ => self.unexpected(),
        }
    }

    /// A text that can be parsed.
    pub(super) fn parsed<T>(&self, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.text()?;
        parse(text).or_else(|| self.unexpected())
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        self.parsed(|text| {
            choices
                .iter()
                .find(|(word, _)| *word == text)
                .map(|(_, choice)| *choice)
        })
    }

    /// True or false.
    pub(super) fn boolean(&self) -> Option<bool> {
        match &self.value.kind {
            ValueKind::Boolean(value) => Some(*value),
            ValueKind::String(text) if self.from_environment() => {
                match text.to_ascii_lowercase().as_str() {
                    "true" => Some(true),
                    "false" => Some(false),
                    _ => self.unexpected(),
                }
            }
            _ => self.unexpected(),
        }
    }

    /// A whole number within bounds.
    pub(super) fn integer(&self, bounds: RangeInclusive<u64>) -> Option<u64> {
        let number = match &self.value.kind {
            ValueKind::I64(number) => u64::try_from(*number).ok(),
            ValueKind::String(text) if self.from_environment() => digits(text),
            _ => return self.unexpected(),
        };
        match number {
            Some(number) if bounds.contains(&number) => Some(number),
            _ => self.out_of_bounds(bounds.start(), bounds.end()),
        }
    }

    /// A number that may have a fraction.
    pub(super) fn number(&self) -> Option<f64> {
        match &self.value.kind {
            ValueKind::I64(number) => i32::try_from(*number).ok().map(f64::from),
            ValueKind::Float(number) => Some(*number),
            ValueKind::String(text) if self.from_environment() => text.parse().ok(),
            _ => None,
        }
        .or_else(|| self.unexpected())
    }

    /// A duration such as `30s`, within bounds.
    pub(super) fn duration(&self, bounds: RangeInclusive<Duration>) -> Option<Duration> {
        let ValueKind::String(text) = &self.value.kind else {
            return self.unexpected();
        };
        let Ok(duration) = humantime::parse_duration(text) else {
            return self.unexpected();
        };
        if bounds.contains(&duration) {
            return Some(duration);
        }
        self.out_of_bounds(
            humantime::format_duration(*bounds.start()),
            humantime::format_duration(*bounds.end()),
        )
    }

    /// A number of bytes such as `2MiB`, within bounds.
    pub(super) fn size(&self, bounds: RangeInclusive<u64>) -> Option<u64> {
        let size = match &self.value.kind {
            ValueKind::I64(number) => u64::try_from(*number).ok(),
            ValueKind::String(text) => parse_size(text),
            _ => None,
        };
        let Some(size) = size else {
            return self.unexpected();
        };
        if bounds.contains(&size) {
            return Some(size);
        }
        self.out_of_bounds(format_size(*bounds.start()), format_size(*bounds.end()))
    }

    /// The items of a list; anything else is a list of one.
    pub(super) fn items(&self) -> Vec<Self> {
        match &self.value.kind {
            ValueKind::Array(values) => values
                .iter()
                .enumerate()
                .map(|(index, value)| Self {
                    at: format!("{}[{index}]", self.at),
                    value,
                    ..self.clone()
                })
                .collect(),
            _ => vec![self.clone()],
        }
    }

    /// The items of a list, each read; `None` where one of them could not be.
    pub(super) fn each<T>(&self, mut read: impl FnMut(&Self) -> Option<T>) -> Option<Vec<T>> {
        let read: Vec<Option<T>> = self.items().iter().map(&mut read).collect();
        read.into_iter().collect()
    }

    /// A table whose keys are those of the section; others are noted.
    pub(super) fn table(&self, section: &'static Section) -> Option<Table<'v>> {
        let members = self.members()?;
        let mut values = BTreeMap::new();
        for member in members {
            if let Some(key) = section.key(member.name) {
                values.insert(key.name, member.node.value);
            } else {
                let names = section.keys.iter().map(|key| key.name);
                let elsewhere = keys::section_of(member.name);
                member.node.unknown_key(member.name, names, elsewhere);
            }
        }
        Some(Table {
            at: self.at.clone(),
            values,
            section,
            mistakes: self.mistakes,
        })
    }

    /// The members of a table, in alphabetical order.
    pub(super) fn members(&self) -> Option<Vec<Member<'v>>> {
        let ValueKind::Table(values) = &self.value.kind else {
            return self.unexpected();
        };
        let sorted: BTreeMap<&String, &Value> = values.iter().collect();
        let member = |(name, value): (&'v String, &'v Value)| Member {
            name,
            node: Self {
                at: join(&self.at, name),
                value,
                ..self.clone()
            },
        };
        Some(sorted.into_iter().map(member).collect())
    }

    /// Notes an unknown key, and which one may have been meant.
    pub(super) fn unknown_key(
        &self,
        name: &str,
        known: impl Iterator<Item = &'static str> + Clone,
        elsewhere: Option<&str>,
    ) {
        if let Some(near) = nearest(name, known.clone()) {
            return self.note(format!("unknown key, did you mean `{near}`?"));
        }
        if let Some(section) = elsewhere {
            return self.note(format!("unknown key here, it belongs in [{section}]"));
        }
        let known: Vec<&str> = known.collect();
        self.note(format!("unknown key, expected one of {}", known.join(", ")));
    }

    /// Whether the value came from the environment.
    pub(super) fn from_environment(&self) -> bool {
        self.value.origin() == Some(ENVIRONMENT)
    }

    fn out_of_bounds<T>(
        &self,
        least: impl std::fmt::Display,
        most: impl std::fmt::Display,
    ) -> Option<T> {
        self.refuse(format!(
            "found {}, expected {} from {least} to {most}",
            self.found(),
            self.expects
        ))
    }

    /// Describes the value: by its kind alone where it may be a secret.
    fn found(&self) -> String {
        let whence = if self.from_environment() {
            " in the environment"
        } else {
            ""
        };
        let what = match &self.value.kind {
            ValueKind::Nil => "nothing".to_owned(),
            ValueKind::Table(_) => "a table".to_owned(),
            ValueKind::Array(_) => "a list".to_owned(),
            ValueKind::String(_) if self.secret => "a text that is not shown".to_owned(),
            ValueKind::String(text) if text.chars().count() > SHOWN => "a long text".to_owned(),
            ValueKind::String(text) => format!("{text:?}"),
            ValueKind::Boolean(_) if self.secret => "true or false".to_owned(),
            ValueKind::Boolean(value) => value.to_string(),
            _ if self.secret => "a number".to_owned(),
            other => other.to_string(),
        };
        format!("{what}{whence}")
    }
}

/// A member of a table.
#[derive(Debug)]
pub(super) struct Member<'v> {
    /// Its name, as it was written.
    pub(super) name: &'v str,
    /// Its value.
    pub(super) node: Node<'v>,
}

impl<'v> Table<'v> {
    /// The value of a key, `None` where it is absent.
    pub(super) fn get(&self, name: &'static str) -> Option<Node<'v>> {
        let key = self
            .section
            .key(name)
            .expect("only keys of the section are asked for");
        let value = self.values.get(name)?;
        Some(Node {
            at: join(&self.at, name),
            value,
            expects: key.expects,
            secret: key.secret,
            mistakes: self.mistakes,
        })
    }

    /// The value of a key that must be there.
    pub(super) fn require(&self, name: &'static str) -> Option<Node<'v>> {
        let found = self.get(name);
        if found.is_none() {
            let expects = self.section.key(name).map_or("", |key| key.expects);
            self.refuse(name, format!("missing, expected {expects}"));
        }
        found
    }

    /// Notes a mistake at a key.
    pub(super) fn refuse(&self, name: &str, message: impl Into<String>) {
        self.mistakes
            .push(Mistake::new(join(&self.at, name), message.into()));
    }
}

/// Appends a name to a key, quoted where TOML wants it.
pub(super) fn join(at: &str, name: &str) -> String {
    let name = quoted(name);
    if at.is_empty() {
        name
    } else {
        format!("{at}.{name}")
    }
}

/// A key as TOML writes it.
pub(super) fn quoted(name: &str) -> String {
    let bare = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if bare {
        name.to_owned()
    } else {
        basic_string(name)
    }
}

/// A text between double quotes, as TOML writes it.
pub(super) fn basic_string(text: &str) -> String {
    // JSON's escapes are TOML's, but for DEL, which TOML wants escaped.
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
}

/// The name that was most likely meant.
pub(super) fn nearest(
    name: &str,
    known: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    let tolerated = (name.chars().count() / 3).clamp(1, 3);
    known
        .map(|known| (distance(name, known), known))
        .filter(|(distance, _)| *distance <= tolerated)
        .min()
        .map(|(_, known)| known)
}

/// How many letters must be changed, added or taken away (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, from) in left.chars().enumerate() {
        let mut diagonal = above;
        let mut left_of = above + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&right) {
            let changed = diagonal + usize::from(from != *to);
            diagonal = *cell;
            left_of = changed.min(*cell + 1).min(left_of + 1);
            *cell = left_of;
        }
        if let Some(first) = row.first_mut() {
            *first = above + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

const UNITS: &[(&str, u64)] = &[
    ("tib", 1 << 40),
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("tb", 1_000_000_000_000),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("b", 1),
];

/// Parses `2MiB`, `500 kB` or `1024`.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    for (unit, bytes) in UNITS {
        if let Some(number) = text.strip_suffix(unit) {
            return digits(number.trim_end())?.checked_mul(*bytes);
        }
    }
    digits(&text)
}

/// Formats a number of bytes with the largest unit that divides it.
pub(super) fn format_size(bytes: u64) -> String {
    let binary = [
        (1_u64 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ];
    for (unit, name) in binary {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    format!("{bytes}B")
}

/// Parses digits, which may be grouped with underscores as in TOML.
fn digits(text: &str) -> Option<u64> {
    let plain = text.replace('_', "");
    let all_digits = plain.bytes().all(|byte| byte.is_ascii_digit());
    plain.parse().ok().filter(|_| all_digits)
}
