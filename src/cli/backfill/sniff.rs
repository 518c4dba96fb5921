//! Finds out whether a text holds events.
//!
//! A failed download may leave an error answer or a page in place of the export. So the elements are held
//! back until one is an event; otherwise they would count as filtered or broken events.

use serde::Deserialize;

use crate::event::Event;
use crate::event::arena::Arena;
use crate::ingest::decode::decode;
use crate::json::Json;

/// How many elements are held back, and bytes of them. If none of them is an event, the text has none.
const MOST: usize = 100;
const MOST_BYTES: usize = 4 << 20;

/// Holds elements back until one is an event.
#[derive(Debug, Default)]
pub(super) struct Sniffer {
    elements: Vec<Vec<u8>>,
    bytes: usize,
}

impl Sniffer {
    /// Holds an element back; returns whether there is room for more.
    pub(super) fn hold(&mut self, element: &[u8]) -> bool {
        self.elements.push(element.to_owned());
        self.bytes += element.len();
        self.elements.len() < MOST && self.bytes < MOST_BYTES
    }

    /// Releases what was held back.
    pub(super) fn take_held(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.elements)
    }

    /// Describes a text without an event; `None` where it is empty.
    pub(super) fn in_words(&self) -> Option<String> {
        let first = self.elements.first()?;
        if let Some(answer) = self.elements.iter().find_map(|element| answer(element)) {
            return Some(format!(
                "it is not an export, but {answer}; `curl -f` saves no such answer"
            ));
        }
        Some(match self.objects() {
            0 if first.starts_with(b"<") => {
                "it is not an export: a page of HTML or XML, as servers send with an error"
                    .to_owned()
            }
            0 => "it is not an export: its first line is not a JSON object".to_owned(),
            1 => "it is not an export: its JSON object names no event (event_type)".to_owned(),
            count => format!(
                "it is not an export: none of its {count} JSON objects names an event (event_type)"
            ),
        })
    }

    /// Whether a text without an event is JSON about something else, not an error answer.
    pub(super) fn is_other_json(&self) -> bool {
        self.objects() == self.elements.len()
            && !self
                .elements
                .iter()
                .any(|element| answer(element).is_some())
    }

    fn objects(&self) -> usize {
        let is_object = |element: &&Vec<u8>| Event::decode(element, &Arena::default()).is_ok();
        self.elements.iter().filter(is_object).count()
    }
}

/// Whether an element is an event, or the body of a request that holds one.
pub(super) fn names_event(element: &[u8]) -> bool {
    let has_name = |event: &Event<'_>| {
        event
            .field("event_type")
            .is_some_and(|name| !name.is_absent())
    };
    let arena = Arena::default();
    Event::decode(element, &arena).is_ok_and(|event| {
        if is_envelope(&event) {
            decode(element, &arena).is_ok_and(|mut elements| {
                elements.any(|element| element.event.as_ref().is_ok_and(has_name))
            })
        } else {
            has_name(&event)
        }
    })
}

/// Whether an element is the body of a request, with a list of events.
pub(super) fn is_envelope(event: &Event<'_>) -> bool {
    event.field("event_type").is_none() && event.field("events").is_some_and(Json::is_array)
}

/// An error answer of Amplitude or of another program.
#[derive(Deserialize)]
struct ErrorAnswer {
    error: serde_json::Value,
    event_type: Option<serde_json::Value>,
    code: Option<u64>,
}

/// Describes an element that is an error answer.
pub(super) fn answer(element: &[u8]) -> Option<String> {
    let answer: ErrorAnswer = serde_json::from_slice(element).ok()?;
    if answer.event_type.is_some() {
        return None;
    }
    let number = |name: &str| answer.error.get(name).and_then(serde_json::Value::as_u64);
    let code = number("http_code")
        .or_else(|| number("code"))
        .or(answer.code);
    // Anything else in it may repeat the request, and with it a key.
    let kind = answer.error.get("type").and_then(serde_json::Value::as_str);
    let kind = kind.filter(|kind| {
        kind.len() < 40
            && kind
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    });
    let code = code.map(|code| code.to_string());
    let parts: Vec<String> = code.into_iter().chain(kind.map(str::to_owned)).collect();
    let words = "the answer to a request that failed";
    Some(match parts.as_slice() {
        [] => words.to_owned(),
        parts => format!("{words} ({})", parts.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_export_is_called_what_it_is() {
        let check = |texts: &[&str], expected: &str| {
            let mut sniffer = Sniffer::default();
            for text in texts {
                assert!(!names_event(text.as_bytes()), "{text}");
                sniffer.hold(text.as_bytes());
            }
            let words = sniffer.in_words().unwrap_or_default();
            assert!(words.contains(expected), "{words}");
            if expected.is_empty() {
                assert!(words.is_empty());
            }
        };
        check(&[], "");
        check(
            &[r#"{"error":{"http_code":403,"type":"invalid_api_key","message":"key abc"}}"#],
            "failed (403, invalid_api_key);",
        );
        check(
            &[r#"{"code":400,"error":"Invalid key abc"}"#],
            "failed (400);",
        );
        check(&[r#"{"error":null}"#], "failed;");
        check(&["<!DOCTYPE html>", "<p>"], "HTML");
        check(&["user_id,event_type"], "not a JSON object");
        check(&[r#"{"amplitude_id":1}"#], "its JSON object names no event");
        check(
            &[r#"{"amplitude_id":1}"#, r#"{"event_type":null}"#],
            "none of its 2",
        );
        check(&[r#"{"a":1}"#, r#"{"error":"timeout"}"#], "failed;");
    }

    #[test]
    fn events_are_told_in_every_form() {
        for text in [
            r#"{"event_type":"a"}"#,
            r#"{"api_key":"k","events":[{"event_type":"a"}]}"#,
        ] {
            assert!(names_event(text.as_bytes()), "{text}");
        }
        for text in ["{}", r#"{"events":[{}]}"#, "{", "text"] {
            assert!(!names_event(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn json_about_something_else_is_told_from_an_answer() {
        for (texts, expected) in [
            (&[r#"{"files":[1]}"#, r#"{"error_count":0}"#][..], true),
            (&[r#"{"a":1}"#, r#"{"error":"timeout"}"#], false),
            (&[r#"{"a":1}"#, "text"], false),
        ] {
            let mut sniffer = Sniffer::default();
            for text in texts {
                sniffer.hold(text.as_bytes());
            }
            assert_eq!(sniffer.is_other_json(), expected, "{texts:?}");
        }
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut sniffer = Sniffer::default();
        assert_eq!(
            (0..1000).take_while(|_| sniffer.hold(b"{}")).count(),
            MOST - 1
        );
        let mut sniffer = Sniffer::default();
        assert!(!sniffer.hold(&vec![b'x'; MOST_BYTES]));
    }
}
