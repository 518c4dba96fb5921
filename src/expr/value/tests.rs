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
    let condition = Condition::new(
        Path::parse(&format!("event_properties.{property}")).unwrap(),
        Op::IsSet,
        Vec::new(),
    );
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
    let operand = |text: &str, is_number| Operand::new(text.to_owned(), is_number);
    let condition = Condition::new(
        Path::parse("country").unwrap(),
        Op::Is,
        vec![operand("Spain", false), operand("5", true)],
    );
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

/// An expression as it stands beside `each`.
fn beside_each(rules: &str) -> ValueExpr {
    let text = format!(
        "[ingest]\nallow_unauthenticated = true\n[sync.web]\npixel_id = \"1\"\naccess_token = \"t\"\n\
         [sync.web.custom_data]\nlist = {{ each = \"event_properties.list\", x = {rules} }}"
    );
    let config = crate::config::load::from_toml(&text, &[]).unwrap();
    let sync = config.syncs.into_values().next().unwrap();
    match sync.mapping.custom_data.into_values().next().unwrap() {
        crate::config::expressions::CustomValue::Each { mut members, .. } => {
            members.remove("x").unwrap()
        }
        crate::config::expressions::CustomValue::Value(expr) => expr,
    }
}

#[test]
fn what_was_read_in_the_event_is_not_read_again_for_each_item() {
    let arena = Arena::default();
    let raw =
        br#"{"user_id":"u","event_properties":{"skus":[null,"A","B"],"text":"p, q","null":null},
        "user_properties":{"$setOnce":{"plan":"pro"}}}"#;
    let event = Event::decode(raw, &arena).unwrap();
    // Whatever is found can only have been read before: this event has nothing of it.
    let bare = Event::decode(b"{}", &arena).unwrap();
    for (rules, in_empty, in_own) in [
        ("\"event_properties.skus[*]\"", Some("\"A\""), Some("\"A\"")),
        ("[\"own\", \"user_id\"]", Some("\"u\""), Some("\"o\"")),
        ("\"user_id\"", Some("\"u\""), Some("\"mine\"")),
        ("\"event_properties.null\"", None, None),
        (
            "{ from = \"event_properties.null\", default = 7 }",
            Some("7"),
            Some("7"),
        ),
        (
            "{ from = \"event_properties.skus[*]\", map = { B = \"b\" } }",
            Some("\"b\""),
            Some("\"b\""),
        ),
        (
            "{ from = \"event_properties.skus\", map = { B = \"b\" } }",
            Some("\"b\""),
            Some("\"b\""),
        ),
        (
            "{ from = \"event_properties.skus\", map = { C = \"b\" } }",
            None,
            None,
        ),
        (
            "{ from = \"event_properties.text\", split = \",\", map = { q = 3 } }",
            Some("3"),
            Some("3"),
        ),
        (
            "{ all = [\"own\", \"event_properties.text\"] }",
            Some("\"p, q\""),
            Some("\"o\""),
        ),
        (
            "[{ from = \"user_id\", when = [{ property = \"own\", op = \"is set\" }] }, { constant = 1 }]",
            Some("1"),
            Some("\"mine\""),
        ),
        (
            "{ from = \"user_id\", when = [{ property = \"event_properties.skus\", op = \"is\", value = \"B\" }] }",
            Some("\"u\""),
            Some("\"mine\""),
        ),
        // The other reading has no plan.
        (
            "{ from = \"user_id\", when = [{ property = \"user_properties.plan\", op = \"is\", value = \"pro\" }] }",
            None,
            None,
        ),
    ] {
        let expr = beside_each(rules);
        let mut reads = EventReads::default();
        expr.note_in_event(&event, &mut reads);
        for (item, expected) in [
            ("{}", in_empty),
            (r#"{"own":"o","user_id":"mine"}"#, in_own),
        ] {
            let item = Json::of_valid_text(item);
            let members = item.all_members();
            let unknown = Cell::default();
            let scope = Scope::element(&bare, item, &members, &reads);
            let found = expr.first_noting(scope, &unknown);
            assert_eq!(found.map(|found| found.value.raw()), expected, "{rules}");
            if found.is_none() {
                assert_eq!(unknown.get(), rules.contains("C = "), "{rules}");
            }
            // The same is found where it is looked up each time.
            let none = EventReads::default();
            let scope = Scope::element(&event, item, &members, &none);
            let found = expr.first(scope).map(|found| found.value.raw());
            assert_eq!(found, expected, "{rules}");
        }
    }
}
