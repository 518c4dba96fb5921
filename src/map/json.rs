//! Writes JSON on one line, straight into the bytes that will travel.
//!
//! Values that nobody asked to change are copied from the event's own text, so a number keeps its
//! digits; white space and what stands for nothing (null, blank, `EMPTY`) is left behind on the way.

use std::borrow::Cow;

use crate::event::any_byte::any_byte;
use crate::event::scan::string_end;
use crate::event::{Json, is_absent_text};

/// Encodes a member's name once, to be written many times.
pub(super) fn encoded_key(name: &str) -> Box<str> {
    let mut key = serde_json::Value::from(name).to_string();
    key.push(':');
    key.into()
}

/// Begins a member: a comma where one is due, and the name in its encoded form. Gives the place of its
/// value.
pub(super) fn key(out: &mut Vec<u8>, encoded: &str) -> usize {
    separate(out);
    out.extend_from_slice(encoded.as_bytes());
    out.len()
}

/// Begins a member whose name may need escapes.
pub(super) fn member(out: &mut Vec<u8>, name: &str) {
    separate(out);
    text(out, name);
    out.push(b':');
}

/// Begins a member whose name needs no escape.
pub(super) fn plain_key(out: &mut Vec<u8>, name: &str) {
    separate(out);
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Writes the comma before an element or a member, unless it is the first.
pub(super) fn separate(out: &mut Vec<u8>) {
    // A string ends with a quote, so these two bytes can only have opened a list or an object.
    if !matches!(out.last(), Some(b'{' | b'[') | None) {
        out.push(b',');
    }
}

/// Writes a string.
pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    // This moves the quote beside the control characters: of two comparisons, many are done at once.
    let needs_escape = |byte: u8| byte ^ 0x02 <= 0x20 || byte == b'\\';
    if !any_byte(text, needs_escape) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    serde_json::to_writer(&mut *out, text).expect("writing to memory does not fail");
}

/// Writes a whole number.
pub(super) fn integer(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// What became of a value that was to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copied {
    /// It was written.
    Written,
    /// Nothing was in it, and nothing was written.
    Nothing,
    /// The guard objected, and nothing was written.
    Withheld,
}

/// Copies a value, one pass, without what stands for nothing. The guard is shown each name, and each scalar with the
/// name of the member that holds it; where it says true, nothing of the value is copied.
pub(super) fn copy(
    out: &mut Vec<u8>,
    name: &str,
    value: Json<'_>,
    guard: &dyn Fn(&str, &str) -> bool,
) -> Copied {
    let start = out.len();
    let mut copier = Copier {
        rest: value.raw(),
        out,
        guard,
    };
    let copied = copier.value(name);
    if copied != Copied::Written {
        out.truncate(start);
    }
    copied
}

/// A walk over a text that is known to be one JSON value.
struct Copier<'c, 'e> {
    rest: &'e str,
    out: &'c mut Vec<u8>,
    guard: &'c dyn Fn(&str, &str) -> bool,
}

impl<'e> Copier<'_, 'e> {
    fn value(&mut self, name: &str) -> Copied {
        self.skip_space();
        match self.rest.as_bytes().first() {
            Some(b'{') => self.container(name, b'}'),
            Some(b'[') => self.container(name, b']'),
            Some(b'"') => {
                let raw = self.take(string_end(self.rest.as_bytes(), 0).0);
                let content = Json::of_valid_text(raw).as_str().unwrap_or_default();
                if is_absent_text(&content) {
                    return Copied::Nothing;
                }
                self.scalar(name, raw, &content)
            }
            _ => {
                let is_end =
                    |byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
                let end = self.rest.bytes().position(is_end);
                let raw = self.take(end.unwrap_or(self.rest.len()));
                if raw == "null" || raw.is_empty() {
                    return Copied::Nothing;
                }
                self.scalar(name, raw, raw)
            }
        }
    }

    fn scalar(&mut self, name: &str, raw: &str, content: &str) -> Copied {
        if (self.guard)(name, content) {
            return Copied::Withheld;
        }
        self.out.extend_from_slice(raw.as_bytes());
        Copied::Written
    }

    fn container(&mut self, name: &str, close: u8) -> Copied {
        let opening = self.take(1);
        self.out.extend_from_slice(opening.as_bytes());
        let mut written = false;
        loop {
            self.skip_space();
            match self.rest.as_bytes().first() {
                Some(b',') => {
                    self.take(1);
                    continue;
                }
                Some(byte) if *byte != close => {}
                _ => break,
            }
            let mark = self.out.len();
            separate(self.out);
            let copied = if close == b'}' {
                self.member()
            } else {
                self.value(name)
            };
            match copied {
                Copied::Written => written = true,
                Copied::Nothing => self.out.truncate(mark),
                Copied::Withheld => return Copied::Withheld,
            }
        }
        self.take(1);
        self.out.push(close);
        if written {
            Copied::Written
        } else {
            Copied::Nothing
        }
    }

    fn member(&mut self) -> Copied {
        let raw = self.take(string_end(self.rest.as_bytes(), 0).0);
        let name: Cow<'e, str> = Json::of_valid_text(raw).as_str().unwrap_or_default();
        if (self.guard)("", &name) {
            return Copied::Withheld;
        }
        self.skip_space();
        self.take(1);
        self.out.extend_from_slice(raw.as_bytes());
        self.out.push(b':');
        self.value(&name)
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn take(&mut self, bytes: usize) -> &'e str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expected: Option<&str>) {
        let mut out = b"x".to_vec();
        let copied = copy(&mut out, "name", Json::of_valid_text(input), &|_, text| {
            text == "secret"
        });
        let text = std::str::from_utf8(&out[1..]).unwrap();
        match expected {
            Some(expected) => assert_eq!((copied, text), (Copied::Written, expected)),
            None => assert_eq!((copied, text), (Copied::Nothing, "")),
        }
    }

    #[test]
    fn texts_are_escaped_where_they_must_be() {
        let alone = (0..=127_u8).map(|byte| char::from(byte).to_string());
        let together = ["", "a/b é \u{7f}", "a\"b", "a\\b", "a\nb\u{1f}"].map(str::to_owned);
        for plain in alone.chain(together) {
            let mut out = Vec::new();
            text(&mut out, &plain);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), plain);
            assert!(!out.contains(&b'\n'));
        }
    }

    #[test]
    fn copies_values_as_they_are_on_one_line() {
        check("59.90", Some("59.90"));
        check("1e2", Some("1e2"));
        check("\"a\\\"b\\\\\"", Some("\"a\\\"b\\\\\""));
        check(
            "{ \"a\" :\n[1 ,\t\"x\"],\r\n\"b\": {\"c\":false} }",
            Some("{\"a\":[1,\"x\"],\"b\":{\"c\":false}}"),
        );
    }

    #[test]
    fn leaves_out_what_stands_for_nothing() {
        check("null", None);
        check("\" \"", None);
        check("[]", None);
        check("{\"a\":[null,{\"b\":\"\"}]}", None);
        check(
            "{\"a\":null,\"b\":[\"\",1,null],\"c\":\"EMPTY\",\"d\":0}",
            Some("{\"b\":[1],\"d\":0}"),
        );
    }

    #[test]
    fn copies_nothing_of_what_the_guard_objects_to() {
        let mut out = Vec::new();
        let value = Json::of_valid_text("{\"a\":1,\"b\":[\"\\u0073ecret\"]}");
        let copied = copy(&mut out, "name", value, &|name, text| {
            name == "b" && text == "secret"
        });
        assert_eq!((copied, out), (Copied::Withheld, Vec::new()));
        let mut out = Vec::new();
        let value = Json::of_valid_text("{\"secret\":1}");
        let copied = copy(&mut out, "name", value, &|_, text| text == "secret");
        assert_eq!((copied, out), (Copied::Withheld, Vec::new()));
    }
}
