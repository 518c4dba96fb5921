//! No request costs more than twenty times what honest events of the same length cost under the same rules; a
//! short one, no more than twenty times one honest event.
//!
//! Memory is counted here, instructions by `.ci/cost`.

use proptest::prelude::*;

#[path = "cost/corpus.rs"]
mod corpus;
#[path = "cost/measured.rs"]
mod measured;

use corpus::{BODIES, PLACES, RULES, VALUES};
use measured::Measured;

#[test]
fn costly_values_allocate_little_more_than_honest_events() {
    const LENGTH: usize = 24_000;
    let mut excessive = Vec::new();
    for (round, measured) in Measured::all().iter().enumerate() {
        for (at, (place, make)) in PLACES.iter().enumerate() {
            for (number, (value, of)) in VALUES.iter().enumerate() {
                // A part of them all, so that each value and each place is used under each set of rules.
                if (number * 7 + at) % (3 * RULES.len()) != round {
                    continue;
                }
                let each = [LENGTH, 1500, 100][(number + round) % 3];
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
