//! `custom_data` as a whole: what a mapping and an event make of each other.

use super::*;
use crate::config::load::from_toml;
use crate::event::arena::Arena;
use crate::map::record::FieldStats;
use crate::map::rule;

mod broken;
mod forms;
mod named;
mod sources;

/// Maps the properties of an event of the given name, and gives the JSON and what was lost.
#[track_caller]
fn written(rules: &str, name: &str, properties: &str) -> (String, Vec<String>) {
    let text = format!(
        "[ingest]\nallow_unauthenticated = true\n[sync.web]\npixel_id = \"1\"\naccess_token = \"t\"\n{rules}"
    );
    let config = from_toml(&text, &[]).unwrap();
    let sync = config.syncs.values().next().unwrap();
    let custom_data = CustomData::compile(
        [&sync.mapping.custom_data, &BTreeMap::new()],
        [&sync.properties, &PassedProperties::default()],
        sync,
        &rule::hashed_sources(sync, &sync.allow_personal_data),
    );
    let event = format!("{{\"event_properties\":{properties}}}");
    let arena = Arena::default();
    let event = Event::decode(event.as_bytes(), &arena).unwrap();
    let setting = Setting {
        purchase: name == "Purchase",
        revenue: name == "Purchase",
    };
    let (mut out, mut stats) = (Vec::new(), FieldStats::default());
    custom_data.write(&mut out, &event, setting, &mut stats);
    let lost = stats
        .dropped()
        .map(|(field, why)| format!("{field}: {why}"))
        .collect();
    (String::from_utf8(out).unwrap(), lost)
}

#[track_caller]
fn check(rules: &str, properties: &str, expected: &str, lost: &[&str]) {
    let (json, dropped) = written(rules, "Any", properties);
    assert_eq!(json, expected);
    assert_eq!(dropped, lost);
}

#[track_caller]
fn check_purchase(rules: &str, properties: &str, expected: &str, lost: &[&str]) {
    let (json, dropped) = written(rules, "Purchase", properties);
    assert_eq!(json, expected);
    assert_eq!(dropped, lost);
}

#[test]
fn named_properties_are_passed_as_they_are() {
    check(
        "properties = [\"coupon\", \"a \\\"b\\\\\", \"deep\", \"none\", \"missing\"]",
        r#"{"coupon":"X","a \"b\\":1.50,"deep":{"x":[1,null]},"none":"(none)","other":1}"#,
        r#""custom_data":{"a \"b\\":1.50,"coupon":"X","deep":{"x":[1]}}"#,
        &[],
    );
    check("", r#"{"coupon":"X","value":1,"currency":"USD"}"#, "", &[]);
}

#[test]
fn a_standard_name_is_typed_by_either_route() {
    let properties = r#"{"value":"19.90","currency":"eur","num_items":"2","status":true,"predicted_ltv":"-1","net_revenue":"1,500"}"#;
    let expected = r#""custom_data":{"currency":"EUR","value":19.90,"num_items":2,"#;
    let named = "properties = [\"value\", \"currency\", \"num_items\", \"predicted_ltv\", \"status\", \"net_revenue\"]";
    let lost = &["custom_data.net_revenue: ambiguous_number"];
    check(
        named,
        properties,
        &format!("{expected}\"predicted_ltv\":-1,\"status\":true}}"),
        lost,
    );
    check(
        "properties = [\"*\"]",
        properties,
        &format!("{expected}\"status\":true,\"predicted_ltv\":-1}}"),
        &["custom_data.*: ambiguous_number"],
    );
}

#[test]
fn a_table_goes_before_a_property() {
    check(
        "properties = [\"*\"]\n[sync.web.custom_data]\norder_id = \"event_properties.id\"",
        r#"{"id":7,"order_id":"no","x":1}"#,
        r#""custom_data":{"order_id":"7","id":7,"x":1}"#,
        &[],
    );
}

#[test]
fn a_value_needs_a_currency() {
    let rules = "[sync.web.custom_data]\nvalue = \"event_properties.total\"\ncurrency = \"event_properties.currency\"";
    let lost = &["custom_data.value: value_without_currency"];
    check(rules, r#"{"total":5}"#, "", lost);
    check(
        rules,
        r#"{"total":5,"currency":"EUR"}"#,
        r#""custom_data":{"currency":"EUR","value":5}"#,
        &[],
    );
    check(
        rules,
        r#"{"total":-5,"currency":"EUR"}"#,
        r#""custom_data":{"currency":"EUR"}"#,
        &["custom_data.value: negative"],
    );
}

#[test]
fn a_purchase_falls_back_to_amplitudes_revenue() {
    let rules = "[sync.web.custom_data]\nvalue = \"event_properties.total\"\ncurrency = { from = \"event_properties.currency\", default = \"USD\" }";
    let revenue = r#"{"$price":"9.95","$quantity":2,"$currency":"GBP"}"#;
    check_purchase(
        rules,
        revenue,
        r#""custom_data":{"currency":"GBP","value":19.9}"#,
        &[],
    );
    check(rules, revenue, r#""custom_data":{"currency":"USD"}"#, &[]);
    check_purchase(
        rules,
        r#"{"$revenue":1,"total":2,"currency":"CHF","$currency":"GBP"}"#,
        r#""custom_data":{"currency":"CHF","value":2}"#,
        &[],
    );
    check_purchase(
        rules,
        r#"{"$revenue":1,"total":-2}"#,
        r#""custom_data":{"currency":"USD"}"#,
        &["custom_data.value: negative"],
    );
    let fixed = "[sync.web.custom_data]\ncurrency = { constant = \"USD\" }";
    check_purchase(
        fixed,
        revenue,
        r#""custom_data":{"currency":"USD","value":19.9}"#,
        &[],
    );
}

#[test]
fn contents_need_ids_and_quantities() {
    let rules = "[sync.web.custom_data]\ncontents = { each = \"event_properties.p\", id = [\"sku\", \"id\"], quantity = \"n\", item_price = \"price\", delivery_category = \"way\", size = \"s\" }";
    check(
        rules,
        r#"{"p":[{"sku":"A","n":"2","price":"9.50","s":"L"},{"id":7,"price":-1,"way":"CURBSIDE"},{"n":1},{"sku":"B","n":0},{"sku":"C","n":1.5},"x"]}"#,
        concat!(
            r#""custom_data":{"contents":[{"id":"A","quantity":2,"item_price":9.50,"size":"L"},"#,
            r#"{"id":7,"quantity":1,"delivery_category":"curbside"},{"id":"C","quantity":2}],"num_items":5}"#
        ),
        &[
            "custom_data.contents: bad_item",
            "custom_data.contents: negative",
        ],
    );
    check(
        rules,
        r#"{"p":{"sku":"A"}}"#,
        r#""custom_data":{"contents":[{"id":"A","quantity":1}],"num_items":1}"#,
        &[],
    );
    check(
        rules,
        r#"{"p":[{"n":1}]}"#,
        "",
        &["custom_data.contents: no_items"],
    );
    check(
        rules,
        r#"{"p":[]}"#,
        "",
        &["custom_data.contents: no_items"],
    );
    check(rules, "{}", "", &[]);
}

#[test]
fn members_that_an_item_goes_without_are_noted() {
    let lost = &["custom_data.contents: not_a_text"];
    let properties = r#"{"p":[{"id":"A","size":{"eu":42},"tags":["a"]}]}"#;
    let expected = r#""custom_data":{"contents":[{"id":"A","quantity":1}],"num_items":1}"#;
    let table = "[sync.web.custom_data]\ncontents = ";
    for source in [
        "\"event_properties.p\"",
        "{ each = \"event_properties.p\", id = \"id\", size = \"size\" }",
    ] {
        check(&format!("{table}{source}"), properties, expected, lost);
    }
    check(
        "[sync.web.custom_data]\nseats = { each = \"event_properties.s\", no = \"n\", who = \"w\" }",
        r#"{"s":[{"n":1,"w":"pat@example.com"}]}"#,
        r#""custom_data":{"seats":[{"no":1}]}"#,
        &["custom_data.seats: personal_data"],
    );
}

#[test]
fn a_field_may_be_chosen_translated_and_gathered() {
    let rules = concat!(
        "[sync.web.custom_data]\n",
        "content_type = [{ from = \"event_properties.kind\", map = { sku = \"product\" } }, ",
        "{ constant = \"product_group\", when = [{ property = \"event_properties.list\", op = \"is set\" }] }]\n",
        "tags = { all = [\"event_properties.tags\", \"event_properties.tag\"] }\n",
    );
    let lost = &["custom_data.content_type: not_in_map"];
    let expected = r#""custom_data":{"content_type":"product"}"#;
    check(rules, r#"{"kind":"sku","list":1}"#, expected, &[]);
    let expected = r#""custom_data":{"content_type":"product_group"}"#;
    check(rules, r#"{"kind":"other","list":1}"#, expected, &[]);
    check(rules, r#"{"kind":"other"}"#, "", lost);
    check(rules, "{}", "", &[]);
    let tags = r#"{"tags":["a",null,{"x":1}],"tag":"b"}"#;
    check(
        rules,
        tags,
        r#""custom_data":{"tags":["a",{"x":1},"b"]}"#,
        &[],
    );
    check(
        rules,
        r#"{"tag":"b"}"#,
        r#""custom_data":{"tags":["b"]}"#,
        &[],
    );
    let lost = &["custom_data.tags: personal_data"];
    check(rules, r#"{"tag":"b","tags":["pat@example.com"]}"#, "", lost);
    check(
        rules,
        r#"{"tags":[null]}"#,
        "",
        &["custom_data.tags: empty"],
    );
}

#[test]
fn the_members_of_an_item_may_be_chosen_too() {
    let rules = concat!(
        "[sync.web.custom_data.contents]\n",
        "each = { all = [\"event_properties.p\", \"event_properties.q\"] }\n",
        "id = [\"sku\", { from = \"kit\", when = [{ property = \"event_properties.kits\", op = \"is\", value = true }] }]\n",
        "delivery_category = { from = \"way\", map = { pickup = \"curbside\" } }\n",
        "brand = { constant = \"Ours\", when = [{ property = \"own\", op = \"is\", value = true }] }\n",
    );
    check(
        rules,
        r#"{"kits":true,"p":[{"sku":"A","way":"pickup","own":true}],"q":[{"kit":"K","way":"drone","own":false}]}"#,
        concat!(
            r#""custom_data":{"contents":[{"id":"A","quantity":1,"brand":"Ours","delivery_category":"curbside"},"#,
            r#"{"id":"K","quantity":1}],"num_items":2}"#
        ),
        &["custom_data.contents: not_in_map"],
    );
    let lost = &["custom_data.contents: no_items"];
    check(rules, r#"{"q":[{"kit":"K"}]}"#, "", lost);
}

#[test]
fn an_item_may_read_its_event() {
    check(
        "[sync.web.custom_data]\ncontents = { each = \"event_properties.p\", id = \"sku\", brand = \"event_properties.brand\", item_price = \"price\" }",
        r#"{"brand":"X","price":1,"p":[{"sku":"A"},{"sku":"B","event_properties":{"brand":"Y"}}]}"#,
        r#""custom_data":{"contents":[{"id":"A","quantity":1,"brand":"X"},{"id":"B","quantity":1,"brand":"Y"}],"num_items":2}"#,
        &[],
    );
}

#[test]
fn the_first_list_that_is_there_counts() {
    let rules = "[sync.web.custom_data]\ncontents = { each = [\"event_properties.p\", \"event_properties\"], id = \"sku\" }";
    for (properties, id) in [
        (r#"{"p":[{"sku":"A"}],"sku":"B"}"#, "A"),
        (r#"{"sku":"B"}"#, "B"),
        (r#"{"p":null,"sku":"B"}"#, "B"),
    ] {
        let expected = format!(
            "\"custom_data\":{{\"contents\":[{{\"id\":\"{id}\",\"quantity\":1}}],\"num_items\":1}}"
        );
        check(rules, properties, &expected, &[]);
    }
}

#[test]
fn the_contents_count_the_items_where_nothing_else_does() {
    let table = "[sync.web.custom_data]\ncontents = \"event_properties.p\"\nnum_items = \"event_properties.n\"";
    let all = "properties = [\"*\"]\n[sync.web.custom_data]\ncontents = \"event_properties.p\"";
    let items = r#""p":[{"id":"A","quantity":2}]"#;
    let contents = r#""custom_data":{"contents":[{"id":"A","quantity":2}]"#;
    for (properties, count, lost) in [
        (format!("{{{items},\"n\":5}}"), 5, None),
        (format!("{{{items}}}"), 2, None),
        (format!("{{{items},\"n\":\"\"}}"), 2, None),
        (
            format!("{{{items},\"n\":\"many\"}}"),
            2,
            Some("custom_data.num_items: not_a_number"),
        ),
    ] {
        let expected = format!("{contents},\"num_items\":{count}}}");
        let (json, dropped) = written(table, "Any", &properties);
        assert_eq!(
            (json, dropped.first().map(String::as_str)),
            (expected, lost)
        );
    }
    let (json, _) = written(all, "Any", &format!("{{{items},\"num_items\":null}}"));
    assert!(json.ends_with(",\"num_items\":2}"), "{json}");
    let (json, _) = written(all, "Any", &format!("{{{items},\"num_items\":5}}"));
    assert!(json.ends_with(",\"num_items\":5}"), "{json}");
}

#[test]
fn contents_in_metas_own_form_are_checked_too() {
    check(
        "properties = [\"contents\", \"content_ids\", \"num_items\"]",
        r#"{"contents":"[{\"quantity\":\"3\",\"id\":\"A\",\"id\":\"B\",\"brand\":\"X\",\"colour\":null}]","content_ids":["A",7,null,1.5],"num_items":9}"#,
        r#""custom_data":{"content_ids":["A",7],"contents":[{"id":"B","quantity":3,"brand":"X"}],"num_items":9}"#,
        &["custom_data.content_ids: bad_item"],
    );
}

#[test]
fn lists_of_the_operators_own_shape_are_free() {
    check(
        "[sync.web.custom_data]\nseats = { each = \"event_properties.s[*].seat\", row = \"r\", no = \"n\" }\nskus = \"event_properties.s[*].sku\"\ncontent_ids = { each = \"event_properties.s\", id = \"sku\" }",
        r#"{"s":[{"seat":{"r":"A","n":1},"sku":"x"},{"seat":{"r":null}}]}"#,
        r#""custom_data":{"content_ids":["x"],"seats":[{"no":1,"row":"A"}],"skus":["x"]}"#,
        &[
            "custom_data.content_ids: bad_item",
            "custom_data.seats: bad_item",
        ],
    );
}

#[test]
fn personal_data_is_withheld_unless_allowed_by_name() {
    let properties = r#"{"q":"pat@example.com","form":{"mobile":"015112345678"},"tel":"+1 503 555 0100","note":"ok"}"#;
    let lost = ["q", "tel", "form"].map(|name| format!("custom_data.{name}: personal_data"));
    check(
        "properties = [\"q\", \"tel\", \"note\"]\n[sync.web.custom_data]\nform = \"event_properties.form\"",
        properties,
        r#""custom_data":{"note":"ok"}"#,
        &[&lost[2], &lost[0], &lost[1]].map(String::as_str),
    );
    check(
        "allow_personal_data = [\"q\", \"tel\"]\nproperties = [\"q\"]\n[sync.web.custom_data]\nhotline = \"event_properties.tel\"",
        properties,
        r#""custom_data":{"hotline":"+1 503 555 0100","q":"pat@example.com"}"#,
        &[],
    );
    check(
        "properties = [\"*\"]",
        properties,
        r#""custom_data":{"note":"ok"}"#,
        &["custom_data.*: personal_data"],
    );
}

#[test]
fn absent_values_are_left_out() {
    check(
        "properties = [\"*\"]",
        r#"{"value":null,"currency":"","order_id":"EMPTY","contents":[],"x":[null,""],"y":{}}"#,
        "",
        &["custom_data.*: no_items", "custom_data.*: empty"],
    );
}

const PERSON: &str = concat!(
    "[sync.web.user_data]\n",
    "first_name = \"event_properties.given\"\n",
    "email = [\"event_properties.buyer.mail\", \"event_properties.guests[*].mail\"]\n",
    "gender = { from = \"event_properties.sex\", map = { w = \"f\" } }\n",
    "city = { all = [\"event_properties.town\", { from = \"event_properties.place\", when = [{ property = \"event_properties.here\", op = \"is set\" }] }] }\n",
    "external_id = \"event_properties.customer\"\n",
);

const HER: &str = r#"{"given":"Pat","buyer":{"mail":"x","tier":1},"guests":"[{\"mail\":\"y\",\"seat\":2}]","sex":"w","town":"Ulm","place":"Rom","here":1,"customer":7,"gift":"Pat"}"#;

#[test]
fn no_source_of_a_hash_goes_out_with_all_properties() {
    let lost = &["custom_data.*: hashed_source"];
    check(
        &format!("properties = [\"*\"]\n{PERSON}"),
        HER,
        r#""custom_data":{"buyer":{"tier":1},"guests":"[{\"seat\":2}]","here":1,"gift":"Pat"}"#,
        lost,
    );
    check(
        &format!(
            "properties = [\"*\"]\nallow_personal_data = [\"given\", \"sex\", \"event_properties.place\"]\n{PERSON}"
        ),
        HER,
        r#""custom_data":{"given":"Pat","buyer":{"tier":1},"guests":"[{\"seat\":2}]","sex":"w","place":"Rom","here":1,"gift":"Pat"}"#,
        lost,
    );
    // Nothing else is in it.
    check(
        &format!("properties = [\"*\"]\n{PERSON}"),
        r#"{"buyer":{"mail":"x"},"guests":[{"mail":"y"}]}"#,
        "",
        lost,
    );
    // An SDK cut it off.
    check(
        &format!("properties = [\"*\"]\n{PERSON}"),
        r#"{"buyer":"{\"mail\":\"x"}"#,
        "",
        lost,
    );
}

#[test]
fn no_source_of_a_hash_goes_out_as_a_named_property() {
    let lost = ["buyer", "given"].map(|name| format!("custom_data.{name}: hashed_source"));
    check(
        &format!("properties = [\"given\", \"buyer\", \"gift\"]\n{PERSON}"),
        HER,
        r#""custom_data":{"buyer":{"tier":1},"gift":"Pat"}"#,
        &[&*lost[0], &*lost[1]],
    );
}

#[test]
fn no_source_of_a_hash_goes_out_by_the_table() {
    let table = |source: &str| format!("{PERSON}[sync.web.custom_data]\nx = {source}\n");
    let lost = &["custom_data.x: hashed_source"];
    for (source, expected) in [
        ("\"event_properties.given\"", ""),
        (
            "[\"event_properties.none\", \"event_properties.given\"]",
            "",
        ),
        ("\"event_properties.buyer.mail\"", ""),
        (
            "\"event_properties.buyer\"",
            r#""custom_data":{"x":{"tier":1}}"#,
        ),
        (
            "{ all = [\"event_properties.given\", \"event_properties.gift\"] }",
            r#""custom_data":{"x":["Pat"]}"#,
        ),
        (
            "{ each = \"event_properties.buyer\", mail = \"mail\", tier = \"tier\", name = \"event_properties.given\" }",
            r#""custom_data":{"x":[{"tier":1}]}"#,
        ),
        (
            "{ from = \"event_properties.town\", default = \"none\" }",
            "",
        ),
    ] {
        check(&table(source), HER, expected, lost);
    }
    // Ids that are named aloud, what the configuration makes of a value, and equal values elsewhere.
    for (source, expected) in [
        ("\"event_properties.customer\"", "7"),
        (
            "{ from = \"event_properties.sex\", map = { w = \"women\" } }",
            "\"women\"",
        ),
        ("\"event_properties.gift\"", "\"Pat\""),
    ] {
        let expected = format!("\"custom_data\":{{\"x\":{expected}}}");
        check(&table(source), HER, &expected, &[]);
    }
    check(
        &format!(
            "allow_personal_data = [\"x\"]\n{}",
            table("\"event_properties.buyer\"")
        ),
        HER,
        r#""custom_data":{"x":{"mail":"x","tier":1}}"#,
        &[],
    );
}

#[test]
fn items_go_without_the_sources_of_hashes() {
    let user_data = "[sync.web.user_data]\nfirst_name = \"event_properties.p[*].holder\"\n[sync.web.custom_data]\n";
    let properties = r#"{"p":[{"id":"A","holder":"Pat","brand":"X"}]}"#;
    let expected =
        r#""custom_data":{"contents":[{"id":"A","quantity":1,"brand":"X"}],"num_items":1}"#;
    for source in [
        "\"event_properties.p\"",
        "{ each = \"event_properties.p\", id = \"id\", brand = \"brand\", holder = \"holder\" }",
    ] {
        let rules = format!("{user_data}contents = {source}");
        check(
            &rules,
            properties,
            expected,
            &["custom_data.contents: hashed_source"],
        );
    }
}

#[test]
fn ids_are_screened_for_addresses_alone() {
    let properties = r#"{"order_id":"650-253-0000","content_ids":["650-253-0000","a@b.de"],"contents":[{"id":"650-253-0000","brand":"650-253-0000"}],"note":"call 650-253-0000"}"#;
    check(
        "properties = [\"*\"]",
        properties,
        r#""custom_data":{"order_id":"650-253-0000","content_ids":["650-253-0000"],"contents":[{"id":"650-253-0000","quantity":1}]}"#,
        &[
            "custom_data.contents: personal_data",
            "custom_data.*: personal_data",
        ],
    );
    check(
        "[sync.web.custom_data]\norder_id = \"event_properties.order_id\"\ncontent_ids = { each = \"event_properties.contents\", id = \"id\" }",
        properties,
        r#""custom_data":{"content_ids":["650-253-0000"],"order_id":"650-253-0000"}"#,
        &[],
    );
    check(
        "properties = [\"order_id\"]",
        r#"{"order_id":"pat@example.com"}"#,
        "",
        &["custom_data.order_id: personal_data"],
    );
}

#[test]
fn addresses_of_pages_lose_their_parameters() {
    let properties = r#"{"page":"https://a.example/p?token=1&utm_id=2","deep":{"u":["https://a.example/?q=1"]},"p":[{"id":"A","link":"https://a.example/?q=1"}]}"#;
    check(
        concat!(
            "properties = [\"page\", \"deep\"]\n[sync.web.custom_data]\n",
            "contents = { each = \"event_properties.p\", id = \"id\", link = \"link\" }\n",
            "fixed = { constant = \"https://a.example/?q=1\" }\n",
        ),
        properties,
        concat!(
            r#""custom_data":{"contents":[{"id":"A","quantity":1,"link":"https://a.example/"}],"#,
            r#""deep":{"u":["https://a.example/"]},"fixed":"https://a.example/?q=1","#,
            r#""page":"https://a.example/p?utm_id=2","num_items":1}"#,
        ),
        &[],
    );
    for rules in [
        "page_url_parameters = [\"*\"]",
        "page_url_parameters = [\"token\", \"utm*\"]",
        "allow_personal_data = [\"page\"]",
    ] {
        check(
            &format!("properties = [\"page\"]\n{rules}"),
            properties,
            r#""custom_data":{"page":"https://a.example/p?token=1&utm_id=2"}"#,
            &[],
        );
    }
}

#[test]
fn the_currency_of_a_sync_serves_what_names_none() {
    let value = "[sync.web.custom_data]\nvalue = \"event_properties.total\"\n";
    let with = |rules: &str| format!("currency = \"eur\"\n{value}{rules}");
    let expected = |code: &str| format!("\"custom_data\":{{\"currency\":\"{code}\",\"value\":5}}");
    let named = "currency = \"event_properties.c\"\n";
    for (rules, properties, code) in [
        (with(""), r#"{"total":5}"#, "EUR"),
        (with(named), r#"{"total":5}"#, "EUR"),
        (with(named), r#"{"total":5,"c":"CHF"}"#, "CHF"),
        (
            with("currency = { from = \"event_properties.c\", default = \"USD\" }\n"),
            r#"{"total":5}"#,
            "USD",
        ),
        (with(""), r#"{"total":5,"$currency":"CHF"}"#, "CHF"),
    ] {
        let (json, lost) = written(&rules, "Purchase", properties);
        assert_eq!((json, lost), (expected(code), vec![]), "{rules}");
    }
}
