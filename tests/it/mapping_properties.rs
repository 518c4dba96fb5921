//! What holds for every event, whatever is in it.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use pixel_relay::clock::{TestClock, UnixMillis};
use pixel_relay::config::load::from_toml;
use pixel_relay::event::Event;
use pixel_relay::event::arena::Arena;
use pixel_relay::payload::PayloadArena;
use pixel_relay::profile::in_memory::InMemoryProfiles;
use pixel_relay::sandbox::{Sandbox, SandboxConfig};
use pixel_relay::sync::{Sync, compile_all};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value};
use tower::ServiceExt as _;

use crate::any_bytes;

const NOW: UnixMillis = UnixMillis(1_795_197_879_000);

/// Part of every address that the generated events hold.
const MAIL: &str = "@mail.example.com";

/// Every field mapped from a property of its own name, and everything passed on.
fn sync() -> Sync {
    let fields = [
        "external_id",
        "email",
        "phone",
        "first_name",
        "last_name",
        "date_of_birth",
        "gender",
        "city",
        "state",
        "zip_code",
        "country",
        "client_ip_address",
        "click_id",
        "browser_id",
        "facebook_login_id",
        "lead_id",
        "mobile_advertiser_id",
    ];
    let line = |field: &&str| {
        format!(
            "{field} = [\"user_properties.{field}\", \"{}\"]",
            top_level(field)
        )
    };
    let user_data = fields.iter().map(line).collect::<Vec<_>>().join("\n");
    let text = format!(
        r#"
[ingest]
allow_unauthenticated = true
[sync.all]
pixel_id = "1"
access_token = "t"
properties = ["*"]
default_calling_code = "country"
referrer_url = "event_properties.referrer"
opt_out = "user_properties.opt_out"
[sync.all.user_data]
{user_data}
[sync.all.app]
advertiser_tracking_enabled = "user_properties.att"
url_schemes = "user_properties.schemes"
[sync.all.limited_data_use]
mode = "always"
country = ["event_properties.quantity", "country"]
state = ["user_properties.state", "region"]
[sync.all.custom_data]
contents = {{ each = "event_properties.products", id = "id", quantity = "quantity", item_price = "price", brand = "name" }}
content_ids = {{ all = ["event_properties.products[*].id", "event_properties.content_ids", {{ from = "event_properties.kind", map = {{ a = 1, b = "bee" }}, default = "none" }}] }}
content_type = [
    {{ from = "event_properties.kind", map = {{ a = "product", "1" = "hotel" }} }},
    {{ constant = "product_group", when = [{{ property = "event_properties.products[*].id", op = "is set" }}] }},
]
labels = {{ all = ["event_properties.status", "event_properties.products"], when = [{{ property = "event_properties.value", op = "is not", values = ["1"] }}] }}
[sync.all.events."*"]
send_as = {{ from = ["event_properties.kind", "event_properties.status"], map = {{ a = "Lead", true = "Purchase", "1" = "Search" }} }}
[sync.all.events.Purchase]
send_as = ["event_properties.search_string"]
[sync.all.original_event_data]
event_time = "event_properties.event_time"
order_id = "event_properties.order_id"
"#
    );
    compile_all(&from_toml(&text, &[]).unwrap())
        .unwrap()
        .remove(0)
}

fn top_level(field: &str) -> &str {
    match field {
        "external_id" => "user_id",
        "state" => "region",
        "city" | "country" => field,
        "client_ip_address" => "ip_address",
        _ => "device_id",
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        proptest::sample::select(vec!["a", "b", "1", "true"]).prop_map(str::to_owned),
        "[ -~]{0,20}",
        "[a-z]{1,8}@mail\\.example\\.com",
        "[ +()0-9-]{1,20}",
        "\\[\"[a-z@.]{0,8}\",?[0-9]{0,3}\\]",
        Just("Purchase".to_owned()),
        Just("2026-11-20 18:04:09.412000".to_owned()),
        Just("iOS".to_owned()),
        Just("EMPTY".to_owned()),
        Just("https://example.com/?a=1&fbclid=IwAR0&e=pat@mail.example.com".to_owned()),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    scalar.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((name(), inner), 0..5).prop_map(object),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => proptest::sample::select(vec![
            "email", "phone", "first_name", "last_name", "date_of_birth", "gender", "city", "state",
            "zip_code", "country", "client_ip_address", "click_id", "browser_id", "lead_id",
            "mobile_advertiser_id", "value", "currency", "contents", "content_ids", "num_items",
            "order_id", "search_string", "products", "id", "quantity", "price", "referrer", "att",
            "schemes", "opt_out", "$revenue", "$price", "$quantity", "[Amplitude] Page Location",
            "kind", "checkin_date", "body_style", "predicted_ltv", "status", "store_data", "event_time",
        ]).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn object(members: Vec<(String, Value)>) -> Value {
    Value::Object(members.into_iter().collect())
}

prop_compose! {
    fn event()(
        fields in vec((proptest::sample::select(vec![
            "user_id", "device_id", "$insert_id", "uuid",
        ]), text()), 0..4),
        others in vec((proptest::sample::select(vec![
            "platform", "os_version", "country", "region", "city", "ip_address", "version_name",
            "device_model", "price", "quantity", "revenue", "currency", "unknown",
        ]), value()), 0..6),
        event_type in text(),
        event_properties in vec((name(), value()), 0..10),
        user_properties in vec((name(), value()), 0..10),
    ) -> String {
        let mut event = Map::new();
        event.insert("event_time".to_owned(), "2026-11-20 18:04:09.412000".into());
        event.extend(fields.into_iter().map(|(name, text)| (name.to_owned(), text.into())));
        event.extend(others.into_iter().map(|(name, value)| (name.to_owned(), value)));
        event.insert("event_type".to_owned(), event_type.replace(MAIL, "").into());
        for id in ["$insert_id", "uuid"] {
            // Nobody's event ids are mail addresses, and Meta wants them in clear.
            if let Some(Value::String(text)) = event.get_mut(id) {
                *text = text.replace(MAIL, "");
            }
        }
        event.insert("event_properties".to_owned(), object(event_properties));
        event.insert("user_properties".to_owned(), object(user_properties));
        Value::Object(event).to_string()
    }
}

/// Checks every part of a mapped event.
fn check(value: &Value, place: &str) -> Result<(), TestCaseError> {
    match value {
        Value::Null => prop_assert!(false, "null at {}", place),
        Value::String(text) => {
            let may_be_empty = place.starts_with("/app_data/extinfo/");
            prop_assert!(
                may_be_empty || !text.trim().is_empty(),
                "nothing at {}",
                place
            );
            prop_assert!(!text.to_lowercase().contains(MAIL), "mail at {}", place);
        }
        Value::Array(elements) => {
            prop_assert!(!elements.is_empty(), "an empty list at {}", place);
            for (at, element) in elements.iter().enumerate() {
                check(element, &format!("{place}/{at}"))?;
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                check(member, &format!("{place}/{name}"))?;
            }
        }
        Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}

fn check_hashes(user_data: &Value) -> Result<(), TestCaseError> {
    let plain = [
        "client_ip_address",
        "fbc",
        "fbp",
        "fb_login_id",
        "lead_id",
        "madid",
    ];
    for (name, value) in user_data.as_object().unwrap() {
        if plain.contains(&name.as_str()) {
            continue;
        }
        let values = value
            .as_array()
            .map_or(std::slice::from_ref(value), Vec::as_slice);
        for value in values {
            let hash = value.as_str().unwrap_or_default();
            let is_hash = hash.len() == 64
                && hash
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            prop_assert!(is_hash, "{} is not hashed", name);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mapped_event_is_one_line_of_clean_json(raw in event()) {
        let arena = Arena::default();
        let event = Event::decode(raw.as_bytes(), &arena).unwrap();
        let sync = sync();
        let (mapped, _) = sync.take(Ok(&event), raw.as_bytes(), NOW, &mut PayloadArena::default());
        let json = match mapped {
            Ok(payload) => Some(payload.json.into()),
            Err(rejected) => rejected.json,
        };
        if let Some(json) = json {
            let text = String::from_utf8(json).unwrap();
            prop_assert!(!text.contains(['\n', '\r']), "{}", text);
            let mapped: Value = serde_json::from_str(&text).unwrap();
            check(&mapped, "")?;
            check_hashes(&mapped["user_data"])?;
        }
        let Ok((explained, _)) = sync.explain(&event, NOW, &mut InMemoryProfiles::default());
        let (again, _) = sync.take(Ok(&event), raw.as_bytes(), NOW, &mut PayloadArena::default());
        prop_assert_eq!(format!("{explained:?}"), format!("{again:?}"));
    }

    #[test]
    fn no_mapped_event_breaks_a_rule_of_the_endpoint(raw in event()) {
        let arena = Arena::default();
        let event = Event::decode(raw.as_bytes(), &arena).unwrap();
        if let (Ok(payload), _) = sync().take(Ok(&event), raw.as_bytes(), NOW, &mut PayloadArena::default()) {
            let (status, answer) = post_to_endpoint(&payload.json);
            let event = String::from_utf8(payload.json.into()).unwrap();
            prop_assert_eq!(status, 200, "{} to {}", answer, event);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(raw in vec(any::<u8>(), 0..200)) {
        any_bytes::check(&raw);
    }

    #[test]
    fn no_damage_to_an_event_makes_it_panic(
        raw in event(),
        damage in vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut raw = raw.into_bytes();
        for (at, byte) in damage {
            let at = at.index(raw.len());
            raw[at] = byte;
        }
        any_bytes::check(&raw);
    }
}

/// What the simulated endpoint says of one event.
fn post_to_endpoint(event: &[u8]) -> (u16, String) {
    let sandbox = Sandbox::new(SandboxConfig {
        clock: Arc::new(TestClock::at(NOW)),
        ..SandboxConfig::default()
    });
    let body = [&b"{\"data\":["[..], event, b"]}"].concat();
    let request = Request::post("/v26.0/1/events")
        .header("authorization", "Bearer any")
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let answer = sandbox.router().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20)
            .await
            .unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    })
}
