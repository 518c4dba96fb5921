//! How long to wait before the next try.
//!
//! Pure: attempt and random value are arguments. "Full jitter": a random share of a bound that
//! doubles, so that those that fail at once do not come back at once.

use std::time::Duration;

/// The bounds of the waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    hint_longest: Duration,
}

impl Backoff {
    /// Between tries after a passing fault.
    pub const TRANSIENT: Self = Self::new(
        Duration::from_millis(500),
        Duration::from_secs(300),
        Duration::from_secs(3600),
    );

    /// Takes the bound of the first wait, that of the longest, and the longest wait that a server
    /// may ask for.
    ///
    /// # Panics
    /// Where they are not in ascending order, or zero; at compile time for a constant.
    pub const fn new(first: Duration, longest: Duration, hint_longest: Duration) -> Self {
        assert!(!first.is_zero(), "the first wait is not zero");
        assert!(
            first.as_nanos() <= longest.as_nanos(),
            "the longest wait is not shorter than the first"
        );
        assert!(
            longest.as_nanos() <= hint_longest.as_nanos(),
            "a server may ask for the longest wait"
        );
        Self {
            first,
            longest,
            hint_longest,
        }
    }

    /// The bound of the wait after failure number `attempt`, counted from 1.
    pub fn bound(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        self.first
            .saturating_mul(1_u32 << doublings)
            .min(self.longest)
    }

    /// The wait after failure number `attempt`. `random` lies between 0 and 1; a `hint` of the
    /// server's is a lower limit, up to what a server may ask for.
    pub fn wait(&self, attempt: u32, random: f64, hint: Option<Duration>) -> Duration {
        let share = if random.is_finite() {
            random.clamp(0.0, 1.0)
        } else {
            1.0
        };
        let drawn = self.bound(attempt).mul_f64(share);
        let hint = hint.unwrap_or_default().min(self.hint_longest);
        drawn.max(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::new(
        Duration::from_secs(1),
        Duration::from_secs(60),
        Duration::from_secs(600),
    );

    #[test]
    fn the_bound_doubles_up_to_the_longest() {
        let bounds: Vec<u64> = [0, 1, 2, 3, 6, 7, 8, 1000, u32::MAX]
            .map(|attempt| BACKOFF.bound(attempt).as_secs())
            .to_vec();
        assert_eq!(bounds, [1, 1, 2, 4, 32, 60, 60, 60, 60]);
    }

    #[test]
    fn the_wait_is_a_share_of_the_bound_and_at_least_the_hint() {
        let cases = [
            // attempt, random, hint, wait in milliseconds
            (3, 0.0, None, 0),
            (3, 0.5, None, 2_000),
            (3, 1.0, None, 4_000),
            (3, 7.0, None, 4_000),
            (3, -1.0, None, 0),
            (3, f64::NAN, None, 4_000),
            (3, 0.5, Some(1), 2_000),
            (3, 0.5, Some(30), 30_000),
            (3, 0.5, Some(u64::MAX), 600_000),
        ];
        for (attempt, random, hint, expected) in cases {
            let wait = BACKOFF.wait(attempt, random, hint.map(Duration::from_secs));
            assert_eq!(wait.as_millis(), expected, "{attempt} {random} {hint:?}");
        }
    }
}
