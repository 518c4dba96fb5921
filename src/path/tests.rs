//! Paths and expressions, against one event.

use super::*;

const EVENT: &[u8] = br#"{"user_id":"u","ip":"203.0.113.9","price":5,"groups":{"company":["Acme"]},
    "event_properties":{"Order Value":"","a.b":1,"products":[{"sku":"A"},{"sku":null},{"sku":"C"}],
    "cart":{"items":[[1,2],[3]]}},"custom":{"x":true}}"#;

#[track_caller]
fn check(path: &str, expected: &[&str]) {
    let event = Event::decode(EVENT).unwrap();
    let found = Path::parse(path).unwrap().all(&event);
    assert_eq!(
        found.iter().map(|value| value.raw()).collect::<Vec<_>>(),
        expected,
        "{path}"
    );
}

#[test]
fn finds_what_a_path_points_to() {
    check("user_id", &["\"u\""]);
    check("ip_address", &["\"203.0.113.9\""]);
    check("groups.company[0]", &["\"Acme\""]);
    check("event_properties[\"Order Value\"]", &[]);
    check("event_properties['a.b']", &["1"]);
    check("event_properties.products[*].sku", &["\"A\"", "\"C\""]);
    check("event_properties.cart.items[*][0]", &["1", "3"]);
    check("[\"custom\"].x", &["true"]);
    check("event_properties.missing.deeper", &[]);
}

#[test]
fn explains_what_is_not_a_path() {
    let error = |text: &str| Path::parse(text).unwrap_err();
    assert_eq!(error("USD"), PathError::UnknownRoot("USD".to_owned()));
    assert!(error("USD").to_string().contains("{ constant = \"USD\" }"));
    assert_eq!(error(" "), PathError::Empty);
    assert_eq!(error("event_properties."), PathError::MissingName);
    assert_eq!(error("event_properties.a..b"), PathError::MissingName);
    assert_eq!(error("event_properties[x]"), PathError::BadBracket);
    assert_eq!(error("event_properties[\"x\""), PathError::BadBracket);
    assert_eq!(
        error("event_properties.Order Value"),
        PathError::NeedsBrackets("Order Value".to_owned())
    );
    assert_eq!(error("[0]"), PathError::BadBracket);
}

#[test]
fn takes_the_first_present_value_and_then_the_default() {
    let event = Event::decode(EVENT).unwrap();
    let expr = ValueExpr {
        paths: vec![
            Path::parse("event_properties[\"Order Value\"]").unwrap(),
            Path::parse("user_id").unwrap(),
        ],
        default: Some(Constant::new(&serde_json::json!("none"))),
    };
    let found = expr.first(&event).unwrap();
    assert_eq!(
        (found.value.raw(), found.path.unwrap().as_str()),
        ("\"u\"", "user_id")
    );
    let element = Json::of_valid_text(r#"{"a":{"b":"EMPTY"},"c":7,"user_id":"own"}"#);
    let members = element.members().unwrap();
    for (path, expected) in [
        ("a.b", None),
        ("c", Some("7")),
        ("d", None),
        ("user_id", Some("\"own\"")),
        ("ip_address", Some("\"203.0.113.9\"")),
        ("groups.company[0]", Some("\"Acme\"")),
        ("[\"groups\"].company[0]", None),
        ("groups", None),
        ("price", None),
        ("a", Some("{\"b\":\"EMPTY\"}")),
    ] {
        let path = Path::parse_in_element(path).unwrap();
        assert_eq!(path.first_in(element, &event).map(Json::raw), expected);
        let found = path.first_in_members(&members, &event);
        assert_eq!(found.map(Json::raw), expected);
    }
    let fixed = ValueExpr {
        paths: Vec::new(),
        default: expr.default.clone(),
    };
    assert_eq!(fixed.first(&event).unwrap().value.raw(), "\"none\"");
}
