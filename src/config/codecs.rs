//! Codecs that several tables use.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use config::ValueKind;
use url::{Host, Url};

use crate::config::expressions::{self, CONDITIONS, PassedProperties, VALUE};
use crate::config::node::Node;
use crate::config::print::{self, Page};
use crate::config::schema::{Codec, Table};
use crate::config::units::{Rate, format_duration, format_size};
use crate::expr::condition::Condition;
use crate::expr::value::ValueExpr;

pub(super) const SIZE: &str = "a size such as \"2MiB\" or a number of bytes";

/// The longest duration that a key takes, so that later sums cannot overflow.
pub(super) const LONG: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The largest size that a key takes.
pub(super) const MOST_BYTES: u64 = u64::MAX >> 1;

/// A table below this one. An absent table is read like an empty one.
pub(super) fn table<T: Table + 'static>() -> Codec<T> {
    Codec::on_page("a table", T::read_node, |value: &T, name, page| {
        page.table(&[name], |page| value.print(page));
    })
}

/// A text that can be parsed, and that is printed as it was understood.
pub(super) fn parsed<T: ToString + 'static>(
    expects: &'static str,
    parse: fn(&str) -> Option<T>,
) -> Codec<T> {
    Codec::new(expects, move |node| node.parsed(parse), print::text)
}

/// A text that passes a check.
pub(super) fn text(expects: &'static str, is_right: fn(&str) -> bool) -> Codec<String> {
    let read = move |text: &str| is_right(text).then(|| text.to_owned());
    Codec::new(expects, move |node| node.parsed(read), print::text)
}

/// One of a few words.
pub(super) fn choice<T: Clone + PartialEq + 'static>(
    expects: &'static str,
    words: &'static [(&'static str, T)],
) -> Codec<T> {
    let value_of = |text: &str| {
        let mut words = words.iter();
        words
            .find(|(word, _)| *word == text)
            .map(|(_, value)| value.clone())
    };
    let word_of = |value: &T| words.iter().find(|(_, known)| known == value);
    Codec::new(
        expects,
        move |node| node.parsed(value_of),
        move |value| word_of(value).map_or_else(String::new, |(word, _)| print::text(*word)),
    )
}

pub(super) fn boolean() -> Codec<bool> {
    let read = |node: &Node<'_>| {
        match node.kind() {
            ValueKind::Boolean(value) => Some(*value),
            ValueKind::String(text) if node.is_from_environment() => {
                text.to_ascii_lowercase().parse().ok()
            }
            _ => None,
        }
        .or_else(|| node.unexpected())
    };
    Codec::new("true or false", read, bool::to_string)
}

pub(super) fn list<T: ToString + 'static>(
    expects: &'static str,
    read: fn(&Node<'_>) -> Option<T>,
) -> Codec<Vec<T>> {
    Codec::new(
        expects,
        move |node| node.list(read),
        |items| print::texts(items),
    )
}

/// A table of any keys; printed unless it is empty.
pub(super) fn map<K: Ord + 'static, V: PartialEq + 'static>(
    read: fn(&Node<'_>) -> Option<BTreeMap<K, V>>,
    name_of: fn(&K) -> &str,
    print: fn(&V) -> String,
) -> Codec<BTreeMap<K, V>> {
    let print = move |members: &BTreeMap<K, V>, name: &'static str, page: &mut Page| {
        page.table(&[name], |page| {
            for (key, value) in members {
                page.key(name_of(key), print(value));
            }
        });
    };
    Codec::on_page("a table", read, print).or_default()
}

pub(super) fn path(expects: &'static str) -> Codec<PathBuf> {
    Codec::new(
        expects,
        |node| node.text().map(PathBuf::from),
        |path| print::text(&path.display()),
    )
}

pub(super) fn duration(bounds: RangeInclusive<Duration>) -> Codec<Duration> {
    Codec::new(
        "a duration such as \"30s\", \"15m\" or \"48h\"",
        move |node| node.duration(bounds.clone()),
        |duration| print::text(&format_duration(*duration)),
    )
}

pub(super) fn size(bounds: RangeInclusive<u64>) -> Codec<u64> {
    Codec::new(
        SIZE,
        move |node| node.size(bounds.clone()),
        |bytes| print::text(&format_size(*bytes)),
    )
}

/// A size of something held in memory.
pub(super) fn memory(most: u64) -> Codec<NonZeroUsize> {
    Codec::new(
        SIZE,
        move |node| NonZeroUsize::new(node.size(1024..=most)?.try_into().ok()?),
        |bytes: &NonZeroUsize| print::text(&format_size(bytes.get() as u64)),
    )
}

pub(super) fn count(most: u64) -> Codec<NonZeroUsize> {
    Codec::new(
        "a whole number",
        move |node| NonZeroUsize::new(node.integer(1..=most)?.try_into().ok()?),
        NonZeroUsize::to_string,
    )
}

/// A rate; `None` stands for "unlimited".
pub(super) fn rate() -> Codec<Option<Rate>> {
    let read = |node: &Node<'_>| {
        if matches!(node.kind(), ValueKind::String(text) if text == "unlimited") {
            return Some(None);
        }
        match Rate::new(node.number()?) {
            Some(rate) if rate.per_second() <= 1_000_000.0 => Some(Some(rate)),
            _ => node.unexpected(),
        }
    };
    Codec::new(
        "a number such as 10 or 0.5, from 0.001 to 1000000, or \"unlimited\"",
        read,
        |rate| match rate {
            Some(rate) => rate.per_second().to_string(),
            None => print::text("unlimited"),
        },
    )
}

/// The URL of a service that gets personal data or secrets.
pub(super) fn https_url(expects: &'static str) -> Codec<Url> {
    Codec::new(expects, read_https_url, print::text)
}

fn read_https_url(node: &Node<'_>) -> Option<Url> {
    let text = node.text()?;
    let Ok(url) = Url::parse(text) else {
        return node.unexpected();
    };
    if !url.username().is_empty() || url.password().is_some() {
        return node.refuse("found a URL with a user name or password, expected none");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return node.refuse("found a URL with a query or fragment, expected none");
    }
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() == "https" || (url.scheme() == "http" && loopback) {
        Some(url)
    } else {
        node.unexpected()
    }
}

pub(super) fn value() -> Codec<ValueExpr> {
    Codec::new(VALUE, expressions::value, expressions::print::expression)
}

/// Conditions, all of which must hold.
pub(super) fn conditions() -> Codec<Vec<Condition>> {
    Codec::new(CONDITIONS, expressions::conditions, |conditions| {
        expressions::print::conditions(conditions)
    })
}

/// The names of the properties to send.
pub(super) fn properties() -> Codec<PassedProperties> {
    Codec::new(
        "a list of names of event properties, or [\"*\"]",
        expressions::properties,
        expressions::print::properties,
    )
}
