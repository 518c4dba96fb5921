//! One Amplitude event as it came in, before any decision.
//!
//! An [`Event`] borrows the bytes of the request. Its top-level members are found in one pass; a
//! section such as `user_properties` is looked into at most once, when the first path asks for it.
//! A value that nobody asks for is never unescaped or copied, and a number keeps its digits.
//!
//! Decoding is strict: [`Event::decode`] refuses what a later reader could stumble over (broken
//! UTF-8, half a surrogate pair, a number beyond a 64-bit float, the same top-level key twice, an
//! id that is not a string) and says which, so that the event has one clear reason.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::outcome::Reason;

/// The ids that must be strings: Amplitude's own, and those that take part in deduplication.
const ID_KEYS: [&str; 5] = ["user_id", "device_id", "$insert_id", "insert_id", "uuid"];

/// Members of an event, and of an object in it, for which there is room from the start.
const FIELDS: usize = 64;
const MEMBERS: usize = 16;

/// One JSON value, known to be valid, not yet looked into.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Json<'a>(&'a str);

/// The members of an object, in their order.
pub type Members<'a> = Vec<(Cow<'a, str>, Json<'a>)>;

/// One Amplitude event.
pub struct Event<'a> {
    raw: &'a str,
    fields: Vec<Field<'a>>,
}

struct Field<'a> {
    /// Of the key.
    mark: u32,
    key: Cow<'a, str>,
    value: Json<'a>,
    members: OnceCell<Members<'a>>,
}

impl<'a> Event<'a> {
    /// Decodes one event from its bytes, or says why it is not one.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Reason> {
        let raw = std::str::from_utf8(bytes)
            .map_err(|_| Reason::NotUtf8)?
            .trim_ascii();
        if may_break_a_reader(raw.as_bytes()) {
            serde_json::from_str::<Strict>(raw).map_err(|error| reason_of(&error))?;
        }
        let fields: Vec<Field<'a>> =
            parse_members(raw, FIELDS).map_err(|error| reason_of(&error))?;
        if has_duplicates(&fields) {
            return Err(Reason::DuplicateKey);
        }
        let event = Self { raw, fields };
        let is_no_id = |key: &str| {
            event
                .field(key)
                .is_some_and(|id| !id.is_null() && !id.is_string())
        };
        if ID_KEYS.iter().any(|key| is_no_id(key)) {
            return Err(Reason::IdNotAString);
        }
        Ok(event)
    }

    /// The event's own text.
    pub const fn raw(&self) -> &'a str {
        self.raw
    }

    /// A top-level field, `None` where the key is missing.
    pub fn field(&self, key: &str) -> Option<Json<'a>> {
        self.find(key).map(|field| field.value)
    }

    /// A member of a top-level object, such as one property of `event_properties`.
    pub fn member(&self, section: &str, key: &str) -> Option<Json<'a>> {
        self.section(section)
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| *value)
    }

    /// All members of a top-level object; none where it is missing or not an object.
    pub fn section(&self, section: &str) -> &[(Cow<'a, str>, Json<'a>)] {
        self.find(section)
            .map(|field| {
                field
                    .members
                    .get_or_init(|| field.value.members().unwrap_or_default())
            })
            .map_or(&[], Vec::as_slice)
    }

    /// Puts a value in the place of a top-level field. The event's own text stays as it came.
    pub fn put(&mut self, key: &'a str, value: Json<'a>) {
        self.remove(key);
        self.fields.push((Cow::Borrowed(key), value).into());
    }

    /// Takes a top-level field out.
    pub fn remove(&mut self, key: &str) {
        self.fields.retain(|field| field.key != key);
    }

    fn find(&self, key: &str) -> Option<&Field<'a>> {
        let mark = mark(key);
        self.fields
            .iter()
            .find(|field| field.mark == mark && field.key == key)
    }
}

impl<'a> From<(Cow<'a, str>, Json<'a>)> for Field<'a> {
    fn from((key, value): (Cow<'a, str>, Json<'a>)) -> Self {
        Self {
            mark: mark(&key),
            key,
            value,
            members: OnceCell::new(),
        }
    }
}

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
        self.0 == "null"
    }

    /// Whether the value is a string.
    pub fn is_string(self) -> bool {
        self.0.starts_with('"')
    }

    /// Whether the value is an array.
    pub fn is_array(self) -> bool {
        self.0.starts_with('[')
    }

    /// Whether the value is an object.
    pub fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    /// Whether the value is a number.
    pub fn is_number(self) -> bool {
        self.0
            .starts_with(|first: char| first == '-' || first.is_ascii_digit())
    }

    /// The name of the value's JSON type.
    pub fn type_name(self) -> &'static str {
        match self.0.as_bytes().first() {
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
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if memchr::memchr(b'\\', inner.as_bytes()).is_some() {
            serde_json::from_str::<String>(self.0).ok().map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(inner))
        }
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
    pub fn elements(self) -> Option<Vec<Self>> {
        if !self.is_array() {
            return None;
        }
        let elements: Vec<&'a RawValue> = serde_json::from_str(self.0).ok()?;
        Some(
            elements
                .into_iter()
                .map(|element| Json(element.get()))
                .collect(),
        )
    }

    /// The members of an object.
    pub fn members(self) -> Option<Members<'a>> {
        if self.is_object() {
            parse_members(self.0, MEMBERS).ok()
        } else {
            None
        }
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
                ) && self.as_str().is_some_and(|text| is_absent_text(&text))
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it holds may be personal data.
        f.debug_struct("Event")
            .field("bytes", &self.raw.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text may be personal data.
        write!(f, "Json({})", self.type_name())
    }
}

/// Whether a text stands for nothing.
pub fn is_absent_text(text: &str) -> bool {
    // Most texts begin like none of these words.
    if let Some(first) = text.bytes().next()
        && first.is_ascii_alphanumeric()
        && !matches!(first, b'E' | b'n' | b'u')
    {
        return false;
    }
    matches!(text.trim(), "" | "EMPTY" | "(none)" | "null" | "undefined")
}

/// Finds the members of an object; `usual` is how many there are, as a rule.
fn parse_members<'a, M>(raw: &'a str, usual: usize) -> serde_json::Result<Vec<M>>
where
    M: From<(Cow<'a, str>, Json<'a>)>,
{
    struct Collect<M>(usize, PhantomData<M>);

    impl<'de, M: From<(Cow<'de, str>, Json<'de>)>> Visitor<'de> for Collect<M> {
        type Value = Vec<M>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::with_capacity(self.0);
            while let Some(Key(key)) = map.next_key()? {
                let value: &'de RawValue = map.next_value()?;
                members.push((key, Json(value.get())).into());
            }
            Ok(members)
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(raw);
    let members = deserializer.deserialize_map(Collect(usual, PhantomData))?;
    deserializer.end()?;
    Ok(members)
}

/// A few bits that differ for most pairs of keys, and are found faster than a whole key is compared.
fn mark(key: &str) -> u32 {
    let key = key.as_bytes();
    let byte = |at: usize| key.get(at).copied().unwrap_or(0);
    let last = key.len().saturating_sub(1);
    u32::from_le_bytes([
        key.len().to_le_bytes()[0],
        byte(0),
        byte(last / 2),
        byte(last),
    ])
}

fn has_duplicates(fields: &[Field<'_>]) -> bool {
    // A comparison with all earlier keys for the few whose bit is taken is fastest for an honest
    // event, and sorting bounds a hostile one.
    if fields.len() <= 96 {
        let mut taken = [0_u64; 16];
        return fields.iter().enumerate().any(|(at, field)| {
            let place = field.mark.wrapping_mul(0x9E37_79B1) >> 22;
            let (word, bit) = (&mut taken[place as usize / 64], 1 << (place % 64));
            let is_taken = *word & bit != 0;
            *word |= bit;
            is_taken && fields[..at].iter().any(|earlier| earlier.key == field.key)
        });
    }
    let mut keys: Vec<&str> = fields.iter().map(|field| field.key.as_ref()).collect();
    keys.sort_unstable();
    keys.windows(2).any(|pair| pair[0] == pair[1])
}

/// Whether a text may hold what finding members does not look at: half a surrogate pair, a number
/// beyond a 64-bit float, or more levels than a parser follows. Says yes too often, and never no wrongly; most events are spared
/// a reading of every value.
fn may_break_a_reader(text: &[u8]) -> bool {
    may_be_deep(text)
        || may_hold_surrogates(text)
        || may_hold_large_exponents(text)
        || may_hold_long_numbers(text)
}

/// More brackets than there may be levels.
fn may_be_deep(text: &[u8]) -> bool {
    memchr::memchr2_iter(b'[', b'{', text).nth(127).is_some()
}

/// Escapes from `\uD800` to `\uDFFF`.
fn may_hold_surrogates(text: &[u8]) -> bool {
    memchr::memmem::find_iter(text, b"\\u").any(|at| {
        matches!(text.get(at + 2), Some(b'd' | b'D'))
            && !matches!(text.get(at + 3), Some(b'0'..=b'7'))
    })
}

/// A number with an exponent of at least three digits: 1e308 is the largest power of ten there is.
fn may_hold_large_exponents(text: &[u8]) -> bool {
    // Hardly any event holds a digit before an `e`, and looking at all pairs is fast where nothing
    // depends on what is found.
    let is_candidate =
        |(before, after): (&u8, &u8)| before.is_ascii_digit() && (*after | 32 == b'e');
    let follows = text.get(1..).unwrap_or_default();
    let pairs = || text.iter().zip(follows);
    if !pairs().fold(false, |any, pair| any | is_candidate(pair)) {
        return false;
    }
    pairs().enumerate().any(|(at, pair)| {
        is_candidate(pair) && {
            let exponent = &text[at + 2..];
            let exponent = exponent.strip_prefix(b"+").unwrap_or(exponent);
            exponent.len() >= 3
                && exponent[..3].iter().all(u8::is_ascii_digit)
                && is_number_up_to(&text[..=at])
        }
    })
}

/// Whether the last digits of a text, and what belongs to their number before them, begin where a
/// number can. Most of what looks like an exponent stands within an id.
fn is_number_up_to(text: &[u8]) -> bool {
    let before = text
        .iter()
        .rfind(|byte| !(byte.is_ascii_digit() || matches!(byte, b'.' | b'-')));
    before.is_none_or(|byte| matches!(byte, b':' | b',' | b'[' | b' ' | b'\t' | b'\n' | b'\r'))
}

/// A run of more than 200 digits, which makes a number too large with an exponent of two digits or
/// without any. It is found by looking at every 64th byte: such a run covers two, and all between them.
fn may_hold_long_numbers(text: &[u8]) -> bool {
    const STRIDE: usize = 64;
    let is_digit_at = |at: &usize| text[*at].is_ascii_digit();
    (STRIDE..text.len()).step_by(STRIDE).any(|at| {
        let from = at - STRIDE;
        is_digit_at(&from) && is_digit_at(&at) && text[from..at].iter().all(u8::is_ascii_digit)
    })
}

/// An object's key, borrowed where it holds no escape.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;

        impl<'de> Visitor<'de> for Borrow {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }

        deserializer.deserialize_str(Borrow)
    }
}

/// A value whose every part was read: numbers in range, escapes whole.
struct Strict;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Self, E> {
        if number.is_finite() {
            Ok(self)
        } else {
            Err(E::custom("number out of range"))
        }
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

/// Sorts a parser's complaint. `serde_json` keeps its error codes to itself, so its fixed messages
/// are what tells them apart; an unknown one is plain malformed JSON.
fn reason_of(error: &serde_json::Error) -> Reason {
    let message = error.to_string();
    if message.starts_with("number out of range") {
        Reason::NumberOutOfRange
    } else if message.contains("surrogate") || message.starts_with("unexpected end of hex escape") {
        Reason::LoneSurrogate
    } else if message.starts_with("recursion limit exceeded") {
        Reason::TooDeep
    } else {
        Reason::MalformedJson
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &[u8]) -> Option<Reason> {
        Event::decode(text).err()
    }

    #[test]
    fn finds_fields_and_properties_without_copying_them() {
        let event = Event::decode(
            br#" {"event_type":"A","event_properties":{"x y":1e2,"n":12345678901234567890123}} "#,
        )
        .unwrap();
        assert!(matches!(
            event.field("event_type").unwrap().as_str(),
            Some(Cow::Borrowed("A"))
        ));
        assert_eq!(
            event.member("event_properties", "x y").unwrap().raw(),
            "1e2"
        );
        assert_eq!(
            event.member("event_properties", "n").unwrap().raw(),
            "12345678901234567890123"
        );
        assert!(event.member("user_properties", "n").is_none());
        assert!(event.section("event_type").is_empty());
    }

    #[test]
    fn says_why_an_element_is_no_event() {
        assert_eq!(refused(b"[]"), Some(Reason::MalformedJson));
        assert_eq!(refused(b"{\"a\":1,,}"), Some(Reason::MalformedJson));
        assert_eq!(refused(b"{\"a\":\"\xff\"}"), Some(Reason::NotUtf8));
        assert_eq!(
            refused(br#"{"a":{"b":["\ud800"]}}"#),
            Some(Reason::LoneSurrogate)
        );
        assert_eq!(
            refused(br#"{"a":{"b":1e400}}"#),
            Some(Reason::NumberOutOfRange)
        );
        assert_eq!(
            refused(br#"{"a":1,"\u0061":2}"#),
            Some(Reason::DuplicateKey)
        );
        assert_eq!(refused(br#"{"user_id":7}"#), Some(Reason::IdNotAString));
        assert_eq!(refused(br#"{"user_id":null}"#), None);
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(200), "]".repeat(200));
        assert_eq!(refused(deep.as_bytes()), Some(Reason::TooDeep));
        let forty = format!("{{\"a\":{}1{}}}", "[".repeat(40), "]".repeat(40));
        assert_eq!(refused(forty.as_bytes()), None);
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_reader_could_stumble_over_is_looked_at(
            text in r#"\{"(a|\\u0061)":(\[)?(-?[0-9]{1,3}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,4})?|[0-9]{290,420}|[1-9][0-9]{200,260}[eE]99|"(\\u[dD][0-9a-f]{3}|é|\\n|x){0,4}")(\])?\}"#
        ) {
            let strict = serde_json::from_str::<Strict>(&text).map_err(|error| reason_of(&error));
            proptest::prop_assert_eq!(Event::decode(text.as_bytes()).err(), strict.err());
        }
    }

    #[test]
    fn knows_the_words_that_stand_for_nothing() {
        for text in [
            "null",
            "\"\"",
            "\" \"",
            "\"EMPTY\"",
            "\"(none)\"",
            "\"null\"",
            "\"undefined\"",
        ] {
            assert!(Json(text).is_absent(), "{text}");
        }
        for text in ["0", "false", "\"Null\"", "\"none\"", "[]", "{}"] {
            assert!(!Json(text).is_absent(), "{text}");
        }
    }
}
