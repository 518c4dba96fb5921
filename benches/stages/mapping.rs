//! From bytes to a server event: decode, select, hash, map.

use std::hint::black_box;

use criterion::Criterion;
use pixel_relay::clock::UnixMillis;
use pixel_relay::config::Config;
use pixel_relay::config::load::from_toml;
use pixel_relay::config::queue::QueueConfig;
use pixel_relay::event::Event;
use pixel_relay::event::arena::Arena;
use pixel_relay::hash::Hashed;
use pixel_relay::payload::PayloadArena;
use pixel_relay::select::Selector;
use pixel_relay::sync::{Sync, compile_all};
use sha2::{Digest, Sha256};

use crate::sample;

pub const NOW: UnixMillis = UnixMillis(1_795_197_879_000);

/// What the sample's eleven fields are hashed from.
const HASHED: [&str; 11] = [
    "customer-event-1",
    "event-1@example.com",
    "15035550100",
    "pat",
    "doe",
    "19900417",
    "f",
    "portland",
    "or",
    "97201",
    "us",
];

pub fn sync() -> Sync {
    compile_all(&config())
        .expect("the rules are well")
        .remove(0)
}

pub fn queue_config() -> QueueConfig {
    config().queue
}

pub fn text(number: usize) -> String {
    sample::event(&format!("event-{number}"), NOW.0.unsigned_abs().into())
}

pub fn measure(criterion: &mut Criterion) {
    let text = text(1);
    let raw = text.as_bytes();
    criterion.bench_function("parse", |bencher| {
        bencher.iter(|| parse(black_box(raw)));
    });
    criterion.bench_function("decode", |bencher| {
        bencher.iter(|| Event::decode(black_box(raw), &Arena::default()).is_ok());
    });

    let selector = Selector::compile(&config().syncs[sync().name()]);
    let arena = Arena::default();
    let event = Event::decode(raw, &arena).expect("the sample is an event");
    criterion.bench_function("select", |bencher| {
        bencher.iter(|| selector.select(black_box(&event)).is_ok());
    });

    criterion.bench_function("sha-256", |bencher| {
        bencher.iter(|| HASHED.map(|text| Sha256::digest(black_box(text))));
    });
    criterion.bench_function("hash", |bencher| {
        bencher.iter(|| HASHED.map(|text| Hashed::of(black_box(text))));
    });

    criterion.bench_function("parse and hash", |bencher| {
        bencher.iter(|| {
            let parsed = parse(black_box(raw));
            (parsed, HASHED.map(|text| Sha256::digest(black_box(text))))
        });
    });
    let sync = sync();
    criterion.bench_function("map", |bencher| bencher.iter(|| map(&sync, black_box(raw))));
}

/// How many times a stage asks for memory.
pub fn allocations() -> String {
    let text = text(1);
    let raw = text.as_bytes();
    let sync = sync();
    let of = |work: &mut dyn FnMut()| {
        work();
        let info = allocation_counter::measure(work);
        format!("{} ({} bytes)", info.count_total, info.bytes_total)
    };
    format!(
        "allocations per event: plain parse {}, decode {}, decode and map {}",
        of(&mut || drop(parse(raw))),
        of(&mut || drop(Event::decode(raw, &Arena::default()))),
        of(&mut || drop(map(&sync, raw))),
    )
}

fn config() -> Config {
    from_toml(sample::RULES, &[]).expect("the rules are well")
}

fn parse(raw: &[u8]) -> serde_json::Value {
    serde_json::from_slice(raw).expect("the sample is JSON")
}

fn map(sync: &Sync, raw: &[u8]) -> impl Sized + use<> {
    let arena = Arena::default();
    let event = Event::decode(raw, &arena).expect("the sample is an event");
    sync.take(Ok(&event), raw, NOW, &mut PayloadArena::default())
}
