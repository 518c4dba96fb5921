//! Decodes and maps any bytes, as ingest does, and fails where that takes more than twenty times the memory of
//! honest events, or clearly more than twenty times their time. `.ci/fuzz` runs it.

#![no_main]

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

#[path = "../../tests/it/any_bytes.rs"]
mod any_bytes;
#[path = "../../tests/it/cost/corpus.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
mod corpus;
#[path = "../../tests/it/cost/measured.rs"]
mod measured;

use measured::{MOST_TIMES, Measured, SHORT};

/// Shorter times say little.
const LEAST_TIME: Duration = Duration::from_millis(20);

/// How many times the time of honest events an input may take. The counters that guide the fuzzer nearly double the time of
/// code that looks at bytes, and leave that of code that hashes as it is; `.ci/cost` counts without them.
const MOST_TIME: f64 = 2.0 * MOST_TIMES;

/// One of so many inputs is a costly body, for the others to be made of.
const ONE_IN: u32 = 16;

thread_local! {
    static MEASURED: Vec<Measured> = Measured::all();
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    any_bytes::check(bytes);
    MEASURED.with(|all| {
        for measured in all {
            if let Some(excess) = measured.excess("these bytes", bytes) {
                panic!("{excess}");
            }
            check_time(measured, bytes);
        }
    });
});

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, most: usize, seed: u32| {
    if seed % ONE_IN > 0 {
        return libfuzzer_sys::fuzzer_mutate(data, size, most);
    }
    let body = costly((seed / ONE_IN) as usize, most);
    let length = body.len().min(most);
    data[..length].copy_from_slice(&body[..length]);
    length
});

/// A body of the corpus.
fn costly(seed: usize, most: usize) -> Vec<u8> {
    let length = [most, most / 4, 1000, 100][seed % 4];
    let seed = seed / 4;
    let bodies = corpus::BODIES;
    if seed % 8 == 0 {
        return bodies[seed / 8 % bodies.len()].1(length);
    }
    let (values, places) = (corpus::VALUES, corpus::PLACES);
    let (value, place) = (seed / 8 % values.len(), seed / 8 / values.len() % places.len());
    corpus::body(places[place].1, values[value].1, length, length)
}

fn check_time(measured: &Measured, bytes: &[u8]) {
    if on_processor(|| measured.map(bytes)) < LEAST_TIME {
        return;
    }
    let least = |body: &[u8]| (0..3).map(|_| on_processor(|| measured.map(body))).min();
    let honest = least(&corpus::honest(bytes.len().max(SHORT))).unwrap_or_default();
    let own = least(bytes).unwrap_or_default();
    let is_excessive = own > LEAST_TIME && own > honest.mul_f64(MOST_TIME);
    assert!(!is_excessive, "{own:?}, honest events {honest:?}: {}", measured.rules);
}

/// The time that this thread is at work.
fn on_processor(work: impl FnOnce()) -> Duration {
    let clock = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default();
    let before = clock();
    work();
    clock().saturating_sub(before)
}
