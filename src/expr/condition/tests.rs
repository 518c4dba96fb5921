//! Every operator, on every kind of value.

use super::*;
use crate::event::Event;

const EVENT: &[u8] = br#"{"platform":"Web","event_time":"2026-11-20 18:04:09.412000",
    "groups":{"company":["Acme","Globex"]},
    "user_properties":{"plan":"Pro","id":9007199254740993,"internal":"false","age":"42","score":"5.50","tags":"[\"a\",\"b\"]","none":"(none)","empty":[]},
    "event_properties":{"total":59.90,"count":10.0,"na":"N/A","blank":" ","list":["x","y",3],"object":{"a":1},
    "amounts":{"comma":"59,90","dollars":"$59.90","euros":"59.90 EUR","grouped":"1,234.50","ambiguous":"1,234","words":"5 apples","coupon":"R10"},
    "items":[{"sku":"A"},{"sku":"B"}],"flag":true,"url":"https://shop.example.com/de/cart"}}"#;

#[track_caller]
fn check(property: &str, op: &str, values: &[&str], expected: bool) {
    check_with(false, property, op, values, expected);
}

#[track_caller]
fn check_with(is_number: bool, property: &str, op: &str, values: &[&str], expected: bool) {
    let operand = |text: &&str| Operand::new((*text).to_owned(), is_number);
    let arena = Arena::default();
    let event = Event::decode(EVENT, &arena).unwrap();
    let condition = Condition::new(
        Path::parse(property).unwrap(),
        Op::parse(op).unwrap(),
        values.iter().map(operand).collect(),
    );
    assert_eq!(
        holds(&[condition], &event),
        expected,
        "{property} {op} {values:?}"
    );
}

#[test]
fn is_compares_whole_values_with_case() {
    check("platform", "is", &["Web"], true);
    check("platform", "is", &["web"], false);
    check("platform", "is", &["iOS", "Web"], true);
    check("platform", "is not", &["iOS", "Web"], false);
    check("groups.company", "is", &["Globex"], true);
    check("groups.company", "is not", &["Initech"], true);
    check("event_properties.flag", "is", &["true"], true);
    check("event_properties.count", "is", &["10"], true);
    check("event_properties.total", "is", &["59.9"], true);
    check("event_properties.items[*].sku", "is", &["B"], true);
    check("user_properties.tags", "is", &["b"], true);
    check("user_properties.missing", "is not", &["x"], true);
}

#[test]
fn a_number_equals_a_text_of_its_size() {
    for (property, value, expected) in [
        ("user_properties.age", "42.0", true),
        ("user_properties.score", "5.5", true),
        ("user_properties.score", "5.05", false),
        ("user_properties.plan", "5.5", false),
    ] {
        check_with(true, property, "is", &[value], expected);
        check_with(true, property, "is not", &[value], !expected);
        check_with(true, property, "set is", &[value], expected);
    }
    check("user_properties.score", "is", &["5.5"], false);
    check("user_properties.score", "is", &["5.50"], true);
}

#[test]
fn what_json_text_says_counts_beside_the_text() {
    for value in [
        r#"[["denied"]]"#,
        r#""[\"denied\",NaN]""#,
        r#""[\"denied\",None]""#,
        r#""[[\"denied\"]]""#,
        r#""\"denied\"""#,
        r#""\"[\\\"denied\\\"]\"""#,
        r#"["[\"denied\"]"]"#,
    ] {
        assert_eq!(surely("is", value), [true, true], "{value}");
        assert_eq!(surely("is not", value), [false, false], "{value}");
    }
    // A title in brackets is a text, but nobody's yes or no.
    for value in [
        r#""[\"x\",\"denied""#,
        r#""{\"x\":\"denied""#,
        r#""[Sale] Shoes""#,
        r#""\"[\\\"x""#,
    ] {
        assert_eq!(surely("is", value), [false, false], "{value}");
        assert_eq!(surely("is not", value), [true, false], "{value}");
        assert_eq!(surely("set is not", value), [true, false], "{value}");
        assert_eq!(
            surely("does not start with", value),
            [true, false],
            "{value}"
        );
    }
    let nested = |depth| format!("{}\"x\"{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(surely("is not", &nested(8)), [true, true]);
    assert_eq!(surely("is not", &nested(9)), [false, false]);
}

#[test]
fn what_cannot_be_read_on_the_way_to_a_property_may_hold_it() {
    for properties in [
        r#""{\"ads\":\"denied\",\"x\":\"cut o""#,
        r#"{"$set":"{\"ads\":\"denied\",\"x\":\"cut o"}"#,
        r#"{"$append":"{\"ads\":\"denied","$set":{"ads":"granted"}}"#,
    ] {
        assert_eq!(
            surely_of(properties, "is not"),
            [true, false],
            "{properties}"
        );
    }
    for properties in [
        "7",
        "true",
        "[1]",
        r#"[{"ads":"denied"}]"#,
        r#""ads=denied""#,
        r#""[{}]""#,
        r#"{"$set":[{"ads":"denied"}],"ads":"granted"}"#,
        r#"{"$setOnce":"ads","$set":{"ads":"granted"}}"#,
        r#"{"$unset":["ads"],"ads":"granted"}"#,
        r#"{"$append":7}"#,
    ] {
        for op in ["is not", "does not contain", "set is not"] {
            assert_eq!(surely_of(properties, op), [true, false], "{properties}");
        }
        assert_eq!(surely_of(properties, "is"), [false, false], "{properties}");
    }
    for properties in [
        "null",
        r#"" ""#,
        r#""EMPTY""#,
        "{}",
        "[]",
        r#""[]""#,
        r#""{}""#,
        r#"{"ads":7}"#,
        r#"{"$set":[],"$setOnce":null,"$clearAll":"-"}"#,
    ] {
        assert_eq!(
            surely_of(properties, "is not"),
            [true, true],
            "{properties}"
        );
    }
    for properties in [
        r#""{\"ads\":\"denied\",\"x\":NaN}""#,
        r#"{"$set":"{\"ads\":\"denied\",\"x\":NaN}"}"#,
        r#"{"$set":{"ads":"[\"denied\",NaN]"}}"#,
    ] {
        assert_eq!(
            surely_of(properties, "is not"),
            [false, false],
            "{properties}"
        );
    }
}

#[test]
fn what_a_path_cannot_follow_may_hold_it() {
    for (value, path, expected) in [
        (r#""denied""#, "user_properties.ads.a", false),
        (r#"[{"a":"denied"}]"#, "user_properties.ads.a", false),
        (r#"{"a":7}"#, "user_properties.ads.a.b", false),
        // A single value is a list of one.
        (r#""granted""#, "user_properties.ads[*]", true),
        ("[7]", "user_properties.ads[0].a", false),
        (r#"[{"a":"x"},"y"]"#, "user_properties.ads[*].a", false),
        (r#"{"a":1}"#, "user_properties.ads.b", true),
        ("null", "user_properties.ads.a", true),
        ("[]", "user_properties.ads.a", true),
        ("{}", "user_properties.ads[*]", true),
        ("[1]", "user_properties.ads[1].a", true),
    ] {
        let properties = format!("{{\"ads\":{value}}}");
        let found = surely_at(path, &properties, "is not");
        assert_eq!(found, [true, expected], "{path}: {value}");
    }
}

/// Whether a condition on a property of this value holds: where a text is what it is, and where it may
/// hide more.
fn surely(op: &str, value: &str) -> [bool; 2] {
    surely_of(&format!("{{\"ads\":{value}}}"), op)
}

fn surely_of(properties: &str, op: &str) -> [bool; 2] {
    surely_at("user_properties.ads", properties, op)
}

fn surely_at(path: &str, properties: &str, op: &str) -> [bool; 2] {
    let text = format!("{{\"user_properties\":{properties}}}");
    let arena = Arena::default();
    let event = Event::decode(text.as_bytes(), &arena).unwrap();
    let condition = Condition::new(
        Path::parse(path).unwrap(),
        Op::parse(op).unwrap(),
        vec![Operand::new("denied".to_owned(), false)],
    );
    [Texts::Plain, Texts::MayHideMore]
        .map(|texts| unmet(std::slice::from_ref(&condition), &event, texts).is_none())
}

#[test]
fn long_numbers_are_told_apart_to_the_last_digit() {
    let id = "user_properties.id";
    for (value, order) in [
        ("9007199254740992", "greater"),
        ("9007199254740993.0", "is"),
        ("9007199254740994", "less"),
        ("90071992547409930", "less"),
        ("-9007199254740993", "greater"),
    ] {
        for op in ["is", "greater", "less"] {
            check_with(true, id, op, &[value], op == order);
        }
        check_with(true, id, "is not", &[value], order != "is");
    }
    check(
        "event_properties.total",
        "is",
        &["59.900000000000000001"],
        false,
    );
}

#[test]
fn what_operations_make_of_a_groups_properties_is_compared() {
    let event = r#"{"event_type":"$groupidentify","groups":{"org":"acme"},"group_properties":
        {"$set":{"plan":"pro"},"$setOnce":{"since":"2020"},"$append":{"tags":"a"}}}"#;
    let arena = Arena::default();
    let event = Event::decode(event.as_bytes(), &arena).unwrap();
    for (property, value, expected) in [
        ("group_properties.plan", "pro", true),
        ("group_properties.plan", "free", false),
        ("group_properties.tags", "a", true),
        // The group may have had one.
        ("group_properties.since", "2020", false),
    ] {
        let condition = Condition::new(
            Path::parse(property).unwrap(),
            Op::Is,
            vec![Operand::new(value.to_owned(), false)],
        );
        assert_eq!(holds(&[condition], &event), expected, "{property}");
    }
}

#[test]
fn none_stands_for_what_is_not_set() {
    for (property, set) in [
        ("user_properties.plan", true),
        ("user_properties.missing", false),
        ("user_properties.none", false),
        ("user_properties.empty", false),
        ("event_properties.blank", false),
        ("event_properties.object", true),
        ("event_properties.list", true),
    ] {
        check(property, "is set", &[], set);
        check(property, "is not set", &[], !set);
        check(property, "is", &["(none)"], !set);
        check(property, "is not", &["(none)"], set);
    }
    check("user_properties.plan", "is", &["(none)", "Pro"], true);
    check("user_properties.missing", "contains", &["none"], false);
}

#[test]
fn contains_and_starts_with_ignore_case() {
    check("user_properties.plan", "contains", &["RO"], true);
    check("user_properties.plan", "does not contain", &["x"], true);
    check("user_properties.plan", "starts with", &["pR"], true);
    check("user_properties.plan", "does not start with", &["ro"], true);
    check("user_properties.missing", "does not contain", &["x"], true);
}

#[test]
fn compares_numbers_by_size_and_dates_by_text() {
    check("event_properties.total", "greater", &["9"], true);
    check("event_properties.total", "less or equal", &["59.90"], true);
    check("user_properties.age", "greater or equal", &["42"], true);
    check("user_properties.age", "less", &["9"], false);
    check("event_properties.na", "greater", &["0"], false);
    check("event_properties.na", "less", &["0"], false);
    check("event_properties.missing", "less", &["0"], false);
    check("event_time", "greater", &["2026-11-01"], true);
    check("event_time", "less", &["2026-11-01"], false);
    check("event_properties.total", "less", &["inf"], false);
}

#[test]
fn amounts_are_numbers_where_they_can_mean_but_one() {
    for amount in ["comma", "dollars", "euros", "grouped"] {
        let property = format!("event_properties.amounts.{amount}");
        check(&property, "greater", &["0"], true);
        check(&property, "greater", &["$58,50"], true);
        check(&property, "less or equal", &["59.9"], amount != "grouped");
        check_with(true, &property, "is", &["59.9"], amount != "grouped");
        check(&property, "is", &["59.9"], false);
    }
    for other in ["ambiguous", "words", "coupon"] {
        let property = format!("event_properties.amounts.{other}");
        check(&property, "greater", &["0"], false);
        check(&property, "less", &["1000000"], false);
    }
}

#[test]
fn set_operators_take_their_values_as_one_set() {
    let list = "event_properties.list";
    check(list, "set is", &["y", "x", "3"], true);
    check(list, "set is", &["x", "y"], false);
    check(list, "set is not", &["x", "y"], true);
    check(list, "set contains", &["x", "3"], true);
    check(list, "set contains", &["x", "z"], false);
    check(list, "set does not contain", &["z", "w"], true);
    check(list, "set does not contain", &["x", "z"], false);
    check("user_properties.tags", "set is", &["a", "b"], true);
    check("user_properties.plan", "set is", &["Pro"], true);
    check("user_properties.missing", "set is", &["(none)"], true);
    check("user_properties.missing", "set contains", &["x"], false);
    check(
        "user_properties.missing",
        "set does not contain",
        &["x"],
        true,
    );
}

#[test]
fn globs_follow_the_slashes() {
    let url = "event_properties.url";
    check(url, "glob match", &["https://*/de/*"], true);
    check(url, "glob match", &["https://*/cart"], false);
    check(url, "glob does not match", &["**/checkout"], true);
    check(url, "glob match", &["x", "**cart"], true);
}
