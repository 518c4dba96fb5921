//! What mapping tells of each field.
//!
//! Mapping has one code path and tells a [`Recorder`] of each field: what gave it and what went out,
//! or why it is missing. [`FieldStats`] keeps what metrics need; `map::explain` keeps everything. So an
//! explanation cannot disagree with what is sent.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::config::fields::WebsiteField;
use crate::dropped::DropReason;
use crate::event::Event;
use crate::expr::condition::Condition;
use crate::expr::path::{Path, Scope};
use crate::expr::value::{FoundValue, ValueExpr};
use crate::json::{Json, write};
use crate::normalize::field::UserDataField;

/// A field of the server event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerField<'a> {
    /// All that the Amplitude event holds, whatever it becomes.
    Whole,
    /// A member of the server event itself.
    Event(&'static str),
    /// A customer information parameter.
    UserData(UserDataField),
    /// A field of `custom_data` that the configuration names, or that Meta knows.
    CustomData(&'a str),
    /// A member of the objects in a list of `custom_data`.
    Item {
        /// The list, as for [`ServerField::CustomData`].
        list: &'a str,
        /// The member, which may be the event's own.
        member: &'a str,
    },
    /// An event property passed on because all are.
    Property(&'a str),
    /// A member of `app_data`, or a slot of its `extinfo`.
    AppData(&'static str),
    /// A member of `original_event_data`.
    Original(&'a str),
}

impl ServerField<'_> {
    /// The field's place in the server event.
    pub fn path(self) -> String {
        match self {
            Self::Whole => "event".to_owned(),
            Self::Event(name) => name.to_owned(),
            Self::UserData(field) => format!("user_data.{}", field.meta_key()),
            Self::CustomData(name) | Self::Property(name) => format!("custom_data.{name}"),
            Self::Item { list, member } => format!("custom_data.{list}[].{member}"),
            Self::AppData(name) => format!("app_data.{name}"),
            Self::Original(name) => format!("original_event_data.{name}"),
        }
    }

    /// The field as a metric label. Labels come only from the configuration and from Meta's tables:
    /// properties that are not named share one.
    pub fn label(self) -> Cow<'static, str> {
        match self {
            Self::UserData(field) => Cow::Borrowed(field.meta_key()),
            Self::Property(_) => Cow::Borrowed("custom_data.*"),
            Self::Item { list, .. } => Self::CustomData(list).label(),
            field => Cow::Owned(field.path()),
        }
    }
}

/// What gave a value.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The path, as it was written; `None` for a constant, a default or a rule of the mapping.
    pub path: Option<&'a str>,
    /// The value as it came; `None` where the mapping made it.
    pub value: Option<Json<'a>>,
    /// The conditions by which the configuration chose it; empty where there were none.
    pub when: &'a [Condition],
    /// The value that the configuration replaced with it.
    pub translated: Option<Json<'a>>,
    /// The configuration split it off from a text.
    pub is_split: bool,
}

impl<'a> Source<'a> {
    /// A value that an expression found.
    pub(super) fn found(found: &FoundValue<'a>) -> Self {
        Self {
            path: found.path.map(Path::as_str),
            value: Some(found.value),
            when: found.when,
            translated: found.translated,
            is_split: found.is_split,
        }
    }

    /// A value of a fixed place in the event.
    pub(super) const fn at(path: &'a str, value: Json<'a>) -> Self {
        Self {
            path: Some(path),
            value: Some(value),
            ..Self::made()
        }
    }

    /// A value that was remembered; its original value was not.
    pub(super) const fn remembered(label: &'a str) -> Self {
        Self {
            path: Some(label),
            ..Self::made()
        }
    }

    /// A value that the mapping made.
    pub(super) const fn made() -> Self {
        Self {
            path: None,
            value: None,
            when: &[],
            translated: None,
            is_split: false,
        }
    }
}

/// A value that went out.
#[derive(Clone, Copy)]
pub struct SentValue<'a> {
    /// The normalised text before it was hashed; `None` where nothing was hashed.
    pub normalised: Option<&'a str>,
    /// The JSON in the server event.
    pub json: &'a [u8],
    /// The rule that made it.
    pub rule: &'static str,
}

impl<'a> SentValue<'a> {
    /// A value that was not hashed: all that was written from a place on.
    pub(super) fn plain(out: &'a [u8], from: usize, rule: &'static str) -> Self {
        Self {
            normalised: None,
            json: out.get(from..).unwrap_or_default(),
            rule,
        }
    }
}

impl fmt::Debug for SentValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values are personal data.
        write!(f, "SentValue({})", self.rule)
    }
}

/// Receives what mapping tells of each field.
pub trait Recorder {
    /// A value of a field went out; called once per value of a list.
    fn sent(&mut self, field: ServerField<'_>, source: Source<'_>, sent: SentValue<'_>);

    /// A value was left out.
    fn dropped(&mut self, field: ServerField<'_>, source: Source<'_>, reason: DropReason);

    /// The expression of the field found nothing.
    fn absent(&mut self, field: ServerField<'_>, expr: &ValueExpr);

    /// The event is one of a website and lacks a field that Meta asks for then.
    fn incomplete(&mut self, lacking: WebsiteField);

    /// Meta counts the mapped event twice if its Pixel sent it too.
    fn may_count_twice(&mut self);
}

/// Tells that an event came with more members than are read.
pub fn record_bound(recorder: &mut impl Recorder, event: &Event<'_>) {
    if event.lacks_members() {
        recorder.dropped(
            ServerField::Whole,
            Source::made(),
            DropReason::TooManyMembers,
        );
    }
}

/// The first value that an expression finds; where there is none, the recorder is told why.
pub(super) fn first_found<'o>(
    recorder: &mut impl Recorder,
    field: ServerField<'_>,
    expr: &'o ValueExpr,
    event: &'o Event<'_>,
) -> Option<FoundValue<'o>> {
    let found = expr.first(event);
    if found.is_none() {
        record_absent(recorder, field, expr, event);
    }
    found
}

/// Writes a member whose name needs no escape, and tells the recorder. `write` gives the rule that made the
/// value, or why it cannot be sent; then nothing stays of the member.
pub(super) fn write_member(
    recorder: &mut impl Recorder,
    out: &mut Vec<u8>,
    name: &str,
    field: ServerField<'_>,
    source: Source<'_>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<&'static str, DropReason>,
) {
    let start = out.len();
    write::plain_key(out, name);
    let before = out.len();
    match write(out) {
        Ok(rule) => recorder.sent(field, source, SentValue::plain(out, before, rule)),
        Err(reason) => {
            out.truncate(start);
            recorder.dropped(field, source, reason);
        }
    }
}

/// Tells why an expression gave nothing: nothing was there, or its `map` does not hold the value, or the
/// value is not of the form of Amplitude's id that it stands for.
pub(super) fn record_absent<'o, 'e: 'o>(
    recorder: &mut impl Recorder,
    field: ServerField<'_>,
    expr: &'o ValueExpr,
    scope: impl Into<Scope<'o, 'e>>,
) {
    let scope = scope.into();
    if let Some(found) = expr.untranslated(scope) {
        recorder.dropped(field, Source::found(&found), DropReason::NotInMap);
    } else if !record_ignored_id(recorder, field, expr, scope) {
        recorder.absent(field, expr);
    }
}

/// Tells of the first value that an expression reads as one of Amplitude's ids and that is not of the form
/// of one; says whether there is one.
pub(super) fn record_ignored_id<'o, 'e: 'o>(
    recorder: &mut impl Recorder,
    field: ServerField<'_>,
    expr: &ValueExpr,
    scope: impl Into<Scope<'o, 'e>>,
) -> bool {
    let scope = scope.into();
    let ignored = expr
        .paths()
        .into_iter()
        .find_map(|path| Some(Source::at(path.as_str(), path.ignored_id(scope)?)));
    if let Some(source) = ignored {
        recorder.dropped(field, source, DropReason::NotAText);
    }
    ignored.is_some()
}

/// The metric label of events that the event table does not name.
const OTHER: &str = "other";

/// What metrics need to know of one event.
#[derive(Debug, Default)]
pub struct FieldStats {
    /// The event type that the event table names; `None` for any other event.
    pub(crate) label: Option<Arc<str>>,
    may_count_twice: bool,
    carried: u32,
    lacking: [bool; WebsiteField::ALL.len()],
    dropped: Vec<(Cow<'static, str>, DropReason)>,
}

impl FieldStats {
    /// The event's name as a metric label: a name of the event table, or `other`.
    pub fn label(&self) -> &str {
        self.label.as_deref().unwrap_or(OTHER)
    }

    /// The customer information fields that the mapped event carries.
    pub fn carried(&self) -> impl Iterator<Item = UserDataField> {
        UserDataField::ALL
            .iter()
            .copied()
            .filter(|field| self.carried & 1 << (*field as u32) != 0)
    }

    /// The fields that Meta asks for in an event of a website and that the mapped event lacks.
    pub fn lacking(&self) -> impl Iterator<Item = WebsiteField> {
        let lacks = |field: &WebsiteField| self.lacking[*field as usize];
        WebsiteField::ALL.iter().copied().filter(lacks)
    }

    /// Whether it was mapped, and is a website event too old for Meta to pair with its Pixel's, while
    /// the configuration does not say whether there is a Pixel.
    pub const fn may_count_twice(&self) -> bool {
        self.may_count_twice
    }

    /// The fields that lost a value, and why.
    pub fn dropped(&self) -> impl Iterator<Item = (&str, DropReason)> {
        self.dropped.iter().map(|(field, why)| (&**field, *why))
    }
}

impl Recorder for FieldStats {
    fn sent(&mut self, field: ServerField<'_>, _: Source<'_>, _: SentValue<'_>) {
        if let ServerField::UserData(field) = field {
            self.carried |= 1 << field as u32;
        }
    }

    fn dropped(&mut self, field: ServerField<'_>, _: Source<'_>, reason: DropReason) {
        let lost = (field.label(), reason);
        // A list of a thousand bad values is one loss of that field.
        if !self.dropped.contains(&lost) {
            self.dropped.push(lost);
        }
    }

    fn absent(&mut self, _: ServerField<'_>, _: &ValueExpr) {}

    fn incomplete(&mut self, lacking: WebsiteField) {
        self.lacking[lacking as usize] = true;
    }

    fn may_count_twice(&mut self) {
        self.may_count_twice = true;
    }
}
