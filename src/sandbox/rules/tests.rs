//! The rules as tables: a good event, one change, the expected sub-code.

mod user_data;

use serde_json::json;

use super::*;

const NOW: i64 = 1_790_000_000;
const SMITH: &str = "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f";
const MARY: &str = "6915771be1c5aa0c886870b6951b03d7eafc121fea0e80a5ea83beb7c449f4ec";
const FEMALE: &str = "252f10c83610ebca1a059c0bae8255eba2f95be4d1d7bcfa89d7248a82d9f111";

const SCHEMA: u32 = 2_804_019;
const STRICT: u32 = strict::SUB_CODE;

fn lead() -> Value {
    json!({
        "event_name": "Lead",
        "event_time": NOW,
        "event_id": "id-1",
        "action_source": "website",
        "user_data": {"em": SMITH},
    })
}

fn purchase() -> Value {
    let mut event = lead();
    event["event_name"] = "Purchase".into();
    event["custom_data"] = json!({"value": 12.5, "currency": "USD"});
    event
}

fn app_event() -> Value {
    let mut event = lead();
    event["action_source"] = "app".into();
    event["app_data"] = json!({
        "advertiser_tracking_enabled": 1,
        "application_tracking_enabled": true,
        "extinfo": extinfo("a2", "10.1.1"),
    });
    event
}

fn extinfo(version: &str, os: &str) -> Value {
    json!([
        version,
        "com.some.app",
        "771",
        "Version 7.7.1",
        os,
        "OnePlus6",
        "en_US",
        "GMT-1",
        "TMobile",
        "1920",
        "1080",
        "2.00",
        "2",
        "128",
        "8",
        "USA/New York"
    ])
}

fn message(channel: &str, user_data: &Value) -> Value {
    let mut event = purchase();
    event["action_source"] = "business_messaging".into();
    event["messaging_channel"] = channel.into();
    event["user_data"] = user_data.clone();
    event
}

fn verdict(event: &Value) -> Option<u32> {
    let refusal = check(event, 0, UnixMillis::from_seconds(NOW)).err()?;
    assert!(!refusal.detail.is_empty());
    Some(refusal.sub_code)
}

/// The event with the field at this path set, or, where the value is the string "(gone)", removed.
fn changed(mut event: Value, path: &str, value: &Value) -> Value {
    let (parents, key) = path.rsplit_once('.').unwrap_or(("", path));
    let mut object = &mut event;
    for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
        object = &mut object[parent];
    }
    if *value == "(gone)" {
        object.as_object_mut().unwrap().remove(key).unwrap();
    } else {
        object[key] = value.clone();
    }
    event
}

fn check_table(event: fn() -> Value, table: &[(&str, Value, Option<u32>)]) {
    assert_eq!(verdict(&event()), None);
    for (path, value, expected) in table {
        let event = changed(event(), path, value);
        assert_eq!(verdict(&event), *expected, "{path} = {value}");
    }
}

#[test]
fn judges_fields_of_the_event() {
    check_table(
        lead,
        &[
            ("event_name", json!("(gone)"), Some(SCHEMA)),
            ("event_name", json!(" "), Some(SCHEMA)),
            ("event_name", json!(5), Some(SCHEMA)),
            ("event_name", json!("Order Completed"), None),
            ("event_id", json!("(gone)"), None),
            ("event_id", json!(7), Some(SCHEMA)),
            ("event_id", json!(""), Some(STRICT)),
            ("action_source", json!("(gone)"), Some(SCHEMA)),
            ("action_source", json!("web"), Some(SCHEMA)),
            ("action_source", json!("physical_store"), None),
            ("user_data", json!("(gone)"), Some(SCHEMA)),
            ("user_data", json!([]), Some(SCHEMA)),
            ("custom_data", json!([]), Some(SCHEMA)),
            ("custom_data", json!(null), Some(SCHEMA)),
            ("opt_out", json!(true), None),
            ("opt_out", json!("true"), Some(SCHEMA)),
            ("opt_out", json!(1), Some(SCHEMA)),
            ("event_source_url", json!("https://a.example/?q"), None),
            ("event_source_url", json!(""), Some(STRICT)),
            ("event_source_url", json!(5), Some(SCHEMA)),
            ("referrer_url", json!("https://a.example/"), None),
            ("referrer_url", json!(null), Some(SCHEMA)),
            ("advertiser_tracking_enabled", json!(1), Some(SCHEMA)),
            ("value", json!(1), Some(SCHEMA)),
            (
                "customer_segmentation",
                json!("customer_in_loyalty_program"),
                None,
            ),
            ("customer_segmentation", json!("new"), Some(SCHEMA)),
            ("messaging_channel", json!("whatsapp"), None),
            ("messaging_channel", json!("sms"), Some(SCHEMA)),
            (
                "original_event_data",
                json!({"event_name": "Lead", "event_time": NOW}),
                None,
            ),
            ("original_event_data", json!({"name": "Lead"}), Some(SCHEMA)),
            (
                "original_event_data",
                json!({"event_time": "today"}),
                Some(SCHEMA),
            ),
            (
                "attribution_data",
                json!({"ad_id": "1", "attribution_share": 0.5}),
                None,
            ),
            (
                "attribution_data",
                json!({"attribution_share": "half"}),
                Some(SCHEMA),
            ),
            (
                "attribution_data",
                json!({"attribution_model": "best"}),
                Some(SCHEMA),
            ),
            ("attribution_data", json!({"share": 1}), Some(SCHEMA)),
            ("extinfo", extinfo("i2", "17"), None),
            ("extinfo", json!([]), Some(2_804_043)),
        ],
    );
    assert_eq!(verdict(&json!("text")), Some(SCHEMA));
    assert_eq!(verdict(&json!(null)), Some(SCHEMA));
}

#[test]
fn judges_the_time() {
    const DAY: i64 = 86_400;
    check_table(
        lead,
        &[
            ("event_time", json!("(gone)"), Some(SCHEMA)),
            ("event_time", json!("2026-09-21T00:00:00Z"), Some(SCHEMA)),
            ("event_time", json!(1.5), Some(SCHEMA)),
            ("event_time", json!(NOW - 7 * DAY), None),
            ("event_time", json!(NOW - 7 * DAY - 1), Some(2_804_003)),
            ("event_time", json!(0), Some(2_804_003)),
            ("event_time", json!(-1), Some(2_804_003)),
            ("event_time", json!(i64::MIN), Some(2_804_003)),
            ("event_time", json!(NOW + 1), Some(2_804_004)),
            ("event_time", json!(NOW * 1000), Some(2_804_004)),
            ("event_time", json!(u64::MAX), Some(2_804_004)),
        ],
    );
    let in_store = || changed(lead(), "action_source", &json!("physical_store"));
    check_table(
        in_store,
        &[
            ("event_time", json!(NOW - 62 * DAY), None),
            ("event_time", json!(NOW - 62 * DAY - 1), Some(2_804_003)),
        ],
    );
}

#[test]
fn judges_limited_data_use() {
    let limited = || {
        let mut event = lead();
        event["data_processing_options"] = json!(["LDU"]);
        event["data_processing_options_country"] = json!(1);
        event["data_processing_options_state"] = json!(1000);
        event
    };
    check_table(
        limited,
        &[
            ("data_processing_options", json!([]), None),
            ("data_processing_options", json!("LDU"), Some(SCHEMA)),
            ("data_processing_options", json!(["ldu"]), Some(SCHEMA)),
            (
                "data_processing_options_country",
                json!("(gone)"),
                Some(SCHEMA),
            ),
            ("data_processing_options_country", json!(2), Some(SCHEMA)),
            ("data_processing_options_country", json!("1"), Some(SCHEMA)),
            ("data_processing_options_country", json!(0), Some(SCHEMA)),
            (
                "data_processing_options_state",
                json!("(gone)"),
                Some(SCHEMA),
            ),
            ("data_processing_options_state", json!(0), None),
            ("data_processing_options_state", json!(1013), None),
            ("data_processing_options_state", json!(1014), Some(SCHEMA)),
        ],
    );
}

#[test]
fn judges_custom_data() {
    check_table(
        purchase,
        &[
            ("custom_data", json!("(gone)"), Some(2_804_009)),
            ("custom_data.value", json!("(gone)"), Some(2_804_009)),
            ("custom_data.value", json!("12.5"), Some(SCHEMA)),
            ("custom_data.value", json!(0), None),
            ("custom_data.value", json!(-1), Some(STRICT)),
            ("custom_data.currency", json!("(gone)"), Some(2_804_010)),
            ("custom_data.currency", json!("usd"), None),
            ("custom_data.currency", json!("US$"), Some(SCHEMA)),
            ("custom_data.currency", json!("dollar"), Some(SCHEMA)),
            ("custom_data.currency", json!("XQZ"), Some(STRICT)),
            ("event_name", json!("Lead"), None),
            ("custom_data.content_ids", json!(["a", 5]), None),
            ("custom_data.content_ids", json!("a"), Some(SCHEMA)),
            ("custom_data.content_ids", json!([null]), Some(SCHEMA)),
            ("custom_data.content_ids", json!([1.5]), Some(SCHEMA)),
            ("custom_data.content_type", json!("product_group"), None),
            ("custom_data.content_type", json!("vehicle"), Some(SCHEMA)),
            (
                "custom_data.contents",
                json!([{"id": "a", "quantity": 1, "item_price": 2.5}]),
                None,
            ),
            (
                "custom_data.contents",
                json!([{"id": 5, "quantity": 1, "size": "XL"}]),
                None,
            ),
            ("custom_data.contents", json!("[]"), Some(2_804_008)),
            (
                "custom_data.contents",
                json!({"id": "a", "quantity": 1}),
                Some(2_804_008),
            ),
            ("custom_data.contents", json!(["a"]), Some(2_804_008)),
            (
                "custom_data.contents",
                json!([{"quantity": 1}]),
                Some(2_804_008),
            ),
            (
                "custom_data.contents",
                json!([{"id": "a"}]),
                Some(2_804_008),
            ),
            (
                "custom_data.contents",
                json!([{"id": "a", "quantity": "1"}]),
                Some(2_804_008),
            ),
            (
                "custom_data.contents",
                json!([{"id": "", "quantity": 1}]),
                Some(2_804_008),
            ),
            (
                "custom_data.contents",
                json!([{"id": "a", "quantity": 1, "delivery_category": "mail"}]),
                Some(2_804_008),
            ),
            ("custom_data.num_items", json!(3), None),
            ("custom_data.num_items", json!(3.5), Some(SCHEMA)),
            ("custom_data.num_items", json!("3"), Some(SCHEMA)),
            ("custom_data.order_id", json!("o-1"), None),
            ("custom_data.order_id", json!(1), Some(SCHEMA)),
            ("custom_data.search_string", json!(""), Some(STRICT)),
            ("custom_data.status", json!(true), None),
            ("custom_data.status", json!("done"), None),
            ("custom_data.status", json!(1), Some(SCHEMA)),
            ("custom_data.predicted_ltv", json!(-5), None),
            ("custom_data.net_revenue", json!("5"), Some(SCHEMA)),
            ("custom_data.delivery_category", json!("curbside"), None),
            (
                "custom_data.delivery_category",
                json!("drone"),
                Some(SCHEMA),
            ),
            ("custom_data.store_data", json!({"store_code": "7"}), None),
            ("custom_data.store_data", json!({"code": "7"}), Some(SCHEMA)),
            ("custom_data.travel_class", json!("first"), None),
            ("custom_data.travel_class", json!("third"), Some(SCHEMA)),
            ("custom_data.coupon", json!({"any": [1, null, ""]}), None),
        ],
    );
    check_table(
        lead,
        &[
            ("custom_data", json!({"value": 1}), Some(2_804_023)),
            ("custom_data", json!({"value": 1, "currency": "EUR"}), None),
            ("custom_data", json!({"_valueToSum": 1}), Some(2_804_023)),
            ("custom_data", json!({"currency": "EUR"}), None),
            ("custom_data", json!({}), None),
        ],
    );
    let by_app_names = json!({"_valueToSum": 1, "fb_currency": "EUR"});
    let event = changed(purchase(), "custom_data", &by_app_names);
    assert_eq!(verdict(&event), None);
}

#[test]
fn judges_app_events() {
    let short: Vec<Value> = extinfo("a2", "10").as_array().unwrap()[..15].to_vec();
    let mut null_slot = extinfo("a2", "10");
    null_slot[8] = json!(null);
    check_table(
        app_event,
        &[
            ("app_data", json!("(gone)"), Some(SCHEMA)),
            ("app_data", json!([]), Some(SCHEMA)),
            (
                "app_data.advertiser_tracking_enabled",
                json!("(gone)"),
                Some(SCHEMA),
            ),
            (
                "app_data.advertiser_tracking_enabled",
                json!(2),
                Some(SCHEMA),
            ),
            ("app_data.advertiser_tracking_enabled", json!(false), None),
            (
                "app_data.application_tracking_enabled",
                json!("yes"),
                Some(SCHEMA),
            ),
            ("app_data.extinfo", json!("(gone)"), Some(SCHEMA)),
            ("app_data.extinfo", extinfo("i2", "17.1"), None),
            ("app_data.extinfo", extinfo("w2", "17.1"), Some(2_804_043)),
            ("app_data.extinfo", extinfo("i2", " "), Some(2_804_043)),
            ("app_data.extinfo", json!(short), Some(2_804_043)),
            ("app_data.extinfo", null_slot, Some(2_804_043)),
            ("app_data.extinfo", json!("a2"), Some(2_804_043)),
            ("app_data.url_schemes", json!(["app:"]), None),
            ("app_data.url_schemes", json!("app:"), Some(SCHEMA)),
            ("app_data.install_referrer", json!("r"), None),
            ("app_data.carrier", json!("T"), Some(SCHEMA)),
            ("action_source", json!("website"), None),
        ],
    );
}

#[test]
fn judges_events_from_conversations() {
    let whatsapp = json!({"whatsapp_business_account_id": "1", "ctwa_clid": "c"});
    let cases = [
        (message("whatsapp", &whatsapp), None),
        (
            changed(
                message("whatsapp", &whatsapp),
                "messaging_channel",
                &json!("(gone)"),
            ),
            Some(2_804_063),
        ),
        (
            changed(message("whatsapp", &whatsapp), "event_name", &json!("Lead")),
            Some(2_804_066),
        ),
        (
            message("whatsapp", &json!({"ctwa_clid": "c"})),
            Some(2_804_116),
        ),
        (
            message("whatsapp", &json!({"whatsapp_business_account_id": "1"})),
            Some(2_804_087),
        ),
        (
            message(
                "messenger",
                &json!({"page_id": "1", "page_scoped_user_id": "2"}),
            ),
            None,
        ),
        (
            message("messenger", &json!({"page_scoped_user_id": "2"})),
            Some(2_804_069),
        ),
        (
            message("instagram", &json!({"ig_account_id": "1", "ig_sid": "2"})),
            None,
        ),
        (
            message("instagram", &json!({"ig_sid": "2"})),
            Some(2_804_079),
        ),
    ];
    for (event, expected) in cases {
        assert_eq!(verdict(&event), expected, "{event}");
    }
}

#[test]
fn texts_name_the_place_and_repeat_no_value() {
    let detail = |path, value: Value| {
        let event = changed(purchase(), path, &value);
        let refusal = check(&event, 3, UnixMillis::from_seconds(NOW)).unwrap_err();
        refusal.detail
    };
    let texts = [
        detail("advertiser_tracking_enabled", json!(1)),
        detail("user_data.em", json!(["secret", 5])),
        detail("user_data.em", json!([SMITH, 5])),
        detail("user_data.partner_id", json!("secret")),
        detail("custom_data.content_ids", json!([["secret"]])),
        detail("custom_data.value", json!("secret")),
        detail("action_source", json!("secret")),
        detail("event_name", json!("(gone)")),
        detail("user_data.client_ip_address", json!("secret")),
    ];
    insta::assert_snapshot!(texts.join("\n"), @r#"
    Unexpected key "advertiser_tracking_enabled" on param "$['data'][3]"
    Customer information must be hashed with SHA-256
    Param "$['data'][3]['user_data']['em'][1]" must be a string
    Unexpected key "partner_id" on param "$['data'][3]['user_data']"
    Param "$['data'][3]['custom_data']['content_ids'][0]" must be a string or an integer
    Param "$['data'][3]['custom_data']['value']" must be a number
    Param "$['data'][3]['action_source']" must be one of the documented values
    Missing key "event_name" on param "$['data'][3]"
    Param "$['data'][3]['user_data']['client_ip_address']" is not a public address. Meta would take it; the sandbox does not
    "#);
}
