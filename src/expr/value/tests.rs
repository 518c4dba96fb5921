//! Value expressions, against one event.

use super::*;
use crate::expr::condition::{Op, Operand};

const EVENT: &[u8] = br#"{"user_id":"u","event_properties":{"blank":"","kind":"sku","other":"x",
    "number":1.0,"list":["sku","x","book"],"more":["a"],"skus":[{"id":1},{"id":null},{"id":2}]}}"#;

fn path(text: &str) -> ValueSource {
    ValueSource::Path(Path::parse(&format!("event_properties.{text}")).unwrap())
}

fn of(sources: impl IntoIterator<Item = ValueSource>) -> ValueExpr {
    ValueExpr {
        sources: sources.into_iter().collect(),
        default: None,
    }
}

fn fixed(text: &str) -> ValueExpr {
    ValueExpr::constant(Constant::new(&text.into()))
}

fn or(text: &str, value: ValueExpr) -> ValueExpr {
    ValueExpr {
        default: fixed(text).default,
        ..value
    }
}

fn when(property: &str, value: ValueExpr) -> ValueSource {
    let condition = Condition {
        property: Path::parse(&format!("event_properties.{property}")).unwrap(),
        op: Op::IsSet,
        values: Vec::new(),
    };
    ValueSource::When(vec![condition], value)
}

fn by_table(value: ValueExpr) -> ValueSource {
    let table = [("sku", "product"), ("1", "one"), ("book", "product_group")];
    let table = table.map(|(from, to)| (from.to_owned(), Constant::new(&to.into())));
    ValueSource::Translated(value, ReplacementTable(table.into()))
}

#[track_caller]
fn check(value: &ValueExpr, expected: &[&str]) {
    let arena = Arena::default();
    let event = Event::decode(EVENT, &arena).unwrap();
    let all: Vec<_> = value.all(&event);
    let all: Vec<_> = all.iter().map(|found| found.value.raw()).collect();
    assert_eq!(all, expected, "{value:?}");
    let first = value.first(&event).map(|found| found.value.raw());
    assert_eq!(first, expected.first().copied(), "{value:?}");
}

#[test]
fn the_first_present_source_wins_and_then_the_default() {
    check(&of([path("blank"), path("kind")]), &["\"sku\""]);
    check(&or("none", of([path("blank")])), &["\"none\""]);
    check(&or("none", of([path("kind")])), &["\"sku\""]);
    check(&of([path("blank")]), &[]);
    check(&of([path("skus[*].id"), path("kind")]), &["1", "2"]);
    check(&fixed("x"), &["\"x\""]);
}

#[test]
fn a_table_replaces_what_it_knows_and_passes_over_the_rest() {
    check(&of([by_table(of([path("kind")]))]), &["\"product\""]);
    check(&of([by_table(of([path("number")]))]), &["\"one\""]);
    let unknown = || by_table(of([path("other")]));
    check(&of([unknown()]), &[]);
    check(&of([unknown(), path("other")]), &["\"x\""]);
    check(&or("else", of([unknown()])), &["\"else\""]);
    let two = by_table(of([path("other"), path("kind")]));
    check(&of([two]), &["\"product\""]);
    let list = by_table(of([path("list")]));
    check(&of([list]), &["\"product\"", "\"product_group\""]);

    let arena = Arena::default();

    let event = Event::decode(EVENT, &arena).unwrap();
    let missed = |value: &ValueExpr| {
        let missed = value.untranslated(&event);
        missed.map(|found| found.value.raw().to_owned())
    };
    assert_eq!(missed(&of([unknown()])), Some("\"x\"".to_owned()));
    assert_eq!(
        missed(&of([when("kind", of([unknown()]))])),
        Some("\"x\"".to_owned())
    );
    assert_eq!(missed(&of([when("blank", of([unknown()]))])), None);
    assert_eq!(missed(&of([by_table(of([path("blank")]))])), None);
    let found = of([by_table(of([path("kind")]))]);
    let found = found.first(&event).unwrap();
    assert_eq!(found.translated.unwrap().raw(), "\"sku\"");
    assert_eq!(found.path.unwrap().as_str(), "event_properties.kind");
}

#[test]
fn conditions_choose() {
    let chosen = of([when("kind", fixed("yes")), path("other")]);
    check(&chosen, &["\"yes\""]);
    check(
        &of([when("blank", fixed("yes")), path("other")]),
        &["\"x\""],
    );
    check(&of([when("kind", of([path("other")]))]), &["\"x\""]);
    let arena = Arena::default();
    let event = Event::decode(EVENT, &arena).unwrap();
    let found = chosen.first(&event).unwrap();
    let by: Vec<_> = found.when.iter().map(ToString::to_string).collect();
    assert_eq!(by, ["event_properties.kind is set"]);
    assert!(!found.is_fixed());
}

#[test]
fn all_takes_the_values_of_each() {
    let all = |values: Vec<ValueExpr>| of([ValueSource::All(values), path("other")]);
    let both = all(vec![of([path("kind")]), of([path("skus[*].id")])]);
    check(&both, &["\"sku\"", "1", "2"]);
    check(
        &all(vec![of([path("blank")]), of([path("missing")])]),
        &["\"x\""],
    );
    check(
        &all(vec![of([path("blank"), path("kind")]), fixed("y")]),
        &["\"sku\"", "\"y\""],
    );
    assert!(both.gathers() && !of([path("kind")]).gathers());
}

#[test]
fn knows_what_it_is_made_of() {
    let value = or(
        "c",
        of([
            when("a", of([path("kind"), by_table(of([path("other")]))])),
            ValueSource::All(vec![fixed("b"), of([path("list")])]),
        ]),
    );
    let paths: Vec<_> = value.paths().iter().map(ToString::to_string).collect();
    assert_eq!(
        paths,
        ["kind", "other", "list"].map(|name| format!("event_properties.{name}"))
    );
    let constants: Vec<_> = value
        .constants()
        .iter()
        .map(|one| one.json().raw())
        .collect();
    let table = ["\"one\"", "\"product_group\"", "\"product\""];
    assert_eq!(constants, [&table[..], &["\"b\"", "\"c\""]].concat());
    assert!(value.always_gives() && of([ValueSource::All(vec![fixed("b")])]).always_gives());
    assert!(!of([when("a", fixed("b"))]).always_gives());
    assert!(of([ValueSource::When(Vec::new(), fixed("b"))]).always_gives());
    assert!(ValueExpr::default().is_empty() && !fixed("b").is_empty());
}

#[test]
fn a_condition_reads_as_it_is_written() {
    let operand = |text: &str, is_number| Operand {
        text: text.to_owned(),
        is_number,
    };
    let condition = Condition {
        property: Path::parse("country").unwrap(),
        op: Op::Is,
        values: vec![operand("Spain", false), operand("5", true)],
    };
    assert_eq!(condition.to_string(), "country is \"Spain\" or 5");
}

#[test]
fn every_path_that_may_be_read_is_known() {
    let value = of([
        ValueSource::All(vec![of([path("kind")]), of([by_table(of([path("list")]))])]),
        ValueSource::Split(of([path("other")]), ",".into()),
        when("blank", of([when("more", fixed("a")), path("number")])),
    ]);
    let paths: Vec<&str> = value.all_paths().into_iter().map(Path::as_str).collect();
    let expected = ["kind", "list", "other", "blank", "more", "number"];
    assert_eq!(
        paths,
        expected.map(|name| format!("event_properties.{name}"))
    );
}
