//! How many requests may be under way in one lane.
//!
//! Pure. Additive increase, multiplicative decrease, between 1 and the configured maximum: each
//! round of good answers allows one request more, a fault halves. An answer that takes much longer
//! than usual does not raise the number, and one that takes very much longer lowers it by one,
//! since more of them would only queue at the other end.

use std::num::NonZeroUsize;
use std::time::Duration;

/// Share of a new answer in the usual latency.
const WEIGHT: f64 = 0.1;
/// Latency, in multiples of the usual one, above which the number is not raised.
const SLOW: f64 = 2.0;
/// Latency, in multiples of the usual one, above which it is lowered.
const VERY_SLOW: f64 = 4.0;
/// Answers faster than this are never slow.
const QUICK: Duration = Duration::from_millis(250);

/// How many requests may be under way.
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

    /// The number of requests that may be under way, at least 1.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and a number of 32 bits"
    )]
    pub fn allowed(&self) -> usize {
        self.allowed as usize
    }

    /// A good answer came, after so long.
    pub fn answered(&mut self, latency: Duration) {
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
    pub fn failed(&mut self) {
        self.allowed = (self.allowed / 2.0).max(1.0);
    }

    /// Begins anew with one request, after a standstill.
    pub fn restart(&mut self) {
        self.allowed = 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(300);

    fn most(number: usize) -> Concurrency {
        Concurrency::new(NonZeroUsize::new(number).unwrap())
    }

    fn after(concurrency: &mut Concurrency, answers: usize) -> usize {
        for _ in 0..answers {
            concurrency.answered(FAST);
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
                concurrency.failed();
                concurrency.allowed()
            })
            .collect();
        assert_eq!(allowed, [4, 2, 1, 1]);
        after(&mut concurrency, 100);
        concurrency.restart();
        assert_eq!(concurrency.allowed(), 1);
    }

    #[test]
    fn slow_answers_do_not_raise_it_and_very_slow_ones_lower_it() {
        let mut concurrency = most(8);
        after(&mut concurrency, 3);
        let before = concurrency.allowed();
        concurrency.answered(FAST * 3);
        assert_eq!(concurrency.allowed(), before);
        concurrency.answered(FAST * 10);
        assert_eq!(concurrency.allowed(), before - 1);
        concurrency.answered(Duration::ZERO);
        concurrency.answered(QUICK);
        assert_eq!(concurrency.allowed(), before);
    }
}
