//! Reads the merged tree of values, and collects every mistake on the way.
//!
//! A [`Node`] is one value under its full key; its methods give what was meant, or note what was
//! found and what is expected, and give `None`. Reading goes on after a mistake, so that one run
//! reports them all. The value of a secret is never shown, nor that of an unknown key, and so
//! nothing here has a `Debug` form.
//!
//! What stands in the environment is text: there, numbers and booleans are read from it, and one
//! text is a list of one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use config::{Value, ValueKind};

use crate::config::ConfigError;
use crate::config::keys::{self, Section};
use crate::config::names::{join, nearest};
use crate::config::units::{digits, format_duration, format_size, parse_size};

/// The origin of a value from the environment, as the `config` crate names it.
pub(super) const ENVIRONMENT: &str = "the environment";

/// Longest text of a value that a message repeats.
const SHOWN: usize = 80;

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(super) struct ConfigErrors(RefCell<Vec<ConfigError>>);

impl ConfigErrors {
    /// Notes a mistake.
    pub(super) fn push(&self, mistake: ConfigError) {
        self.0.borrow_mut().push(mistake);
    }

    /// Hands out what was noted.
    pub(super) fn into_inner(self) -> Vec<ConfigError> {
        self.0.into_inner()
    }
}

/// One value.
#[derive(Clone)]
pub(super) struct Node<'v> {
    at: String,
    value: &'v Value,
    expects: &'static str,
    secret: bool,
    mistakes: &'v ConfigErrors,
}

/// A table whose keys are known.
pub(super) struct KnownTable<'v> {
    at: String,
    values: BTreeMap<&'v str, &'v Value>,
    section: &'static Section,
    mistakes: &'v ConfigErrors,
}

impl<'v> Node<'v> {
    /// The whole tree.
    pub(super) const fn root(value: &'v Value, mistakes: &'v ConfigErrors) -> Self {
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
            .push(ConfigError::new(self.at.clone(), message.into()));
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
            ValueKind::String(text) if self.is_from_environment() => {
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
            ValueKind::String(text) if self.is_from_environment() => digits(text),
            _ => None,
        };
        let number = number.or_else(|| self.unexpected())?;
        self.bounded(number, bounds, |number| number.to_string())
    }

    /// A number that may have a fraction.
    pub(super) fn number(&self) -> Option<f64> {
        match &self.value.kind {
            ValueKind::I64(number) => i32::try_from(*number).ok().map(f64::from),
            ValueKind::Float(number) => Some(*number),
            ValueKind::String(text) if self.is_from_environment() => text.parse().ok(),
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
        self.bounded(duration, bounds, format_duration)
    }

    /// A number of bytes such as `2MiB`, within bounds.
    pub(super) fn size(&self, bounds: RangeInclusive<u64>) -> Option<u64> {
        let size = match &self.value.kind {
            ValueKind::I64(number) => u64::try_from(*number).ok(),
            ValueKind::String(text) => parse_size(text),
            _ => None,
        };
        let size = size.or_else(|| self.unexpected())?;
        self.bounded(size, bounds, format_size)
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

    /// The items of a list of texts, as `each` reads them; several that the environment holds as one
    /// text are refused.
    pub(super) fn list<T>(&self, read: impl FnMut(&Self) -> Option<T>) -> Option<Vec<T>> {
        match &self.value.kind {
            ValueKind::String(text) if self.is_from_environment() && text.contains(',') => self
                .refuse(
                    "found a comma in the environment, where a list is written [\"a\", \"b\"], also \
                     where it holds one text with a comma",
                ),
            _ => self.each(read),
        }
    }

    /// A table whose keys are those of the section; others are noted.
    pub(super) fn table(&self, section: &'static Section) -> Option<KnownTable<'v>> {
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
        Some(KnownTable {
            at: self.at.clone(),
            values,
            section,
            mistakes: self.mistakes,
        })
    }

    /// The members of a table, in alphabetical order.
    pub(super) fn members(&self) -> Option<Vec<TableMember<'v>>> {
        let ValueKind::Table(values) = &self.value.kind else {
            // A text may be a secret that slipped one level up.
            return self.unexpected_unshown();
        };
        let sorted: BTreeMap<&String, &Value> = values.iter().collect();
        let member = |(name, value): (&'v String, &'v Value)| TableMember {
            name,
            node: Self {
                at: join(&self.at, name),
                value,
                ..self.clone()
            },
        };
        Some(sorted.into_iter().map(member).collect())
    }

    /// The names of a table's members; none where it is no table, which `members` notes.
    pub(super) fn member_names(&self) -> impl Iterator<Item = &'v str> {
        let members = match &self.value.kind {
            ValueKind::Table(values) => Some(values),
            _ => None,
        };
        members
            .into_iter()
            .flat_map(|values| values.keys())
            .map(String::as_str)
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
    pub(super) fn is_from_environment(&self) -> bool {
        self.value.origin() == Some(ENVIRONMENT)
    }

    fn bounded<T: PartialOrd + Copy>(
        &self,
        value: T,
        bounds: RangeInclusive<T>,
        format: impl Fn(T) -> String,
    ) -> Option<T> {
        let (least, most) = bounds.into_inner();
        let bound = if value < least {
            format!("at least {}", format(least))
        } else if value > most {
            format!("at most {}", format(most))
        } else {
            return Some(value);
        };
        self.refuse(format!(
            "found {}, expected {}, {bound}",
            self.found(),
            self.expects
        ))
    }

    /// Describes the value: by its kind alone where it may be a secret.
    fn found(&self) -> String {
        let whence = if self.is_from_environment() {
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
            ValueKind::Boolean(value) => value.to_string(),
            _ if self.secret => "a number".to_owned(),
            other => other.to_string(),
        };
        format!("{what}{whence}")
    }
}

/// A member of a table.
pub(super) struct TableMember<'v> {
    /// Its name, as it was written.
    pub(super) name: &'v str,
    /// Its value.
    pub(super) node: Node<'v>,
}

impl<'v> KnownTable<'v> {
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
            .push(ConfigError::new(join(&self.at, name), message.into()));
    }
}
