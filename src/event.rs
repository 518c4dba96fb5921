//! One Amplitude event as it came in, before any decision.
//!
//! An [`Event`] borrows the bytes of the request. Its top-level members are found in one pass; a
//! section such as `user_properties` is looked into at most once, when the first path asks for it.
//! A value that nobody asks for is never unescaped or copied, and a number keeps its digits.
//!
//! Decoding is tolerant: what is broken costs its own value. [`Event::decode`] refuses only what is no
//! JSON object, though its values may be anything. U+FFFD stands in the place of a broken character, the
//! last of equal keys counts, an id that is a number is its digits, and one that is neither number nor
//! text is none. A list or object that came as JSON text is read as what it is ([`Arena::opened`]).

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::IgnoredAny;

use crate::json::Json;
use crate::json::keys::{are_same, keep_last, member};
use crate::json::scan::Scanner;
use crate::outcome::Reason;

mod api_properties;
pub mod arena;
pub(crate) mod decimal;
mod index;
pub(crate) mod money;
pub(crate) mod number;
pub mod operations;
pub mod request;

use arena::Arena;
use index::Index;
use operations::{KnownProperty, Operation, Properties, Resolved};

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

/// The ids that are texts: Amplitude's own, and those that take part in deduplication.
const ID_KEYS: [&str; 5] = ["user_id", "device_id", "$insert_id", "insert_id", "uuid"];

/// Fields of an event, and members of all its objects, for which there is room from the start.
const FIELDS: usize = 64;
const MEMBERS: usize = 64;

/// What an event says of revenue: the webhook has it among the event properties, with a `$` before it.
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
    members: Vec<(Cow<'a, str>, Json<'a>)>,
    /// The sections whose properties are given by operations. These stand in their place.
    resolved: Vec<Resolved<'a>>,
    /// The ids that are neither number nor text, under their keys.
    ignored_ids: Vec<(&'static str, Json<'a>)>,
    /// What the request tells that a browser brought the event in.
    request: Option<Json<'a>>,
}

/// Which of the readings of properties that are given by operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OperationReading {
    /// `$setOnce` gives where nothing is set.
    #[default]
    First,
    /// What is not sure is otherwise: `$setOnce` gives nothing.
    Other,
}

#[derive(Clone)]
struct EventField<'a> {
    key: Cow<'a, str>,
    value: Json<'a>,
    /// Where its own are among the members.
    members: Range<usize>,
}

impl<'a> Event<'a> {
    /// Decodes one event from its bytes, or says why it is not one.
    pub fn decode(bytes: &'a [u8], arena: &'a Arena) -> Result<Self, Reason> {
        let text = text(bytes, arena);
        if serde_json::from_str::<IgnoredAny>(text).is_ok() {
            return Self::of(bytes, text, arena);
        }
        let repaired = crate::json::repair::repaired(text).ok_or(Reason::MalformedJson)?;
        Self::of(bytes, arena.keep(repaired), arena)
    }

    /// Decodes one event from bytes that a parser has gone over and found to be one JSON value.
    pub(crate) fn decode_well_formed(bytes: &'a [u8], arena: &'a Arena) -> Result<Self, Reason> {
        Self::of(bytes, text(bytes, arena), arena)
    }

    /// `text` is JSON, and `bytes` are what it was read from.
    fn of(bytes: &'a [u8], text: &'a str, arena: &'a Arena) -> Result<Self, Reason> {
        if !Json::of_valid_text(text).is_object() {
            return Err(Reason::MalformedJson);
        }
        let mut event = Self {
            raw: bytes.trim_ascii(),
            arena,
            fields: Vec::with_capacity(FIELDS),
            index: Index::default(),
            members: Vec::with_capacity(MEMBERS),
            resolved: Vec::new(),
            ignored_ids: Vec::new(),
            request: None,
        };
        event.find_fields(text);
        event.index.fill(&event.fields);
        event.read_ids();
        event.resolve_operations();
        for (field, value) in api_properties::fields(&event) {
            event.put(field, value);
        }
        Ok(event)
    }

    /// The event's own bytes, as they came.
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Where what its bytes do not hold is kept.
    pub const fn arena(&self) -> &'a Arena {
        self.arena
    }

    /// A top-level field as it came, `None` where the key is missing.
    pub fn field(&self, key: &str) -> Option<Json<'a>> {
        self.find(key).map(|field| field.value)
    }

    /// A top-level field; of a section whose properties are given by operations, what these give.
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

    /// The same by one of the readings of properties that are given by operations.
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
                let properties = match reading {
                    OperationReading::First => &resolved.properties,
                    OperationReading::Other => {
                        resolved.other.as_ref().unwrap_or(&resolved.properties)
                    }
                };
                let mut named = properties.iter().filter(|(name, _)| are_same(name, key));
                named.next().map(|(_, value)| Json::of_valid_text(value))
            }
        };
        own.or_else(|| self.field(revenue_field(section, key)?))
    }

    /// All members of a top-level object; none where it is missing or not an object.
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

    /// The operations by which the properties of a section are given; none where they stand plainly.
    pub fn operations(&self, section: &str) -> &[Operation<'a>] {
        self.resolved(section)
            .map_or(&[], |resolved| &resolved.operations)
    }

    /// Whether what becomes of a property depends on what it was before the event.
    pub fn depends_on_before(&self, section: &str, property: &str) -> bool {
        self.resolved(section)
            .is_some_and(|resolved| resolved.depends_on_before(property))
    }

    /// Whether there may be more of a property than the event has, after it was completed.
    pub fn is_cut(&self, section: &str, property: &str) -> bool {
        self.resolved(section)
            .is_some_and(|resolved| resolved.cut.contains(&property))
    }

    /// Whether a section, or what an operation in it carries, cannot be read: it is no object.
    pub fn is_unreadable(&self, section: &str) -> bool {
        let whole = self.field(section).map(|whole| self.arena.opened(whole));
        whole.is_some_and(Json::hides_members)
            || self
                .resolved(section)
                .is_some_and(|resolved| resolved.is_unreadable)
    }

    /// Whether properties that are given by operations can be read in more than one way.
    pub fn has_other_reading(&self) -> bool {
        let mut resolved = self.resolved.iter();
        resolved.any(|resolved| resolved.other.is_some())
    }

    /// The same event with what is known of properties of a section, in the place of those that depend
    /// on what they were before, and of those that it lacks. The event's own text stays as it came.
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
        let plain = || -> Properties<'b> {
            let members = self.members_of(section).iter();
            members
                .map(|(name, value)| (name.clone(), Cow::Borrowed(value.raw())))
                .collect()
        };
        let place = event
            .resolved
            .iter()
            .position(|resolved| resolved.section == section);
        let mut resolved = match place {
            Some(place) => event.resolved.swap_remove(place),
            None => Resolved::plain(section, plain()),
        };
        resolved.complete(known, self.arena);
        event.resolved.push(resolved);
        event
    }

    /// Puts a value in the place of a top-level field. The event's own text stays as it came.
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

    /// Puts beside the event what a browser's own request tells, as JSON.
    pub fn put_request(&mut self, request: Json<'a>) {
        self.request = Some(request);
    }

    /// What came as an id and is none: neither a number nor a text.
    pub fn ignored_id(&self, key: &str) -> Option<Json<'a>> {
        let mut ignored = self.ignored_ids.iter();
        ignored
            .find(|(own, _)| *own == key)
            .map(|(_, value)| *value)
    }

    /// What a browser's own request tells; never a part of the event's own text.
    pub const fn request(&self) -> Option<Json<'a>> {
        self.request
    }

    /// Takes a top-level field out.
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

    /// The members of a top-level object as they came.
    fn members_of(&self, section: &str) -> &[(Cow<'a, str>, Json<'a>)] {
        self.find(section)
            .and_then(|field| self.members.get(field.members.clone()))
            .unwrap_or_default()
    }

    /// Makes texts of ids that are numbers, and takes out what is no id.
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
    // Looking for what is broken goes byte by byte; nearly every event is whole.
    let text = std::str::from_utf8(bytes)
        .unwrap_or_else(|_| arena.keep(String::from_utf8_lossy(bytes).into_owned()));
    text.trim_ascii()
}

/// The top-level field that holds what a property of revenue says, in events of SDKs.
pub(crate) fn revenue_field(section: &str, property: &str) -> Option<&'static str> {
    let name = property.strip_prefix('$')?;
    let mut fields = REVENUE_FIELDS.iter().copied();
    fields.find(|field| *field == name && section == "event_properties")
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it holds may be personal data.
        f.debug_struct("Event")
            .field("bytes", &self.raw.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
