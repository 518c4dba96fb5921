//! Requests that are made to cost as much as they can, beside honest ones of the same length.
//!
//! A costly request is a costly value at a place that the rules read, in one event as long as the request or in
//! many short ones; or it is a body that is costly as a whole.

use std::fmt::Write as _;

#[path = "rules.rs"]
mod rules;
#[path = "../../../benches/sample.rs"]
#[allow(dead_code, reason = "a bench uses more of it")]
pub mod sample;
#[path = "values.rs"]
mod values;

pub use rules::{KEY, NOW, RULES, SECRET, config, rules};
pub use values::{VALUES, Value};
use values::{listed, numbered};

/// Honest events in an array, as many as there is room for, and at least one.
pub fn honest(length: usize) -> Vec<u8> {
    let mut body = String::from("[");
    for number in 0.. {
        let event = sample::event(
            &format!("event-{number:08}"),
            u128::from(NOW.unsigned_abs()),
        );
        if number > 0 && body.len() + event.len() + 2 > length {
            break;
        }
        if number > 0 {
            body.push(',');
        }
        body.push_str(&event);
    }
    body.push(']');
    body.into_bytes()
}

/// Items beside which the first half of a value, if it is a text, stands in an event.
fn items_and_half(value: &str) -> (String, String) {
    let items = vec!["{\"sku\":1}"; (value.len() / 20).min(1000)].join(",");
    let half = value
        .get(..value.len() / 2)
        .filter(|_| value.starts_with('"'))
        .map_or(value.to_owned(), |half| {
            format!("{}\"", half.trim_end_matches('\\'))
        });
    (items, half)
}

/// A place in an event: what comes before the value, and behind it. The event's number makes it unique.
pub type Place = fn(usize, &str) -> String;

fn event(number: usize, properties: &str, user_properties: &str, more: &str) -> String {
    let mut event = String::new();
    write!(
        event,
        "{{\"event_type\":\"Order Completed\",\"event_time\":{NOW},\"$insert_id\":\"i{number}\",\"user_id\":\"user-{}\",\
         \"event_properties\":{{{properties}}},\"user_properties\":{user_properties}{more}}}",
        number % 100,
    )
    .expect("a text takes all");
    event
}

pub const PLACES: &[(&str, Place)] = &[
    ("p", |n, v| event(n, &format!("\"p\":{v}"), "{}", "")),
    ("products", |n, v| {
        event(n, &format!("\"products\":{v}"), "{}", "")
    }),
    ("value in products", |n, v| {
        event(
            n,
            &format!("\"products\":[{{\"sku\":\"s\",\"name\":{v},\"price\":{v}}}]"),
            "{}",
            "",
        )
    }),
    ("p beside products", |n, v| {
        let (items, half) = items_and_half(v);
        event(
            n,
            &format!("\"products\":[{items}],\"p\":{half},\"coupon\":\"0\""),
            "{\"$setOnce\":{\"plan\":1}}",
            "",
        )
    }),
    ("coupon beside products", |n, v| {
        let (items, half) = items_and_half(v);
        event(
            n,
            &format!("\"products\":[{items}],\"coupon\":{half}"),
            "{}",
            "",
        )
    }),
    ("page", |n, v| {
        event(n, &format!("\"[Amplitude] Page Location\":{v}"), "{}", "")
    }),
    ("value", |n, v| {
        event(n, &format!("\"value\":{v},\"$price\":1"), "{}", "")
    }),
    ("currency", |n, v| {
        event(n, &format!("\"currency\":{v},\"value\":1"), "{}", "")
    }),
    ("event properties", |n, v| {
        event(n, "", "{}", &format!(",\"event_properties\":{v}"))
    }),
    ("user properties", |n, v| event(n, "", v, "")),
    ("plan", |n, v| {
        event(n, "", &format!("{{\"plan\":{v}}}"), "")
    }),
    ("email", |n, v| {
        event(n, "", &format!("{{\"email\":{v}}}"), "")
    }),
    ("phone", |n, v| {
        event(n, "", &format!("{{\"phone\":{v}}}"), "")
    }),
    ("first name", |n, v| {
        event(n, "", &format!("{{\"first_name\":{v}}}"), "")
    }),
    ("birthday", |n, v| {
        event(n, "", &format!("{{\"birthday\":{v}}}"), "")
    }),
    ("zip", |n, v| event(n, "", &format!("{{\"zip\":{v}}}"), "")),
    ("fbc", |n, v| event(n, "", &format!("{{\"fbc\":{v}}}"), "")),
    ("user agent", |n, v| {
        event(n, "", &format!("{{\"user_agent\":{v}}}"), "")
    }),
    ("set", |n, v| {
        event(
            n,
            "",
            &format!("{{\"$set\":{{\"plan\":{v},\"email\":{v}}}}}"),
            "",
        )
    }),
    ("append", |n, v| {
        event(
            n,
            "",
            &format!("{{\"$append\":{{\"tags\":{v}}},\"$set\":{v}}}"),
            "",
        )
    }),
    ("groups", |n, v| {
        event(
            n,
            "",
            "{}",
            &format!(",\"groups\":{{\"company\":{v}}},\"group_properties\":{v}"),
        )
    }),
    ("country", |n, v| {
        event(
            n,
            "",
            "{}",
            &format!(",\"country\":{v},\"region\":{v},\"city\":{v}"),
        )
    }),
    ("ip_address", |n, v| {
        event(n, "", "{}", &format!(",\"ip_address\":{v}"))
    }),
    ("user_id", |n, v| {
        event(n, "", "{}", &format!(",\"user_id\":{v},\"device_id\":{v}"))
    }),
    ("insert id", |n, v| {
        event(n, "", "{}", &format!(",\"$insert_id\":{v}"))
    }),
    ("event_type", |n, v| {
        event(n, "", "{}", &format!(",\"event_type\":{v}"))
    }),
    ("event_time", |n, v| {
        event(n, "", "{}", &format!(",\"event_time\":{v}"))
    }),
    ("api_properties", |n, v| {
        event(n, "", "{}", &format!(",\"api_properties\":{v}"))
    }),
    ("another key", |n, v| {
        event(n, "", "{}", &format!(",\"other\":{v}"))
    }),
    ("top", |n, v| {
        let inner = v
            .strip_prefix('{')
            .and_then(|v| v.strip_suffix('}'))
            .filter(|v| !v.is_empty());
        event(
            n,
            "",
            "{}",
            &inner.map_or(format!(",\"x\":{v}"), |inner| format!(",{inner}")),
        )
    }),
];

/// An array of about so many bytes, of events with about `each` bytes of a value at a place.
pub fn body(place: Place, value: Value, each: usize, length: usize) -> Vec<u8> {
    let mut body = String::from("[");
    let value = value(each);
    let mut number = 0;
    loop {
        let next = place(number, &value);
        if number > 0 && body.len() + next.len() + 2 > length {
            break;
        }
        if number > 0 {
            body.push(',');
        }
        body.push_str(&next);
        number += 1;
    }
    body.push(']');
    body.into_bytes()
}

/// A text whose tildes are bytes that no text holds.
fn broken(text: String) -> Vec<u8> {
    let bytes = text.into_bytes().into_iter();
    bytes
        .map(|byte| if byte == b'~' { 0xff } else { byte })
        .collect()
}

/// A body of about so many bytes.
pub type Body = fn(usize) -> Vec<u8>;

/// Bodies that are costly as a whole.
pub const BODIES: &[(&str, Body)] = &[
    ("duplicates", |n| {
        let event = sample::event("i1", NOW.unsigned_abs().into());
        listed(n, "[", &event, "]").into()
    }),
    ("old purchases", |n| {
        let event = |k| sample::event(&format!("i{k}"), 1_000_000);
        numbered(n, "[", event, "]").into()
    }),
    ("purchases to come", |n| {
        let time = u128::from(NOW.unsigned_abs()) + 1_000_000_000;
        let event = |k| sample::event(&format!("i{k}"), time);
        numbered(n, "[", event, "]").into()
    }),
    ("groups and plans", |n| {
        let event = |k| {
            format!(
                "{{\"event_type\":\"$groupidentify\",\"groups\":{{\"company\":{k}}},\"group_properties\":{{\"$set\":{{\"a\":1}}}},\"plan\":{{\"branch\":\"b\"}},\"ingestion_metadata\":{{}}}}"
            )
        };
        numbered(n, "[", event, "]").into()
    }),
    ("elements that are numbers", |n| {
        listed(n, "[", "1", "]").into()
    }),
    ("empty elements", |n| listed(n, "[", "", "]").into()),
    ("empty events", |n| listed(n, "[", "{}", "]").into()),
    ("lists as events", |n| listed(n, "[", "[]", "]").into()),
    ("events of one field", |n| {
        listed(n, "[", "{\"\":0}", "]").into()
    }),
    ("events with only a name", |n| {
        listed(n, "[", "{\"event_type\":\"A\"}", "]").into()
    }),
    ("events without a person", |n| {
        listed(
            n,
            "[",
            &format!("{{\"event_type\":\"A\",\"time\":{NOW}}}"),
            "]",
        )
        .into()
    }),
    ("least events", |n| {
        numbered(
            n,
            "[",
            |k| format!("{{\"event_type\":\"A\",\"time\":{NOW},\"user_id\":{k}}}"),
            "]",
        )
        .into()
    }),
    ("least events of one person", |n| {
        numbered(
            n,
            "[",
            |k| format!("{{\"event_type\":\"A\",\"time\":{NOW},\"user_id\":\"u\",\"uuid\":{k}}}"),
            "]",
        )
        .into()
    }),
    ("the same event", |n| {
        listed(
            n,
            "[",
            &format!("{{\"event_type\":\"A\",\"time\":{NOW},\"user_id\":\"u\"}}"),
            "]",
        )
        .into()
    }),
    ("old events", |n| {
        listed(
            n,
            "[",
            "{\"event_type\":\"A\",\"time\":1,\"user_id\":\"u\"}",
            "]",
        )
        .into()
    }),
    ("identifies", |n| {
        numbered(n, "[", |k| format!("{{\"event_type\":\"$identify\",\"user_id\":{k},\"user_properties\":{{\"plan\":1}}}}"), "]").into()
    }),
    ("identifies of one person", |n| {
        numbered(n, "[", |k| format!("{{\"event_type\":\"$identify\",\"user_id\":1,\"user_properties\":{{\"plan\":{k}}}}}"), "]").into()
    }),
    ("appends", |n| {
        numbered(n, "[", |k| format!("{{\"event_type\":\"$identify\",\"user_id\":1,\"user_properties\":{{\"$append\":{{\"tags\":{k}}}}}}}"), "]").into()
    }),
    ("sessions", |n| {
        listed(n, "[", "{\"event_type\":\"session_start\"}", "]").into()
    }),
    ("broken events", |n| {
        listed(n, "[", "{\"a\":1,,}", "]").into()
    }),
    ("shorter broken events", |n| {
        listed(n, "[", "{1}", "]").into()
    }),
    ("broken values", |n| listed(n, "[", "{\"a\":x}", "]").into()),
    ("broken words", |n| listed(n, "[", "x", "]").into()),
    ("broken characters", |n| {
        broken(listed(n, "[", "{\"a\":\"~\"}", "]"))
    }),
    ("one broken text", |n| {
        broken(event(0, &format!("\"p\":\"{}\"", "~".repeat(n)), "{}", ""))
    }),
    ("a text with broken bytes and an escape", |n| {
        broken(event(
            0,
            &format!("\"p\":\"\\n{}\"", "~".repeat(n)),
            "{}",
            "",
        ))
    }),
    ("a text with broken bytes between letters", |n| {
        broken(event(
            0,
            &format!("\"p\":\"\\n{}\"", "~a".repeat(n / 2)),
            "{}",
            "",
        ))
    }),
    ("grouped numbers", |n| {
        listed(n, "[", "{\"a\":1,396}", "]").into()
    }),
    ("deep elements", |n| {
        ("[".repeat(n / 2) + &"]".repeat(n / 2)).into()
    }),
    ("unclosed", |n| "[".repeat(n).into()),
    ("unclosed objects", |n| "{\"a\":".repeat(n / 5).into()),
    ("blanks", |n| (" ".repeat(n) + "{}").into()),
    ("members beside events", |n| {
        listed(n, "{\"events\":[],", "\"\":0", "}").into()
    }),
    ("members of one event", |n| {
        listed(n, "{\"event_type\":\"A\",", "\"\":0", "}").into()
    }),
    ("broken members of one event", |n| {
        listed(n, "{\"event_type\":\"A\",", "\"\":x", "}").into()
    }),
    ("trailing", |n| (listed(n, "[", "{}", "]") + "x").into()),
    ("grouped numbers in one object", |n| {
        listed(n, "{\"a\":1,396,", "\"\":0", "}").into()
    }),
];
