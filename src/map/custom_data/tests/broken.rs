//! A value that cannot be read costs itself, not what stands beside it.

use super::*;

#[test]
fn an_amount_that_cannot_be_read_leaves_the_purchase_to_what_can() {
    let rules = "[sync.web.custom_data]\nvalue = \"event_properties.total\"\ncurrency = { constant = \"USD\" }";
    check_purchase(
        rules,
        r#"{"$revenue":1,"total":"N/A"}"#,
        r#""custom_data":{"currency":"USD","value":1}"#,
        &["custom_data.value: not_a_number"],
    );
    check_purchase(
        rules,
        r#"{"$price":19.9,"$quantity":"many"}"#,
        r#""custom_data":{"currency":"USD","value":19.9}"#,
        &["custom_data.value: not_a_number"],
    );
    let default = "[sync.web.custom_data]\nvalue = { from = \"event_properties.total\", default = 3 }\ncurrency = { constant = \"USD\" }";
    check_purchase(
        default,
        r#"{"$revenue":{}}"#,
        r#""custom_data":{"currency":"USD","value":3}"#,
        &["custom_data.value: not_a_number"],
    );
}

#[test]
fn a_quantity_that_cannot_be_read_costs_itself() {
    let rules = "[sync.web.custom_data]\ncontents = { each = \"event_properties.p\", id = \"sku\", quantity = \"n\" }";
    for broken in [
        "\"many\"",
        "true",
        "1e400",
        "1.2E19",
        "[2]",
        "{}",
        "\"1,234\"",
    ] {
        let (json, lost) = written(
            rules,
            "Any",
            &format!("{{\"p\":[{{\"sku\":\"A\",\"n\":{broken}}},{{\"sku\":\"B\",\"n\":2}}]}}"),
        );
        let expected = r#""custom_data":{"contents":[{"id":"A","quantity":1},{"id":"B","quantity":2}],"num_items":3}"#;
        assert_eq!(json, expected, "{broken}");
        assert_eq!(lost.len(), 1, "{broken}: {lost:?}");
        assert!(lost[0].starts_with("custom_data.contents: "), "{lost:?}");
    }
    check(
        rules,
        r#"{"p":[{"sku":"A","n":1e-400},{"sku":"B","n":-1e-400},{"sku":"C","n":0.0}]}"#,
        r#""custom_data":{"contents":[{"id":"A","quantity":1}],"num_items":1}"#,
        &["custom_data.contents: bad_item"],
    );
}

#[test]
fn a_number_out_of_range_costs_itself_within_a_property() {
    let note = r#"{"note":{"a":[1e400],"b":2},"k":1}"#;
    check(
        "properties = [\"*\"]",
        note,
        r#""custom_data":{"note":{"b":2},"k":1}"#,
        &["custom_data.*: not_a_number"],
    );
    check(
        "properties = [\"note\"]",
        note,
        r#""custom_data":{"note":{"b":2}}"#,
        &["custom_data.note: not_a_number"],
    );
    check(
        "[sync.web.custom_data]\nn = \"event_properties.p[*].n\"\nall = { all = [\"event_properties.l\", \"event_properties.m\"] }\no = { each = \"event_properties.p\", n = \"n\", q = \"q\" }",
        r#"{"p":[{"n":1e400},{"n":2,"q":[3,-1e400]}],"l":[1,1e400],"m":1e400}"#,
        r#""custom_data":{"all":[1],"n":[2],"o":[{"n":2,"q":[3]}]}"#,
        &[
            "custom_data.all: not_a_number",
            "custom_data.n: not_a_number",
            "custom_data.o: bad_item",
            "custom_data.o: not_a_number",
        ],
    );
}
