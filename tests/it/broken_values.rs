//! A fault in a value costs only that value: damage where no rule reads changes nothing, and damage where a
//! rule reads changes only that field.

use pixel_relay::clock::UnixMillis;
use pixel_relay::config::load::from_toml;
use pixel_relay::event::Event;
use pixel_relay::event::arena::Arena;
use pixel_relay::ingest::decode::decode;
use pixel_relay::payload::{Fingerprint, PayloadArena};
use pixel_relay::sync::{Sync, compile_all};
use proptest::prelude::*;
use serde_json::Value;

const NOW: UnixMillis = UnixMillis(1_795_197_879_000);

const CONFIG: &str = r#"
[ingest]
allow_unauthenticated = true
[sync.web]
pixel_id = "1"
access_token = "t"
properties = ["note", "cart"]
where = [{ property = "user_properties.consent", op = "is", value = true }]
[sync.web.user_data]
external_id = ["user_id", "device_id"]
email = "user_properties.email"
[sync.web.events.Order.custom_data]
value = "event_properties.total"
currency = { constant = "EUR" }
contents = { each = "event_properties.products", id = "sku", quantity = "qty", item_price = "price" }
content_ids = "event_properties.products[*].sku"
content_name = "event_properties.title"
"#;

/// Places of an event: the value there, and the field that is made of it, if any.
const PLACES: [(&str, &str, Option<&str>); 10] = [
    ("UNREAD", "\"x\"", None),
    ("PERSON", "7", None),
    ("NESTED", "{\"a\":[1]}", None),
    ("FIELD", "\"iOS 17\"", None),
    ("COLOUR", "null", None),
    ("NOTE", "\"ok\"", Some("/custom_data/note")),
    ("CART", "{\"a\":1}", Some("/custom_data/cart")),
    ("TOTAL", "59.9", Some("/custom_data/value")),
    ("TITLE", "\"sale\"", Some("/custom_data/content_name")),
    ("EMAIL", "\"a@example.com\"", Some("/user_data/em")),
];

const EVENT: &str = r#"{"event_type":"Order","event_time":"2026-11-20 18:04:09.412000","user_id":"u-1",
"$insert_id":"i-1","version_name":FIELD,"groups":{"company":NESTED},
"user_properties":{"age":PERSON,"email":EMAIL,"consent":true},
"event_properties":{"unread":UNREAD,"total":TOTAL,"title":TITLE,"note":NOTE,"cart":CART,
"products":[{"sku":"A","colour":COLOUR,"qty":2,"price":9.5},{"sku":"B"}]}}"#;

/// The event with another value in one place, as bytes.
fn event(damaged: usize, value: &[u8]) -> Vec<u8> {
    let mut event = EVENT.as_bytes().to_vec();
    for (number, (name, whole, _)) in PLACES.iter().enumerate() {
        let value = if number == damaged {
            value
        } else {
            whole.as_bytes()
        };
        let at = event
            .windows(name.len())
            .position(|part| part == name.as_bytes())
            .unwrap();
        event.splice(at..at + name.len(), value.iter().copied());
    }
    event
}

type Mapped = Result<(String, Fingerprint, i64), String>;

/// What becomes of an event: as a line of its own, as a body, and between others in an array.
fn mapped(event: &[u8]) -> [Mapped; 3] {
    thread_local! {
        static SYNC: Sync = compile_all(&from_toml(CONFIG, &[]).unwrap()).unwrap().remove(0);
    }
    let take = |decoded: Result<&Event<'_>, _>, raw: &[u8]| match SYNC
        .with(|sync| sync.take(decoded, raw, NOW, &mut PayloadArena::default()))
        .0
    {
        Ok(payload) => Ok((
            String::from_utf8(payload.json.to_vec()).unwrap(),
            payload.fingerprint,
            payload.deadline,
        )),
        Err(rejected) => Err(rejected.reason.to_string()),
    };
    let arena = Arena::default();
    let line = Event::decode(event, &arena);
    let line = take(line.as_ref().map_err(|reason| *reason), event);
    let of_body = |body: &[u8], place: usize, count: usize| {
        let arena = Arena::default();
        let elements: Vec<_> = decode(body, &arena).map_err(|e| e.to_string())?.collect();
        assert_eq!(elements.len(), count);
        let element = &elements[place];
        take(
            element.event.as_ref().map_err(|reason| *reason),
            element.raw,
        )
    };
    let array = [b"[{},", event, b",{\"a\":1}]"].concat();
    [line, of_body(event, 0, 1), of_body(&array, 1, 3)]
}

/// Bytes that hold no quote, no bracket and no comma.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("structure", |byte| !b"\"[]{},".contains(byte));
    prop::collection::vec(byte, 0..12)
}

/// A string of such bytes, whose last is no backslash: that would take the quote behind it away.
fn string() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => bytes(),
        1 => prop::sample::select(vec![
            &br"\ud83d"[..], br"\ude00", br"\ud83d\ude00", br"\u12", br"\x41", br"\u0000", br"\n",
            b"\xf0\x9f\x98", b"\xc3", b"a",
        ])
        .prop_map(<[u8]>::to_vec),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| {
        let mut inner = pieces.concat();
        while inner.last() == Some(&b'\\') {
            inner.pop();
        }
        [b"\"", &*inner, b"\""].concat()
    })
}

/// Anything that can stand where one value stands.
fn damage() -> impl Strategy<Value = Vec<u8>> {
    let odd = [
        "1e400",
        "-1e999",
        "1e-999",
        "01",
        "1.",
        ".5",
        "+1",
        "0x1f",
        "1e",
        "NaN",
        "-Infinity",
        "None",
        "undefined",
        "tru",
        "null",
        "true",
        "",
        " ",
        "12:30",
        "123456789012345678901234567890",
        "[]",
        "{}",
        "[1e400,{\"a\":NaN}]",
        "{\"a\":1,\"a\":2}",
        "{\"\\ud800\":\"\\ud800\",\"a\":}",
        "[[1],[2,]]",
        "\"[1,2]\"",
        "\"{\\\"a\\\":\\\"\\\\ud83d\\\"}\"",
    ];
    let odd = odd.map(|text| text.as_bytes().to_vec()).to_vec();
    prop_oneof![
        2 => bytes(),
        4 => string(),
        4 => prop::sample::select(odd),
        1 => (1_usize..3000).prop_map(|n| ("[".repeat(n) + &"]".repeat(n)).into_bytes()),
        1 => (1_usize..3000).prop_map(|n| ("{\"a\":".repeat(n) + "1" + &"}".repeat(n)).into_bytes()),
        1 => (1_usize..500).prop_map(|n| format!("{{{}\"b\":2}}", "\"a\":1,".repeat(n)).into_bytes()),
    ]
}

#[test]
fn the_whole_event_is_mapped() {
    let whole = mapped(&event(PLACES.len(), b""));
    for (place, (_, _, field)) in PLACES.iter().enumerate() {
        let (json, ..) = whole[0].as_ref().unwrap();
        let json: Value = serde_json::from_str(json).unwrap();
        if let Some(field) = field {
            assert!(json.pointer(field).is_some(), "{place}: {json}");
        }
    }
    assert_eq!(whole[0], whole[1]);
    assert_eq!(whole[0], whole[2]);
}

proptest! {
    #[test]
    fn damage_changes_the_field_that_reads_it_and_nothing_else(
        (place, damage) in (0..PLACES.len(), damage())
    ) {
        let whole = mapped(&event(PLACES.len(), b"")).into_iter();
        let damaged = mapped(&event(place, &damage)).into_iter();
        for (whole, damaged) in whole.zip(damaged) {
            let (_, _, field) = PLACES[place];
            let Some(field) = field else {
                prop_assert_eq!(whole, damaged);
                continue;
            };
            let without_field = |mapped: Mapped| {
                mapped.map(|(json, fingerprint, deadline)| {
                    let mut json: Value = serde_json::from_str(&json).unwrap();
                    let (parent, name) = field.rsplit_once('/').unwrap();
                    if let Some(Value::Object(parent)) = json.pointer_mut(parent) {
                        parent.remove(name);
                    }
                    (json, fingerprint, deadline)
                })
            };
            prop_assert_eq!(without_field(whole), without_field(damaged));
        }
    }
}
