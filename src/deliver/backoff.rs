//! How long to wait before the next try.
//!
//! Pure: attempt and random value are arguments. "Full jitter": a random share of a bound that doubles,
//! so that what failed together does not come back together.

use std::time::Duration;

/// The bounds of the waits.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// The bound of the wait after failure number `attempt`, counted from 1.
    pub fn bound(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        self.first
            .saturating_mul(1_u32 << doublings)
            .min(self.longest)
    }

    /// The wait after failure number `attempt`. `random` lies between 0 and 1.
    pub fn wait(&self, attempt: u32, random: f64) -> Duration {
        self.bound(attempt).mul_f64(random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

    #[test]
    fn the_bound_doubles_up_to_the_longest() {
        let bounds: Vec<u64> = [0, 1, 2, 3, 6, 7, 8, 1000, u32::MAX]
            .map(|attempt| BACKOFF.bound(attempt).as_secs())
            .to_vec();
        assert_eq!(bounds, [1, 1, 2, 4, 32, 60, 60, 60, 60]);
    }

    #[test]
    fn the_wait_is_a_share_of_the_bound() {
        for (attempt, random, millis) in [(3, 0.0, 0), (3, 0.5, 2_000), (3, 1.0, 4_000)] {
            let wait = BACKOFF.wait(attempt, random);
            assert_eq!(wait.as_millis(), millis, "{attempt} {random}");
        }
    }
}
