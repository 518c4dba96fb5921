//! What goes out because the table names it aloud, and what does not even so.

use super::*;

#[test]
fn numbers_that_the_table_names_go_out() {
    let properties = r#"{"sp":"+1 650-253-0000","card":"4111111111111111","phone":"6502530000","l":["650-253-0000"],"deep":{"a":"650-253-0000"},"text":"{\"a\":\"650-253-0000\"}","p":[{"id":"A","t":"650-253-0000"}],"mail":"a@b.de"}"#;
    let table = |fields: &str| format!("[sync.web.custom_data]\n{fields}");
    for (fields, expected) in [
        (
            "store_phone = \"event_properties.sp\"",
            r#""store_phone":"+1 650-253-0000""#,
        ),
        (
            "content_name = \"event_properties.sp\"",
            r#""content_name":"+1 650-253-0000""#,
        ),
        ("x = \"event_properties.card\"", r#""x":"4111111111111111""#),
        (
            "phone_of_store = \"event_properties.phone\"",
            r#""phone_of_store":"6502530000""#,
        ),
        ("x = \"event_properties.l\"", r#""x":["650-253-0000"]"#),
        ("x = \"event_properties.deep.a\"", r#""x":"650-253-0000""#),
        ("x = \"event_properties.text.a\"", r#""x":"650-253-0000""#),
        (
            "contents = { each = \"event_properties.p\", id = \"id\", title = \"t\" }",
            r#""contents":[{"id":"A","quantity":1,"title":"650-253-0000"}],"num_items":1"#,
        ),
        (
            "x = { each = \"event_properties.p\", title = \"t\" }",
            r#""x":[{"title":"650-253-0000"}]"#,
        ),
    ] {
        let expected = format!("\"custom_data\":{{{expected}}}");
        check(&table(fields), properties, &expected, &[]);
    }
    // Nobody named these, or they are addresses.
    for source in ["deep", "text", "mail"] {
        check(
            &table(&format!("x = \"event_properties.{source}\"")),
            properties,
            "",
            &["custom_data.x: personal_data"],
        );
    }
    check(
        &table("contents = \"event_properties.p\""),
        r#"{"p":[{"id":"A","title":"650-253-0000"}]}"#,
        r#""custom_data":{"contents":[{"id":"A","quantity":1}],"num_items":1}"#,
        &["custom_data.contents: personal_data"],
    );
    check(
        "properties = [\"sp\"]",
        properties,
        "",
        &["custom_data.sp: personal_data"],
    );
}

#[test]
fn a_name_says_phone_for_all_that_it_holds() {
    for properties in [
        r#"{"phone":{"number":"6502530000"}}"#,
        r#"{"contact":{"phone":{"home":[6502530000]}}}"#,
        r#"{"contact":"{\"phone\":{\"home\":\"6502530000\"}}"}"#,
        r#"{"phone":"1.6502530000E10"}"#,
        r#"{"n":4.111111111111111e15}"#,
        r#"{"0049 151 2345678":"x"}"#,
    ] {
        check(
            "properties = [\"*\"]",
            properties,
            "",
            &["custom_data.*: personal_data"],
        );
    }
    check(
        "properties = [\"*\"]",
        r#"{"contact":{"order":6502530000}}"#,
        r#""custom_data":{"contact":{"order":6502530000}}"#,
        &[],
    );
}

#[test]
fn ids_stay_free_of_the_screens_of_numbers() {
    for number in [
        "0049 151 2345678",
        "x4111111111111111",
        "138-0013-8000",
        "+16502530000",
    ] {
        let properties = format!(
            r#"{{"order_id":"{number}","content_ids":["{number}"],"contents":[{{"id":"{number}"}}]}}"#
        );
        check(
            "properties = [\"*\"]",
            &properties,
            &format!(
                r#""custom_data":{{"order_id":"{number}","content_ids":["{number}"],"contents":[{{"id":"{number}","quantity":1}}]}}"#
            ),
            &[],
        );
    }
}

#[test]
fn what_any_row_hashes_goes_out_with_none() {
    let rows = "[sync.web.events.A]\n[sync.web.events.B]\n[sync.web.events.B.user_data]\nfirst_name = \"event_properties.given\"\n";
    let lost = &["custom_data.*: hashed_source"];
    check(
        &format!("properties = [\"*\"]\n{rows}"),
        r#"{"given":"Pat","a":1}"#,
        r#""custom_data":{"a":1}"#,
        lost,
    );
    check(
        &format!("properties = [\"*\"]\nallow_personal_data = [\"given\"]\n{rows}"),
        r#"{"given":"Pat"}"#,
        r#""custom_data":{"given":"Pat"}"#,
        &[],
    );
}

#[test]
fn revenue_is_one_source_in_both_of_its_places() {
    let hashed =
        |path: &str| format!("properties = [\"*\"]\n[sync.web.user_data]\nfirst_name = '{path}'\n");
    for path in ["productId", "product_id", "event_properties.$productId"] {
        check(
            &hashed(path),
            r#"{"$productId":"Pat","a":1}"#,
            r#""custom_data":{"a":1}"#,
            &["custom_data.*: hashed_source"],
        );
    }
}
