//! Decoding, as its users see it.

use super::*;

/// What is read at a place of a section, in an event that is to be decoded.
#[track_caller]
fn read(event: &[u8], section: &str, key: &str) -> Option<String> {
    let arena = Arena::default();
    let event = Event::decode(event, &arena).unwrap();
    let value = event.member(section, key)?;
    Some(value.raw().to_owned())
}

#[test]
fn finds_fields_and_properties_without_copying_them() {
    let arena = Arena::default();
    let event = Event::decode(
        br#" {"event_type":"A","event_properties":{"x y":1e2,"n":12345678901234567890123}} "#,
        &arena,
    )
    .unwrap();
    assert!(matches!(
        event.field("event_type").unwrap().as_str(),
        Some(Cow::Borrowed("A"))
    ));
    assert_eq!(
        event.member("event_properties", "x y").unwrap().raw(),
        "1e2"
    );
    assert_eq!(
        event.member("event_properties", "n").unwrap().raw(),
        "12345678901234567890123"
    );
    assert!(event.member("user_properties", "n").is_none());
    assert_eq!(event.section("event_type").count(), 0);
    assert_eq!(format!("{arena:?}"), "Arena(0 texts)");
}

#[test]
fn refuses_only_what_is_no_object() {
    let arena = Arena::default();
    for text in ["[]", "{\"a\":1,,}", "7", "null", "", "{", "{\"a\":1}}"] {
        let refused = Event::decode(text.as_bytes(), &arena).err();
        assert_eq!(refused, Some(Reason::MalformedJson), "{text}");
    }
}

#[test]
fn what_is_broken_costs_its_own_value() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    for broken in [
        &b"\"\xff\""[..],
        br#""\ud800""#,
        br#""\x""#,
        b"\"\n\"",
        b"1e400",
        b"NaN",
        b"",
        br#"{"a":1,"a":2}"#,
        deep.as_bytes(),
    ] {
        let event = [b"{\"p\":{\"a\":1,\"b\":", broken, b",\"c\":3}}"].concat();
        assert_eq!(read(&event, "p", "a").as_deref(), Some("1"));
        assert_eq!(read(&event, "p", "c").as_deref(), Some("3"));
    }
    let event = b"{\"p\":{\"\xff\":1,\"\\ud83d\":2},\"q\":{\"a\":\"x\xffy\"}}";
    assert_eq!(read(event, "p", "\u{fffd}").as_deref(), Some("2"));
    assert_eq!(read(event, "q", "a").as_deref(), Some("\"x\u{fffd}y\""));
    let arena = Arena::default();
    assert_eq!(Event::decode(event, &arena).unwrap().raw(), event);
    // A run of broken bytes is one character, whatever they were.
    let event = b"{\"p\":{\"a\":\"\xff\xfe\xe2\x82x\xc3\xff\"}}";
    assert_eq!(
        read(event, "p", "a").as_deref(),
        Some("\"\u{fffd}x\u{fffd}\"")
    );
}

#[test]
fn the_last_of_equal_keys_counts() {
    let event = br#"{"p":{"a":0},"p":{"a":1,"b":2,"\u0061":3},"p":{"a":4,"c":5,"a":null}}"#;
    assert_eq!(read(event, "p", "a").as_deref(), Some("null"));
    assert_eq!(read(event, "p", "b"), None);
    let arena = Arena::default();
    let event = Event::decode(event, &arena).unwrap();
    let names: Vec<&str> = event.section("p").map(|(name, _)| name).collect();
    assert_eq!(names, ["c", "a"]);
    let object = Json::of_valid_text(r#"{"a":1,"b":2,"\u0061":3}"#);
    assert_eq!(object.member("a"), Some(Json::of_valid_text("3")));
    assert_eq!(object.all_members().len(), 2);
    let fields = (0..200).map(|n| format!("\"k{}\":{n}", n % 120));
    let many = format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
    let event = Event::decode(many.as_bytes(), &arena).unwrap();
    assert_eq!(event.field("k7").map(Json::raw), Some("127"));
    assert_eq!(event.field("k90").map(Json::raw), Some("90"));
    assert_eq!(Json::of_valid_text(&many).all_members().len(), 120);
}

#[test]
fn an_id_is_a_text() {
    for (id, expected) in [
        ("1795197", Some("\"1795197\"")),
        ("1795197.0", Some("\"1795197\"")),
        ("1.795197e6", Some("\"1795197\"")),
        (
            "12345678901234567890123",
            Some("\"12345678901234567890123\""),
        ),
        ("9007199254740993.0", Some("\"9007199254740993\"")),
        ("0", Some("\"0\"")),
        ("-1", Some("\"-1\"")),
        ("12.5", Some("\"12.5\"")),
        ("1e400", Some("\"1e400\"")),
        ("\"u\"", Some("\"u\"")),
        ("null", Some("null")),
        ("true", None),
        ("[1]", None),
        ("{\"a\":1}", None),
    ] {
        for key in ID_KEYS {
            let text = format!("{{\"x\":1,\"{key}\":{id},\"y\":2}}");
            let arena = Arena::default();
            let event = Event::decode(text.as_bytes(), &arena).unwrap();
            assert_eq!(event.field(key).map(Json::raw), expected, "{text}");
            assert_eq!(event.field("y").map(Json::raw), Some("2"));
        }
    }
}

#[test]
fn a_section_that_came_as_json_text_is_what_it_is() {
    let event = br#"{"event_properties":"{\"a\":{\"b\":1}}","x":"{\"a\":1}","groups":"none"}"#;
    assert_eq!(
        read(event, "event_properties", "a").as_deref(),
        Some(r#"{"b":1}"#)
    );
    assert_eq!(read(event, "x", "a").as_deref(), Some("1"));
    assert_eq!(read(event, "groups", "a"), None);
}

#[test]
fn knows_the_words_that_stand_for_nothing() {
    for text in [
        "null",
        "\"\"",
        "\" \"",
        "\"EMPTY\"",
        "\"(none)\"",
        "\"null\"",
        "\"undefined\"",
    ] {
        assert!(Json::of_valid_text(text).is_absent(), "{text}");
    }
    for text in ["0", "false", "\"Null\"", "\"none\"", "[]", "{}"] {
        assert!(!Json::of_valid_text(text).is_absent(), "{text}");
    }
}
