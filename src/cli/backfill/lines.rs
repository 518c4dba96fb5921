//! The elements of a text: lines, or the objects of an array or of indented JSON. Each is of bounded
//! length: one that is longer is passed over, not held.

use std::io::{self, BufRead};

use crate::cli::backfill::window::Input;

/// The longest element that is held. What is longer is no event that Meta would take.
const LONGEST: usize = 2 << 20;

pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How a text is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// An element a line, whatever is wrong within it.
    Lines,
    /// Objects, wherever they begin and end: in an array, or spread over lines.
    Objects,
}

impl Form {
    /// How a text is divided that begins so.
    pub(super) fn of(beginning: &[u8]) -> Self {
        let text = without_mark(beginning).trim_ascii_start();
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or(text);
        match line.trim_ascii() {
            [b'[', ..] | [b'{'] => Self::Objects,
            _ => Self::Lines,
        }
    }

    /// Reads the next element into `element`.
    pub(super) fn next(self, input: &mut Input<'_>, element: &mut Vec<u8>) -> io::Result<Element> {
        element.clear();
        if is_joined(input)? {
            return Ok(Element::Joined);
        }
        match self {
            Self::Lines => next_line(input, element),
            Self::Objects => next_object(input, element),
        }
    }
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// An element, without the end of its line.
    Whole,
    /// An element that was passed over.
    TooLong,
    /// Something packed begins here.
    Joined,
    /// Nothing more.
    End,
}

/// A text without the byte order mark before it.
pub(super) fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// Whether something packed begins here: files are joined by putting one behind the other.
fn is_joined(input: &mut Input<'_>) -> io::Result<bool> {
    Ok(matches!(input.fill_buf()?, [b'P' | 0x1f, ..])
        && matches!(input.peek(4)?, [0x1f, 0x8b, 8, ..] | b"PK\x03\x04"))
}

fn next_line(input: &mut Input<'_>, line: &mut Vec<u8>) -> io::Result<Element> {
    let mut read = false;
    let mut too_long = false;
    loop {
        let available = input.fill_buf()?;
        if available.is_empty() {
            break;
        }
        read = true;
        let end = memchr::memchr(b'\n', available);
        let piece = available.get(..end.unwrap_or(available.len()));
        let piece = piece.unwrap_or_default();
        too_long = too_long || line.len() + piece.len() > LONGEST;
        if !too_long {
            line.extend_from_slice(piece);
        }
        let used = piece.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            break;
        }
    }
    Ok(match (read, too_long) {
        (false, _) => Element::End,
        (true, true) => Element::TooLong,
        (true, false) => Element::Whole,
    })
}

/// Reads an object up to the bracket that closes it. A line that ends within a string is broken there, since
/// none may hold a line's end: so the next begins anew, and is not swallowed. So does one that holds what
/// stands between objects nowhere.
fn next_object(input: &mut Input<'_>, object: &mut Vec<u8>) -> io::Result<Element> {
    let mut place = Place::Between;
    let mut open = 0_u32;
    let mut too_long = false;
    loop {
        if place == Place::Between && is_joined(input)? {
            return Ok(Element::Joined);
        }
        let available = input.fill_buf()?;
        if available.is_empty() {
            return Ok(match (place, too_long) {
                (Place::Between, _) => Element::End,
                (_, true) => Element::TooLong,
                (_, false) => Element::Whole,
            });
        }
        let mut used = 0;
        let mut is_end = false;
        for byte in available {
            used += 1;
            place = match (place, byte) {
                (Place::Between, b'{') => {
                    open = 1;
                    Place::Object
                }
                (Place::Between, byte)
                    if b" \t\r\n,[]".contains(byte) || BYTE_ORDER_MARK.contains(byte) =>
                {
                    // What is packed may begin behind it.
                    if *byte == b'\n' {
                        break;
                    }
                    continue;
                }
                (Place::Between, _) => Place::Broken,
                (Place::Object, b'"') | (Place::Escape, _) => Place::Text,
                (Place::Object, b'{' | b'[') => {
                    open = open.saturating_add(1);
                    Place::Object
                }
                (Place::Object, b'}' | b']') => {
                    open -= 1;
                    is_end = open == 0;
                    Place::Object
                }
                (Place::Text, b'"') => Place::Object,
                (Place::Text, b'\\') => Place::Escape,
                (Place::Text | Place::Broken, b'\n') => {
                    is_end = true;
                    place
                }
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
                Element::TooLong
            } else {
                Element::Whole
            };
            return Ok(whole);
        }
    }
}

/// Where in a text of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Between,
    Object,
    Text,
    Escape,
    /// In a line that holds no object.
    Broken,
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;
    use crate::cli::backfill::window::Window;

    /// The elements of a text, whatever size its pieces have.
    #[track_caller]
    fn check(text: &[u8], expected: &[&str]) {
        for size in [1, 2, 3, 7, 1000] {
            let mut input = BufReader::with_capacity(size, text);
            let mut input: Input<'_> = Window::new(&mut input);
            let mut element = Vec::new();
            let mut found = Vec::new();
            let form = Form::of(text);
            loop {
                match form.next(&mut input, &mut element).unwrap() {
                    Element::End => break,
                    Element::Joined => {
                        found.push("joined".to_owned());
                        break;
                    }
                    Element::TooLong => found.push("too long".to_owned()),
                    Element::Whole => {
                        let text = without_mark(&element).trim_ascii();
                        found.push(String::from_utf8_lossy(text).into_owned());
                    }
                }
            }
            found.retain(|text| !text.is_empty());
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
        check(b"text\n[]", &["text", "[]"]);
        check(b"", &[]);
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
        check(b"[\n{\"a\":1},\n\x1f\x8b\x08", &["{\"a\":1}", "joined"]);
        // What is broken costs its own line.
        check(
            b"[\n{\"a\":\"x},\n{\"b\":1},\nnothing,\n{\"c\":1}\n]",
            &["{\"a\":\"x},", "{\"b\":1}", "nothing,", "{\"c\":1}"],
        );
        check(b"[{\"a\":1},{\"b\"", &["{\"a\":1}", "{\"b\""]);
    }
}
