//! One JSON value, read on demand.
//!
//! All code that goes over JSON byte by byte is in this folder: it scans valid values ([`scan`]), splits and
//! repairs what arrives, and writes what goes out ([`write`]).

use std::borrow::Cow;
use std::fmt;

pub(crate) mod any_byte;
pub(crate) mod grouped;
pub(crate) mod keys;
pub(crate) mod repair;
pub mod scan;
pub mod split;
pub(crate) mod text;
pub(crate) mod write;

use any_byte::any_byte;
use keys::{Member, are_same, keep_last};
use scan::Scanner;
use text::{characters, means_absent_text, unescape, unescaped};

/// Members of an object that there is room for from the start.
const MEMBERS: usize = 16;

/// The bytes of the shortest member.
const SHORTEST: usize = 5;

/// One JSON value, known to be valid, not yet looked into.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// The text must be one JSON value.
    pub(crate) const fn of_valid_text(text: &'a str) -> Self {
        Self(text)
    }

    /// The value's JSON text as it arrived.
    pub const fn raw(self) -> &'a str {
        self.0
    }

    pub fn is_null(self) -> bool {
        self.first() == Some(b'n')
    }

    pub fn is_string(self) -> bool {
        self.first() == Some(b'"')
    }

    pub fn is_array(self) -> bool {
        self.first() == Some(b'[')
    }

    pub fn is_object(self) -> bool {
        self.first() == Some(b'{')
    }

    pub fn is_number(self) -> bool {
        matches!(self.first(), Some(b'-' | b'0'..=b'9'))
    }

    /// The name of the value's JSON type.
    pub fn type_name(self) -> &'static str {
        match self.first() {
            Some(b'"') => "string",
            Some(b'[') => "array",
            Some(b'{') => "object",
            Some(b't' | b'f') => "boolean",
            Some(b'n') | None => "null",
            Some(_) => "number",
        }
    }

    /// The value of a boolean.
    pub fn as_bool(self) -> Option<bool> {
        self.0.parse().ok()
    }

    /// The content of a string, unescaped.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        let inner = self.inner()?;
        Some(if any_byte(inner, |byte| byte == b'\\') {
            Cow::Owned(unescaped(inner))
        } else {
            Cow::Borrowed(inner)
        })
    }

    /// The same, unescaped into a buffer: for one that reads a text many times.
    pub(crate) fn str_in<'b>(self, buffer: &'b mut String) -> Option<&'b str>
    where
        'a: 'b,
    {
        let inner = self.inner()?;
        if !any_byte(inner, |byte| byte == b'\\') {
            return Some(inner);
        }
        buffer.clear();
        unescape(inner, buffer);
        Some(buffer)
    }

    /// What stands between the quotes of a string.
    fn inner(self) -> Option<&'a str> {
        let [b'"', .., b'"'] = self.0.as_bytes() else {
            return None;
        };
        self.0.get(1..self.0.len() - 1)
    }

    /// A scalar as text: the content of a string, the digits of a number, `true` or `false`.
    pub fn text(self) -> Option<Cow<'a, str>> {
        match self.0.as_bytes().first()? {
            b'"' => self.as_str(),
            b'[' | b'{' | b'n' => None,
            _ => Some(Cow::Borrowed(self.0)),
        }
    }

    /// The elements of an array.
    pub fn elements(self) -> Option<impl Iterator<Item = Self>> {
        let scanner = Scanner::behind_bracket(self.0);
        self.is_array().then(|| scanner.elements())
    }

    /// The member of an object; the last one, if several have the key.
    pub fn member(self, key: &str) -> Option<Self> {
        let members = self.members()?.filter(|(name, _)| are_same(name, key));
        members.last().map(|(_, value)| value)
    }

    /// All members of an object, for a caller that needs several; none if it is not an object.
    pub fn all_members(self) -> Vec<Member<'a>> {
        let Some(members) = self.members() else {
            return Vec::new();
        };
        // An item of a list may have none, and there may be thousands of them.
        let mut all = Vec::with_capacity(MEMBERS.min(self.0.len() / SHORTEST));
        all.extend(members);
        keep_last(&mut all, 0);
        all
    }

    pub(crate) fn members(self) -> Option<impl Iterator<Item = Member<'a>>> {
        let scanner = Scanner::behind_bracket(self.0);
        self.is_object().then(|| scanner.members())
    }

    /// Whether the value should be an object and cannot be read as one. An empty list can: some languages
    /// write an object without members so.
    pub(crate) fn hides_members(self) -> bool {
        let is_empty = || self.elements().is_some_and(|mut all| all.next().is_none());
        !self.is_object() && !self.is_absent() && !is_empty()
    }

    /// Whether the value is a text that may hold a list or an object as JSON. The first byte rules out most.
    pub(crate) fn may_hold_json(self) -> bool {
        /// The first byte of a byte order mark.
        const BOM: u8 = 0xEF;
        matches!(
            self.0.as_bytes(),
            [
                b'"',
                b'[' | b'{' | b'\\' | b'\t' | b'\n' | b'\r' | b' ' | BOM,
                ..
            ]
        )
    }

    /// Whether the value is a text that begins as a list or an object in JSON, however often it was encoded.
    pub fn begins_as_json(self) -> bool {
        let is_around = |one: &char| one.is_whitespace() || matches!(one, '"' | '\\' | '\u{feff}');
        let first = |inner| characters(inner).find(|one| !is_around(one));
        self.may_hold_json() && matches!(self.inner().and_then(first), Some('[' | '{'))
    }

    fn first(self) -> Option<u8> {
        self.0.as_bytes().first().copied()
    }

    /// Whether the value counts as absent: null, blank, or a word for no value (`EMPTY`, `(none)`, `null`,
    /// `undefined`).
    pub fn is_absent(self) -> bool {
        match self.0.as_bytes() {
            [b'n', ..] => true,
            // Few values begin like one of these words: most need no second look.
            [b'"', first, ..] => {
                matches!(
                    first,
                    b'"' | b'\\' | b' ' | b'E' | b'(' | b'n' | b'u' | 0x80..
                ) && self.inner().is_some_and(means_absent_text)
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text may be personal data.
        write!(f, "Json({})", self.type_name())
    }
}
