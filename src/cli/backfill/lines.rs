//! The elements of a text: objects, each on a line of its own, several on one, or spread over lines, in an
//! array or not. Each is of bounded length: one that is longer is passed over, not held.

use std::io::{self, BufRead};

use crate::cli::backfill::rewind::RewindReader;

/// The longest element that is held. What is longer is no event that Meta would take.
const LONGEST: usize = 2 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What may stand between objects. Files that were put one behind the other may each begin with a mark, and
/// end with padding.
const BETWEEN: &[u8] = b" \t\r\n,[]\0\xef\xbb\xbf";

/// What begins a line in which an object of the line before goes on.
const GOES_ON: &[u8] = b" \t\"}]";

/// How objects and lines go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// An object ends with its line, closed or not, unless the next line can only be a part of it.
    Lines,
    /// Objects, wherever they begin and end: in an array, or spread over lines.
    Objects,
}

impl Form {
    /// The form of a text that begins so.
    pub(super) fn of(beginning: &[u8]) -> Self {
        let text = without_marks(beginning).trim_ascii_start();
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or(text);
        match line.trim_ascii() {
            [b'[', ..] | [b'{'] => Self::Objects,
            _ => Self::Lines,
        }
    }
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextElement {
    /// An element, without the end of its line.
    Whole,
    /// An element that was passed over.
    TooLong,
    /// Something packed begins here.
    Joined,
    /// Nothing more.
    End,
}

/// The elements of one text.
#[derive(Debug)]
pub(super) struct Elements {
    form: Form,
    /// Arrays that are open around the objects.
    arrays: u32,
    is_cut_off: bool,
}

impl Elements {
    /// Begins with a text of this form.
    pub(super) const fn new(form: Form) -> Self {
        Self {
            form,
            arrays: 0,
            is_cut_off: false,
        }
    }

    /// Whether the text ended within an object or an array.
    pub(super) const fn is_cut_off(&self) -> bool {
        self.is_cut_off
    }

    /// Reads the next element into `element`.
    pub(super) fn next(
        &mut self,
        input: &mut RewindReader<'_>,
        element: &mut Vec<u8>,
    ) -> io::Result<TextElement> {
        element.clear();
        if self.form == Form::Lines {
            let available = input.fill_buf()?;
            if let Some(end) = end_of_plain_line(available) {
                element.extend_from_slice(available.get(..end).unwrap_or_default());
                input.consume(end + 1);
                return Ok(TextElement::Whole);
            }
        }
        self.next_object(input, element)
    }

    /// Reads an object up to the bracket that closes it. A line that ends within a string is broken there,
    /// since none may hold a line's end: so the next begins anew, and is not swallowed. So does one that
    /// holds what stands between objects nowhere.
    fn next_object(
        &mut self,
        input: &mut RewindReader<'_>,
        object: &mut Vec<u8>,
    ) -> io::Result<TextElement> {
        let mut place = ObjectPosition::Between;
        let mut open = 0_u32;
        let mut too_long = false;
        loop {
            if place == ObjectPosition::Between && is_joined(input)? {
                self.is_cut_off = self.arrays > 0;
                return Ok(TextElement::Joined);
            }
            let available = input.fill_buf()?;
            if available.is_empty() {
                let is_within = matches!(
                    place,
                    ObjectPosition::Object | ObjectPosition::Text | ObjectPosition::Escape
                );
                self.is_cut_off |= self.arrays > 0 || is_within;
                return Ok(match (place, too_long) {
                    (ObjectPosition::Between, _) => TextElement::End,
                    (_, true) => TextElement::TooLong,
                    (_, false) => TextElement::Whole,
                });
            }
            let mut used = 0;
            let mut is_end = false;
            for byte in available {
                if place == ObjectPosition::LineEnd {
                    is_end = !GOES_ON.contains(byte);
                    if is_end {
                        break;
                    }
                    place = ObjectPosition::Object;
                }
                used += 1;
                place = match (place, byte) {
                    (ObjectPosition::Between, b'{') => {
                        open = 1;
                        ObjectPosition::Object
                    }
                    (ObjectPosition::Between, byte) if BETWEEN.contains(byte) => {
                        match byte {
                            b'[' => self.arrays = self.arrays.saturating_add(1),
                            b']' => self.arrays = self.arrays.saturating_sub(1),
                            // What is packed may begin behind it.
                            b'\n' => break,
                            _ => {}
                        }
                        continue;
                    }
                    (ObjectPosition::Between, _) => {
                        self.arrays = 0;
                        ObjectPosition::Broken
                    }
                    (
                        ObjectPosition::Text | ObjectPosition::Escape | ObjectPosition::Broken,
                        b'\n',
                    ) => {
                        is_end = true;
                        place
                    }
                    (ObjectPosition::Object, b'\n') if self.form == Form::Lines => {
                        ObjectPosition::LineEnd
                    }
                    (ObjectPosition::Object, b'"') | (ObjectPosition::Escape, _) => {
                        ObjectPosition::Text
                    }
                    (ObjectPosition::Object, b'{' | b'[') => {
                        open = open.saturating_add(1);
                        ObjectPosition::Object
                    }
                    (ObjectPosition::Object, b'}' | b']') => {
                        open -= 1;
                        is_end = open == 0;
                        ObjectPosition::Object
                    }
                    (ObjectPosition::Text, b'"') => ObjectPosition::Object,
                    (ObjectPosition::Text, b'\\') => ObjectPosition::Escape,
                    (place, _) => place,
                };
                too_long = too_long || object.len() == LONGEST;
                if !too_long {
                    object.push(*byte);
                }
                if is_end {
                    break;
                }
            }
            input.consume(used);
            if is_end {
                let whole = if too_long {
                    TextElement::TooLong
                } else {
                    TextElement::Whole
                };
                return Ok(whole);
            }
        }
    }
}

/// A text without the byte order marks before it: files that were put one behind the other may have several.
pub(super) fn without_marks(mut text: &[u8]) -> &[u8] {
    while let Some(rest) = text.strip_prefix(BYTE_ORDER_MARK) {
        text = rest;
    }
    text
}

/// Whether something packed begins here: files are joined by putting one behind the other.
fn is_joined(input: &mut RewindReader<'_>) -> io::Result<bool> {
    Ok(matches!(input.fill_buf()?, [b'P' | 0x1f, ..])
        && matches!(input.peek(4)?, [0x1f, 0x8b, 8, ..] | b"PK\x03\x04"))
}

/// Where the line ends that begins here, if it is surely one object. Nearly every line is, and is told without
/// a look at each of its bytes: no bracket within it is followed by what an object cannot hold there.
fn end_of_plain_line(available: &[u8]) -> Option<usize> {
    if available.first() != Some(&b'{') {
        return None;
    }
    let end = memchr::memchr(b'\n', available)?;
    let line = available.get(..end)?.trim_ascii_end();
    let within = line.strip_suffix(b"}")?;
    let goes_on = |place: usize| {
        let rest = within.get(place + 1..).unwrap_or_default();
        let next = rest.iter().find(|byte| !byte.is_ascii_whitespace());
        matches!(next, None | Some(b',' | b']' | b'}'))
    };
    let is_plain = line.len() <= LONGEST && memchr::memchr_iter(b'}', within).all(goes_on);
    is_plain.then_some(end)
}

/// Where in a text of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ObjectPosition {
    Between,
    Object,
    Text,
    Escape,
    /// Behind a line that ended within an object.
    LineEnd,
    /// In a line that holds no object.
    Broken,
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// The elements of a text, whatever size its pieces have.
    #[track_caller]
    fn check(text: &[u8], expected: &[&str]) {
        for size in [1, 2, 3, 7, 1000] {
            let mut input = BufReader::with_capacity(size, text);
            let mut input = RewindReader::new(&mut input);
            let mut element = Vec::new();
            let mut found = Vec::new();
            let mut elements = Elements::new(Form::of(text));
            loop {
                match elements.next(&mut input, &mut element).unwrap() {
                    TextElement::End => break,
                    TextElement::Joined => {
                        found.push("joined".to_owned());
                        break;
                    }
                    TextElement::TooLong => found.push("too long".to_owned()),
                    TextElement::Whole => {
                        let text = element.trim_ascii();
                        found.push(String::from_utf8_lossy(text).into_owned());
                    }
                }
            }
            if elements.is_cut_off() {
                found.push("cut off".to_owned());
            }
            assert_eq!(found, expected, "pieces of {size}");
            assert!(element.capacity() <= 2 * LONGEST);
        }
    }

    #[test]
    fn lines_are_told_apart_whatever_they_hold() {
        check(b"{}\n\n{\"a\r\n{\"b\":1}", &["{}", "{\"a", "{\"b\":1}"]);
        let marked = b"\xef\xbb\xbf{}\n\xef\xbb\xbf{\"a\":1}\n";
        check(marked, &["{}", "{\"a\":1}"]);
        check(b"{}\n\x1f\x8b\x08rest", &["{}", "joined"]);
        check(b"text\n[]", &["text"]);
        check(b"", &[]);
        // What is broken costs its own line.
        check(
            b"{\"a\":{\n{\"b\":\"x\\\n{\"c\":1}\n{\"d\":1}\n",
            &["{\"a\":{", "{\"b\":\"x\\", "{\"c\":1}", "{\"d\":1}"],
        );
    }

    #[test]
    fn objects_that_share_a_line_are_told_apart() {
        let two = &["{\"a\":{\"b\":\"}{\"}}", "{\"c\":1}"];
        let [one, other] = two.map(str::as_bytes);
        for seam in [
            "",
            " ",
            "\t",
            "\r",
            "\r\n",
            ", ",
            "\0\0",
            "\u{feff}",
            "\n\u{feff}\u{feff}",
        ] {
            for end in ["", "\n", "\0\0\0"] {
                let text = [one, seam.as_bytes(), other, end.as_bytes()].concat();
                check(&text, two);
            }
        }
        check(b"[{}][{}]", &["{}", "{}"]);
        check(b"{} {} {}{}\n{}{}\n", &["{}"; 6]);
        check(b"{}\x1f\x8b\x08rest\n", &["{}", "joined"]);
        check(b"{}PK\x03\x04rest}\n", &["{}", "joined"]);
        let long = "{\"a\":1}".repeat(LONGEST / 4);
        let mut input = long.as_bytes();
        let mut input = RewindReader::new(&mut input);
        let mut elements = Elements::new(Form::of(long.as_bytes()));
        let mut count = 0;
        while elements.next(&mut input, &mut Vec::new()).unwrap() == TextElement::Whole {
            count += 1;
        }
        assert_eq!(count, LONGEST / 4);
    }

    #[test]
    fn what_ends_within_an_object_or_array_is_cut_off() {
        check(b"{}\n{\"a\":1,\"b", &["{}", "{\"a\":1,\"b", "cut off"]);
        check(b"{}\n{\"a\":1", &["{}", "{\"a\":1", "cut off"]);
        check(b"[{},{}", &["{}", "{}", "cut off"]);
        check(b"[{},{},\n", &["{}", "{}", "cut off"]);
        check(b"[\n{\"a\":\n", &["{\"a\":", "cut off"]);
        check(b"[{}][", &["{}", "cut off"]);
        // A line that is broken, or holds no object, is whole.
        check(b"{}\n{\"a\n", &["{}", "{\"a"]);
        check(b"{}\n{\"a\":1\n", &["{}", "{\"a\":1"]);
        check(b"[\"error\"]", &["\"error\"]"]);
        check(b"busy", &["busy"]);
    }

    #[test]
    fn what_is_too_long_is_passed_over() {
        let long = "x".repeat(LONGEST + 1);
        check(
            ["{}", &long, "last"].join("\n").as_bytes(),
            &["{}", "too long", "last"],
        );
        let array = format!("[{{\"a\":\"{long}\"}},{{\"b\":1}}]");
        check(array.as_bytes(), &["too long", "{\"b\":1}"]);
    }

    #[test]
    fn objects_are_told_apart_in_arrays_and_over_lines() {
        check(b"[]", &[]);
        check(
            br#"[{"a":1},{"b":{"c":[1,{}]}}] {"d":"}\"{"}"#,
            &[r#"{"a":1}"#, r#"{"b":{"c":[1,{}]}}"#, r#"{"d":"}\"{"}"#],
        );
        check(
            b"\xef\xbb\xbf{\r\n \"a\": 1\r\n}\n{\n}\n",
            &["{\r\n \"a\": 1\r\n}", "{\n}"],
        );
        // Behind lines too.
        check(
            b"{\"a\":1}\n{\n  \"b\": [\n    1\n  ]\n}\n{\"c\":1}\n[\n  {\n    \"d\": 1\n  }\n]\n",
            &[
                "{\"a\":1}",
                "{\n  \"b\": [\n    1\n  ]\n}",
                "{\"c\":1}",
                "{\n    \"d\": 1\n  }",
            ],
        );
        check(
            b"[\n{\"a\":1},\n\x1f\x8b\x08",
            &["{\"a\":1}", "joined", "cut off"],
        );
        // What is broken costs its own line.
        check(
            b"[\n{\"a\":\"x},\n{\"b\":1},\nnothing,\n{\"c\":1}\n]",
            &["{\"a\":\"x},", "{\"b\":1}", "nothing,", "{\"c\":1}"],
        );
    }
}
