//! One JSON value, read as it is asked for.
//!
//! All that goes over JSON byte by byte stands in this folder: values that are known to be valid are
//! scanned ([`scan`]), what came in is split and repaired, and what goes out is written ([`write`]).

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
use keys::{are_same, keep_last};
use scan::{ScanElements, ScanMembers};

/// Members of an object for which there is room from the start.
const MEMBERS: usize = 16;

/// One JSON value, known to be valid, not yet looked into.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// Takes a text that is known to be one JSON value.
    pub(crate) const fn of_valid_text(text: &'a str) -> Self {
        Self(text)
    }

    /// The value's JSON text, as it came.
    pub const fn raw(self) -> &'a str {
        self.0
    }

    /// Whether the value is `null`.
    pub fn is_null(self) -> bool {
        self.first() == Some(b'n')
    }

    /// Whether the value is a string.
    pub fn is_string(self) -> bool {
        self.first() == Some(b'"')
    }

    /// Whether the value is an array.
    pub fn is_array(self) -> bool {
        self.first() == Some(b'[')
    }

    /// Whether the value is an object.
    pub fn is_object(self) -> bool {
        self.first() == Some(b'{')
    }

    /// Whether the value is a number.
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
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The content of a string, unescaped.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        let [b'"', .., b'"'] = self.0.as_bytes() else {
            return None;
        };
        let inner = self.0.get(1..self.0.len() - 1)?;
        Some(if any_byte(inner, |byte| byte == b'\\') {
            Cow::Owned(crate::json::text::unescaped(inner))
        } else {
            Cow::Borrowed(inner)
        })
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
    pub fn elements(self) -> Option<ScanElements<'a>> {
        self.is_array().then(|| ScanElements::of(self.0))
    }

    /// The member of an object; the last, where several have the key.
    pub fn member(self, key: &str) -> Option<Self> {
        let members = self.members()?.filter(|(name, _)| are_same(name, key));
        members.last().map(|(_, value)| value)
    }

    /// All members of an object, for one who looks for several; none where it is not an object.
    pub fn all_members(self) -> Vec<(Cow<'a, str>, Self)> {
        let Some(members) = self.members() else {
            return Vec::new();
        };
        let mut all = Vec::with_capacity(MEMBERS);
        all.extend(members);
        keep_last(&mut all, 0);
        all
    }

    pub(crate) fn members(self) -> Option<ScanMembers<'a>> {
        self.is_object().then(|| ScanMembers::of(self.0))
    }

    /// Whether an object was meant, and none can be read. What is empty hides nothing: some languages write an
    /// object without members as a list.
    pub(crate) fn hides_members(self) -> bool {
        let is_empty = || self.elements().is_some_and(|mut all| all.next().is_none());
        !self.is_object() && !self.is_absent() && !is_empty()
    }

    /// Whether the value is a text that may be JSON of a list or an object. Most texts begin like none.
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

    /// Whether the value is a text that begins as JSON of a list or an object, however often it was encoded.
    pub fn begins_as_json(self) -> bool {
        let begins = |text: &str| {
            let is_around =
                |one: char| one.is_whitespace() || matches!(one, '"' | '\\' | '\u{feff}');
            let text = text.trim_start_matches(is_around);
            text.starts_with(['[', '{'])
        };
        self.may_hold_json() && self.as_str().is_some_and(|text| begins(&text))
    }

    fn first(self) -> Option<u8> {
        self.0.as_bytes().first().copied()
    }

    /// Whether the value counts as absent: null, blank, or one of the words that stand for nothing
    /// (`EMPTY`, `(none)`, `null`, `undefined`).
    pub fn is_absent(self) -> bool {
        match self.0.as_bytes() {
            [b'n', ..] => true,
            // What stands for nothing begins in few ways: most values need no second look.
            [b'"', first, ..] => {
                matches!(
                    first,
                    b'"' | b'\\' | b' ' | b'E' | b'(' | b'n' | b'u' | 0x80..
                ) && self
                    .as_str()
                    .is_some_and(|text| crate::json::text::is_absent_text(&text))
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
