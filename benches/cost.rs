//! What costly requests take, beside honest ones of the same length: see tests/it/cost/corpus.rs.
//!
//! `fixed search everything 200000` prints by how much the processor time of the whole corpus exceeds that of
//! honest events, worst first. `fixed cases` prints what `.ci/cost` measures, a line each: the rules, the
//! endpoint and the name of a costly body. `fixed case <rules> <endpoint> <name>` sends one such request, where
//! the name may also be `honest`, or `nothing` for no request at all.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use pixel_relay::clock::{Clock, TestClock, UnixMillis};
use pixel_relay::config::live::LiveConfig;
use pixel_relay::config::load::from_toml;
use pixel_relay::event::arena::Arena;
use pixel_relay::ingest::decode::decode;
use pixel_relay::ingest::{Ingest, IngestRules, router};
use pixel_relay::payload::PayloadArena;
use pixel_relay::profile::in_memory::InMemoryProfiles;
use pixel_relay::queue::Queue;
use pixel_relay::sync::{Sync, compile_all};
use pixel_relay::telemetry::metrics::Metrics;
use tower::ServiceExt as _;

#[path = "../tests/it/cost/corpus.rs"]
pub mod corpus;

use corpus::{BODIES, KEY, NOW, PLACES, RULES, SECRET, VALUES};

const CLOCK: UnixMillis = UnixMillis(NOW);

/// How long the requests are that `.ci/cost` measures.
const LENGTH: usize = 24_000;

/// How a body of events reaches an endpoint.
const ENDPOINTS: [&str; 8] = [
    "webhook",
    "gzip",
    "deflate",
    "httpapi",
    "batch",
    "identify",
    "legacy",
    "multipart",
];

/// What `.ci/cost` measures: each costly value somewhere, each costly body, and requests that are costly
/// whatever their events are.
fn cases() -> Vec<(&'static str, &'static str, String)> {
    let mut cases = Vec::new();
    let spread = |number: usize| {
        let rules = RULES[number % RULES.len()].0;
        (rules, ENDPOINTS[number / RULES.len() % ENDPOINTS.len()])
    };
    for (number, (value, _)) in VALUES.iter().enumerate() {
        // Where most rules look, and somewhere else.
        for place in ["p", PLACES[1 + number % (PLACES.len() - 1)].0] {
            let (rules, endpoint) = match place {
                "p" => ("everything", "webhook"),
                _ => spread(number),
            };
            cases.push((rules, endpoint, format!("{place}: {value}")));
        }
    }
    for (number, (body, _)) in BODIES.iter().enumerate() {
        cases.push(("sample", "webhook", (*body).to_owned()));
        let (rules, endpoint) = spread(number);
        cases.push((rules, endpoint, (*body).to_owned()));
    }
    for (endpoint, name) in [
        ("httpapi", "members"),
        ("identify", "members"),
        ("legacy", "members"),
    ] {
        cases.push(("sample", endpoint, name.to_owned()));
    }
    cases
}

pub fn print_cases() {
    for (rules, endpoint, name) in cases() {
        println!("{rules}\t{endpoint}\t{name}");
    }
}

/// Sends one request.
pub fn send(rules: &str, endpoint: &str, name: &str) {
    let text = corpus::config(self::rules(rules));
    let mut config = from_toml(&text, &[]).expect("the rules are well");
    let folder = tempfile::tempdir().expect("a folder for the store");
    folder.path().clone_into(&mut config.queue.path);
    let syncs = compile_all(&config).expect("the rules are well");
    let names: Vec<_> = config.syncs.keys().cloned().collect();
    let clock: Arc<dyn Clock> = Arc::new(TestClock::at(CLOCK));
    let queue = Queue::open(&config.queue, &names, Arc::clone(&clock)).expect("a new store opens");
    let metrics = Arc::new(Metrics::new());
    let rules = IngestRules::new(&config, syncs, &metrics, None);
    let ingest = Ingest::new(
        LiveConfig::new(config),
        rules,
        queue.clone(),
        metrics,
        clock,
    );
    let routes = router(Arc::new(ingest));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        if name != "nothing" {
            let answer = routes.oneshot(request(endpoint, name)).await;
            println!("{}", answer.expect("routes answer").status());
        }
        queue.close().await.expect("the store closes");
    });
}

fn events(name: &str) -> Vec<u8> {
    if name == "honest" || name == "members" {
        return corpus::honest(LENGTH);
    }
    if let Some((_, make)) = BODIES.iter().find(|(own, _)| *own == name) {
        return make(LENGTH);
    }
    let (place, value) = name.split_once(": ").expect("a place and a value");
    let place = PLACES
        .iter()
        .find(|(own, _)| *own == place)
        .expect("a place")
        .1;
    let (number, (_, value)) = VALUES
        .iter()
        .enumerate()
        .find(|(_, (own, _))| *own == value)
        .expect("a value");
    // In one event or in many.
    corpus::body(place, *value, [LENGTH, 1500][number % 2], LENGTH)
}

fn request(endpoint: &str, name: &str) -> Request<Body> {
    let events = events(name);
    let is_members = name == "members";
    let (path, kind, encoding, body) = match endpoint {
        "webhook" => ("/webhook", "application/json", "identity", events),
        "gzip" => {
            let encoder = flate2::read::GzEncoder::new(&*events, flate2::Compression::default());
            ("/webhook", "application/json", "gzip", read(encoder))
        }
        "deflate" => {
            let encoder = flate2::read::ZlibEncoder::new(&*events, flate2::Compression::default());
            ("/webhook", "application/json", "deflate", read(encoder))
        }
        "httpapi" | "batch" => {
            let begin = format!("{{\"api_key\":\"{KEY}\",\"events\":").into_bytes();
            let more = "\"\":0,".repeat(if is_members { LENGTH / 5 } else { 0 });
            let events = if is_members { b"[]".to_vec() } else { events };
            let end = format!(",{more}\"options\":{{}}}}").into_bytes();
            let path = if endpoint == "batch" {
                "/batch"
            } else {
                "/2/httpapi"
            };
            (
                path,
                "application/json",
                "identity",
                [begin, events, end].concat(),
            )
        }
        "identify" | "legacy" => {
            let (path, key, field) = match endpoint {
                "identify" => ("/identify", "api_key", "identification"),
                _ => ("/", "client", "e"),
            };
            let more = "&a=1".repeat(if is_members { LENGTH / 4 } else { 0 });
            let events = if is_members {
                "[]".to_owned()
            } else {
                encoded(&events)
            };
            let body = format!("{more}&{key}={KEY}&{field}={events}").into_bytes();
            (path, "application/x-www-form-urlencoded", "identity", body)
        }
        _ => {
            let part = |name: &str| {
                format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n")
            };
            let begin = format!("{}{KEY}\r\n{}", part("client"), part("e")).into_bytes();
            let body = [begin, events, b"\r\n--b--\r\n".to_vec()].concat();
            ("/", "multipart/form-data; boundary=b", "identity", body)
        }
    };
    Request::post(path)
        .header("authorization", SECRET)
        .header("content-type", kind)
        .header("content-encoding", encoding)
        .header("content-length", body.len())
        .body(Body::from(body))
        .expect("a request")
}

fn read(mut from: impl std::io::Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)
        .expect("reading memory does not fail");
    bytes
}

/// Bytes as the value of a form's field.
fn encoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        if byte.is_ascii_alphanumeric() {
            text.push(char::from(*byte));
        } else {
            write!(text, "%{byte:02X}").expect("a text takes all");
        }
    }
    text
}

/// The kinds of costly bodies, by names, with about so many bytes of a value in each event.
fn kinds(length: usize) -> impl Iterator<Item = (String, Vec<u8>)> {
    let values = [length, 24_000, 1500, 100, 10]
        .into_iter()
        .flat_map(move |each| {
            PLACES.iter().flat_map(move |(place, at)| {
                VALUES.iter().map(move |(name, value)| {
                    (
                        format!("{place}: {name}, {each}"),
                        corpus::body(*at, *value, each, length),
                    )
                })
            })
        });
    let bodies = BODIES
        .iter()
        .map(move |(name, make)| ((*name).to_owned(), make(length)));
    values.chain(bodies)
}

fn rules(name: &str) -> &'static str {
    let mut all = RULES.iter();
    all.find_map(|(own, rules)| (*own == name).then_some(*rules))
        .expect("known rules")
}

/// Prints the kinds that take most processor time, as multiples of that of honest events.
pub fn search(name: &str, length: usize) {
    let config = from_toml(&corpus::config(rules(name)), &[]).expect("the rules are well");
    let syncs = compile_all(&config).expect("the rules are well");
    let honest = corpus::honest(length);
    let least = (0..5)
        .map(|_| time(|| map(&syncs, &honest)))
        .min()
        .expect("five");
    println!(
        "{name}: {} bytes of honest events take {least:?}",
        honest.len()
    );
    let mut ratios = Vec::new();
    for (kind, body) in kinds(length) {
        let mut taken = time(|| map(&syncs, &body));
        if taken > least * 5 {
            taken = taken.min(time(|| map(&syncs, &body)));
        }
        let ratio = taken.as_secs_f64() / least.as_secs_f64();
        ratios.push((ratio, kind));
        if ratio > 15.0 {
            println!("{ratio:6.1} {}", ratios.last().expect("just pushed").1);
        }
    }
    ratios.sort_by(|one, other| other.0.total_cmp(&one.0));
    println!("the worst:");
    for (ratio, kind) in ratios.iter().take(40) {
        println!("{ratio:6.1} {kind}");
    }
}

/// Decodes a body and maps its events, as ingest does.
fn map(syncs: &[Sync], body: &[u8]) {
    let arena = Arena::default();
    let Ok(elements) = decode(body, &arena) else {
        return;
    };
    let mut people = InMemoryProfiles::default();
    let mut payloads = PayloadArena::default();
    let mut taken = Vec::new();
    for (number, element) in elements.enumerate() {
        if number % 1000 == 0 {
            taken.clear();
            payloads = PayloadArena::for_events(1000);
        }
        for sync in syncs {
            taken.push(match &element.event {
                Ok(event) if sync.uses_profiles(true) => {
                    let Ok((mapped, ..)) =
                        sync.take_with_profiles(event, CLOCK, &mut payloads, &mut people);
                    mapped
                }
                event => {
                    let event = event.as_ref().map_err(|reason| *reason);
                    sync.take(event, element.raw, CLOCK, &mut payloads).0
                }
            });
        }
    }
}

/// The time that this thread is at work.
fn time(work: impl FnOnce()) -> Duration {
    let before = on_processor();
    work();
    on_processor().saturating_sub(before)
}

fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}
