//! Customer information, field by field.

use super::*;

const UNHASHED: Option<u32> = Some(2_804_016);
const CLICK: Option<u32> = Some(2_804_001);
const LEAD: Option<u32> = Some(2_804_036);
const WEAK: Option<u32> = Some(2_804_050);
const WRONG_TYPE: Option<u32> = Some(SCHEMA);
const RUBBISH: Option<u32> = Some(STRICT);

fn check_fields(table: &[(&str, Value, Option<u32>)]) {
    for (key, value, expected) in table {
        let event = changed(lead(), &format!("user_data.{key}"), value);
        assert_eq!(verdict(&event), *expected, "{key} = {value}");
    }
}

#[test]
fn judges_hashed_fields() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let of_null = "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b";
    let undefined = "eb045d78d273107348b0300c01d29b7552d622abbc6faf81b3ec55359aa9950c";
    let md5 = "d41d8cd98f00b204e9800998ecf8427e";
    check_fields(&[
        ("em", json!([SMITH, MARY]), None),
        ("em", json!("john_smith@gmail.com"), UNHASHED),
        ("em", json!(SMITH.to_uppercase()), UNHASHED),
        ("em", json!(md5), UNHASHED),
        ("em", json!([SMITH, "john@example.com"]), UNHASHED),
        ("em", json!(format!("{SMITH}.AQQAAQMC")), UNHASHED),
        ("em", json!([SMITH, of_null]), RUBBISH),
        ("em", json!([SMITH, Value::Null]), WRONG_TYPE),
        ("em", Value::Null, WRONG_TYPE),
        ("em", json!({"hash": SMITH}), WRONG_TYPE),
        ("em", json!(""), RUBBISH),
        ("em", json!([]), RUBBISH),
        ("em", json!([SMITH, SMITH]), RUBBISH),
        ("em", json!(empty), RUBBISH),
        ("ph", json!(undefined), RUBBISH),
        ("external_id", json!([MARY]), None),
        (
            "external_id",
            json!([MARY, "0cc175b9c0f1b6a831c399e269772661"]),
            None,
        ),
        (
            "external_id",
            json!("0CC175B9C0F1B6A831C399E269772661"),
            RUBBISH,
        ),
        ("external_id", json!("user-1"), RUBBISH),
        ("em", json!("0cc175b9c0f1b6a831c399e269772661"), UNHASHED),
    ]);
    for key in [
        "ph", "fn", "ln", "db", "ge", "ct", "st", "zp", "country", "fi", "doby",
    ] {
        check_fields(&[(key, json!(MARY), None), (key, json!("plain"), UNHASHED)]);
    }
}

#[test]
fn judges_plain_fields() {
    let fbc = "fb.1.1554763741205.IwAR2F4-dbP0l7Mn1IawQQGCINEz7PYXQvwj";
    let fbp = "fb.1.1558571054389.1098115397";
    let idfa = "38400000-8cf0-11bd-b23e-10b96e40000d";
    let zeros = "00000000-0000-0000-0000-000000000000";
    check_fields(&[
        ("client_ip_address", json!("203.0.113.9"), None),
        ("client_ip_address", json!("2001:db8::1"), None),
        ("client_ip_address", json!("10.0.0.1"), RUBBISH),
        ("client_ip_address", json!(["203.0.113.9"]), WRONG_TYPE),
        ("client_user_agent", json!("Mozilla/5.0"), None),
        ("client_user_agent", json!(""), RUBBISH),
        ("fbc", json!(fbc), None),
        ("fbc", json!(format!("{fbc}.AQ")), None),
        ("fbc", json!("IwAR2F4-dbP0l7Mn1IawQQGC"), CLICK),
        ("fbc", json!("fb.1.155.IwAR2F4"), CLICK),
        ("fbc", json!("fb.x.1554763741205.IwAR"), CLICK),
        ("fbc", json!("fb.1.1554763741205."), CLICK),
        ("fbc", json!("fb.1.1554763741205.a b"), CLICK),
        ("fbc", json!([fbc]), WRONG_TYPE),
        ("fbp", json!(fbp), None),
        ("fbp", json!(format!("{fbp}.AQ")), None),
        ("fbp", json!("fb.1.1558571054389.abc"), RUBBISH),
        ("lead_id", json!(123_456_789_012_345_i64), None),
        ("lead_id", json!("1234567890123456"), None),
        ("lead_id", json!(12_345_678_901_234_567_i64), None),
        ("lead_id", json!("12345678901234"), LEAD),
        ("lead_id", json!("123456789012345678"), LEAD),
        ("lead_id", json!(12345), LEAD),
        ("lead_id", json!(-123_456_789_012_345_i64), LEAD),
        ("lead_id", json!("lead"), LEAD),
        ("lead_id", Value::Null, LEAD),
        ("fb_login_id", json!(12345), None),
        ("fb_login_id", json!("12345"), None),
        ("fb_login_id", json!("me"), WRONG_TYPE),
        ("subscription_id", json!("s-1"), None),
        ("subscription_id", json!(1), WRONG_TYPE),
        ("madid", json!(idfa), None),
        ("madid", json!(zeros), RUBBISH),
        ("madid", json!("MAD_123"), None),
        ("madid", json!("38400000 8cf0"), RUBBISH),
        ("anon_id", json!("XZ-1"), None),
        ("partner_id", json!("1"), WRONG_TYPE),
        ("email", json!(SMITH), WRONG_TYPE),
    ]);
}

#[test]
fn judges_whether_the_customer_can_be_found() {
    let place = json!({"ct": MARY, "country": MARY, "st": MARY, "zp": MARY, "ge": FEMALE});
    let mut place_and_agent = place.clone();
    place_and_agent["client_user_agent"] = json!("M");
    let cases = [
        (json!({}), WEAK),
        (json!({"client_user_agent": "M"}), WEAK),
        (place, WEAK),
        (place_and_agent, WEAK),
        (json!({"db": MARY, "client_user_agent": "M"}), WEAK),
        (json!({"fn": MARY, "ge": FEMALE}), WEAK),
        (json!({"ln": MARY}), WEAK),
        (
            json!({"client_ip_address": "203.0.113.9", "client_user_agent": "M"}),
            None,
        ),
        (json!({"fbp": "fb.1.1558571054389.1098115397"}), None),
        (json!({"external_id": MARY}), None),
        (json!({"fn": MARY, "ln": MARY}), None),
        (json!({"db": MARY, "ge": FEMALE}), None),
        (json!({"fn": MARY, "zp": MARY}), None),
    ];
    for (user_data, expected) in cases {
        let event = changed(lead(), "user_data", &user_data);
        assert_eq!(verdict(&event), expected, "{user_data}");
    }
}
