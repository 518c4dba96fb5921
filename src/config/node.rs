//! Reads the merged tree of values, and collects every error on the way.
//!
//! A [`Node`] is one value under its full key. Its methods return what was meant; or they note what
//! was found and what is expected, and return `None`. Reading goes on after an error, so that one run
//! reports them all. A message never shows a secret, nor the value of an unknown key; for the same
//! reason a node has no `Debug` form.
//!
//! The environment holds only text, so numbers and booleans are parsed from it, and one text is a list
//! of one.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use config::{File, FileFormat, Source, Value, ValueKind};

use crate::config::names::{join, join_all, nearest};
use crate::config::units::{digits, format_duration, format_size, parse_size};
use crate::config::{ConfigError, SyncName};

/// The origin of a value from the environment, as the `config` crate names it.
pub(super) const ENVIRONMENT: &str = "the environment";

/// The longest text that a message repeats.
const SHOWN: usize = 80;

/// What all values of one configuration share, and the errors found so far.
#[derive(Debug, Default)]
pub(super) struct LoadContext {
    /// The folder of the configuration file.
    pub(super) folder: PathBuf,
    /// The names of all syncs, even of faulty ones.
    pub(super) syncs: Vec<SyncName>,
    /// The one section that has a key, by the key's name: a hint for a key in the wrong table.
    pub(super) homes: BTreeMap<&'static str, &'static str>,
    pub(super) errors: RefCell<Vec<ConfigError>>,
    pub(super) warnings: RefCell<Vec<ConfigError>>,
}

impl LoadContext {
    pub(super) fn note(&self, error: ConfigError) {
        self.errors.borrow_mut().push(error);
    }
}

/// The values of a TOML text, as the `config` crate reads them.
pub(super) fn toml_values(text: &str) -> Result<HashMap<String, Value>, config::ConfigError> {
    File::from_str(text, FileFormat::Toml).collect()
}

/// One value.
#[derive(Clone)]
pub(super) struct Node<'v> {
    /// Its full key.
    pub(super) at: String,
    pub(super) value: &'v Value,
    /// What it should be, to follow "expected".
    pub(super) expects: &'static str,
    /// Whether no message may show it.
    pub(super) secret: bool,
    /// Whether its paths begin in the element of a list.
    pub(super) in_element: bool,
    pub(super) context: &'v LoadContext,
}

impl<'v> Node<'v> {
    pub(super) const fn new(at: String, value: &'v Value, context: &'v LoadContext) -> Self {
        Self {
            at,
            value,
            expects: "a table",
            secret: false,
            in_element: false,
            context,
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

    /// Notes an error here.
    pub(super) fn note(&self, message: impl Into<String>) {
        self.context
            .note(ConfigError::new(self.at.clone(), message));
    }

    /// Notes an error here, and returns no value.
    pub(super) fn refuse<T>(&self, message: impl Into<String>) -> Option<T> {
        self.note(message);
        None
    }

    /// Warns of the key that these names lead to from here.
    pub(super) fn warn(&self, names: &[&str], message: impl Into<String>) {
        let warning = ConfigError::new(join_all(&self.at, names), message);
        self.context.warnings.borrow_mut().push(warning);
    }

    /// Notes that the value is not what is expected.
    pub(super) fn unexpected<T>(&self) -> Option<T> {
        self.refuse(format!("found {}, expected {}", self.found(), self.expects))
    }

    /// Notes that a word is not among those that are known.
    pub(super) fn unknown_word<T>(
        &self,
        word: &str,
        known: impl Iterator<Item = &'static str>,
    ) -> Option<T> {
        let known = known.collect::<Vec<_>>().join(", ");
        self.refuse(format!("found {word:?}, expected one of {known}"))
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

    /// A whole number within bounds.
    pub(super) fn integer(&self, bounds: RangeInclusive<u64>) -> Option<u64> {
        let number = match &self.value.kind {
            ValueKind::I64(number) => u64::try_from(*number).ok(),
            ValueKind::String(text) if self.is_from_environment() => digits(text),
            _ => None,
        };
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
        let duration = match &self.value.kind {
            ValueKind::String(text) => humantime::parse_duration(text).ok(),
            _ => None,
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
    pub(super) fn each<T>(&self, read: impl FnMut(&Self) -> Option<T>) -> Option<Vec<T>> {
        let read: Vec<Option<T>> = self.items().iter().map(read).collect();
        read.into_iter().collect()
    }

    /// The items of a list of texts, each read; a text of the environment with commas is refused.
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

    /// The members of a table, by name.
    pub(super) fn members(&self) -> Option<BTreeMap<&'v str, Self>> {
        let ValueKind::Table(values) = &self.value.kind else {
            // A text may be a secret that slipped one level up.
            let hidden = Self {
                secret: true,
                ..self.clone()
            };
            return hidden.unexpected();
        };
        let member = |(name, value): (&'v String, &'v Value)| {
            let at = join(&self.at, name);
            (
                &**name,
                Self {
                    at,
                    value,
                    ..self.clone()
                },
            )
        };
        Some(values.iter().map(member).collect())
    }

    /// The members of a table, each read; `None` where one of them could not be.
    pub(super) fn each_member<T>(
        &self,
        read: impl Fn(&str, &Self) -> Option<T>,
    ) -> Option<BTreeMap<String, T>> {
        let members = self.members()?.into_iter();
        let read: Vec<_> = members
            .map(|(name, member)| Some((name.to_owned(), read(name, &member)?)))
            .collect();
        read.into_iter().collect()
    }

    /// Notes an unknown key, and which one may have been meant.
    pub(super) fn unknown_key(
        &self,
        name: &str,
        known: impl Iterator<Item = &'static str> + Clone,
    ) {
        if let Some(near) = nearest(name, known.clone()) {
            return self.note(format!("unknown key, did you mean `{near}`?"));
        }
        if let Some(section) = self.context.homes.get(name) {
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
        value: Option<T>,
        bounds: RangeInclusive<T>,
        format: impl Fn(T) -> String,
    ) -> Option<T> {
        let value = value.or_else(|| self.unexpected())?;
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
