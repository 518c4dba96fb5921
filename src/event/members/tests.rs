//! Events with more members than are read.

use super::*;
use crate::event::arena::Arena;
use crate::event::{Event, OperationReading};

fn decoded_event<'a>(text: &'a str, arena: &'a Arena) -> Event<'a> {
    Event::decode(text.as_bytes(), arena).unwrap()
}

/// All members and items of a text, also those of JSON texts within.
fn count(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(items) => items.iter().map(|item| 1 + count(item)).sum(),
        serde_json::Value::Object(members) => members.values().map(|value| 1 + count(value)).sum(),
        serde_json::Value::String(text) => match serde_json::from_str(text) {
            Ok(inner @ (serde_json::Value::Array(_) | serde_json::Value::Object(_))) => {
                count(&inner)
            }
            _ => 0,
        },
        _ => 0,
    }
}

fn members(from: usize, to: usize) -> String {
    let members: Vec<String> = (from..to).map(|n| format!("\"k{n}\":{n}")).collect();
    members.join(",")
}

#[test]
fn an_event_within_the_bound_stays_as_it_is() {
    // The event's own two fields count too.
    let fits = format!(
        "{{\"event_type\":\"A\",\"event_properties\":{{{}}}}}",
        members(0, MOST - 2)
    );
    assert_eq!(bounded(&fits), None);
    let more = fits.replace("\"A\"", "\"A\",\"user_id\":1");
    let cut: serde_json::Value = serde_json::from_str(&bounded(&more).unwrap()).unwrap();
    assert_eq!(count(&cut), MOST);
    // Signs in texts are no members.
    let signs = format!(
        "{{\"a\":\"{}\",\"b\":\"x{}\"}}",
        ",[{".repeat(MOST),
        "\\n".repeat(MOST)
    );
    assert_eq!(bounded(&signs), None);
}

#[test]
fn what_lies_beyond_is_absent_and_the_rest_is_right() {
    let flood = members(0, 3 * MOST);
    let list = "[{\"sku\":\"s\",\"qty\":2}]".to_owned();
    let items = vec!["{\"sku\":\"s\",\"qty\":2}"; MOST].join(",");
    let deep = format!("{}7{}", "[".repeat(50_000), "]".repeat(50_000));
    let text = |json: &str| serde_json::Value::from(json).to_string();
    let twice = text(&text(&format!("[{items}]")));
    for (large, first) in [
        (format!("{{{flood}}}"), "{\"k0\":0,\"k1\":1,"),
        (format!("[{items}]"), "[{\"sku\":\"s\",\"qty\":2},{"),
        (
            format!("[{{\"a\":{list},\"b\":[{items}]}}]"),
            "[{\"a\":[{\"sku\":\"s\",\"qty\":2}],\"b\":[",
        ),
        (deep, "[[["),
        (text(&format!("[{items}]")), "\"[{\\\"sku\\\":"),
        (text(&format!("{{{flood}}}")), "\"{\\\"k0\\\":"),
        (
            format!("[0,{}]", text(&format!("[{items}]"))),
            "[0,\"[{\\\"sku\\\":",
        ),
        (twice, "\"[{\\\"sku\\\":"),
    ] {
        let others = "\"event_type\":\"A\",\"user_properties\":{\"email\":\"a\",\"list\":[1,2]}";
        for event in [
            format!("{{{others},\"event_properties\":{{\"large\":{large},\"total\":5}}}}"),
            format!("{{\"event_properties\":{{\"total\":5,\"large\":{large}}},{others}}}"),
        ] {
            let arena = Arena::default();
            let event = decoded_event(&event, &arena);
            assert!(event.lacks_members());
            assert_eq!(
                event.member("user_properties", "email").unwrap().raw(),
                "\"a\""
            );
            assert_eq!(
                event.member("user_properties", "list").unwrap().raw(),
                "[1,2]"
            );
            assert_eq!(
                event.member("event_properties", "total").unwrap().raw(),
                "5"
            );
            let large = event.member("event_properties", "large").unwrap().raw();
            assert!(large.starts_with(first), "{}", large.get(..40).unwrap());
            // The rest takes nine.
            let large = arena.read(Json::of_valid_text(large)).raw();
            assert_eq!(
                count(&serde_json::from_str(large).unwrap_or_default()),
                match first {
                    // A parser does not follow it.
                    "[[[" => 0,
                    _ => MOST - 9,
                }
            );
        }
    }
}

#[test]
fn the_properties_of_one_section_leave_room_for_the_others() {
    let flood = members(0, 3 * MOST);
    for section in [
        format!("{{{flood}}}"),
        serde_json::Value::from(format!("{{{flood}}}")).to_string(),
    ] {
        let text = format!(
            "{{\"event_properties\":{section},\"user_properties\":{{\"$set\":{{\"email\":\"a\"}}}},\"event_type\":\"A\"}}"
        );
        let arena = Arena::default();
        let event = decoded_event(&text, &arena);
        let first = |section, key| {
            event
                .member_by(OperationReading::First, section, key)
                .map(Json::raw)
        };
        assert_eq!(first("user_properties", "email"), Some("\"a\""));
        assert_eq!(first("event_properties", "k9994"), Some("9994"));
        assert_eq!(first("event_properties", "k9995"), None);
        assert_eq!(event.section("event_properties").count(), MOST - 5);
        assert_eq!(event.raw(), text.as_bytes());
    }
}

#[test]
fn fields_beyond_the_bound_are_absent() {
    let text = format!(
        "{{\"event_type\":\"A\",{},\"user_id\":\"u\"}}",
        members(0, 2 * MOST)
    );
    let arena = Arena::default();
    let event = decoded_event(&text, &arena);
    assert_eq!(event.field("event_type").map(Json::raw), Some("\"A\""));
    assert_eq!(event.field("k9998").map(Json::raw), Some("9998"));
    assert_eq!(event.field("k9999"), None);
    assert_eq!(event.field("user_id"), None);
}

proptest::proptest! {
    #[test]
    fn a_cut_value_is_json_with_as_many_members(
        text in r#"(\[|\{"a":)((\[\]|"x,\\"\[\{"|1|\[1, 2\]|\{"b" : "\[1,\{\\"c\\":2\}\]"\}),( "k":)?){0,8}3"#,
        most in 0_usize..20,
    ) {
        let closing = if text.starts_with('[') { ']' } else { '}' };
        let text = format!("{text}{closing}");
        let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) else {
            return Ok(());
        };
        if text.matches("\"k\"").count() > 1 {
            return Ok(());
        }
        match cut(&text, most, 0) {
            Shortening::Whole(all) => proptest::prop_assert!(all <= most && all == all_of(&text)),
            Shortening::Shortened(left) => {
                proptest::prop_assert!(all_of(&text) > most);
                proptest::prop_assert_eq!(all_of(&left), most);
                let left: serde_json::Value = serde_json::from_str(&left).unwrap();
                proptest::prop_assert!(is_begin(&left, &value), "{left} {value}");
            }
        }
    }
}

fn all_of(text: &str) -> usize {
    weight(text)
}

/// Whether a value is another without what comes behind some place.
fn is_begin(left: &serde_json::Value, whole: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (left, whole) {
        (Value::Array(left), Value::Array(whole)) => {
            left.len() <= whole.len()
                && left
                    .iter()
                    .zip(whole)
                    .all(|(left, whole)| is_begin(left, whole))
        }
        (Value::Object(left), Value::Object(whole)) => {
            left.iter().all(|(key, left)| is_begin(left, &whole[key]))
        }
        (Value::String(left), Value::String(whole)) if left != whole => {
            let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
            is_begin(&read(left), &read(whole))
        }
        _ => left == whole,
    }
}
