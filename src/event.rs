//! One Amplitude event as it arrives, before any decision.
//!
//! An [`Event`] borrows the bytes of the request. One pass finds its top-level fields and their members.
//! A value that no path asks for is never unescaped or copied, and a number keeps its digits.
//!
//! Decoding is tolerant: a broken value loses only itself. [`Event::decode`] refuses what is not a JSON
//! object, whatever its values are. U+FFFD replaces a broken character, the last of equal keys counts, an
//! id may be a number, and an id that is neither number nor text counts as missing. A list or object that
//! arrives as JSON text is read as a list or object ([`Arena::opened`]). What has more members than
//! [`members::MOST`] is read without those beyond.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::IgnoredAny;

use crate::json::Json;
use crate::json::keys::{Member, are_same, keep_last, member};
use crate::json::scan::Scanner;
use crate::outcome::Reason;

mod api_properties;
pub mod arena;
pub(crate) mod decimal;
mod index;
pub mod members;
pub(crate) mod money;
pub(crate) mod number;
pub mod operations;
pub mod request;

use arena::Arena;
use index::Index;
use operations::{KnownProperty, Operation, Resolved};

/// The top-level objects of an Amplitude event that hold named properties.
pub const SECTIONS: &[&str] = &[
    "event_properties",
    "user_properties",
    "groups",
    "group_properties",
    "derived_properties",
    "lookup_properties",
    "data",
    "plan",
    "ingestion_metadata",
    "global_user_properties",
];

/// The ids that are texts: Amplitude's ids of people and devices, and those that deduplication uses.
const ID_KEYS: [&str; 5] = ["user_id", "device_id", "$insert_id", "insert_id", "uuid"];

/// Fields of an event, and members of all its objects, that there is room for from the start.
const FIELDS: usize = 64;
const MEMBERS: usize = 64;

/// About the shortest field: an event of few bytes takes little room.
const SHORTEST: usize = 8;

/// The fields of revenue. In the webhook they are event properties, with a `$` before the name.
pub(crate) const REVENUE_FIELDS: [&str; 8] = [
    "price",
    "quantity",
    "revenue",
    "currency",
    "productId",
    "revenueType",
    "receipt",
    "receiptSig",
];

/// One Amplitude event.
#[derive(Clone)]
pub struct Event<'a> {
    raw: &'a [u8],
    arena: &'a Arena,
    fields: Vec<EventField<'a>>,
    index: Index,
    /// The members of all top-level objects.
    members: Vec<Member<'a>>,
    /// The sections whose properties are the result of operations.
    resolved: Vec<Resolved<'a>>,
    /// The ids that are neither number nor text, by key.
    ignored_ids: Vec<(&'static str, Json<'a>)>,
    /// What a browser's request says of itself, as JSON.
    request: Option<Json<'a>>,
    /// It came with more members than are read.
    lacks_members: bool,
}

/// One of the two readings of an event's operations, whose result can depend on earlier values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OperationReading {
    /// `$setOnce` counts.
    #[default]
    First,
    /// `$setOnce` does not count, and a property beside the operations wins over `$set`.
    Other,
}

#[derive(Clone)]
struct EventField<'a> {
    key: Cow<'a, str>,
    value: Json<'a>,
    /// Where its members are among those of the event.
    members: Range<usize>,
}

impl<'a> Event<'a> {
    pub fn decode(bytes: &'a [u8], arena: &'a Arena) -> Result<Self, Reason> {
        let text = text(bytes, arena);
        // To parse and to repair what is no object costs far more than it is long.
        if !text.starts_with('{') {
            return Err(Reason::MalformedJson);
        }
        if serde_json::from_str::<IgnoredAny>(text).is_ok() {
            return Self::of(bytes, text, arena);
        }
        let repaired = crate::json::repair::repaired(text).ok_or(Reason::MalformedJson)?;
        Self::of(bytes, arena.keep(repaired), arena)
    }

    /// Decodes one event from bytes that a parser has found to be one JSON value.
    pub(crate) fn decode_well_formed(bytes: &'a [u8], arena: &'a Arena) -> Result<Self, Reason> {
        Self::of(bytes, text(bytes, arena), arena)
    }

    /// `text` is JSON that was read from `bytes`.
    fn of(bytes: &'a [u8], text: &'a str, arena: &'a Arena) -> Result<Self, Reason> {
        if !Json::of_valid_text(text).is_object() {
            return Err(Reason::MalformedJson);
        }
        let bounded = members::bounded(text);
        let lacks_members = bounded.is_some();
        let text = bounded.map_or(text, |text| arena.keep(text));
        let mut event = Self {
            raw: bytes.trim_ascii(),
            arena,
            fields: Vec::with_capacity(FIELDS.min(text.len() / SHORTEST)),
            index: Index::default(),
            members: Vec::with_capacity(MEMBERS.min(text.len() / SHORTEST)),
            resolved: Vec::new(),
            ignored_ids: Vec::new(),
            request: None,
            lacks_members,
        };
        event.find_fields(text);
        event.index.fill(&event.fields);
        event.read_ids();
        event.resolve_operations();
        api_properties::put_fields(&mut event);
        Ok(event)
    }

    /// The event's bytes as they arrived.
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Whether it came with more than [`members::MOST`] members: those beyond are absent.
    pub const fn lacks_members(&self) -> bool {
        self.lacks_members
    }

    /// Owns the texts that the event's bytes do not hold.
    pub const fn arena(&self) -> &'a Arena {
        self.arena
    }

    /// A top-level field as it arrived.
    pub fn field(&self, key: &str) -> Option<Json<'a>> {
        self.find(key).map(|field| field.value)
    }

    /// A top-level field; for a section with operations, their result.
    pub fn field_or_result(&self, key: &str) -> Option<Json<'_>> {
        match self.resolved(key) {
            Some(resolved) => Some(Json::of_valid_text(&resolved.whole)),
            None => self.field(key),
        }
    }

    /// A member of a top-level object, such as one property of `event_properties`.
    pub fn member(&self, section: &str, key: &str) -> Option<Json<'_>> {
        self.member_by(OperationReading::First, section, key)
    }

    /// The same, by one reading of operations.
    pub fn member_by(
        &self,
        reading: OperationReading,
        section: &str,
        key: &str,
    ) -> Option<Json<'_>> {
        let own = match self.resolved(section) {
            None => member(self.members_of(section), key).or_else(|| {
                let text = self.field(section).filter(|value| value.is_string())?;
                self.arena.opened(text).member(key)
            }),
            Some(resolved) => {
                let other = resolved.other.as_ref();
                let other = other.filter(|_| reading == OperationReading::Other);
                let properties = other.unwrap_or(&resolved.properties);
                let named = properties.iter().find(|(name, _)| are_same(name, key));
                named.map(|(_, value)| Json::of_valid_text(value))
            }
        };
        own.or_else(|| self.field(revenue_field(section, key)?))
    }

    /// All members of a top-level object; none if it is missing or not an object.
    pub fn section(&self, section: &str) -> impl Iterator<Item = (&str, Json<'_>)> {
        let resolved = self.resolved(section);
        let members = match resolved {
            Some(_) => &[],
            None => self.members_of(section),
        };
        let given = resolved
            .into_iter()
            .flat_map(|resolved| &resolved.properties);
        members
            .iter()
            .map(|(name, value)| (&**name, *value))
            .chain(given.map(|(name, value)| (&**name, Json::of_valid_text(value))))
    }

    /// The operations in a section.
    pub fn operations(&self, section: &str) -> &[Operation<'a>] {
        self.resolved(section)
            .map_or(&[], |resolved| &resolved.operations)
    }

    /// Whether the value of a property depends on what it was before the event.
    pub fn depends_on_before(&self, section: &str, property: &str) -> bool {
        self.resolved(section)
            .is_some_and(|resolved| resolved.depends_on_before(property))
    }

    /// Whether a property may have more elements than the completed event shows.
    pub fn is_cut(&self, section: &str, property: &str) -> bool {
        self.resolved(section)
            .is_some_and(|resolved| resolved.cut.contains(&property))
    }

    /// Whether a section, or an operand in it, is not the object that it should be.
    pub fn is_unreadable(&self, section: &str) -> bool {
        let whole = self.field(section).map(|whole| self.arena.opened(whole));
        let resolved = self.resolved(section);
        whole.is_some_and(Json::hides_members)
            || resolved.is_some_and(|resolved| resolved.is_unreadable)
    }

    /// Whether the two readings of operations differ.
    pub fn has_other_reading(&self) -> bool {
        self.resolved
            .iter()
            .any(|resolved| resolved.other.is_some())
    }

    /// The same event with known properties of a section, in the place of those that it lacks and of those
    /// that depend on what they were before. [`Event::raw`] stays the same.
    #[must_use]
    pub fn completed<'b>(
        &self,
        section: &'static str,
        known: impl IntoIterator<Item = KnownProperty<'b>>,
    ) -> Event<'b>
    where
        'a: 'b,
    {
        let mut event: Event<'b> = self.clone();
        let mut others = event.resolved.iter();
        let place = others.position(|resolved| resolved.section == section);
        let mut resolved = match place {
            Some(place) => event.resolved.swap_remove(place),
            None => Resolved::plain(section, self.members_of(section)),
        };
        resolved.complete(known, self.arena);
        event.resolved.push(resolved);
        event
    }

    /// Sets a top-level field. [`Event::raw`] stays the same.
    pub fn put(&mut self, key: &'a str, value: Json<'a>) {
        self.remove(key);
        let first = self.members.len();
        self.members.extend(value.all_members());
        self.fields.push(EventField {
            key: Cow::Borrowed(key),
            value,
            members: first..self.members.len(),
        });
        self.index.fill(&self.fields);
    }

    /// Sets what a browser's request says of itself, as JSON.
    pub fn put_request(&mut self, request: Json<'a>) {
        self.request = Some(request);
    }

    /// The value of an id that is neither number nor text.
    pub fn ignored_id(&self, key: &str) -> Option<Json<'a>> {
        let mut ignored = self.ignored_ids.iter();
        ignored.find_map(|(own, value)| (*own == key).then_some(*value))
    }

    /// What a browser's request says of itself; never a part of the event's text.
    pub const fn request(&self) -> Option<Json<'a>> {
        self.request
    }

    pub fn remove(&mut self, key: &str) {
        self.fields.retain(|field| field.key != key);
        self.index.fill(&self.fields);
    }

    fn find_fields(&mut self, text: &'a str) {
        let mut scanner = Scanner::behind_bracket(text);
        while let Some(key) = scanner.key() {
            let first = self.members.len();
            let object = scanner.object(|member| self.members.push(member));
            let Some(mut value) = object.or_else(|| scanner.value()) else {
                return;
            };
            if value.may_hold_json() && (SECTIONS.contains(&&*key) || key == "api_properties") {
                value = self.arena.opened(value);
                self.members.extend(value.members().into_iter().flatten());
            }
            keep_last(&mut self.members, first);
            self.fields.push(EventField {
                key,
                value,
                members: first..self.members.len(),
            });
        }
    }

    fn resolve_operations(&mut self) {
        for section in operations::SECTIONS {
            let resolved = Resolved::of(section, self.members_of(section), self.arena);
            self.resolved.extend(resolved);
        }
    }

    fn resolved(&self, section: &str) -> Option<&Resolved<'a>> {
        let mut resolved = self.resolved.iter();
        resolved.find(|resolved| resolved.section == section)
    }

    /// The members of a top-level object as they arrived.
    fn members_of(&self, section: &str) -> &[Member<'a>] {
        self.find(section)
            .and_then(|field| self.members.get(field.members.clone()))
            .unwrap_or_default()
    }

    /// Makes texts of ids that are numbers, and removes what cannot be an id.
    fn read_ids(&mut self) {
        for key in ID_KEYS {
            let place = self.index.place(&self.fields, key);
            let Some(field) = place.and_then(|place| self.fields.get_mut(place)) else {
                continue;
            };
            if field.value.is_number() {
                let number = field.value.raw();
                let digits = decimal::whole_digits(number).unwrap_or(number.into());
                field.value = Json::of_valid_text(self.arena.keep(format!("\"{digits}\"")));
            } else if !field.value.is_string() && !field.value.is_null() {
                self.ignored_ids.push((key, field.value));
                self.remove(key);
            }
        }
    }

    fn find(&self, key: &str) -> Option<&EventField<'a>> {
        self.fields.get(self.index.place(&self.fields, key)?)
    }
}

/// The text of an event's bytes.
fn text<'a>(bytes: &'a [u8], arena: &'a Arena) -> &'a str {
    // Nearly every event is whole, and a search for broken bytes is slow.
    let text = std::str::from_utf8(bytes).unwrap_or_else(|_| arena.keep(readable(bytes)));
    text.trim_ascii()
}

/// Bytes as a text. U+FFFD replaces a run of bytes that are none: one for each would make it three times as long.
fn readable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() && !text.ends_with(char::REPLACEMENT_CHARACTER) {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

/// The top-level field of SDKs that means the same as a property of revenue.
pub(crate) fn revenue_field(section: &str, property: &str) -> Option<&'static str> {
    let name = property.strip_prefix('$')?;
    let mut fields = REVENUE_FIELDS.iter().copied();
    fields.find(|field| *field == name && section == "event_properties")
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values may be personal data.
        f.debug_struct("Event")
            .field("bytes", &self.raw.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
