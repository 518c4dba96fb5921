//! Lists, objects and numbers, in the forms in which they come.

use super::*;

#[test]
fn what_came_as_json_text_is_read_as_what_it_is() {
    let rules = concat!(
        "properties = [\"cart\"]\n[sync.web.custom_data]\n",
        "content_ids = \"event_properties.cart.items[*].sku\"\n",
        "contents = { each = \"event_properties.cart.items\", id = \"sku\", quantity = \"n.value\" }\n",
        "content_name = \"event_properties.cart.items[1].sku\"\n",
        "order_id = { from = \"event_properties.cart.id\", when = [{ property = \"event_properties.cart.items[*].sku\", op = \"is\", value = \"B\" }] }\n",
    );
    let json = |text: &str| serde_json::Value::from(text).to_string();
    let fields = concat!(
        r#""content_ids":["A","B"],"content_name":"B","#,
        r#""contents":[{"id":"A","quantity":2},{"id":"B","quantity":1}],"order_id":"o","num_items":3}"#
    );
    let items = r#"[{"sku":"A","n":{"value":2}},{"sku":"B"}]"#;
    let deep = [
        json(r#"{"sku":"A","n":"{\"value\":2}"}"#),
        json(r#"{"sku":"B"}"#),
    ];
    let items_as_texts = format!("[{}]", deep.join(","));
    for items in [
        items.to_owned(),
        json(items),
        items_as_texts.clone(),
        json(&items_as_texts),
    ] {
        let cart = format!("{{\"id\":\"o\",\"items\":{items}}}");
        for cart in [cart.clone(), json(&cart)] {
            let expected = format!("\"custom_data\":{{\"cart\":{cart},{fields}");
            check(rules, &format!("{{\"cart\":{cart}}}"), &expected, &[]);
        }
    }
}

#[test]
fn a_text_is_split_into_values() {
    let rules = concat!(
        "[sync.web.custom_data]\n",
        "content_ids = { from = \"event_properties.skus\", split = \",\" }\n",
        "content_type = { from = \"event_properties.kinds\", split = \"|\", map = { sku = \"product\" } }\n",
        "tags = { from = [\"event_properties.none\", \"event_properties.tags\"], split = \", \" }\n",
    );
    check(
        rules,
        r#"{"skus":" A,B, ,7","kinds":"x| sku |y","tags":"red, blue","none":", "}"#,
        r#""custom_data":{"content_ids":["A","B","7"],"content_type":"product","tags":["red","blue"]}"#,
        &[],
    );
    check(
        rules,
        r#"{"skus":", ,","tags":["a, b","c"]}"#,
        r#""custom_data":{"tags":["a","b","c"]}"#,
        &[],
    );
}

#[test]
fn numbers_with_exponents_and_fractions_are_exact() {
    let rules = "properties = [\"contents\"]\n[sync.web.custom_data]\nvalue = \"event_properties.total\"\ncurrency = { constant = \"VND\" }\nnum_items = \"event_properties.count\"";
    check(
        rules,
        r#"{"total":"1.25E7","count":1e1,"contents":[{"id":"A","quantity":0.5,"item_price":1e-05},{"id":"B","quantity":"2E0"}]}"#,
        r#""custom_data":{"currency":"VND","value":12500000,"contents":[{"id":"A","quantity":1,"item_price":0.00001},{"id":"B","quantity":2}],"num_items":10}"#,
        &[],
    );
    check(
        rules,
        r#"{"total":1e400,"count":2.5,"contents":[{"id":"A","quantity":-0.5},{"id":"B","quantity":0}]}"#,
        r#""custom_data":{"currency":"VND","num_items":3}"#,
        &[
            "custom_data.value: not_a_number",
            "custom_data.contents: no_items",
        ],
    );
    check_purchase(
        rules,
        r#"{"$price":1.25E7,"$quantity":"3.0"}"#,
        r#""custom_data":{"currency":"VND","value":37500000}"#,
        &[],
    );
}
