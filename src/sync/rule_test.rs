//! Rule tests: an event of the configuration, and what must become of it.

use std::fmt::Display;

use serde_json::Value;

use crate::config::rule_tests::RuleTest;
use crate::event::Event;
use crate::event::arena::Arena;
use crate::json::Json;
use crate::outcome::Reason;
use crate::payload::PayloadArena;

use super::Sync;

/// The outcome of an event that goes on to the queue.
const MAPPED: &str = "mapped";

/// How a value is shown that is not there.
const NOTHING: &str = "nothing";

/// Runs one rule test. The error shows each difference between what the test expects and what became of its
/// event.
pub fn run_test(test: &RuleTest, sync: &Sync) -> Result<(), String> {
    let raw = test.event.as_bytes();
    let arena = Arena::default();
    let mut event = Event::decode(raw, &arena);
    if let (Ok(event), Some(request)) = (&mut event, &test.request) {
        event.put_request(Json::of_valid_text(request));
    }
    let element = event.as_ref().map_err(|reason| *reason);
    let (mapped, _) = sync.take(element, raw, test.now, &mut PayloadArena::default());
    let (reason, json) = match &mapped {
        Ok(payload) => (None, Some(payload.json.as_ref())),
        Err(rejected) => (Some(rejected.reason), rejected.json.as_deref()),
    };
    let mut differences = Vec::new();
    let outcome = reason.map_or(MAPPED, |reason| reason.outcome().as_str());
    if test.outcome != outcome {
        // The reason explains a surprising outcome.
        let because = reason.map(|reason| format!(" ({reason})"));
        let found = format!("{outcome}{}", because.unwrap_or_default());
        differences.push(difference("outcome", &test.outcome, found));
    }
    let found = reason.map_or(NOTHING, Reason::as_str);
    if let Some(expected) = &test.reason
        && expected != found
    {
        differences.push(difference("reason", expected, found));
    }
    let event: Value = json
        .and_then(|json| serde_json::from_slice(json).ok())
        .unwrap_or_default();
    compare(&mut differences, "", &test.fields, Some(&event));
    if differences.is_empty() {
        Ok(())
    } else {
        Err(differences.join("\n"))
    }
}

fn difference(place: &str, expected: impl Display, found: impl Display) -> String {
    format!("  {place}\n  - {expected}\n  + {found}")
}

/// Notes where a value differs from the expected one. An object may hold more than is expected of it.
fn compare(differences: &mut Vec<String>, place: &str, expected: &Value, found: Option<&Value>) {
    match (expected, found) {
        (Value::Object(members), Some(Value::Object(found))) => {
            for (name, expected) in members {
                let place = match place {
                    "" => name.clone(),
                    place => format!("{place}.{name}"),
                };
                compare(differences, &place, expected, found.get(name));
            }
        }
        (Value::Object(members), None | Some(Value::Null)) if place.is_empty() => {
            for (name, expected) in members {
                compare(differences, name, expected, None);
            }
        }
        (Value::Array(elements), Some(Value::Array(found))) if elements.len() == found.len() => {
            for (at, (expected, found)) in elements.iter().zip(found).enumerate() {
                compare(
                    differences,
                    &format!("{place}[{at}]"),
                    expected,
                    Some(found),
                );
            }
        }
        (Value::Number(expected_number), Some(Value::Number(number)))
            if expected_number.as_f64() == number.as_f64() => {}
        (expected, Some(found)) if expected == found => {}
        (expected, found) => {
            let found = found.map_or_else(|| NOTHING.to_owned(), ToString::to_string);
            differences.push(difference(place, expected, found));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::run_test;
    use crate::config::load::from_toml;
    use crate::sync::compile_all;

    /// Runs the tests of a sync, and gives the differences of those that fail.
    fn run(tests: &str) -> Vec<String> {
        let text = format!(
            r#"
[ingest]
allow_unauthenticated = true
[sync.web]
pixel_id = "1"
access_token = "t"
[sync.web.events."Order Completed"]
send_as = "Purchase"
custom_data = {{ value = "event_properties.total", currency = {{ constant = "EUR" }} }}
{tests}"#
        );
        let config = from_toml(&text, &[]).unwrap();
        let syncs = compile_all(&config).unwrap();
        let tests = config.syncs.values().flat_map(|sync| &sync.tests);
        tests
            .filter_map(|test| run_test(test, &syncs[0]).err())
            .collect()
    }

    const ORDER: &str = r#"
[[sync.web.test]]
name = "an order"
now = "2026-11-20T18:05:00Z"
event = """{"event_type":"Order Completed","event_time":"2026-11-20 18:04:09.412000","user_id":"u-1",
"uuid":"id-1","event_properties":{"total":"19.90"}}"""
"#;

    #[test]
    fn what_is_expected_may_be_less_than_what_is_there() {
        let fields = "fields = { event_name = \"Purchase\", custom_data = { value = 19.9 } }";
        assert_eq!(run(&format!("{ORDER}{fields}")), [""; 0]);
        assert_eq!(run(ORDER), [""; 0]);
    }

    #[test]
    fn a_browsers_request_may_bring_the_event() {
        let fbp = "fb.1.1790000000000.1234567890";
        let request = format!("request = {{ cookies._fbp = \"{fbp}\" }}\n");
        let fields = format!("fields = {{ user_data = {{ fbp = \"{fbp}\" }} }}");
        assert_eq!(run(&format!("{ORDER}{request}{fields}")), [""; 0]);
        assert_eq!(run(&format!("{ORDER}{fields}")).len(), 1);
    }

    #[test]
    fn a_difference_is_shown_by_its_place() {
        let fields =
            "fields = { event_name = \"Lead\", custom_data = { value = 20, order_id = \"A\" } }";
        assert_eq!(
            run(&format!("{ORDER}{fields}")),
            [concat!(
                "  custom_data.order_id\n  - \"A\"\n  + nothing\n",
                "  custom_data.value\n  - 20\n  + 19.9\n",
                "  event_name\n  - \"Lead\"\n  + \"Purchase\""
            )]
        );
    }

    #[test]
    fn a_surprising_outcome_names_its_reason() {
        let late = ORDER.replace("11-20T18:05", "12-20T18:05");
        assert_eq!(run(&late), ["  outcome\n  - mapped\n  + invalid (too_old)"]);
        let expected = late.replace("name =", "reason = \"too_old\"\nname =");
        assert_eq!(run(&expected), [""; 0]);
        let former = late.replace("name =", "reason = \"id_not_a_string\"\nname =");
        assert_eq!(run(&former), ["  reason\n  - id_not_a_string\n  + too_old"]);
        let other = late.replace("name =", "reason = \"in_future\"\nname =");
        assert_eq!(run(&other), ["  reason\n  - in_future\n  + too_old"]);
    }
}
