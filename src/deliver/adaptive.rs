//! How much a lane sends at once, and when a batch is full or old enough.
//!
//! Pure: moments are arguments. Where Meta finds a request too large the lane sends smaller ones for a
//! while; the size doubles again with each quiet period.
//!
//! The number of requests in flight grows additively and shrinks multiplicatively, between 1 and the
//! configured maximum: each round of good answers allows one request more, a fault halves. An answer
//! that takes much longer than usual does not raise the number, and one that takes very much longer
//! lowers it by one, since more of them would only queue at the other end.

use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::time::Instant;

use crate::queue::lease::{Backlog, Leased};

/// After this time without another refusal the size doubles.
const RECOVERY: Duration = Duration::from_secs(300);

/// How large a batch is, or may be.
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

    /// How long what is ready may still wait, if this is the most: not at all if it fills a batch, else until
    /// the oldest event has waited for `max_delay`. `None`: nothing is ready. `uptime` is the present one.
    pub fn due_in(
        self,
        ready: &Backlog,
        max_delay: Duration,
        uptime: Duration,
    ) -> Option<Duration> {
        if ready.events == 0 {
            return None;
        }
        let is_full = ready.events >= self.events as u64 || ready.bytes >= self.bytes as u64;
        // Events that have been ready for an unknown time do not wait.
        let since = ready.since.filter(|_| !is_full);
        let waited = since.map_or(max_delay, |since| uptime.saturating_sub(since));
        Some(max_delay.saturating_sub(waited))
    }
}

/// The largest batch at present.
#[derive(Clone, Debug)]
pub struct AdaptiveSize {
    configured: BatchSize,
    lowered: Option<(BatchSize, Instant)>,
}

impl AdaptiveSize {
    pub const fn new(configured: BatchSize) -> Self {
        Self {
            configured,
            lowered: None,
        }
    }

    pub fn at(&self, now: Instant) -> BatchSize {
        let Some((size, since)) = self.lowered else {
            return self.configured;
        };
        let periods = now.saturating_duration_since(since).as_secs() / RECOVERY.as_secs();
        let growth = 2_usize.saturating_pow(periods.try_into().unwrap_or(u32::MAX));
        BatchSize {
            events: size
                .events
                .saturating_mul(growth)
                .min(self.configured.events),
            bytes: size.bytes.saturating_mul(growth).min(self.configured.bytes),
        }
    }

    /// A request was too large: half of it is the most from now on. The size of a single event says nothing.
    pub fn on_too_large(&mut self, sent: BatchSize, now: Instant) {
        if sent.events < 2 {
            return;
        }
        let present = self.at(now);
        let half = BatchSize {
            events: (sent.events / 2).clamp(1, present.events.max(1)),
            bytes: (sent.bytes / 2).clamp(1, present.bytes.max(1)),
        };
        self.lowered = Some((half, now));
    }
}

/// Share of a new answer in the usual latency.
const WEIGHT: f64 = 0.1;
/// Latency, in multiples of the usual one, above which the number is not raised.
const SLOW: f64 = 2.0;
/// Latency, in multiples of the usual one, above which it is lowered.
const VERY_SLOW: f64 = 4.0;
/// Answers faster than this are never slow.
const QUICK: Duration = Duration::from_millis(250);

/// How many requests one lane may have in flight.
#[derive(Clone, Debug)]
pub struct Concurrency {
    allowed: f64,
    most: f64,
    usual: Option<f64>,
}

impl Concurrency {
    /// Begins with one request, and never allows more than `most`.
    pub fn new(most: NonZeroUsize) -> Self {
        Self {
            allowed: 1.0,
            most: f64::from(u32::try_from(most.get()).unwrap_or(u32::MAX)),
            usual: None,
        }
    }

    /// At least 1.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and a number of 32 bits"
    )]
    pub fn allowed(&self) -> usize {
        self.allowed as usize
    }

    /// A good answer came after this time.
    pub fn on_success(&mut self, latency: Duration) {
        let seconds = latency.as_secs_f64();
        let usual = self.usual.unwrap_or(seconds);
        self.usual = Some(usual + WEIGHT * (seconds - usual));
        if latency <= QUICK || seconds <= SLOW * usual {
            self.allowed = (self.allowed + 1.0 / self.allowed).min(self.most);
        } else if seconds > VERY_SLOW * usual {
            self.allowed = (self.allowed - 1.0).max(1.0);
        }
    }

    /// A request failed for a reason that may be load.
    pub fn on_failure(&mut self) {
        self.allowed = (self.allowed / 2.0).max(1.0);
    }

    /// Starts over with one request, after a cooldown.
    pub fn reset(&mut self) {
        self.allowed = 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURED: BatchSize = BatchSize {
        events: 1000,
        bytes: 1_000_000,
    };

    #[test]
    fn a_batch_is_due_when_full_or_old() {
        let cases = [
            // events, bytes, ready since, now, due in
            (0, 0, None, 5_000, None),
            (1, 100, Some(5_000), 5_000, Some(1_000)),
            (9, 999, Some(5_000), 5_999, Some(1)),
            (1, 100, Some(5_000), 6_000, Some(0)),
            (1, 100, Some(5_000), 7_000, Some(0)),
            (10, 100, Some(5_000), 5_000, Some(0)),
            (11, 100, Some(5_000), 5_000, Some(0)),
            (2, 1000, Some(5_000), 5_000, Some(0)),
            // Another thread may have looked at the clock a little later.
            (1, 100, Some(5_000), 4_999, Some(1_000)),
            // Events that have been ready for an unknown time do not wait.
            (1, 100, None, 5_000, Some(0)),
        ];
        let millis = Duration::from_millis;
        for (events, bytes, since, uptime, expected) in cases {
            let ready = Backlog {
                events,
                bytes,
                since: since.map(millis),
            };
            let size = BatchSize {
                events: 10,
                bytes: 1000,
            };
            let due = size.due_in(&ready, Duration::from_secs(1), millis(uptime));
            assert_eq!(due, expected.map(millis), "{ready:?} at {uptime}");
        }
    }

    #[test]
    fn it_halves_and_recovers() {
        let start = Instant::now();
        let mut size = AdaptiveSize::new(CONFIGURED);
        assert_eq!(size.at(start), CONFIGURED);
        size.on_too_large(
            BatchSize {
                events: 800,
                bytes: 400_000,
            },
            start,
        );
        let sizes: Vec<(usize, usize)> = [0, 299, 300, 600, 3000]
            .map(|seconds| {
                let size = size.at(start + Duration::from_secs(seconds));
                (size.events, size.bytes)
            })
            .to_vec();
        assert_eq!(
            sizes,
            [
                (400, 200_000),
                (400, 200_000),
                (800, 400_000),
                (1000, 800_000),
                (1000, 1_000_000)
            ]
        );
    }

    #[test]
    fn it_never_grows_by_a_complaint_nor_reaches_zero() {
        let start = Instant::now();
        let mut size = AdaptiveSize::new(BatchSize {
            events: 10,
            bytes: 100,
        });
        size.on_too_large(CONFIGURED, start);
        assert_eq!(
            size.at(start),
            BatchSize {
                events: 10,
                bytes: 100
            }
        );
        size.on_too_large(
            BatchSize {
                events: 2,
                bytes: 2,
            },
            start,
        );
        let smallest = BatchSize {
            events: 1,
            bytes: 1,
        };
        assert_eq!(size.at(start), smallest);
        size.on_too_large(
            BatchSize {
                events: 2,
                bytes: 1,
            },
            start,
        );
        assert_eq!(size.at(start), smallest);
        let mut size = AdaptiveSize::new(CONFIGURED);
        size.on_too_large(smallest, start);
        assert_eq!(
            size.at(start),
            BatchSize {
                events: 1000,
                bytes: 1_000_000
            }
        );
    }

    const FAST: Duration = Duration::from_millis(300);

    fn most(number: usize) -> Concurrency {
        Concurrency::new(NonZeroUsize::new(number).unwrap())
    }

    fn after(concurrency: &mut Concurrency, answers: usize) -> usize {
        for _ in 0..answers {
            concurrency.on_success(FAST);
        }
        concurrency.allowed()
    }

    #[test]
    fn good_answers_raise_it_to_the_maximum_and_no_further() {
        let mut concurrency = most(4);
        assert_eq!(concurrency.allowed(), 1);
        assert_eq!(after(&mut concurrency, 1), 2);
        assert_eq!(after(&mut concurrency, 100), 4);
        assert_eq!(after(&mut most(1), 100), 1);
    }

    #[test]
    fn faults_halve_it_down_to_one() {
        let mut concurrency = most(8);
        after(&mut concurrency, 100);
        let allowed: Vec<usize> = (0..4)
            .map(|_| {
                concurrency.on_failure();
                concurrency.allowed()
            })
            .collect();
        assert_eq!(allowed, [4, 2, 1, 1]);
        after(&mut concurrency, 100);
        concurrency.reset();
        assert_eq!(concurrency.allowed(), 1);
    }

    #[test]
    fn slow_answers_do_not_raise_it_and_very_slow_ones_lower_it() {
        let mut concurrency = most(8);
        after(&mut concurrency, 3);
        let before = concurrency.allowed();
        concurrency.on_success(FAST * 3);
        assert_eq!(concurrency.allowed(), before);
        concurrency.on_success(FAST * 10);
        assert_eq!(concurrency.allowed(), before - 1);
        concurrency.on_success(Duration::ZERO);
        concurrency.on_success(QUICK);
        assert_eq!(concurrency.allowed(), before);
    }
}
