//! Copies a value of the event into the server event.

use std::borrow::Cow;
use std::ops::Range;

use crate::dropped::DropReason;
use crate::event::decimal::is_in_range;
use crate::json::Json;
use crate::json::scan::Scanner;
use crate::json::text::is_absent_text;
use crate::json::write::{separate, text};
use crate::map::personal::Name;

/// Most levels of what is sent. Amplitude takes 40, and readers of JSON give up at 128 or later.
const MOST_LEVELS: usize = 100;

/// What became of a value that was to be copied. Unless it was written, nothing of it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copied {
    Written,
    /// Nothing was in it.
    Nothing,
    /// It cannot be sent.
    Refused(DropReason),
}

/// Copies a value in one pass, without the parts that stand for nothing; of equal keys, the last counts. The
/// guard sees each name, and each scalar with its name and those of the objects around it. If it returns true,
/// nothing of the value is copied. A value with more levels than readers follow is not copied either. A number
/// that readers take for infinite is left out. Returns whether that happened, unless nothing is left.
pub(super) fn copy_value(
    out: &mut Vec<u8>,
    name: &str,
    value: Json<'_>,
    guard: &dyn Fn(&Name<'_>, &str) -> bool,
) -> Result<bool, DropReason> {
    let start = out.len();
    let mut copier = Copier {
        scanner: Scanner::new(value.raw()),
        out,
        guard,
        levels: 0,
        members: Vec::new(),
        lacks_number: false,
    };
    let refused = match (copier.value(&name.into()), copier.lacks_number) {
        (Copied::Written, lacks_number) => return Ok(lacks_number),
        (Copied::Nothing, true) => DropReason::NotANumber,
        (Copied::Nothing, false) => DropReason::Empty,
        (Copied::Refused(reason), _) => reason,
    };
    out.truncate(start);
    Err(refused)
}

/// A walk over a text that is known to be one JSON value. It reads each part to its end, also one that it
/// does not copy.
struct Copier<'c, 'e> {
    scanner: Scanner<'e>,
    out: &'c mut Vec<u8>,
    guard: &'c dyn Fn(&Name<'_>, &str) -> bool,
    /// How many lists and objects are open.
    levels: usize,
    /// The members of the objects that are open.
    members: Vec<CopiedMember>,
    /// A number was left out.
    lacks_number: bool,
}

/// Where a member was written.
struct CopiedMember {
    key: Range<usize>,
    end: usize,
    copied: Copied,
}

impl<'e> Copier<'_, 'e> {
    fn value(&mut self, name: &Name<'_>) -> Copied {
        match self.scanner.next_byte() {
            Some(b'{' | b'[') if self.levels == MOST_LEVELS => {
                self.scanner.value();
                Copied::Refused(DropReason::TooDeep)
            }
            Some(b'{') => self.object(name),
            Some(b'[') => self.list(name),
            _ => match self.scanner.value() {
                Some(value) if value.is_string() => self.string(name, value),
                Some(value) => self.number_or_word(name, value.raw()),
                None => Copied::Nothing,
            },
        }
    }

    fn string(&mut self, name: &Name<'_>, value: Json<'e>) -> Copied {
        let content = value.as_str().unwrap_or_default();
        if is_absent_text(&content) {
            return Copied::Nothing;
        }
        if (self.guard)(name, &content) {
            return Copied::Refused(DropReason::PersonalData);
        }
        match content {
            Cow::Borrowed(_) => self.out.extend_from_slice(value.raw().as_bytes()),
            // Its escapes may be broken.
            Cow::Owned(content) => text(self.out, &content),
        }
        Copied::Written
    }

    fn number_or_word(&mut self, name: &Name<'_>, raw: &str) -> Copied {
        if raw == "null" {
            return Copied::Nothing;
        }
        if !matches!(raw, "true" | "false") && !is_in_range(raw) {
            self.lacks_number = true;
            return Copied::Nothing;
        }
        if (self.guard)(name, raw) {
            return Copied::Refused(DropReason::PersonalData);
        }
        self.out.extend_from_slice(raw.as_bytes());
        Copied::Written
    }

    fn list(&mut self, name: &Name<'_>) -> Copied {
        self.open(b'[');
        let mut copied = Copied::Nothing;
        while self.scanner.has_element() {
            let mark = self.out.len();
            separate(self.out);
            let element = self.value(name);
            if element != Copied::Written {
                self.out.truncate(mark);
            }
            match (copied, element) {
                (_, Copied::Nothing) | (Copied::Refused(_), Copied::Written) => {}
                (_, element) => copied = element,
            }
        }
        self.close(b']');
        copied
    }

    fn object(&mut self, name: &Name<'_>) -> Copied {
        self.open(b'{');
        let begin = self.out.len();
        let first = self.members.len();
        while let Some(key) = self.scanner.key() {
            let member = self.member(name, &key);
            self.members.push(member);
        }
        let copied = self.settle(begin, first);
        self.members.truncate(first);
        self.close(b'}');
        copied
    }

    /// Copies a member whose key was read. Where the value is not written, the key still is.
    fn member(&mut self, object: &Name<'_>, name: &str) -> CopiedMember {
        separate(self.out);
        let begin = self.out.len();
        text(self.out, name);
        let end = self.out.len();
        self.out.push(b':');
        let mut copied = self.value(&object.member(name));
        if (self.guard)(&object.member(""), name) {
            copied = Copied::Refused(DropReason::PersonalData);
        }
        if copied != Copied::Written {
            self.out.truncate(end);
        }
        CopiedMember {
            key: begin..end,
            end: self.out.len(),
            copied,
        }
    }

    /// Removes the members of an object, from the first on, that were not written or whose key comes again.
    fn settle(&mut self, begin: usize, first: usize) -> Copied {
        let members = self.members.get(first..).unwrap_or_default();
        let all_written = members
            .iter()
            .all(|member| member.copied == Copied::Written);
        if all_written && !self.may_repeat(members) {
            return match members {
                [] => Copied::Nothing,
                _ => Copied::Written,
            };
        }
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_unstable_by_key(|place| (self.key(&members[*place]), *place));
        let mut is_last = vec![true; members.len()];
        for pair in order.windows(2) {
            is_last[pair[0]] = self.key(&members[pair[0]]) != self.key(&members[pair[1]]);
        }
        let mut kept = Vec::new();
        let mut copied = Copied::Nothing;
        for (member, _) in members.iter().zip(is_last).filter(|(_, is_last)| *is_last) {
            match member.copied {
                Copied::Nothing => {}
                refused @ Copied::Refused(_) => return refused,
                Copied::Written => {
                    copied = Copied::Written;
                    if !kept.is_empty() {
                        kept.push(b',');
                    }
                    let written = self.out.get(member.key.start..member.end);
                    kept.extend_from_slice(written.unwrap_or_default());
                }
            }
        }
        self.out.truncate(begin);
        self.out.append(&mut kept);
        copied
    }

    /// Whether members may have the same key. Of many members it says yes without looking.
    fn may_repeat(&self, members: &[CopiedMember]) -> bool {
        const MOST_COMPARED: usize = 16;
        members.len() > MOST_COMPARED
            || members.iter().enumerate().any(|(place, member)| {
                let mut before = members.iter().take(place);
                before.any(|other| self.key(other) == self.key(member))
            })
    }

    fn key(&self, member: &CopiedMember) -> &[u8] {
        self.out.get(member.key.clone()).unwrap_or_default()
    }

    fn open(&mut self, bracket: u8) {
        self.scanner.pass_bracket();
        self.out.push(bracket);
        self.levels += 1;
    }

    fn close(&mut self, bracket: u8) {
        self.scanner.pass_bracket();
        self.out.push(bracket);
        self.levels -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expected: Option<&str>) {
        let mut out = b"x".to_vec();
        let copied = copy_value(&mut out, "name", Json::of_valid_text(input), &|_, text| {
            text == "secret"
        });
        let text = std::str::from_utf8(&out[1..]).unwrap();
        match expected {
            Some(expected) => assert_eq!((copied, text), (Ok(false), expected)),
            None => assert_eq!((copied, text), (Err(DropReason::Empty), "")),
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
        let copied = copy_value(&mut out, "name", value, &|name, text| {
            name.is_of_member() && text == "secret"
        });
        assert_eq!((copied, out), (Err(DropReason::PersonalData), Vec::new()));
        let mut out = Vec::new();
        let value = Json::of_valid_text("{\"secret\":1}");
        let copied = copy_value(&mut out, "name", value, &|_, text| text == "secret");
        assert_eq!((copied, out), (Err(DropReason::PersonalData), Vec::new()));
    }

    #[test]
    fn sends_no_broken_character() {
        check(r#""a\ud83d""#, Some("\"a\u{fffd}\""));
        check(r#"{"\ude00":"\u00e9"}"#, Some("{\"\u{fffd}\":\"é\"}"));
    }

    #[test]
    fn sends_no_key_twice() {
        check(r#"{"a":1,"b":2,"\u0061":[3]}"#, Some(r#"{"b":2,"a":[3]}"#));
        check(r#"{"a":1,"b":2,"a":null}"#, Some(r#"{"b":2}"#));
        check(
            r#"{"a":{"c":1},"a":{"c":2,"c":3}}"#,
            Some(r#"{"a":{"c":3}}"#),
        );
        check(r#"[{"a":"secret","a":1}]"#, Some(r#"[{"a":1}]"#));
        check(r#"{"a":1,"a":""}"#, None);
        let members = |from: u32| (from..from + 50).map(move |n| format!("\"k{n}\":{from}"));
        let many: Vec<String> = members(0).chain(members(25)).collect();
        let kept: Vec<String> = members(0).take(25).chain(members(25)).collect();
        let object = |members: &[String]| format!("{{{}}}", members.join(","));
        check(&object(&many), Some(&object(&kept)));
    }

    #[test]
    fn leaves_out_numbers_that_would_break_a_reader() {
        for (text, expected) in [
            ("[1,-1e999,2]", "[1,2]"),
            ("{\"a\":[1e400],\"b\":1}", "{\"b\":1}"),
            ("{\"a\":{\"b\":1e400,\"c\":\"x\"}}", "{\"a\":{\"c\":\"x\"}}"),
            ("{\"a\":1e400,\"a\":1}", "{\"a\":1}"),
            ("[[1e400],\"1e400\"]", "[\"1e400\"]"),
        ] {
            let mut out = Vec::new();
            let copied = copy_value(&mut out, "", Json::of_valid_text(text), &|_, _| false);
            assert_eq!(copied, Ok(true), "{text}");
            assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
        }
    }

    #[test]
    fn refuses_what_would_break_a_reader() {
        let refused = |text: &str| {
            copy_value(&mut Vec::new(), "", Json::of_valid_text(text), &|_, _| {
                false
            })
        };
        for text in ["1e400", "[-1e999,null]", "{\"a\":[1e400],\"b\":\"\"}"] {
            assert_eq!(refused(text), Err(DropReason::NotANumber), "{text}");
        }
        let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(refused(&deep(MOST_LEVELS)), Ok(false));
        for levels in [MOST_LEVELS + 1, 1_000_000] {
            assert_eq!(refused(&deep(levels)), Err(DropReason::TooDeep));
        }
    }

    proptest::proptest! {
        #[test]
        fn copies_what_a_parser_reads(text in r#"\{("[ab]":(1|null|"x"|\[1,"",\{"a":2,"a":3\}\]|\{("[ab]":(4|null),){0,3}"c":""\}),){0,5}"c":5\}"#) {
            let mut out = Vec::new();
            let copied = copy_value(&mut out, "", Json::of_valid_text(&text), &|_, _| false);
            proptest::prop_assert_eq!(copied, Ok(false));
            let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
            let found: serde_json::Value = serde_json::from_slice(&out).unwrap();
            proptest::prop_assert_eq!(found, without_nothing(expected).unwrap());
        }
    }

    fn without_nothing(value: serde_json::Value) -> Option<serde_json::Value> {
        use serde_json::Value;
        match value {
            Value::Null => None,
            Value::String(text) => (!text.is_empty()).then_some(Value::String(text)),
            Value::Array(elements) => {
                let kept: Vec<Value> = elements.into_iter().filter_map(without_nothing).collect();
                (!kept.is_empty()).then_some(Value::Array(kept))
            }
            Value::Object(members) => {
                let kept = members
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, without_nothing(value)?)));
                let kept: serde_json::Map<_, _> = kept.collect();
                (!kept.is_empty()).then_some(Value::Object(kept))
            }
            other => Some(other),
        }
    }
}
