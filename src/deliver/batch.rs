//! When a batch is full, or old enough, to be sent.
//!
//! Pure: what is ready, the limits and the present moment are arguments.

use std::time::Duration;

use crate::clock::UnixMillis;
use crate::queue::lease::{Backlog, Leased};

/// The largest batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSize {
    pub events: usize,
    pub bytes: usize,
}

impl BatchSize {
    pub fn of(events: &[Leased]) -> Self {
        Self {
            events: events.len(),
            bytes: events.iter().map(|event| event.body.as_ref().len()).sum(),
        }
    }
}

/// When what is ready should be sent: now if it fills a batch, else when the oldest event has waited for
/// `max_delay`. `None`: nothing is ready.
pub fn due(
    ready: &Backlog,
    size: BatchSize,
    max_delay: Duration,
    now: UnixMillis,
) -> Option<UnixMillis> {
    if ready.events == 0 {
        return None;
    }
    let is_full = ready.events >= size.events as u64 || ready.bytes >= size.bytes as u64;
    // Events of unknown age do not wait.
    let oldest = ready.oldest.filter(|_| !is_full);
    Some(oldest.map_or(now, |oldest| oldest.plus(max_delay)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: BatchSize = BatchSize {
        events: 10,
        bytes: 1000,
    };

    #[test]
    fn a_batch_is_due_when_full_or_old() {
        let cases = [
            // events, bytes, oldest, now, due
            (0, 0, None, 5_000, None),
            (1, 100, Some(5_000), 5_000, Some(6_000)),
            (9, 999, Some(5_000), 5_999, Some(6_000)),
            (1, 100, Some(5_000), 6_000, Some(6_000)),
            (1, 100, Some(5_000), 7_000, Some(6_000)),
            (10, 100, Some(5_000), 5_000, Some(5_000)),
            (11, 100, Some(5_000), 5_000, Some(5_000)),
            (2, 1000, Some(5_000), 5_000, Some(5_000)),
            // A clock that was set back only delays by one more wait.
            (1, 100, Some(5_000), 1_000, Some(6_000)),
            // Events of unknown age do not wait.
            (1, 100, None, 5_000, Some(5_000)),
        ];
        for (events, bytes, oldest, now, expected) in cases {
            let ready = Backlog {
                events,
                bytes,
                oldest: oldest.map(UnixMillis),
            };
            assert_eq!(
                due(&ready, SIZE, Duration::from_secs(1), UnixMillis(now)),
                expected.map(UnixMillis),
                "{ready:?} at {now}"
            );
        }
    }
}
