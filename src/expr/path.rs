//! Compiled paths into an event.
//!
//! A path is dotted, with brackets for other names, indexes and `[*]`:
//! `event_properties["Order Value"]`, `event_properties.products[*].sku`, `groups.company[0]`; a single
//! value counts as a list of one. A path begins with a known part of an Amplitude event; any other
//! top-level key is written `["key"]`. In the element of a list, a path is relative to the element; if it
//! finds nothing there and begins with a part of an event, it is read in the event.
//!
//! Amplitude's webhook and its upload APIs name some fields differently (`ip_address` and `ip`): either
//! name finds the value. `request.…` is what a browser's request says of itself; it is never read in the
//! event or an element.

use std::fmt;

use thiserror::Error;

use crate::event::arena::Arena;
use crate::event::operations::USER_PROPERTIES;
use crate::event::request::{PATHS, ROOT};
use crate::event::{Event, OperationReading, REVENUE_FIELDS, SECTIONS};
use crate::json::Json;
use crate::json::keys::{Member, member};

use reads::{EventRead, EventReads};
use steps::parse_steps;

pub mod reads;
mod steps;

/// The top-level fields of an Amplitude event, beside those of revenue and those in [`ALIASES`].
const FIELDS: &[&str] = &[
    "event_type",
    "amplitude_event_type",
    "event_id",
    "uuid",
    "$insert_key",
    "$schema",
    "user_id",
    "device_id",
    "amplitude_id",
    "app",
    "client_event_time",
    "client_upload_time",
    "server_received_time",
    "server_upload_time",
    "processed_time",
    "user_creation_time",
    "session_id",
    "data_type",
    "partner_id",
    "source_id",
    "platform",
    "library",
    "os_name",
    "os_version",
    "device_type",
    "device_family",
    "device_model",
    "device_brand",
    "device_manufacturer",
    "start_version",
    "language",
    "country",
    "region",
    "city",
    "dma",
    "location_lat",
    "location_lng",
    "idfa",
    "idfv",
    "adid",
    "android_id",
    "android_app_set_id",
    "paying",
    "is_attribution_event",
    "amplitude_attribution_ids",
    "sample_rate",
    "user_agent",
];

/// Fields that a product has too: in a list of products they are those of the product.
const FIELDS_OF_ITEMS: &[&str] = &[
    "price",
    "quantity",
    "revenue",
    "productId",
    "product_id",
    "revenueType",
    "revenue_type",
    "currency",
];

/// Pairs of names for one field: the webhook's, and the upload APIs'.
const ALIASES: &[(&str, &str)] = &[
    ("ip_address", "ip"),
    ("event_time", "time"),
    ("$insert_id", "insert_id"),
    ("version_name", "app_version"),
    ("device_carrier", "carrier"),
    ("productId", "product_id"),
    ("revenueType", "revenue_type"),
];

/// The other name of a top-level field.
pub fn alias_of(field: &str) -> Option<&'static str> {
    ALIASES.iter().find_map(|(left, right)| match field {
        _ if field == *left => Some(*right),
        _ if field == *right => Some(*left),
        _ => None,
    })
}

/// Whether a name is that of a top-level field that is not a section.
pub fn is_field(name: &str) -> bool {
    FIELDS.contains(&name) || REVENUE_FIELDS.contains(&name) || alias_of(name).is_some()
}

/// A compiled path.
#[derive(Clone, PartialEq, Eq)]
pub struct Path {
    text: Box<str>,
    root: Root,
    steps: Box<[PathStep]>,
}

/// Where a path begins.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Root {
    /// A top-level field, with its other name.
    Field(Box<str>, Option<&'static str>),
    /// The element of a list that the path is relative to; and the path in the event, if it begins with a
    /// part of one.
    Element(Option<Box<Path>>),
    /// What a browser's request says of itself.
    Request,
}

/// One step from a value to a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathStep {
    /// To the member of an object.
    Key(Box<str>),
    /// To an element of a list.
    Index(usize),
    /// To each element of a list.
    Each,
}

/// What paths are read in: an event, or an element of a list and then its event.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'s, 'e> {
    event: &'s Event<'e>,
    reading: OperationReading,
    element: Option<ListElement<'s>>,
}

/// An element of a list with its members, so that no path parses them again.
#[derive(Clone, Copy, Debug)]
struct ListElement<'s> {
    value: Json<'s>,
    members: &'s [Member<'s>],
    reads: &'s EventReads<'s>,
}

/// Why a text is not a path.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PathError {
    #[error("a path cannot be empty")]
    Empty,
    /// The first name is not a part of an Amplitude event.
    #[error(
        "`{0}` is no part of an Amplitude event; a path begins with a field such as `user_id`, or with \
         `event_properties`, `user_properties`, `groups` or `group_properties`; a fixed value is \
         written {{ constant = \"{0}\" }}, another top-level key [\"{0}\"]"
    )]
    UnknownRoot(String),
    /// A character that only a name in brackets may hold.
    #[error("`{0}` must stand in brackets and quotes, as in [\"Order Value\"]")]
    NeedsBrackets(String),
    /// A bracket that is not closed, or holds neither a quoted name, an index nor `*`.
    #[error("a bracket holds a quoted name, an index or *, and is closed")]
    BadBracket,
    /// A dot at the end, or two in a row.
    #[error("a name is missing after a dot")]
    MissingName,
    /// A path into the request that does not exist.
    #[error(
        "`{0}` is not a path into the request; there are {paths}; a key of the event is written \
         [\"request\"]",
        paths = PATHS.join(", ")
    )]
    UnknownOfRequest(String),
}

impl<'s, 'e> From<&'s Event<'e>> for Scope<'s, 'e> {
    fn from(event: &'s Event<'e>) -> Self {
        Self {
            event,
            reading: OperationReading::First,
            element: None,
        }
    }
}

impl<'s, 'e> Scope<'s, 'e> {
    pub const fn arena(&self) -> &'e Arena {
        self.event.arena()
    }

    /// Whether the event came with more members than are read.
    pub(super) const fn lacks_members(&self) -> bool {
        self.event.lacks_members()
    }

    /// An element of a list in an event. `members` are those of the element, if it is an object; `reads`
    /// holds what paths find in the event, for all elements.
    pub const fn element(
        event: &'s Event<'e>,
        value: Json<'s>,
        members: &'s [Member<'s>],
        reads: &'s EventReads<'s>,
    ) -> Self {
        let element = ListElement {
            value,
            members,
            reads,
        };
        Self {
            event,
            reading: OperationReading::First,
            element: Some(element),
        }
    }

    /// What a path finds in the event, where the scope is an element that lacks it.
    fn read_of(self, path: &Path) -> Option<&'s EventRead<'s>> {
        let element = self.element?;
        let is_first = self.reading == OperationReading::First;
        element.reads.find(path).filter(|_| is_first)
    }

    /// Whether a condition holds, where that was found out for all elements that lack its property.
    pub(super) fn known<C>(self, condition: &C, property: &Path) -> Option<bool> {
        let known = self.element?.reads.condition(condition)?;
        (!property.is_in_element(self)).then_some(known)
    }

    /// Whether operations are read by the other reading.
    pub fn is_other_reading(self) -> bool {
        self.reading == OperationReading::Other
    }

    /// The same scope by the other reading of operations, if it differs.
    pub fn other_reading(self) -> Option<Self> {
        let other = Self {
            reading: OperationReading::Other,
            ..self
        };
        (self.reading == OperationReading::First && self.event.has_other_reading()).then_some(other)
    }
}

impl<'s> ListElement<'s> {
    fn walk(self, arena: &'s Arena, steps: &[PathStep], found: &mut dyn FnMut(Json<'s>)) -> bool {
        match steps.split_first() {
            Some((PathStep::Key(key), rest)) => match member(self.members, key) {
                Some(value) => walk(arena, value, rest, found),
                None => false,
            },
            _ => walk(arena, self.value, steps, found),
        }
    }
}

impl Path {
    /// Compiles a path into an event or a request.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let (steps, quoted) = parse_steps(text)?;
        let mut steps = steps.into_iter();
        let Some(PathStep::Key(root)) = steps.next() else {
            return Err(PathError::BadBracket);
        };
        let root = if quoted || SECTIONS.contains(&&*root) || is_field(&root) {
            let alias = alias_of(&root);
            Root::Field(root, alias)
        } else if PATHS.contains(&text) {
            Root::Request
        } else if *root == *ROOT {
            return Err(PathError::UnknownOfRequest(text.to_owned()));
        } else {
            return Err(PathError::UnknownRoot(root.into_string()));
        };
        Ok(Self {
            text: text.into(),
            root,
            steps: steps.collect(),
        })
    }

    /// Compiles a path that is relative to the element of a list. If it finds nothing there and begins with
    /// a field of the event, or with a section and a name in it, it is read in the event.
    pub fn parse_in_element(text: &str) -> Result<Self, PathError> {
        if PATHS.contains(&text) {
            return Self::parse(text);
        }
        let (steps, quoted) = parse_steps(text)?;
        let is_part = match &*steps {
            [PathStep::Key(section), _, ..] if SECTIONS.contains(&&**section) => true,
            [PathStep::Key(field), ..] => is_field(field) && !FIELDS_OF_ITEMS.contains(&&**field),
            _ => false,
        };
        let in_event = (is_part && !quoted).then(|| Self::parse(text).map(Box::new));
        Ok(Self {
            text: text.into(),
            root: Root::Element(in_event.transpose()?),
            steps: steps.into(),
        })
    }

    /// The path as the configuration has it.
    pub const fn as_str(&self) -> &str {
        &self.text
    }

    /// The top-level field that the path begins with; `None` if it is relative to an element or read in the
    /// request.
    pub fn root(&self) -> Option<&str> {
        match &self.root {
            Root::Field(field, _) => Some(field),
            Root::Element(_) | Root::Request => None,
        }
    }

    /// The steps from the top-level field, the element or the request.
    pub const fn steps(&self) -> &[PathStep] {
        &self.steps
    }

    /// Whether both paths begin with the same field of an event, by any of its names.
    pub fn begins_like(&self, other: &Self) -> bool {
        match (&self.root, &other.root) {
            (Root::Field(own, alias), Root::Field(other, _)) => {
                own == other || *alias == Some(&**other)
            }
            _ => false,
        }
    }

    pub fn is_of_request(&self) -> bool {
        self.root == Root::Request
    }

    /// The section and the property, if the path names only these two.
    pub fn property(&self) -> Option<(&str, &str)> {
        match (&self.root, &*self.steps) {
            (Root::Field(section, _), [PathStep::Key(name)]) => Some((section, name)),
            _ => None,
        }
    }

    /// The user property that the path begins with.
    pub fn user_property(&self) -> Option<&str> {
        match &*self.steps {
            [PathStep::Key(name), ..] if self.root() == Some(USER_PROPERTIES) => Some(name),
            _ => None,
        }
    }

    /// Whether the path names a property as a whole, or each element of it.
    pub fn is_of_whole_property(&self) -> bool {
        matches!(
            &*self.steps,
            [PathStep::Key(_)] | [PathStep::Key(_), PathStep::Each]
        )
    }

    /// Calls `found` with every value that the path points to in the property that it begins with.
    pub fn visit_property<'e>(
        &self,
        arena: &'e Arena,
        property: Json<'e>,
        found: &mut dyn FnMut(Json<'e>),
    ) {
        if let [PathStep::Key(_), rest @ ..] = &*self.steps {
            walk(arena, property, rest, found);
        }
    }

    /// The first value in a scope that is not absent.
    pub fn first_in<'s>(&self, scope: Scope<'s, '_>) -> Option<Json<'s>> {
        self.first_by_origin(scope).map(|(value, _)| value)
    }

    /// The same, and whether all elements that lack it find it in the event.
    pub(super) fn first_by_origin<'s>(&self, scope: Scope<'s, '_>) -> Option<(Json<'s>, bool)> {
        let mut found = None;
        let mut keep = |value: Json<'s>| {
            if found.is_none() && !value.is_absent() {
                found = Some(value);
            }
        };
        match self.visit_or_read(scope, &mut keep) {
            Some(read) => read.first.map(|value| (value, true)),
            None => found.map(|value| (value, false)),
        }
    }

    /// Calls `found` with every value in a scope, absent ones too. For an element that lacks it, gives what was
    /// read in the event for all of them.
    pub(super) fn visit_or_read<'s>(
        &self,
        scope: Scope<'s, '_>,
        found: &mut dyn FnMut(Json<'s>),
    ) -> Option<&'s EventRead<'s>> {
        let read = match scope.element {
            Some(_) if self.path_in_event().is_some() => scope.read_of(self),
            _ => None,
        };
        if let (Some(element), Some(read)) = (scope.element, read) {
            let mut present = false;
            if !self.is_of_request() {
                element.walk(scope.arena(), &self.steps, &mut |value| {
                    present |= !value.is_absent();
                    found(value);
                });
            }
            return (!present).then_some(read);
        }
        self.visit_in(scope, found);
        None
    }

    /// Whether an element has a present value of its own.
    fn is_in_element(&self, scope: Scope<'_, '_>) -> bool {
        let mut present = false;
        if let Some(element) = scope.element.filter(|_| !self.is_of_request()) {
            element.walk(scope.arena(), &self.steps, &mut |value| {
                present |= !value.is_absent();
            });
        }
        present
    }

    /// Calls `found` with every value that the path points to in a scope, absent ones too. The event counts
    /// only if the element has nothing. Says whether something on the way is not the object or the list
    /// that it should be, so that there may be more values.
    pub fn visit_in<'s>(&self, scope: Scope<'s, '_>, found: &mut dyn FnMut(Json<'s>)) -> bool {
        let Some(element) = scope.element.filter(|_| !self.is_of_request()) else {
            return self.visit_event(scope.event, scope.reading, found);
        };
        let mut present = false;
        let unreadable = element.walk(scope.arena(), &self.steps, &mut |value| {
            present |= !value.is_absent();
            found(value);
        });
        match self.in_event().filter(|_| !present) {
            Some(path) => unreadable | path.visit_event(scope.event, scope.reading, found),
            None => unreadable,
        }
    }

    /// Whether the property that the path begins with may have more elements than the event shows.
    pub fn is_cut_in(&self, scope: Scope<'_, '_>) -> bool {
        let path = self.in_event().unwrap_or(self);
        path.user_property()
            .is_some_and(|name| scope.event.is_cut(USER_PROPERTIES, name))
    }

    /// The value in the event that cannot be an id, if the path names an id.
    pub fn ignored_id<'e>(&self, scope: Scope<'_, 'e>) -> Option<Json<'e>> {
        let path = self.in_event().unwrap_or(self);
        match &path.root {
            Root::Field(field, _) if path.steps.is_empty() => scope.event.ignored_id(field),
            _ => None,
        }
    }

    /// The path in the event of one that is relative to an element and is read there too.
    pub fn in_event(&self) -> Option<&Self> {
        match &self.root {
            Root::Element(path) => path.as_deref(),
            Root::Field(..) | Root::Request => None,
        }
    }

    /// The path outside of an element, of one that is read there.
    pub(super) fn path_in_event(&self) -> Option<&Self> {
        self.in_event()
            .or_else(|| self.is_of_request().then_some(self))
    }

    /// Calls `found` with every value outside of an element, absent ones too.
    pub(super) fn visit_outside<'s>(&self, event: &'s Event<'_>, found: &mut dyn FnMut(Json<'s>)) {
        if let Some(path) = self.path_in_event() {
            path.visit_event(event, OperationReading::First, found);
        }
    }

    fn visit_event<'s>(
        &self,
        event: &'s Event<'_>,
        reading: OperationReading,
        found: &mut dyn FnMut(Json<'s>),
    ) -> bool {
        let (field, alias) = match &self.root {
            Root::Field(field, alias) => (field, alias),
            Root::Request => {
                let request = event.request();
                return request
                    .is_some_and(|request| walk(event.arena(), request, &self.steps, found));
            }
            Root::Element(_) => return false,
        };
        if let [PathStep::Key(key), rest @ ..] = &*self.steps {
            // An event finds the members of its top-level objects only once.
            let value = event.member_by(reading, field, key);
            let unreadable = value.is_some_and(|value| walk(event.arena(), value, rest, found));
            return unreadable || event.is_unreadable(field);
        }
        let value = event
            .field_or_result(field)
            .filter(|value| !value.is_absent())
            .or_else(|| alias.and_then(|alias| event.field(alias)));
        value.is_some_and(|value| walk(event.arena(), value, &self.steps, found))
    }
}

/// A step as a path spells it; a key is quoted, for it may hold any character.
impl fmt::Display for PathStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => {
                let escaped = key.replace('\\', "\\\\").replace('"', "\\\"");
                write!(f, "[\"{escaped}\"]")
            }
            Self::Index(index) => write!(f, "[{index}]"),
            Self::Each => f.write_str("[*]"),
        }
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Path({})", self.text)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Calls `found` with the values that the steps lead to. Says whether something on the way cannot be read.
fn walk<'e>(
    arena: &'e Arena,
    value: Json<'e>,
    steps: &[PathStep],
    found: &mut dyn FnMut(Json<'e>),
) -> bool {
    let Some((step, rest)) = steps.split_first() else {
        found(value);
        return false;
    };
    let value = arena.opened(value);
    let mut unreadable = match step {
        PathStep::Key(_) => value.hides_members(),
        PathStep::Index(_) | PathStep::Each => value.begins_as_json(),
    };
    match step {
        PathStep::Key(key) => {
            if let Some(value) = value.member(key) {
                unreadable |= walk(arena, value, rest, found);
            }
        }
        // Any other value is a list of one.
        PathStep::Index(_) | PathStep::Each if value.is_absent() => {}
        PathStep::Index(index) => {
            let element = match value.elements() {
                Some(mut elements) => elements.nth(*index),
                None => (*index == 0).then_some(value),
            };
            if let Some(element) = element {
                unreadable |= walk(arena, element, rest, found);
            }
        }
        PathStep::Each => match value.elements() {
            Some(elements) => {
                for element in elements {
                    unreadable |= walk(arena, element, rest, found);
                }
            }
            None => unreadable |= walk(arena, value, rest, found),
        },
    }
    unreadable
}

#[cfg(test)]
mod tests;
