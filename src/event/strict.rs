//! What a later reader could stumble over, though a parser that only looks for the structure does not:
//! half a surrogate pair, a number beyond a 64-bit float, more levels than a parser follows.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::outcome::Reason;

/// Says why a text is no JSON that every reader takes.
pub(super) fn check(text: &str) -> Result<(), Reason> {
    if may_break_a_reader(text.as_bytes()) {
        read_all(text)
    } else {
        serde_json::from_str::<IgnoredAny>(text)
            .map(|_| ())
            .map_err(|error| reason_of(&error))
    }
}

/// Says why a text that a parser finds well formed is none that every reader takes.
pub(super) fn check_well_formed(text: &str) -> Result<(), Reason> {
    if may_break_a_reader(text.as_bytes()) {
        read_all(text)
    } else {
        Ok(())
    }
}

/// Reads every part of a text.
fn read_all(text: &str) -> Result<(), Reason> {
    serde_json::from_str::<Strict>(text)
        .map(|_| ())
        .map_err(|error| reason_of(&error))
}

/// Whether a text may hold such a thing. Says yes too often, and never no wrongly; most events are
/// spared a reading of every value.
fn may_break_a_reader(text: &[u8]) -> bool {
    may_be_deep(text)
        || may_hold_surrogates(text)
        || may_hold_large_exponents(text)
        || may_hold_long_numbers(text)
}

/// More brackets than there may be levels.
fn may_be_deep(text: &[u8]) -> bool {
    // Counted in pieces whose counts fit into a byte, which is fast.
    let in_piece = |piece: &[u8]| {
        let count = |count, byte: &u8| count + u8::from(matches!(byte, b'[' | b'{'));
        piece.iter().fold(0, count)
    };
    text.chunks(128)
        .map(in_piece)
        .map(usize::from)
        .sum::<usize>()
        > 127
}

/// Escapes from `\uD800` to `\uDFFF`.
fn may_hold_surrogates(text: &[u8]) -> bool {
    memchr::memchr_iter(b'\\', text).any(|at| match text.get(at + 1..) {
        Some([b'u', b'd' | b'D', rest @ ..]) => !matches!(rest, [b'0'..=b'7', ..]),
        _ => false,
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

    proptest::proptest! {
        #[test]
        fn whatever_a_reader_could_stumble_over_is_looked_at(
            text in r#"\{"(a|\\u0061)":(\[)?(-?[0-9]{1,3}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,4})?|[0-9]{290,420}|[1-9][0-9]{200,260}[eE]99|"(\\u[dD][0-9a-f]{3}|é|\\n|x){0,4}")(\])?\}"#
        ) {
            proptest::prop_assert_eq!(check(&text), read_all(&text));
        }
    }
}
