//! Makes JSON of a text in which only values are broken.
//!
//! Brackets, commas and the strings of keys have to be in order: they tell which value belongs to which
//! key. A value may be anything without these. A broken string keeps its characters; a word that JSON does
//! not know (`NaN`, `1.`, `None`) becomes a text, and a missing value null. There is no recursion.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::any_byte::any_byte;
use super::scan::string_end;
use super::text::unescaped;
use super::write;

/// The same text with repaired values; `None` if more than values is broken.
pub(crate) fn repaired(text: &str) -> Option<String> {
    Some(Repair::of(text)?.into_text())
}

/// The JSON that a text inside an event holds, with repaired values; `None` if no value is whole, as in a
/// word in brackets, which is not JSON.
pub(crate) fn in_text(text: &str) -> Option<Cow<'_, str>> {
    if is_json(text) {
        return Some(Cow::Borrowed(text));
    }
    let repair = Repair::of(text)?;
    repair.has_whole.then(|| Cow::Owned(repair.into_text()))
}

struct Repair<'t> {
    rest: &'t str,
    out: Vec<u8>,
    /// The closing brackets that have to follow.
    open: Vec<char>,
    /// Whether there is a whole string, number or word of JSON.
    has_whole: bool,
}

impl<'t> Repair<'t> {
    fn of(text: &'t str) -> Option<Self> {
        let mut repair = Self {
            rest: text,
            out: Vec::with_capacity(text.len() + 16),
            open: Vec::new(),
            has_whole: false,
        };
        repair.run()?;
        Some(repair)
    }

    fn into_text(self) -> String {
        // Only characters were written.
        String::from_utf8(self.out).unwrap_or_default()
    }

    fn run(&mut self) -> Option<()> {
        loop {
            self.value()?;
            while !self.is_value_due()? {
                if self.open.is_empty() {
                    return self.rest.is_empty().then_some(());
                }
            }
        }
    }

    /// Reads a value; of lists and objects, only up to the first value in them that is neither.
    fn value(&mut self) -> Option<()> {
        while let Some(bracket @ ('{' | '[')) = self.next() {
            self.take(bracket);
            let due = if bracket == '{' { '}' } else { ']' };
            self.open.push(due);
            if self.next() == Some(due) {
                return Some(());
            }
            if bracket == '{' {
                self.key()?;
            }
        }
        if self.next() == Some('"') {
            return self.string();
        }
        self.word();
        Some(())
    }

    /// Reads what follows a value, and says whether another one has to follow.
    fn is_value_due(&mut self) -> Option<bool> {
        let (next, due) = (self.next(), self.open.last().copied());
        match (next, due) {
            (None, None) => Some(false),
            (Some(','), Some(bracket)) => {
                self.take(',');
                if bracket == '}' {
                    self.key()?;
                }
                Some(true)
            }
            (Some(next), Some(bracket)) if next == bracket => {
                self.take(next);
                self.open.pop();
                Some(false)
            }
            _ => None,
        }
    }

    fn key(&mut self) -> Option<()> {
        self.next().filter(|next| *next == '"')?;
        self.string()?;
        self.next().filter(|next| *next == ':')?;
        self.take(':');
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        let (end, _) = string_end(self.rest.as_bytes(), 0);
        let (string, rest) = self.rest.split_at_checked(end)?;
        let inner = string.strip_prefix('"')?.strip_suffix('"')?;
        self.rest = rest;
        self.has_whole = true;
        // Most strings need no second look.
        let is_special = |byte: u8| byte < b' ' || byte == b'\\';
        if !any_byte(inner, is_special) || is_json(string) {
            self.out.extend_from_slice(string.as_bytes());
        } else {
            write::text(&mut self.out, &unescaped(inner));
        }
        Some(())
    }

    fn word(&mut self) {
        let is_mark = |byte: &u8| matches!(byte, b'"' | b'[' | b']' | b'{' | b'}' | b',');
        let end = self.rest.bytes().position(|byte| is_mark(&byte));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        match word.trim() {
            "" => self.out.extend_from_slice(b"null"),
            word if is_word(word) => {
                self.has_whole = true;
                self.out.extend_from_slice(word.as_bytes());
            }
            word => write::text(&mut self.out, word),
        }
    }

    /// The next character that is not white space.
    fn next(&mut self) -> Option<char> {
        self.rest = self.rest.trim_ascii_start();
        self.rest.chars().next()
    }

    /// Copies a character.
    fn take(&mut self, character: char) {
        self.out
            .extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.rest = self.rest.get(character.len_utf8()..).unwrap_or_default();
    }
}

/// Whether a text is a number or a word of JSON. A parser would make an error of each that is not.
fn is_word(text: &str) -> bool {
    let may_be = match text.as_bytes().first() {
        Some(b't' | b'f' | b'n') => matches!(text, "true" | "false" | "null"),
        Some(b'-' | b'0'..=b'9') => {
            let is_last = |byte: &u8| byte.is_ascii_digit();
            let is_part = |byte: u8| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E');
            text.as_bytes().last().is_some_and(is_last) && text.bytes().all(is_part)
        }
        _ => false,
    };
    may_be && is_json(text)
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_value_becomes_a_text_or_nothing() {
        for (text, expected) in [
            ("{\"a\":\"x\ny\"}", r#"{"a":"x\ny"}"#),
            ("{\"a\":\"\0\", \"b\":[]}", r#"{"a":"\u0000","b":[]}"#),
            (
                r#"{"a\q":"\ud83d","b":"\x41"}"#,
                "{\"a\u{fffd}\":\"\\ud83d\",\"b\":\"\u{fffd}41\"}",
            ),
            (r#"{"a":"\u12"}"#, "{\"a\":\"\u{fffd}\"}"),
            (
                r#"{"a":NaN,"b":-Infinity}"#,
                r#"{"a":"NaN","b":"-Infinity"}"#,
            ),
            (r#"{"a": ,"b":[1,,]}"#, r#"{"a":null,"b":[1,null,null]}"#),
            (
                r#"{"a":1.,"b":01,"c":5 9,"d":12:30}"#,
                r#"{"a":"1.","b":"01","c":"5 9","d":"12:30"}"#,
            ),
            (r#"{"a":{"b":tru}}"#, r#"{"a":{"b":"tru"}}"#),
            (r#"{ "a" : [ [ ] , { } ] }"#, r#"{"a":[[],{}]}"#),
            (r#"{"a":1e400,"b":true}"#, r#"{"a":1e400,"b":true}"#),
        ] {
            assert_eq!(repaired(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn more_than_a_value_is_not_repaired() {
        for text in [
            r#"{"a":1,,}"#,
            r#"{"a":1,}"#,
            "{'a':'b'}",
            "{a:1}",
            r#"{"a" 1}"#,
            r#"{"a":${x}}"#,
            r#"{"a":1,396,381}"#,
            r#"{"a":"say "hi""}"#,
            r#"{"a":"x"y}"#,
            r#"{"a":[1}"#,
            r#"{"a":1}}"#,
            r#"{"a":1"#,
            r#"{"a":"x\"}"#,
            "{",
            "[",
        ] {
            assert_eq!(repaired(text), None, "{text}");
        }
        assert_eq!(repaired(&"[".repeat(1_000_000)), None);
    }

    proptest::proptest! {
        #[test]
        fn what_is_repaired_is_json(text in "[\\[\\]{}\",:\\\\ \n\u{0}1aeu.é]{0,30}") {
            if let Some(repaired) = repaired(&text) {
                proptest::prop_assert!(is_json(&repaired), "{}", repaired);
            }
        }

        #[test]
        fn json_stays_what_it_is(text in "\\{(\"[a-c]\":(1|-2\\.5e3|\"x\"|\\[null,\\{\\}\\]),){0,4}\"z\":true\\}") {
            proptest::prop_assert_eq!(repaired(&text), Some(text));
        }
    }
}
