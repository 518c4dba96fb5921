//! Finds the parts of a text that a parser has found to be one JSON value.
//!
//! Nothing is checked a second time: the first byte of a part tells its kind, and only its end is looked
//! for. A text that is not JSON after all yields some parts or none; no text makes it panic or go on for
//! ever.

use std::borrow::Cow;
use std::iter;

use super::Json;
use super::keys::Member;
use super::text::unescaped;

/// A place in a text.
#[derive(Clone)]
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Begins at the first byte.
    pub const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Begins at the first member or element.
    pub const fn behind_bracket(text: &'a str) -> Self {
        Self { text, at: 1 }
    }

    /// The members from here on, read on demand.
    pub fn members(mut self) -> impl Iterator<Item = Member<'a>> {
        iter::from_fn(move || self.member())
    }

    /// The elements from here on, read on demand.
    pub fn elements(mut self) -> impl Iterator<Item = Json<'a>> {
        iter::from_fn(move || {
            self.begin_next();
            self.value()
        })
    }

    /// Reads a member; `None` at the end of the object.
    pub fn member(&mut self) -> Option<Member<'a>> {
        let key = self.key()?;
        Some((key, self.value()?))
    }

    /// Reads a member, and gives all of it as it is spelt, and its value.
    pub(crate) fn spelt_member(&mut self) -> Option<(&'a str, Json<'a>)> {
        self.begin_next();
        let begin = self.at;
        self.key()?;
        let value = self.value()?;
        Some((self.text.get(begin..self.at)?, value))
    }

    /// Reads a key up to its value; `None` at the end of the object.
    pub fn key(&mut self) -> Option<Cow<'a, str>> {
        self.begin_next();
        let bytes = self.text.as_bytes();
        if bytes.get(self.at) != Some(&b'"') {
            return None;
        }
        let (end, escaped) = string_end(bytes, self.at);
        let inner = self.text.get(self.at + 1..end - 1)?;
        let key = if escaped {
            Cow::Owned(unescaped(inner))
        } else {
            Cow::Borrowed(inner)
        };
        self.at = end;
        self.skip_past(b':');
        Some(key)
    }

    /// Reads the value that begins here, if any.
    pub fn value(&mut self) -> Option<Json<'a>> {
        let bytes = self.text.as_bytes();
        let end = match bytes.get(self.at)? {
            b'"' => string_end(bytes, self.at).0,
            b'{' | b'[' => container_end(bytes, self.at),
            _ => scalar_end(bytes, self.at),
        };
        let value = self.text.get(self.at..end);
        let Some(value) = value.filter(|text| !text.is_empty()) else {
            // Not JSON after all: nothing is found in the rest.
            self.at = self.text.len();
            return None;
        };
        self.at = end;
        Some(Json(value))
    }

    /// Reads the object that begins here, if any, and calls `each` with its members.
    pub fn object(&mut self, mut each: impl FnMut(Member<'a>)) -> Option<Json<'a>> {
        let begin = self.at;
        if self.text.as_bytes().get(begin) != Some(&b'{') {
            return None;
        }
        self.at += 1;
        while let Some(member) = self.member() {
            each(member);
        }
        self.at += 1;
        self.text.get(begin..self.at).map(Json)
    }

    /// The byte that comes next.
    pub fn next_byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Goes behind a bracket.
    pub fn pass_bracket(&mut self) {
        self.at += 1;
    }

    /// Goes to the next element of an array, if there is one.
    pub fn has_element(&mut self) -> bool {
        self.begin_next();
        self.next_byte().is_some_and(|byte| byte != b']')
    }

    /// Goes to the next element or key, or to the closing bracket.
    fn begin_next(&mut self) {
        self.skip_past(b',');
    }

    /// Goes behind white space, and behind a byte that comes next with the white space that follows it.
    fn skip_past(&mut self, byte: u8) {
        let bytes = self.text.as_bytes();
        // Most JSON has no white space here.
        if let Some([next, behind, ..]) = bytes.get(self.at..)
            && *next == byte
            && *behind > b' '
        {
            self.at += 1;
            return;
        }
        self.at += skipped_space(bytes, self.at);
        if bytes.get(self.at) == Some(&byte) {
            self.at += 1;
            self.at += skipped_space(bytes, self.at);
        }
    }
}

/// How many bytes of white space there are from a place on.
pub fn skipped_space(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    rest.iter().take_while(|byte| is_space(**byte)).count()
}

/// Whether a byte is white space between tokens.
pub const fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | b'\r' | b' ')
}

impl std::fmt::Debug for Scanner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The text may be personal data.
        write!(f, "Scanner({})", self.at)
    }
}

/// Where the string that begins at a place ends, and whether it holds an escape; the end of the text if
/// nothing closes it.
pub fn string_end(bytes: &[u8], opening: usize) -> (usize, bool) {
    closed_string_end(bytes, opening).unwrap_or((bytes.len(), true))
}

/// The same; `None` if nothing closes it.
pub fn closed_string_end(bytes: &[u8], opening: usize) -> Option<(usize, bool)> {
    let mut at = opening + 1;
    let mut escaped = false;
    loop {
        at += bytes.get(at..).and_then(first_special)?;
        if bytes.get(at) == Some(&b'"') {
            return Some((at + 1, escaped));
        }
        // Behind a backslash, whatever it escapes.
        at += 2;
        escaped = true;
    }
}

/// The place of the first quote or backslash.
fn first_special(text: &[u8]) -> Option<usize> {
    // Goes eight bytes at a time, since few bytes are special. A processor predicts the branch, so that it
    // need not finish eight bytes before it looks at the next.
    let (eights, rest) = text.as_chunks();
    let mut at = 0;
    for eight in eights {
        if let Some(place) = special_of_eight(u64::from_le_bytes(*eight)) {
            return Some(at + place);
        }
        at += 8;
    }
    let place = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    Some(at + place)
}

/// The place of the first quote or backslash among eight bytes.
const fn special_of_eight(chunk: u64) -> Option<usize> {
    // Sets the high bit of the lowest byte that is zero, and of none below it.
    const fn zeros(bytes: u64) -> u64 {
        bytes.wrapping_sub(ONES) & !bytes & (ONES << 7)
    }
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let quotes = zeros(chunk ^ (ONES * b'"' as u64));
    let backslashes = zeros(chunk ^ (ONES * b'\\' as u64));
    match quotes | backslashes {
        0 => None,
        found => Some(found.trailing_zeros() as usize / 8),
    }
}

/// Where the object or array that begins at a place ends.
pub fn container_end(bytes: &[u8], opening: usize) -> usize {
    let mut at = opening;
    let mut open = 0_usize;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(bytes, at).0;
                continue;
            }
            b'{' | b'[' => open += 1,
            b'}' | b']' => {
                open -= 1;
                if open == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// Where the number or word that begins at a place ends.
fn scalar_end(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let length = match rest.first() {
        Some(b'n' | b't') => 4,
        Some(b'f') => 5,
        _ => {
            let is_part =
                |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E');
            let end = rest.iter().position(|byte| !is_part(byte));
            end.unwrap_or(rest.len())
        }
    };
    from + length.min(rest.len())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// A value made of the parts that the scanner finds.
    fn rebuilt(value: Json<'_>) -> Value {
        if value.is_object() {
            return Scanner::behind_bracket(value.raw())
                .members()
                .map(|(key, value)| (key.into_owned(), rebuilt(value)))
                .collect::<serde_json::Map<_, _>>()
                .into();
        }
        if value.is_array() {
            let scanner = Scanner::behind_bracket(value.raw());
            return scanner.elements().map(rebuilt).collect();
        }
        serde_json::from_str(value.raw()).unwrap()
    }

    #[test]
    fn finds_members_and_elements() {
        for text in [
            "{}",
            "[ ]",
            "[1,-2.5e3,true,null,\"\"]",
            "{ \"a\" : 1 , \"b,}\\\"\" :\n[ ] ,\"\\u0063\":{\"d\":[[{}],\"]\"]} }",
            "[\"123456\\\"\",\"1234567\\\\\",\"12345678\",\"é\\\\\\\"\"]",
        ] {
            let expected: Value = serde_json::from_str(text).unwrap();
            assert_eq!(rebuilt(Json(text)), expected, "{text}");
        }
    }

    fn values() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::prelude::*;
        let leaf = prop_oneof![
            any::<Option<bool>>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -~é]{0,20}|[\"\\\\]{0,9}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec(("[a-c\"\\\\]{0,12}", inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest::proptest! {
        #[test]
        fn finds_what_a_parser_finds(value in values(), pretty: bool) {
            let text = if pretty {
                serde_json::to_string_pretty(&value).unwrap()
            } else {
                value.to_string()
            };
            proptest::prop_assert_eq!(rebuilt(Json(&text)), value);
        }

        #[test]
        fn comes_to_an_end_in_any_text(text in "[\\[\\]{}\",:\\\\ a1é]{0,40}") {
            let bound = text.len() + 1;
            let scanner = Scanner::behind_bracket(&text);
            proptest::prop_assert!(scanner.clone().members().take(bound).count() < bound);
            proptest::prop_assert!(scanner.elements().take(bound).count() < bound);
        }
    }
}
