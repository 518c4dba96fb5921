//! Rule tests: an event of the configuration, and what must become of it.

use std::fmt;

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

/// What differs between what a rule test expects and what became of its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    lines: Vec<DiffLine>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct DiffLine {
    place: String,
    expected: String,
    found: String,
}

/// Runs one rule test.
pub fn run_test(test: &RuleTest, sync: &Sync) -> Result<(), Diff> {
    let raw = test.event.as_bytes();
    let arena = Arena::default();
    let mut event = Event::decode(raw, &arena);
    if let (Ok(event), Some(request)) = (&mut event, &test.request) {
        event.put_request(Json::of_valid_text(request));
    }
    let element = event.as_ref().map_err(|reason| *reason);
    let (mapped, _) = sync.take(element, raw, test.now, &mut PayloadArena::default());
    let mut lines = Vec::new();
    let (outcome, reason, json) = match &mapped {
        Ok(payload) => (MAPPED, None, Some(payload.json.as_ref())),
        Err(rejected) => (
            rejected.reason.outcome().as_str(),
            Some(rejected.reason),
            rejected.json.as_deref(),
        ),
    };
    compare_text(
        &mut lines,
        "outcome",
        Some(&test.outcome),
        Some(&because(outcome, reason)),
        outcome,
    );
    if let Some(expected) = &test.reason {
        let found = reason.map(Reason::as_str);
        compare_text(
            &mut lines,
            "reason",
            Some(expected),
            found,
            found.unwrap_or_default(),
        );
    }
    let event: Value = json
        .and_then(|json| serde_json::from_slice(json).ok())
        .unwrap_or_default();
    compare(&mut lines, "", &test.fields, Some(&event));
    if lines.is_empty() {
        Ok(())
    } else {
        Err(Diff { lines })
    }
}

/// The outcome, with the reason where there is one, so that a surprise explains itself.
fn because(outcome: &str, reason: Option<Reason>) -> String {
    match reason {
        Some(reason) => format!("{outcome} ({reason})"),
        None => outcome.to_owned(),
    }
}

fn compare_text(
    lines: &mut Vec<DiffLine>,
    place: &str,
    expected: Option<&str>,
    shown: Option<&str>,
    found: &str,
) {
    if expected != Some(found) {
        lines.push(DiffLine {
            place: place.to_owned(),
            expected: expected.unwrap_or("nothing").to_owned(),
            found: shown.unwrap_or("nothing").to_owned(),
        });
    }
}

/// Notes where a value differs from what is expected. An object may hold more than is expected of it.
fn compare(lines: &mut Vec<DiffLine>, place: &str, expected: &Value, found: Option<&Value>) {
    match (expected, found) {
        (Value::Object(members), Some(Value::Object(found))) => {
            for (name, expected) in members {
                let place = match place {
                    "" => name.clone(),
                    place => format!("{place}.{name}"),
                };
                compare(lines, &place, expected, found.get(name));
            }
        }
        (Value::Object(members), None | Some(Value::Null)) if place.is_empty() => {
            for (name, expected) in members {
                compare(lines, name, expected, None);
            }
        }
        (Value::Array(elements), Some(Value::Array(found))) if elements.len() == found.len() => {
            for (at, (expected, found)) in elements.iter().zip(found).enumerate() {
                compare(lines, &format!("{place}[{at}]"), expected, Some(found));
            }
        }
        (Value::Number(expected_number), Some(Value::Number(number)))
            if expected_number.as_f64() == number.as_f64() => {}
        (expected, Some(found)) if expected == found => {}
        (expected, found) => lines.push(DiffLine {
            place: place.to_owned(),
            expected: expected.to_string(),
            found: found.map_or_else(|| "nothing".to_owned(), ToString::to_string),
        }),
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, line) in self.lines.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(
                f,
                "  {}\n  - {}\n  + {}",
                line.place, line.expected, line.found
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::run_test;
    use crate::config::load::from_toml;
    use crate::sync::compile_all;

    /// Runs the tests of a sync, and gives the diffs of those that fail.
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
            .map(|diff| diff.to_string())
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
