//! Owns the texts of an event that its bytes do not hold: a repaired event, an id that arrived as a
//! number, a list that arrived as JSON text.
//!
//! An event and its values borrow from the bytes and from an arena. An empty arena costs nothing, and no
//! text is kept twice, however often it is read.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::json::{Json, repair, write};

/// Rows of places: each has twice as many as the one before.
const ROWS: usize = 32;

/// A place for a text that is never moved.
type TextPlace = OnceLock<Box<str>>;

/// Texts that live as long as the arena.
#[derive(Default)]
pub struct Arena {
    rows: [OnceLock<Box<[TextPlace]>>; ROWS],
    known: Mutex<KnownText>,
}

#[derive(Default)]
struct KnownText {
    /// How many texts are kept.
    count: usize,
    /// The place of the JSON that a text holds, by the text; `None` where it holds none.
    places: HashMap<Box<str>, Option<usize>>,
}

impl Arena {
    pub fn keep(&self, text: String) -> &str {
        let place = self.known().next_place();
        self.put(place, text)
    }

    /// The list or object that a JSON text holds; any other value as it arrived. In a text too, a broken
    /// value loses only itself. A text that was encoded several times is decoded as often.
    pub fn opened<'a>(&'a self, value: Json<'a>) -> Json<'a> {
        let read = self.read(value);
        if read.is_string() { value } else { read }
    }

    /// The value that a JSON text holds, even if that is a text again; any other value as it arrived.
    pub fn read<'a>(&'a self, value: Json<'a>) -> Json<'a> {
        if !value.may_hold_json() {
            return value;
        }
        let read = || decoded(&value.as_str()?);
        self.made_of(value.raw(), read).unwrap_or(value)
    }

    /// Calls `each` with every element of a list, even one in a JSON text, or else with the value itself.
    pub fn each_element<'a>(&'a self, value: Json<'a>, each: &mut dyn FnMut(Json<'a>)) {
        match self.opened(value).elements() {
            Some(elements) => elements.for_each(each),
            None => each(value),
        }
    }

    /// Calls `each` with the trimmed pieces between the separators of a text, or of each element of a list,
    /// without blank ones. A value without a separator is one piece.
    pub fn each_piece<'a>(
        &'a self,
        value: Json<'a>,
        separator: &str,
        each: &mut dyn FnMut(Json<'a>),
    ) {
        self.each_element(value, &mut |element| {
            let Some(text) = element.as_str().filter(|text| text.contains(separator)) else {
                return each(element);
            };
            let pieces = || {
                let mut list = vec![b'['];
                let pieces = text.split(separator).map(str::trim);
                for piece in pieces.filter(|piece| !piece.is_empty()) {
                    write::separate(&mut list);
                    write::text(&mut list, piece);
                }
                list.push(b']');
                String::from_utf8(list).ok()
            };
            // No JSON text goes on behind its last quote, so that nothing else has this key.
            let key = format!("{}{separator}", element.raw());
            let list = self.made_of(&key, pieces);
            list.and_then(Json::elements)
                .into_iter()
                .flatten()
                .for_each(&mut *each);
        });
    }

    /// The value that was made of a text before, or is made now.
    fn made_of(&self, from: &str, make: impl FnOnce() -> Option<String>) -> Option<Json<'_>> {
        let place = self.known().places.get(from).copied();
        if let Some(place) = place {
            return self.get(place?).map(Json::of_valid_text);
        }
        let made = make();
        let mut known = self.known();
        let place = made.as_ref().map(|_| known.next_place());
        known.places.insert(from.into(), place);
        drop(known);
        Some(Json::of_valid_text(self.put(place?, made?)))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, KnownText> {
        // A panic leaves nothing half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, place: usize, text: String) -> &str {
        let (row, column) = row_and_column(place);
        let empty = || (0..1_usize << row).map(|_| OnceLock::new()).collect();
        self.rows[row].get_or_init(empty)[column].get_or_init(|| text.into())
    }

    fn get(&self, place: usize) -> Option<&str> {
        let (row, column) = row_and_column(place);
        Some(self.rows.get(row)?.get()?.get(column)?.get()?)
    }
}

impl KnownText {
    fn next_place(&mut self) -> usize {
        self.count += 1;
        self.count
    }
}

/// So many times a text may have been encoded; what was encoded more often stays a text. An escape such as `\u0022`
/// makes a text little longer, so that the times alone bound the cost.
pub(crate) const DEEPEST: usize = 8;

/// The JSON that a text holds, if any.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut text = Cow::Borrowed(text);
    for _ in 0..DEEPEST {
        let json = text.trim_matches(|one: char| one.is_ascii_whitespace() || one == '\u{feff}');
        // Most texts that begin as JSON, such as a title in brackets, do not end so.
        if !matches!(
            json.as_bytes(),
            [b'[', .., b']'] | [b'{', .., b'}'] | [b'"', .., b'"']
        ) {
            break;
        }
        let Some(json) = repair::in_text(json) else {
            break;
        };
        match Json::of_valid_text(&json).as_str() {
            Some(inner) => text = Cow::Owned(inner.into_owned()),
            None => return Some(json.into_owned()),
        }
    }
    match text {
        Cow::Borrowed(_) => None,
        Cow::Owned(text) => Some(serde_json::Value::from(text).to_string()),
    }
}

/// Where a text is, by its number, which counts from one.
const fn row_and_column(place: usize) -> (usize, usize) {
    let row = place.ilog2() as usize;
    (row, place - (1 << row))
}

impl std::fmt::Debug for Arena {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The texts may be personal data.
        write!(f, "Arena({} texts)", self.known().count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_texts_where_they_are() {
        let arena = Arena::default();
        let kept: Vec<&str> = (0..1000).map(|n| arena.keep(n.to_string())).collect();
        for (number, text) in kept.iter().enumerate() {
            assert_eq!(*text, number.to_string());
        }
    }

    #[test]
    fn opens_what_came_as_json_text() {
        let arena = Arena::default();
        for (text, expected) in [
            (r#""[1, \"a\"]""#, r#"[1, "a"]"#),
            (r#"" {\"a\":{}} ""#, r#"{"a":{}}"#),
            ("\"\\u005b1]\"", "[1]"),
            ("\"[1e400]\"", "[1e400]"),
            (r#""[1,]""#, "[1,null]"),
            (r#""[\"a\",NaN,None]""#, r#"["a","NaN","None"]"#),
            (r#""{\"a\":tru,\"b\":1}""#, r#"{"a":"tru","b":1}"#),
            (r#""[\"a\tb\nc\"]""#, r#"["a\tb\nc"]"#),
            (r#""\"[{\\\"a\\\":1}]\"""#, r#"[{"a":1}]"#),
            (r#""\"\\\"[1]\\\"\"""#, "[1]"),
            // A text in brackets is no list of words.
            (r#""[x]""#, r#""[x]""#),
            (r#""[x] 1""#, r#""[x] 1""#),
            (r#""[\"a\"""#, r#""[\"a\"""#),
            (r#""{\"a\":1""#, r#""{\"a\":1""#),
            (r#""a""#, r#""a""#),
            (r#""\"a\"""#, r#""\"a\"""#),
            ("[\"a\"]", "[\"a\"]"),
            ("7", "7"),
        ] {
            assert_eq!(
                arena.opened(Json::of_valid_text(text)).raw(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn reads_a_text_that_was_encoded_twice() {
        let arena = Arena::default();
        for (text, expected) in [
            (r#""\"a\"""#, r#""a""#),
            (r#"" \"\\\"a\\\"\" ""#, r#""a""#),
            (r#""\"a\" b""#, r#""\"a\" b""#),
            (r#""[x]""#, r#""[x]""#),
            ("\"[1]\"", "[1]"),
            (r#""a""#, r#""a""#),
        ] {
            assert_eq!(
                arena.read(Json::of_valid_text(text)).raw(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn a_text_is_kept_once_however_often_it_is_opened() {
        let arena = Arena::default();
        let (one, same) = (String::from(r#""[1]""#), String::from(r#""[1]""#));
        let first = arena.opened(Json::of_valid_text(&one)).raw().as_ptr();
        assert_eq!(
            arena.opened(Json::of_valid_text(&same)).raw().as_ptr(),
            first
        );
        assert_eq!(format!("{arena:?}"), "Arena(1 texts)");
    }

    #[test]
    fn splits_texts() {
        let arena = Arena::default();
        for (text, separator, expected) in [
            (r#""a, b,,\"c ""#, ",", vec![r#""a""#, r#""b""#, r#""\"c""#]),
            (r#""a, b""#, ";", vec![r#""a, b""#]),
            (r#""a; b""#, "; ", vec![r#""a""#, r#""b""#]),
            (
                r#"["a|b",7,"c"]"#,
                "|",
                vec![r#""a""#, r#""b""#, "7", r#""c""#],
            ),
            (r#""[\"a,b\"]""#, ",", vec![r#""a""#, r#""b""#]),
            (r#"", ,""#, ",", vec![]),
            ("7", ",", vec!["7"]),
        ] {
            let mut found = Vec::new();
            arena.each_piece(Json::of_valid_text(text), separator, &mut |piece| {
                found.push(piece.raw());
            });
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn finds_the_elements_of_every_form() {
        let arena = Arena::default();
        for (text, expected) in [
            ("[1,\"a\",null]", vec!["1", "\"a\"", "null"]),
            ("\" [\\\"a\\\", 2] \"", vec!["\"a\"", "2"]),
            ("\"[x]\"", vec!["\"[x]\""]),
            ("\"a\"", vec!["\"a\""]),
            ("{\"a\":1}", vec!["{\"a\":1}"]),
            ("\"{}\"", vec!["\"{}\""]),
            ("[]", vec![]),
        ] {
            let mut found = Vec::new();
            arena.each_element(Json::of_valid_text(text), &mut |element| {
                found.push(element.raw());
            });
            assert_eq!(found, expected, "{text}");
        }
    }
}
