//! The elements of a text: objects, one per line, several on a line, or spread over lines, in an array or
//! not. An element beyond the length limit is skipped, not held in memory.

use std::io::{self, BufRead};

use crate::cli::backfill::rewind::RewindReader;

/// The longest element that is held. Meta would not take a longer event.
const LONGEST: usize = 2 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What may stand between objects. Concatenated files may each begin with a byte order mark and end with
/// padding.
const BETWEEN: &[u8] = b" \t\r\n,[]\0\xef\xbb\xbf";

/// What begins a line that continues an object of the line before.
const GOES_ON: &[u8] = b" \t\"}]";

/// How objects relate to lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// An object ends with its line, closed or not, unless the next line can only continue it.
    Lines,
    /// Objects, wherever they begin and end: in an array, or spread over lines.
    Objects,
}

impl Form {
    /// The form of a text, by its beginning.
    pub(super) fn of(beginning: &[u8]) -> Self {
        let text = without_marks(beginning).trim_ascii_start();
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or(text);
        match line.trim_ascii() {
            [b'[', ..] | [b'{'] => Self::Objects,
            _ => Self::Lines,
        }
    }
}

/// What the next element of a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextElement {
    /// An element, without the end of its line.
    Whole,
    /// An element that was skipped.
    TooLong,
    /// An archive or a gzip file begins here.
    Joined,
    /// The end of the text.
    End,
}

impl TextElement {
    const fn read(too_long: bool) -> Self {
        if too_long { Self::TooLong } else { Self::Whole }
    }
}

/// The elements of one text.
#[derive(Debug)]
pub(super) struct Elements {
    form: Form,
    /// How many arrays are open around the objects.
    arrays: u32,
    /// Whether the text ended within an object or an array.
    pub(super) is_cut_off: bool,
}

impl Elements {
    pub(super) const fn new(form: Form) -> Self {
        Self {
            form,
            arrays: 0,
            is_cut_off: false,
        }
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

    /// Reads an object up to the bracket that closes it. No string may hold a line's end, so a line that
    /// ends within a string is broken, and the next line begins a new element. The same holds for a line
    /// with anything else between objects.
    fn next_object(
        &mut self,
        input: &mut RewindReader<'_>,
        object: &mut Vec<u8>,
    ) -> io::Result<TextElement> {
        use ObjectPosition::{Between, Broken, Escape, LineEnd, Object, Text};

        let mut place = Between;
        let mut open = 0_u32;
        let mut too_long = false;
        loop {
            if place == Between && is_joined(input)? {
                self.is_cut_off = self.arrays > 0;
                return Ok(TextElement::Joined);
            }
            let available = input.fill_buf()?;
            if available.is_empty() {
                let is_within = matches!(place, Object | Text | Escape);
                self.is_cut_off |= self.arrays > 0 || is_within;
                return Ok(match place {
                    Between => TextElement::End,
                    _ => TextElement::read(too_long),
                });
            }
            let mut used = 0;
            let mut is_end = false;
            for byte in available {
                if place == LineEnd {
                    is_end = !GOES_ON.contains(byte);
                    if is_end {
                        break;
                    }
                    place = Object;
                }
                used += 1;
                place = match (place, byte) {
                    (Between, b'{') => {
                        open = 1;
                        Object
                    }
                    (Between, byte) if BETWEEN.contains(byte) => {
                        match byte {
                            b'[' => self.arrays = self.arrays.saturating_add(1),
                            b']' => self.arrays = self.arrays.saturating_sub(1),
                            // An archive or a gzip file may begin behind it.
                            b'\n' => break,
                            _ => {}
                        }
                        continue;
                    }
                    (Between, _) => {
                        self.arrays = 0;
                        Broken
                    }
                    (Text | Escape | Broken, b'\n') => {
                        is_end = true;
                        place
                    }
                    (Object, b'\n') if self.form == Form::Lines => LineEnd,
                    (Object, b'"') | (Escape, _) => Text,
                    (Object, b'{' | b'[') => {
                        open = open.saturating_add(1);
                        Object
                    }
                    (Object, b'}' | b']') => {
                        open -= 1;
                        is_end = open == 0;
                        Object
                    }
                    (Text, b'"') => Object,
                    (Text, b'\\') => Escape,
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
                return Ok(TextElement::read(too_long));
            }
        }
    }
}

/// A text without the byte order marks before it; concatenated files may have several.
pub(super) fn without_marks(mut text: &[u8]) -> &[u8] {
    while let Some(rest) = text.strip_prefix(BYTE_ORDER_MARK) {
        text = rest;
    }
    text
}

/// Whether an archive or a gzip file begins here.
fn is_joined(input: &mut RewindReader<'_>) -> io::Result<bool> {
    Ok(matches!(input.fill_buf()?, [b'P' | 0x1f, ..])
        && matches!(input.peek(4)?, [0x1f, 0x8b, 8, ..] | b"PK\x03\x04"))
}

/// The end of the line that begins here, if the line is certainly one object. Nearly every line is, and this
/// finds it without a look at each byte: behind no bracket within the line stands anything that could begin
/// another object.
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

/// A position in a text of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ObjectPosition {
    Between,
    Object,
    Text,
    Escape,
    /// Behind the end of a line within an object.
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
            if elements.is_cut_off {
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
