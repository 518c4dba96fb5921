//! Value expressions, as they are read and written back.

use super::*;

#[test]
fn every_form_of_a_value_is_read_and_written_back() {
    let when = "when = [{ property = \"event_properties.p\", op = \"is set\" }]";
    let when = |value: &str| value.replace("WHEN", when);
    for (written, back) in [
        (r#"["user_id"]"#, r#""user_id""#),
        (
            r#"["user_id", { constant = "x" }]"#,
            r#"{ from = "user_id", default = "x" }"#,
        ),
        (
            r#"{ from = ["user_id", "device_id"] }"#,
            r#"["user_id", "device_id"]"#,
        ),
        (r#"{ constant = "a", WHEN }"#, r#"{ constant = "a", WHEN }"#),
        (
            r#"[{ constant = "a", WHEN }, "user_id", { constant = "b" }]"#,
            r#"{ from = [{ constant = "a", WHEN }, "user_id"], default = "b" }"#,
        ),
        (
            r#"[{ from = "user_id", default = "a", WHEN }, "device_id"]"#,
            r#"[{ from = "user_id", default = "a", WHEN }, "device_id"]"#,
        ),
        (
            r#"{ from = ["user_id", "device_id"], map = { a = "b", "1" = 2 }, default = "c", WHEN }"#,
            r#"{ from = ["user_id", "device_id"], map = { 1 = 2, a = "b" }, default = "c", WHEN }"#,
        ),
        (
            r#"{ all = ["user_id", { from = "device_id", default = "d" }, ["city", "region"]] }"#,
            r#"{ all = ["user_id", { from = "device_id", default = "d" }, ["city", "region"]] }"#,
        ),
        (
            r#"{ all = ["user_id"], map = { a = "b" }, WHEN }"#,
            r#"{ all = ["user_id"], map = { a = "b" }, WHEN }"#,
        ),
        (
            r#"{ from = "user_id", split = ",", default = "d", WHEN }"#,
            r#"{ from = "user_id", split = ",", default = "d", WHEN }"#,
        ),
        (
            r#"{ all = ["user_id", "device_id"], split = " ", map = { a = "b" } }"#,
            r#"{ all = ["user_id", "device_id"], split = " ", map = { a = "b" } }"#,
        ),
        (
            r#"["city", { from = { from = "user_id", split = ";" }, split = "," }]"#,
            r#"["city", { from = { from = "user_id", split = ";" }, split = "," }]"#,
        ),
        (
            r#"{ from = { from = "user_id", default = "d" }, map = { d = 1 } }"#,
            r#"{ from = { from = "user_id", default = "d" }, map = { d = 1 } }"#,
        ),
        (
            r#"{ from = { from = "user_id", WHEN }, WHEN }"#,
            r#"{ from = { from = "user_id", WHEN }, WHEN }"#,
        ),
        (
            r#"{ each = { all = ["event_properties.p", "event_properties.q"] }, id = ["sku", { from = "kind", WHEN }] }"#,
            r#"{ each = { all = ["event_properties.p", "event_properties.q"] }, id = ["sku", { from = "kind", WHEN }] }"#,
        ),
    ] {
        let text = format!("[sync.web.custom_data]\nx = {}\n", when(written));
        let config = loaded(&text);
        let page = effective(&config);
        let line = page.lines().find(|line| line.starts_with("x = ")).unwrap();
        assert_eq!(line, format!("x = {}", when(back)));
        let again = from_toml(&page, &[]).unwrap();
        let web = SyncName::new("web").unwrap();
        let read = |config: &Config| config.syncs[&web].mapping.custom_data.clone();
        assert_eq!(read(&again), read(&config), "{written}");
    }
}
