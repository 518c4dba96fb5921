//! Finds out whether a text holds events.
//!
//! What a download left behind may be an answer that says why there is no export, or a page. Its elements
//! are held back until one is an event, so that none of them ends as a filtered or broken event.

use serde::Deserialize;

use crate::event::Event;
use crate::event::arena::Arena;
use crate::ingest::decode::decode;
use crate::json::Json;

/// Elements that are held back, and bytes of them; where none of them is an event, none is expected.
const MOST: usize = 100;
const MOST_BYTES: usize = 4 << 20;

/// Holds elements back until one is an event.
#[derive(Debug, Default)]
pub(super) struct Sniffer {
    elements: Vec<Vec<u8>>,
    bytes: usize,
}

impl Sniffer {
    /// Holds an element back; gives whether more can be.
    pub(super) fn hold(&mut self, element: &[u8]) -> bool {
        self.elements.push(element.to_owned());
        self.bytes += element.len();
        self.elements.len() < MOST && self.bytes < MOST_BYTES
    }

    /// What was held back, now that there is an event.
    pub(super) fn take_held(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.elements)
    }

    /// What a text without an event is; `None` where it holds nothing at all.
    pub(super) fn in_words(&self) -> Option<String> {
        let first = self.elements.first()?;
        if let Some(answer) = self.elements.iter().find_map(|element| answer(element)) {
            return Some(format!(
                "it is no export, but {answer}; `curl -f` keeps none"
            ));
        }
        Some(match self.objects() {
            0 if first.starts_with(b"<") => {
                "it is no export: a page of HTML or XML, as a server answers instead".to_owned()
            }
            0 => "it is no export: its first line is no JSON object".to_owned(),
            1 => "it is no export: its JSON object names no event (event_type)".to_owned(),
            count => format!(
                "it is no export: none of its {count} JSON objects names an event (event_type)"
            ),
        })
    }

    /// Whether a text without an event is JSON about something else, and no answer in place of an export.
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

/// Whether an element is an event, or holds one, as the body of a request does.
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

/// Whether an element is no event, but holds several, as the body of a request does.
pub(super) fn is_envelope(event: &Event<'_>) -> bool {
    event.field("event_type").is_none() && event.field("events").is_some_and(Json::is_array)
}

/// Amplitude's answer in place of an export, or that of another program.
#[derive(Deserialize)]
struct ErrorAnswer {
    error: serde_json::Value,
    event_type: Option<serde_json::Value>,
    code: Option<u64>,
}

/// What an element is that is the answer to a request that failed.
pub(super) fn answer(element: &[u8]) -> Option<String> {
    let answer: ErrorAnswer = serde_json::from_slice(element).ok()?;
    if answer.event_type.is_some() {
        return None;
    }
    let number = |name: &str| answer.error.get(name).and_then(serde_json::Value::as_u64);
    let code = number("http_code")
        .or_else(|| number("code"))
        .or(answer.code);
    // Anything else in it may repeat what was asked, and with it a key.
    let kind = answer.error.get("type").and_then(serde_json::Value::as_str);
    let kind = kind.filter(|kind| {
        kind.len() < 40
            && kind
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    });
    let parts = [code.map(|code| code.to_string()), kind.map(str::to_owned)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let parts = if parts.is_empty() {
        String::new()
    } else {
        format!(" ({})", parts.join(", "))
    };
    Some(format!("the answer to a request that failed{parts}"))
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
        check(&["user_id,event_type"], "no JSON object");
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
