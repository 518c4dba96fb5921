//! From the bytes of a body to its events, each decoded alone.
//!
//! A body is one object, an array, or `{"events":[…]}`. A parser finds the end of each element of an
//! array, and with that shows that it is well formed; from the first one that is not, elements are split
//! by their bytes. A mistake in an element costs that element alone, and a mistake in a value that value
//! alone (see [`Event::decode`]).
//!
//! The whole body is refused only where the split itself is uncertain: brackets that do not match, a
//! string that begins or ends where none can, anything after the end. A split that guessed there
//! could swallow good events into a bad one. A body of one object that is not JSON is refused too,
//! since its sender can be told.
//!
//! No recursion; besides the body itself, memory for four bytes per element and one per open bracket.
//! The content type plays no part.

use std::fmt;
use std::sync::LazyLock;
use std::vec;

use memchr::memmem::Finder;
use serde::de::IgnoredAny;

use crate::event::Event;
use crate::event::arena::Arena;
use crate::json::grouped::holds_grouped_number;
use crate::json::split::{BYTE_ORDER_MARK, Cursor, NotJson, Places, Until};
use crate::outcome::Reason;

/// Finds the key of an envelope's array.
static EVENTS: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"events\""));

/// The events of one body, in their order.
pub struct RawElements<'a> {
    body: &'a [u8],
    arena: &'a Arena,
    rest: Remainder<'a>,
}

enum Remainder<'a> {
    One(Option<Event<'a>>),
    Many {
        /// The position of the next element.
        start: usize,
        /// Where each that remains ends.
        ends: vec::IntoIter<u32>,
        /// How many of them, from the next one on, are known to be well formed.
        well_formed: usize,
    },
}

/// One element of a body.
pub struct RawElement<'a> {
    /// Its bytes, as they came.
    pub raw: &'a [u8],
    /// The event, or why it cannot be decoded.
    pub event: Result<Event<'a>, Reason>,
}

/// Takes a body apart.
pub fn decode<'a>(body: &'a [u8], arena: &'a Arena) -> Result<RawElements<'a>, NotJson> {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let rest = split(body, arena).map_err(|problem| {
        if holds_grouped_number(body) {
            NotJson::GroupedNumber
        } else {
            problem
        }
    })?;
    Ok(RawElements { body, arena, rest })
}

/// Shows the members of a body that is one object: each key as it is spelt, each value unread.
pub fn members<'a>(
    body: &'a [u8],
    show: &mut dyn FnMut(&'a [u8], &'a [u8]),
) -> Result<(), NotJson> {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let mut cursor = Cursor::new(body);
    match cursor.skip_space() {
        None => return Err(NotJson::Empty),
        Some(b'{') => cursor.members(show)?,
        Some(_) => return Err(NotJson::NotAnObject),
    }
    cursor.end()
}

impl<'a> Iterator for RawElements<'a> {
    type Item = RawElement<'a>;

    fn next(&mut self) -> Option<RawElement<'a>> {
        match &mut self.rest {
            Remainder::One(event) => event.take().map(|event| RawElement {
                raw: self.body,
                event: Ok(event),
            }),
            Remainder::Many {
                start,
                ends,
                well_formed,
            } => {
                let end = ends.next()? as usize;
                let raw = self.body.get(*start..end)?;
                *start = end + 1;
                let event = if *well_formed > 0 {
                    *well_formed -= 1;
                    Event::decode_well_formed(raw, self.arena)
                } else {
                    Event::decode(raw, self.arena)
                };
                Some(RawElement {
                    raw,
                    event: event.map_err(|reason| refine_reason(reason, raw)),
                })
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.rest {
            Remainder::One(event) => {
                let left = usize::from(event.is_some());
                (left, Some(left))
            }
            Remainder::Many { ends, .. } => ends.size_hint(),
        }
    }
}

impl ExactSizeIterator for RawElements<'_> {}

impl From<Places> for Remainder<'_> {
    fn from(places: Places) -> Self {
        Self::Many {
            start: places.first,
            ends: places.ends.into_iter(),
            well_formed: places.well_formed,
        }
    }
}

// Neither shows what it holds: it may be personal data.
impl fmt::Debug for RawElements<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawElements({} left)", self.len())
    }
}

impl fmt::Debug for RawElement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawElement({} bytes)", self.raw.len())
    }
}

fn split<'a>(body: &'a [u8], arena: &'a Arena) -> Result<Remainder<'a>, NotJson> {
    let mut cursor = Cursor::new(body);
    match cursor.skip_space() {
        None => Err(NotJson::Empty),
        Some(b'[') => {
            let places = cursor.array()?;
            cursor.end()?;
            Ok(places.into())
        }
        Some(b'{') => {
            // Hardly any event holds the word, and to look for it is much faster than a walk.
            if EVENTS.find(body).is_some()
                && let Some(places) = cursor.envelope()?
            {
                cursor.end()?;
                return Ok(places.into());
            }
            single(body, arena).map(|event| Remainder::One(Some(event)))
        }
        Some(_) => Err(NotJson::NeitherObjectNorArray),
    }
}

/// Decodes a body that is one object, or says where it breaks.
fn single<'a>(body: &'a [u8], arena: &'a Arena) -> Result<Event<'a>, NotJson> {
    Event::decode(body, arena).or_else(|_| {
        let mut cursor = Cursor::new(body);
        cursor.skip_space();
        cursor.walk(Until::Closed)?;
        cursor.end()?;
        Err(where_it_breaks(body))
    })
}

fn where_it_breaks(body: &[u8]) -> NotJson {
    let error = serde_json::from_slice::<IgnoredAny>(body).err();
    NotJson::Malformed {
        line: error.as_ref().map_or(1, serde_json::Error::line),
        column: error.as_ref().map_or(1, serde_json::Error::column),
    }
}

/// Recognises the mistake of a template that shows in the bytes of a broken element.
fn refine_reason(reason: Reason, raw: &[u8]) -> Reason {
    if reason == Reason::MalformedJson && holds_grouped_number(raw) {
        Reason::GroupedNumber
    } else {
        reason
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    type Decoded = Result<Vec<Result<String, Reason>>, NotJson>;

    fn check(body: impl AsRef<[u8]>, expected: &Decoded) {
        let body = body.as_ref();
        let arena = Arena::default();
        let found = decode(body, &arena).map(|elements| {
            let raw = |event: Event<'_>| String::from_utf8_lossy(event.raw()).into_owned();
            elements
                .map(|element| element.event.map(raw))
                .collect::<Vec<_>>()
        });
        assert_eq!(&found, expected, "{}", String::from_utf8_lossy(body));
    }

    fn good(elements: &[&str]) -> Vec<Result<String, Reason>> {
        elements
            .iter()
            .map(|element| Ok((*element).to_owned()))
            .collect()
    }

    #[test]
    fn takes_an_object_an_array_and_an_envelope() {
        for (body, elements) in [
            (r#"{"event_type":"A"}"#, &[r#"{"event_type":"A"}"#][..]),
            (" {\"a\":1}\n", &[r#"{"a":1}"#]),
            ("\u{feff}{\"a\":1}", &[r#"{"a":1}"#]),
            ("{}", &["{}"]),
            (
                r#"[{"a":1},{"b":[2,{}]}]"#,
                &[r#"{"a":1}"#, r#"{"b":[2,{}]}"#],
            ),
            (" [ {\"a\":1} ,\n{} ] ", &[r#"{"a":1}"#, "{}"]),
            ("[]", &[]),
            (" [ ] ", &[]),
            (r#"{"events":[]}"#, &[]),
            (
                r#"{"api_key":"k","events":[{"a":"]"},{"b":"\"}"}],"options":{"x":[1]}}"#,
                &[r#"{"a":"]"}"#, r#"{"b":"\"}"}"#],
            ),
            (r#"{"events" : [ {} ] , "n":1 }"#, &["{}"]),
            // An event that has a property of that name, before or after its type, is an event.
            (
                r#"{"events":[{}],"event_type":"A"}"#,
                &[r#"{"events":[{}],"event_type":"A"}"#],
            ),
            (
                r#"{"event_type":"A","events":[{}]}"#,
                &[r#"{"event_type":"A","events":[{}]}"#],
            ),
            (r#"{"events":{"a":1}}"#, &[r#"{"events":{"a":1}}"#]),
            (
                r#"{"data":{"events":[1]}}"#,
                &[r#"{"data":{"events":[1]}}"#],
            ),
        ] {
            check(body, &Ok(good(elements)));
        }
    }

    #[test]
    fn what_is_wrong_in_one_element_is_its_own() {
        for (broken, reason) in [
            (&br#"{"a":1,,}"#[..], Reason::MalformedJson),
            (b"{'a':'b'}", Reason::MalformedJson),
            (br#"{"a":${x}}"#, Reason::MalformedJson),
            (br#"{"a":1,396,381}"#, Reason::GroupedNumber),
            (b"null", Reason::MalformedJson),
            (b"7", Reason::MalformedJson),
            (b"\"text\"", Reason::MalformedJson),
            (b"[{}]", Reason::MalformedJson),
            (b"", Reason::MalformedJson),
            (b"\0", Reason::MalformedJson),
        ] {
            for (before, after) in [("[{},", ",{}]"), ("{\"events\":[{},", ",{}]}")] {
                let body = [before.as_bytes(), broken, after.as_bytes()].concat();
                let ok = || Ok("{}".to_owned());
                check(body, &Ok(vec![ok(), Err(reason), ok()]));
            }
        }
    }

    #[test]
    fn what_is_wrong_in_one_value_is_its_own() {
        let deep = format!("{{\"d\":{}{}}}", "[".repeat(500), "]".repeat(500));
        for broken in [
            &b"{\"a\":\"\xff\"}"[..],
            br#"{"a":"\ud800"}"#,
            br#"{"a":1e400}"#,
            br#"{"a":1,"a":2}"#,
            br#"{"user_id":7}"#,
            deep.as_bytes(),
            b"{\"a\":\"\n\"}",
            b"{\"a\":\"\0\"}",
            br#"{"a":NaN,"b":}"#,
        ] {
            let raw = String::from_utf8_lossy(broken).into_owned();
            check(broken, &Ok(vec![Ok(raw.clone())]));
            let ok = || Ok("{}".to_owned());
            for (before, after) in [("[{},", ",{}]"), ("{\"events\":[{},", ",{}]}")] {
                let body = [before.as_bytes(), broken, after.as_bytes()].concat();
                check(body, &Ok(vec![ok(), Ok(raw.clone()), ok()]));
            }
        }
    }

    #[test]
    fn a_single_object_is_refused_only_where_it_is_not_json() {
        for (body, problem) in [
            (&b""[..], NotJson::Empty),
            (b" \n", NotJson::Empty),
            (b"\xef\xbb\xbf", NotJson::Empty),
            (b"7", NotJson::NeitherObjectNorArray),
            (b"null", NotJson::NeitherObjectNorArray),
            (b"\"{}\"", NotJson::NeitherObjectNorArray),
            (b"e=%5B%5D", NotJson::NeitherObjectNorArray),
            (b"\xff\xfe[\0]\0", NotJson::NeitherObjectNorArray),
            (b"{", NotJson::Unclosed),
            (br#"{"a"#, NotJson::Unclosed),
            (br#"{"a\"#, NotJson::Unclosed),
            (br#"{"event_type":"A","b":1"#, NotJson::Unclosed),
            (b"{\"event_type\":\"\xff\",\"b\":[1", NotJson::Unclosed),
            (br#"{"event_type":"A"} {}"#, NotJson::Trailing(19)),
            (b"{\"event_type\":\"\xff\"}x", NotJson::Trailing(18)),
            (
                b"{\n\"event_type\":\"A\",}",
                NotJson::Malformed {
                    line: 2,
                    column: 18,
                },
            ),
            (br#"{"event_type":"A" "b":1}"#, NotJson::UnexpectedByte(18)),
            (b"{a:1}", NotJson::Malformed { line: 1, column: 2 }),
            (br#"{"a" 1}"#, NotJson::UnexpectedByte(5)),
            (br#"{a:1,"events":[]}"#, NotJson::UnexpectedByte(1)),
            (br#"{"a":1]"#, NotJson::UnexpectedByte(6)),
            (br#"{"a":"say "hi""}"#, NotJson::UnexpectedByte(11)),
            (br#"{"time":1,396,381,378,123}"#, NotJson::GroupedNumber),
            (
                br#"{"event_type":"A","time": -1,396}"#,
                NotJson::GroupedNumber,
            ),
        ] {
            check(body, &Err(problem));
        }
    }

    #[test]
    fn an_array_that_cannot_be_split_for_certain_is_refused_whole() {
        for (body, problem) in [
            (&b"["[..], NotJson::Unclosed),
            (b"[{}", NotJson::Unclosed),
            (b"[{},", NotJson::Unclosed),
            (b"[{]", NotJson::UnexpectedByte(2)),
            (b"[{}}", NotJson::UnexpectedByte(3)),
            (b"[{}]]", NotJson::Trailing(4)),
            (b"[{}] {}", NotJson::Trailing(5)),
            (b"[{}]\0", NotJson::Trailing(4)),
            (br#"[{"a":"b"c"},{"d":"e"}]"#, NotJson::UnexpectedByte(9)),
            (br#"[{"a":x"y","b":z"w"}]"#, NotJson::UnexpectedByte(7)),
            (br#"[{"a":"b]"#, NotJson::Unclosed),
            (br#"{"events":[{}]"#, NotJson::Unclosed),
            (br#"{"events":[{}]]"#, NotJson::UnexpectedByte(14)),
            (
                br#"{"events":[{}],"events":[{}]}"#,
                NotJson::UnexpectedByte(24),
            ),
            (br#"{"events":[{}]}x"#, NotJson::Trailing(15)),
            (br#"{"events":[{}],"n":1,234}"#, NotJson::GroupedNumber),
        ] {
            check(body, &Err(problem));
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "[\\PC\"\\\\,:\\[\\]{}]{0,12}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::vec(("[a-z\"\\\\]{0,6}", inner), 0..6)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(body in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(elements) = decode(&body, &Arena::default()) {
                prop_assert!(elements.count() <= body.len());
            }
        }

        #[test]
        fn any_structural_bytes_give_an_answer(body in "[\\[\\]{}\",:\\\\ 1a]{0,40}") {
            // Where a strict parser sees an array or object, so do we.
            let arena = Arena::default();
            let decoded = decode(body.as_bytes(), &arena);
            if let Ok(value) = serde_json::from_str::<&RawValue>(&body)
                && value.get().starts_with(['[', '{'])
            {
                prop_assert!(decoded.is_ok());
            }
        }

        #[test]
        fn valid_arrays_are_split_as_a_parser_splits_them(
            elements in prop::collection::vec(json(), 0..8),
            pretty: bool,
        ) {
            let body = if pretty {
                serde_json::to_string_pretty(&elements).unwrap()
            } else {
                serde_json::to_string(&elements).unwrap()
            };
            let expected: Vec<&RawValue> = serde_json::from_str(&body).unwrap();
            let expected: Vec<&str> = expected.into_iter().map(RawValue::get).collect();
            let arena = Arena::default();
            let found: Vec<&str> = decode(body.as_bytes(), &arena)
                .unwrap()
                .map(|element| std::str::from_utf8(element.raw).unwrap().trim_ascii())
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
