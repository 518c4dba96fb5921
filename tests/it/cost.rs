//! No request costs more than twenty times what honest events of the same length cost under the same rules; a
//! short one, no more than twenty times one honest event.
//!
//! Memory is counted here, instructions by `.ci/cost`.

use allocation_counter::measure;
use proptest::prelude::*;

#[path = "cost/corpus.rs"]
mod corpus;
#[path = "cost/measured.rs"]
mod measured;
#[path = "cost/sender.rs"]
mod sender;

use corpus::{BODIES, PLACES, RULES, VALUES};
use measured::{MOST_TIMES, Measured, SHORT, ratio};
use sender::{ENDPOINTS, REFUSED, Server, request, request_of_members};

#[test]
fn costly_values_allocate_little_more_than_honest_events() {
    const LENGTH: usize = 24_000;
    let mut excessive = Vec::new();
    for (round, measured) in Measured::all().iter().enumerate() {
        for (at, (place, make)) in PLACES.iter().enumerate() {
            for (number, (value, of)) in VALUES.iter().enumerate() {
                // All at the place that most rules read; of the others a part, so that each value and each place
                // is used under each set of rules.
                let is_part = (number * 7 + at) % (3 * RULES.len()) == round;
                if at > 0 && !is_part {
                    continue;
                }
                let each = if is_part {
                    [LENGTH, 1500, 100][(number + round) % 3]
                } else {
                    LENGTH
                };
                let body = corpus::body(*make, *of, each, LENGTH);
                let name = format!("{value} at {place}, {each}");
                excessive.extend(measured.excess(&name, &body));
            }
        }
        for (name, make) in BODIES {
            excessive.extend(measured.excess(name, &make(LENGTH)));
        }
    }
    assert!(excessive.is_empty(), "{}", excessive.join("\n"));
}

#[test]
fn short_requests_allocate_little_more_than_one_event() {
    let mut excessive = Vec::new();
    for (round, measured) in Measured::all().iter().enumerate() {
        for length in [100, SHORT - 1] {
            for (number, (value, of)) in VALUES.iter().enumerate() {
                let (place, make) = PLACES[(number + round) % PLACES.len()];
                let body = corpus::body(make, *of, length.saturating_sub(200), length);
                let name = format!("{value} at {place}, {length}");
                excessive.extend(measured.excess(&name, &body));
            }
            for (name, make) in BODIES {
                excessive.extend(measured.excess(name, &make(length)));
            }
        }
    }
    assert!(excessive.is_empty(), "{}", excessive.join("\n"));
}

#[test]
fn long_requests_allocate_little_more_than_honest_events() {
    const LENGTH: usize = 2_000_000;
    let measured = &Measured::all();
    let measured = |name| measured.iter().find(|measured| measured.rules == name);
    let (least, everything) = (measured("least").unwrap(), measured("everything").unwrap());
    let mut excessive = Vec::new();
    for (name, make) in BODIES {
        excessive.extend(least.excess(name, &make(LENGTH)));
    }
    for (number, (value, of)) in VALUES.iter().enumerate() {
        // A third of them, so that it does not take minutes.
        if number % 3 == 0 {
            let (place, make) = PLACES[number / 3 % PLACES.len()];
            let body = corpus::body(make, *of, LENGTH, LENGTH);
            excessive.extend(everything.excess(&format!("{value} at {place}"), &body));
        }
    }
    assert!(excessive.is_empty(), "{}", excessive.join("\n"));
}

/// The bytes that the thread of a request allocates to take or to refuse it, and to answer.
fn allocated_to_answer(endpoint: &str, request: axum::http::Request<axum::body::Body>) -> u64 {
    let server = Server::start("sample", endpoint);
    let allocated = measure(|| {
        server.send(request);
    });
    server.stop();
    allocated.bytes_total
}

#[test]
fn whatever_becomes_of_a_request_it_allocates_little_more_than_an_honest_one() {
    let mut excessive = Vec::new();
    let mut check = |name: String, [own, honest]: [u64; 2]| {
        let times = ratio(own, honest);
        if times > MOST_TIMES {
            excessive.push(format!("{times:.0} times: {name}"));
        }
    };
    for (round, length) in [100, 6000, 24_000].into_iter().enumerate() {
        let honest = |endpoint: &str| {
            allocated_to_answer(
                endpoint,
                request(endpoint, corpus::honest(length.max(SHORT))),
            )
        };
        let of_honest: Vec<(&str, u64)> = ENDPOINTS
            .iter()
            .map(|endpoint| (*endpoint, honest(endpoint)))
            .collect();
        let of_honest = |endpoint: &str| {
            let mut all = of_honest.iter();
            all.find_map(|(own, bytes)| (*own == endpoint).then_some(*bytes))
                .unwrap()
        };
        // Each kind of body at an endpoint: to start a store for each pair would take minutes.
        for (number, (name, make)) in BODIES.iter().enumerate() {
            let endpoint = ENDPOINTS[(number + round) % ENDPOINTS.len()];
            let own = allocated_to_answer(endpoint, request(endpoint, make(length)));
            check(
                format!("{name}, {endpoint}, {length}"),
                [own, of_honest(endpoint)],
            );
        }
        for (endpoint, honest) in REFUSED {
            let own = allocated_to_answer(endpoint, request(endpoint, corpus::honest(length)));
            check(format!("{endpoint}, {length}"), [own, of_honest(honest)]);
        }
        for endpoint in ["httpapi", "legacy"] {
            let own = allocated_to_answer(endpoint, request_of_members(endpoint, length));
            check(
                format!("members, {endpoint}, {length}"),
                [own, of_honest(endpoint)],
            );
        }
    }
    assert!(excessive.is_empty(), "{}", excessive.join("\n"));
}

/// Bodies of costly values, cut and joined at random.
fn mixed() -> impl Strategy<Value = Vec<u8>> {
    let value = (
        0..VALUES.len(),
        0..PLACES.len(),
        prop_oneof![0_usize..300, 0_usize..30_000],
    );
    let event = value.prop_map(|(value, place, length)| {
        let value = VALUES[value].1(length);
        PLACES[place].1(length, &value)
    });
    let events = prop::collection::vec(event, 1..8);
    (events, any::<Option<(usize, u8)>>()).prop_map(|(events, change)| {
        let mut body = format!("[{}]", events.join(",")).into_bytes();
        if let Some((at, byte)) = change {
            let at = at % body.len();
            body[at] = byte;
        }
        body
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_body_allocates_little_more_than_honest_events(body in mixed()) {
        thread_local! {
            static MEASURED: Vec<Measured> = Measured::all();
        }
        MEASURED.with(|all| {
            for measured in all {
                let excess = measured.excess("", &body);
                prop_assert!(excess.is_none(), "{}", excess.unwrap_or_default());
            }
            Ok(())
        })?;
    }
}
