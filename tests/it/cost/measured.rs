//! What a request takes, as a multiple of what honest events of the same length take under the same rules. The
//! fuzz target uses it too.

use std::cell::RefCell;
use std::collections::BTreeMap;

use allocation_counter::measure;
use pixel_relay::clock::UnixMillis;
use pixel_relay::config::load::from_toml;
use pixel_relay::event::arena::Arena;
use pixel_relay::ingest::decode::decode;
use pixel_relay::payload::PayloadArena;
use pixel_relay::profile::in_memory::InMemoryProfiles;
use pixel_relay::sync::{Sync, compile_all};

use super::corpus::{self, RULES};

const NOW: UnixMillis = UnixMillis(corpus::NOW);

/// How many times the memory of honest events a request may take.
pub const MOST_TIMES: f64 = 20.0;

/// Below this length a request is measured by one honest event.
pub const SHORT: usize = 2000;

/// Of a request, so many elements that are no events are named by a hash; the others are counted.
const DEAD_LETTERS: usize = 100;

/// Rules, and what honest events of a length allocate under them.
pub struct Measured {
    pub rules: &'static str,
    syncs: Vec<Sync>,
    honest: RefCell<BTreeMap<usize, u64>>,
}

impl Measured {
    /// Every set of rules.
    pub fn all() -> Vec<Self> {
        RULES
            .iter()
            .map(|(name, rules)| Self::of(name, rules))
            .collect()
    }

    fn of(name: &'static str, rules: &str) -> Self {
        let config = from_toml(&corpus::config(rules), &[]).unwrap();
        Self {
            rules: name,
            syncs: compile_all(&config).unwrap(),
            honest: RefCell::default(),
        }
    }

    /// Says so where a body allocates more than [`MOST_TIMES`] the bytes of honest events.
    pub fn excess(&self, name: &str, body: &[u8]) -> Option<String> {
        let times = self.times(body);
        (times > MOST_TIMES).then(|| format!("{times:.0} times, {}: {name}", self.rules))
    }

    /// How many times the bytes of honest events a body allocates.
    pub fn times(&self, body: &[u8]) -> f64 {
        let length = body.len().max(SHORT);
        let mut honest = self.honest.borrow_mut();
        let honest = honest
            .entry(length)
            .or_insert_with(|| self.allocated(&corpus::honest(length)));
        ratio(self.allocated(body), *honest)
    }

    /// The bytes that are allocated to decode and map a body.
    fn allocated(&self, body: &[u8]) -> u64 {
        measure(|| self.map(body)).bytes_total
    }

    /// Decodes a body and maps its events, as ingest does.
    pub fn map(&self, body: &[u8]) {
        let arena = Arena::default();
        let Ok(elements) = decode(body, &arena) else {
            return;
        };
        let mut people = InMemoryProfiles::default();
        let mut payloads = PayloadArena::default();
        let mut undecoded = 0;
        for (number, element) in elements.enumerate() {
            if number % 1000 == 0 {
                payloads = PayloadArena::for_events(1000);
            }
            undecoded += usize::from(element.event.is_err());
            for sync in &self.syncs {
                match &element.event {
                    Err(_) if undecoded > DEAD_LETTERS => {}
                    Ok(event) if sync.uses_profiles(true) => {
                        let Ok(taken) =
                            sync.take_with_profiles(event, NOW, &mut payloads, &mut people);
                        drop(taken);
                    }
                    event => {
                        let event = event.as_ref().map_err(|reason| *reason);
                        drop(sync.take(event, element.raw, NOW, &mut payloads));
                    }
                }
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio need not be exact")]
pub fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other as f64
}
