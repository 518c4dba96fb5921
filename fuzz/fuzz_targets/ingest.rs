//! Decodes and maps any bytes, as ingest does, and fails where that takes more than twenty times the memory or
//! the time of honest events. Run it with `RUSTC_BOOTSTRAP=1 cargo fuzz run ingest -- -max_total_time=600`.

#![no_main]

use std::time::Duration;

#[path = "../../tests/it/any_bytes.rs"]
mod any_bytes;
#[path = "../../tests/it/cost/corpus.rs"]
mod corpus;
#[path = "../../tests/it/cost/measured.rs"]
mod measured;

use measured::{MOST_TIMES, Measured, SHORT};

/// Shorter times say little.
const LEAST_TIME: Duration = Duration::from_millis(20);

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

fn check_time(measured: &Measured, bytes: &[u8]) {
    if on_processor(|| measured.map(bytes)) < LEAST_TIME {
        return;
    }
    let least = |body: &[u8]| (0..3).map(|_| on_processor(|| measured.map(body))).min();
    let honest = least(&corpus::honest(bytes.len().max(SHORT))).unwrap_or_default();
    let own = least(bytes).unwrap_or_default();
    let is_excessive = own > LEAST_TIME && own > honest.mul_f64(MOST_TIMES);
    assert!(!is_excessive, "{own:?}, honest events {honest:?}: {}", measured.rules);
}

/// The time that this thread is at work.
fn on_processor(work: impl FnOnce()) -> Duration {
    let clock = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
        Duration::from_nanos(nanos.unwrap_or_default())
    };
    let before = clock();
    work();
    clock().saturating_sub(before)
}
