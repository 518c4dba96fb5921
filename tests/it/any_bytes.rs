//! What must hold for any bytes that ingest reads. The fuzz target runs the same function.

use pixel_relay::clock::UnixMillis;
use pixel_relay::config::load::from_toml;
use pixel_relay::event::arena::Arena;
use pixel_relay::ingest::decode::decode;
use pixel_relay::outcome::Outcome;
use pixel_relay::payload::{MapResult, PayloadArena};
use pixel_relay::profile::in_memory::InMemoryProfiles;
use pixel_relay::sync::{Sync, compile_all};

const NOW: UnixMillis = UnixMillis(1_795_197_879_000);

/// A sync that looks at much of an event.
const CONFIG: &str = r#"
[ingest]
allow_unauthenticated = true
[sync.all]
pixel_id = "1"
access_token = "t"
properties = ["*"]
default_calling_code = "country"
[sync.all.user_data]
external_id = ["user_id", "device_id"]
email = { all = ["user_properties.email", "event_properties.email"] }
phone = "user_properties.phone"
date_of_birth = "user_properties.date_of_birth"
city = "city"
state = "region"
country = "country"
click_id = "user_properties.click_id"
[sync.all.custom_data]
contents = { each = { all = ["event_properties.products", "event_properties.extras"] }, id = "id", quantity = { from = "quantity", map = { one = 1 }, default = 2 } }
content_ids = { all = ["event_properties.products[*].id", "event_properties.content_ids"] }
content_type = [
    { from = "event_properties.kind", map = { sku = "product" } },
    { constant = "product_group", when = [{ property = "event_properties.products", op = "is set" }] },
]
[sync.all.user_memory]
keep_as_is = ["plan", "phone"]
[sync.all.app]
"#;

/// Decodes and maps, without and with user memory, and checks each result: no panic, and either one line of
/// JSON with a deadline, or an outcome that ingest may give.
pub fn check(bytes: &[u8]) {
    thread_local! {
        static SYNC: Sync =
            compile_all(&from_toml(CONFIG, &[]).unwrap()).unwrap().remove(0);
    }
    let arena = Arena::default();
    let Ok(elements) = decode(bytes, &arena) else {
        return;
    };
    let mut people = InMemoryProfiles::default();
    for element in elements {
        let event = element.event.as_ref().map_err(|reason| *reason);
        let mut bodies = PayloadArena::default();
        let (mapped, _) = SYNC.with(|sync| sync.take(event, element.raw, NOW, &mut bodies));
        check_fate(mapped);
        if let Ok(event) = event {
            let Ok((mapped, ..)) =
                SYNC.with(|sync| sync.take_with_profiles(event, NOW, &mut bodies, &mut people));
            check_fate(mapped);
        }
    }
}

fn check_fate(mapped: MapResult) {
    match mapped {
        Ok(payload) => {
            assert!(!payload.json.contains(&b'\n'));
            assert!(payload.deadline > NOW.seconds());
            let mapped: serde_json::Value = serde_json::from_slice(&payload.json).unwrap();
            assert_eq!(mapped["event_name"], *payload.event_name);
        }
        Err(rejected) => {
            assert!(matches!(
                rejected.reason.outcome(),
                Outcome::Filtered | Outcome::Invalid
            ));
        }
    }
}
