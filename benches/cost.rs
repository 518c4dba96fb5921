//! What costly requests take, beside honest ones of the same length: see tests/it/cost/corpus.rs.
//!
//! `fixed search everything 200000` prints by how much the processor time of the whole corpus exceeds that of
//! honest events, worst first. `fixed costs usual 0 1` sends the requests whose instructions `.ci/cost` counts, and
//! prints a line for each, of the rules, the endpoint that honest ones are compared at, the length and the name:
//! one half of them with `0 2`, the other with `1 2`.

use std::collections::HashSet;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use pixel_relay::clock::UnixMillis;
use pixel_relay::config::load::from_toml;
use pixel_relay::event::arena::Arena;
use pixel_relay::ingest::decode::decode;
use pixel_relay::payload::PayloadArena;
use pixel_relay::profile::in_memory::InMemoryProfiles;
use pixel_relay::sync::{Sync, compile_all};

#[path = "../tests/it/cost/corpus.rs"]
pub mod corpus;
#[path = "../tests/it/cost/sender.rs"]
mod sender;

use corpus::{BODIES, NOW, PLACES, RULES, VALUES};
use sender::{ENDPOINTS, REFUSED, Server, request, request_of_members};

const CLOCK: UnixMillis = UnixMillis(NOW);

/// How long requests are: shorter than an honest event, as usual, and so long that what grows faster than they do
/// shows.
const LENGTHS: [(&str, usize); 3] = [("short", 1500), ("usual", 24_000), ("long", 400_000)];

/// The length of an event of which the last of 2,000 bad ones is still named in the answer.
const NAMED_FAULTS: usize = 6000;

/// A costly request.
struct Case {
    rules: &'static str,
    endpoint: &'static str,
    length: usize,
    name: String,
    send: Box<dyn Fn() -> Request<Body>>,
}

impl Case {
    /// One with these events.
    fn of(
        (rules, endpoint): (&'static str, &'static str),
        length: usize,
        name: &str,
        events: impl Fn() -> Vec<u8> + 'static,
    ) -> Self {
        Self {
            rules,
            endpoint,
            length,
            name: name.to_owned(),
            send: Box::new(move || request(endpoint, events())),
        }
    }

    /// The endpoint that takes honest events.
    fn honest_endpoint(&self) -> &'static str {
        let mut refused = REFUSED.iter();
        refused
            .find_map(|(own, honest)| (*own == self.endpoint).then_some(*honest))
            .unwrap_or(self.endpoint)
    }

    fn measure(&self) {
        let server = Server::start(self.rules, self.endpoint);
        let request = (self.send)();
        let status = counted(&server, request);
        counting_ends();
        let Self {
            rules,
            length,
            name,
            ..
        } = self;
        println!(
            "{rules}\t{}\t{length}\t{name}\t{status}",
            self.honest_endpoint()
        );
        server.stop();
    }

    /// Measures honest events of the same length.
    fn measure_honest(&self) {
        let (endpoint, length) = (self.honest_endpoint(), self.length);
        let events = move || corpus::honest(length);
        Self::of((self.rules, endpoint), length, "honest", events).measure();
    }
}

/// Callgrind counts from here on.
#[inline(never)]
fn counted(server: &Server, request: Request<Body>) -> StatusCode {
    server.send(request)
}

/// Callgrind writes here what it has counted.
#[inline(never)]
fn counting_ends() {
    std::hint::black_box(());
}

/// Each costly value somewhere, each costly body, and requests that are costly whatever their events are.
fn cases(length: &str) -> Vec<Case> {
    let known = LENGTHS.iter().find(|(name, _)| *name == length);
    let length = known.expect("short, usual or long").1;
    let is_usual = length == LENGTHS[1].1;
    let mut cases = Vec::new();
    let spread = |number: usize| {
        let rules = RULES[number % RULES.len()].0;
        (rules, ENDPOINTS[number / RULES.len() % ENDPOINTS.len()])
    };
    for (number, (value, of)) in VALUES.iter().enumerate() {
        // Where most rules look, and somewhere else; in one event or in many.
        let place = PLACES[1 + number % (PLACES.len() - 1)];
        let mut add = |at, (place, make): (&str, corpus::Place)| {
            let each = if is_usual {
                [length, 1500][number % 2]
            } else {
                length
            };
            let events = move || corpus::body(make, *of, each, length);
            cases.push(Case::of(at, length, &format!("{place}: {value}"), events));
        };
        add(("everything", "webhook"), PLACES[0]);
        if is_usual {
            add(spread(number), place);
        }
    }
    for (number, (body, make)) in BODIES.iter().enumerate() {
        cases.push(Case::of(("sample", "webhook"), length, body, move || {
            make(length)
        }));
        if is_usual {
            cases.push(Case::of(spread(number), length, body, move || make(length)));
        }
    }
    for (endpoint, _) in REFUSED {
        let events = move || corpus::honest(length);
        cases.push(Case::of(("sample", endpoint), length, endpoint, events));
    }
    for endpoint in ["httpapi", "legacy"] {
        cases.push(Case {
            rules: "sample",
            endpoint,
            length,
            name: "members beside events".to_owned(),
            send: Box::new(move || request_of_members(endpoint, length)),
        });
    }
    if is_usual {
        for (body, make) in BODIES.iter().filter(|(name, _)| name.contains("events")) {
            let events = move || make(NAMED_FAULTS);
            cases.push(Case::of(("sample", "httpapi"), NAMED_FAULTS, body, events));
        }
    }
    cases
}

/// Measures one part of the cases of so many.
pub fn costs(length: &str, part: usize, parts: usize) {
    let mut known = HashSet::new();
    for (number, case) in cases(length).iter().enumerate() {
        if number % parts == part {
            if known.insert((case.rules, case.honest_endpoint(), case.length)) {
                case.measure_honest();
            }
            case.measure();
        }
    }
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

/// Prints the kinds that take most processor time, as multiples of that of honest events.
pub fn search(name: &str, length: usize) {
    let config = from_toml(&corpus::config(corpus::rules(name)), &[]).expect("the rules are well");
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
