//! Events as they arrive, and the payloads they must become.
//!
//! Each pair in `tests/fixtures` is `<name>.event.json` and `<name>.payload.json`, mapped by
//! `<name>.toml` where there is one, else by `sync.toml`. The payloads were written by hand, their
//! hashes computed with another SHA-256.

use std::fs;
use std::path::{Path, PathBuf};

use pixel_relay::clock::UnixMillis;
use pixel_relay::config::load::from_toml;
use pixel_relay::event::Event;
use pixel_relay::event::arena::Arena;
use pixel_relay::payload::PayloadArena;
use pixel_relay::sync::{Sync, compile_all};
use serde_json::Value;

/// Half a minute after most of the events.
const NOW: UnixMillis = UnixMillis(1_795_197_879_000);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn sync(file: &Path) -> Sync {
    let config = from_toml(&fs::read_to_string(file).unwrap(), &[]).unwrap();
    compile_all(&config).unwrap().remove(0)
}

#[track_caller]
fn payload(sync: &Sync, event: &str) -> String {
    let arena = Arena::default();
    let event = Event::decode(event.as_bytes(), &arena).unwrap();
    match sync
        .take(Ok(&event), event.raw(), NOW, &mut PayloadArena::default())
        .0
    {
        Ok(payload) => String::from_utf8(payload.json.into()).unwrap(),
        Err(rejected) => panic!("{}", rejected.reason),
    }
}

#[test]
fn every_event_becomes_its_payload() {
    let mut names: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".event.json").map(str::to_owned)
        })
        .collect();
    names.sort();
    assert!(!names.is_empty(), "the fixtures are gone");
    for name in names {
        let own = folder().join(format!("{name}.toml"));
        let shared = folder().join("sync.toml");
        let sync = sync(if own.is_file() { &own } else { &shared });
        let read =
            |kind: &str| fs::read_to_string(folder().join(format!("{name}.{kind}.json"))).unwrap();
        let text = payload(&sync, &read("event"));
        let found: Value = serde_json::from_str(&text).unwrap();
        let expected: Value = serde_json::from_str(&read("payload")).unwrap();
        assert_eq!(found, expected, "{name}: {text}");
        assert!(!text.contains('\n'), "{name}");
    }
}

#[test]
fn two_megabytes_of_properties_pass_whole() {
    let toml = folder().join("sync.toml");
    let text =
        fs::read_to_string(toml).unwrap() + "\n[sync.shop.delivery]\nmax_batch_bytes = \"4MiB\"\n";
    let text = text.replace("properties = [\"plan\"]", "properties = [\"*\"]");
    let config = from_toml(&text, &[]).unwrap();
    let sync = compile_all(&config).unwrap().remove(0);
    let properties: serde_json::Map<String, Value> = (0..2_000)
        .map(|n| (format!("property {n}"), Value::from("x".repeat(1_024))))
        .collect();
    let event = serde_json::json!({
        "event_type": "Big", "event_time": "2026-11-20 18:04:09.412000", "user_id": "u-1",
        "event_properties": properties,
    });
    let mapped: Value = serde_json::from_str(&payload(&sync, &event.to_string())).unwrap();
    let custom_data = mapped["custom_data"].as_object().unwrap();
    assert_eq!(custom_data.len(), properties.len() + 1);
}
