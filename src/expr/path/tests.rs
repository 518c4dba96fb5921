//! Paths and expressions, against one event.

use super::*;

const EVENT: &[u8] = br#"{"user_id":"u","ip":"203.0.113.9","price":5,"groups":{"company":["Acme"]},
    "event_properties":{"Order Value":"","a.b":1,"products":[{"sku":"A"},{"sku":null},{"sku":"C"}],
    "cart":{"items":[[1,2],[3]]}},"custom":{"x":true}}"#;

#[track_caller]
fn check(path: &str, expected: &[&str]) {
    let arena = Arena::default();
    let event = Event::decode(EVENT, &arena).unwrap();
    let mut found = Vec::new();
    Path::parse(path)
        .unwrap()
        .visit_in((&event).into(), &mut |value| found.push(value.raw()));
    found.retain(|raw| !Json::of_valid_text(raw).is_absent());
    assert_eq!(found, expected, "{path}");
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
    // A single value is a list of one.
    check("user_id[0]", &["\"u\""]);
    check("user_id[*]", &["\"u\""]);
    check("user_id[1]", &[]);
    check("event_properties['a.b'][*][0]", &["1"]);
    check("event_properties['a.b'][*].c", &[]);
    check("event_properties.cart[*].items[0][1]", &["2"]);
    check("event_properties.cart[0].items[1][0]", &["3"]);
    check("event_properties.missing[*]", &[]);
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
fn an_element_is_read_before_its_event() {
    let arena = Arena::default();
    let event = Event::decode(EVENT, &arena).unwrap();
    let element = Json::of_valid_text(r#"{"a":{"b":"EMPTY"},"c":7,"user_id":"own","d":[1,2]}"#);
    let members = element.all_members();
    let none = EventReads::default();
    let scope = Scope::element(&event, element, &members, &none);
    for (path, expected) in [
        ("a.b", None),
        ("c", Some("7")),
        ("e", None),
        ("user_id", Some("\"own\"")),
        ("ip_address", Some("\"203.0.113.9\"")),
        ("groups.company[0]", Some("\"Acme\"")),
        ("[\"groups\"].company[0]", None),
        ("groups", None),
        ("price", None),
        ("a", Some("{\"b\":\"EMPTY\"}")),
        ("d[*]", Some("1")),
    ] {
        let path = Path::parse_in_element(path).unwrap();
        assert_eq!(path.first_in(scope).map(Json::raw), expected, "{path}");
        let mut visited = None;
        path.visit_in(scope, &mut |value| {
            if visited.is_none() && !value.is_absent() {
                visited = Some(value.raw());
            }
        });
        assert_eq!(visited, expected, "{path}");
    }
    let list = Scope::element(&event, Json::of_valid_text("[1,[2]]"), &[], &none);
    let path = Path::parse_in_element("[1][0]").unwrap();
    assert_eq!(path.first_in(list).map(Json::raw), Some("2"));
}

#[test]
fn a_request_is_read_by_its_own_paths_alone() {
    let raw = r#"{"event_type":"A","request":{"gpc":"claimed","cookies":{"_fbp":"claimed"}},
        "event_properties":{"products":[{"request":{"gpc":"claimed"}}]}}"#;
    let arena = Arena::default();
    let mut event = Event::decode(raw.as_bytes(), &arena).unwrap();
    let gpc = Path::parse("request.gpc").unwrap();
    let own = Path::parse("[\"request\"].gpc").unwrap();
    let products = Path::parse("event_properties.products[*]").unwrap();
    let read = |path: &Path, event: &Event<'_>| {
        path.first_in(event.into())
            .map(|value| value.raw().to_owned())
    };
    assert_eq!(read(&gpc, &event), None);
    event.put_request(Json::of_valid_text(
        r#"{"cookies":{"_fbp":"x"},"gpc":true}"#,
    ));
    assert_eq!(read(&gpc, &event).as_deref(), Some("true"));
    assert_eq!(read(&own, &event).as_deref(), Some("\"claimed\""));
    let browser = Path::parse("request.cookies._fbp").unwrap();
    assert_eq!(read(&browser, &event).as_deref(), Some("\"x\""));
    // Nor does an element of a list pose as it.
    let product = products.first_in((&event).into()).unwrap();
    let members = product.all_members();
    let none = EventReads::default();
    let scope = Scope::element(&event, product, &members, &none);
    let in_element = Path::parse_in_element("request.gpc").unwrap();
    assert_eq!(in_element.first_in(scope).map(Json::raw), Some("true"));
    for text in [
        "request",
        "request.cookies",
        "request.cookies.session",
        "request.headers.cookie",
        "request.gpc.x",
    ] {
        let refused = PathError::UnknownOfRequest(text.to_owned());
        assert_eq!(Path::parse(text), Err(refused), "{text}");
    }
}

#[test]
fn every_top_level_key_may_be_json_text() {
    let text = br#"{"my":"{\"a\":{\"b\":1}}","event_type":"[x] y"}"#;
    let arena = Arena::default();
    let event = Event::decode(text, &arena).unwrap();
    for (path, expected) in [
        (r#"["my"].a.b"#, Some("1")),
        (r#"["my"].c"#, None),
        ("event_type.a", None),
    ] {
        let path = Path::parse(path).unwrap();
        assert_eq!(
            path.first_in((&event).into()).map(Json::raw),
            expected,
            "{path}"
        );
    }
    assert!(event.field("my").is_some_and(Json::is_string));
}
