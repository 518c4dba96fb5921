//! Is a batch full, or old enough to be sent?
//!
//! Pure: what waits, the limits and the present moment are arguments. Knows nothing of the queue
//! that holds the events nor of the lane that sends them.

use std::time::Duration;

use crate::clock::UnixMillis;

/// When to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Full, or old enough.
    Now,
    /// Old enough at this moment, should it not be full before.
    At(UnixMillis),
    /// Nothing waits.
    Never,
}

/// What waits to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingEvents {
    /// How many events.
    pub events: u64,
    /// How many bytes they have together.
    pub bytes: u64,
    /// When the first of them was taken.
    pub oldest: Option<UnixMillis>,
}

/// What makes a batch full or old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most events.
    pub events: usize,
    /// Most bytes.
    pub bytes: usize,
    /// Longest wait of the first event.
    pub delay: Duration,
}

/// Tells when what waits should be sent.
pub fn due(waiting: PendingEvents, limits: BatchLimits, now: UnixMillis) -> Due {
    if waiting.events == 0 {
        return Due::Never;
    }
    let full = waiting.events >= limits.events as u64 || waiting.bytes >= limits.bytes as u64;
    let Some(oldest) = waiting.oldest.filter(|_| !full) else {
        return Due::Now;
    };
    let ripe = oldest.plus(limits.delay);
    if ripe <= now { Due::Now } else { Due::At(ripe) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BatchLimits = BatchLimits {
        events: 10,
        bytes: 1000,
        delay: Duration::from_secs(1),
    };

    #[test]
    fn a_batch_is_due_when_full_or_old() {
        let cases = [
            // events, bytes, oldest, now, due
            (0, 0, None, 5_000, Due::Never),
            (1, 100, Some(5_000), 5_000, Due::At(UnixMillis(6_000))),
            (9, 999, Some(5_000), 5_999, Due::At(UnixMillis(6_000))),
            (1, 100, Some(5_000), 6_000, Due::Now),
            (10, 100, Some(5_000), 5_000, Due::Now),
            (11, 100, Some(5_000), 5_000, Due::Now),
            (2, 1000, Some(5_000), 5_000, Due::Now),
            // A clock that was set back only delays by one more wait.
            (1, 100, Some(5_000), 1_000, Due::At(UnixMillis(6_000))),
            // Events of unknown age are not kept waiting.
            (1, 100, None, 5_000, Due::Now),
        ];
        for (events, bytes, oldest, now, expected) in cases {
            let waiting = PendingEvents {
                events,
                bytes,
                oldest: oldest.map(UnixMillis),
            };
            assert_eq!(
                due(waiting, LIMITS, UnixMillis(now)),
                expected,
                "{waiting:?} at {now}"
            );
        }
    }
}
