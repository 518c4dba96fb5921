//! Since when events are ready.
//!
//! The time of day cannot tell, since anyone may set it; so memory keeps the uptime at which batches were
//! committed. It keeps few moments, however many batches there are: a batch between two of them counts as ready
//! since the earlier one. The older the moments, the further apart they may be.

use std::collections::VecDeque;
use std::time::Duration;

use super::batch::BatchId;

/// Batches that come within this time count as ready since the same moment.
const GRAIN: Duration = Duration::from_millis(10);
/// Most moments that are kept.
const MAX_MOMENTS: usize = 128;

/// Batches, and since which uptime they and those after them are ready; the oldest first.
#[derive(Debug, Default)]
pub(super) struct ReadyTimes(VecDeque<(BatchId, Duration)>);

impl ReadyTimes {
    /// All batches of the store are ready since this moment.
    pub(super) fn from(uptime: Duration) -> Self {
        Self([(BatchId::default(), uptime)].into())
    }

    /// Notes that a batch is ready, which is later than all before it.
    pub(super) fn add(&mut self, batch: BatchId, uptime: Duration) {
        if let Some((_, last)) = self.0.back()
            && uptime.saturating_sub(*last) < GRAIN
        {
            return;
        }
        if self.0.len() >= MAX_MOMENTS {
            let mut is_kept = false;
            self.0.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
        }
        self.0.push_back((batch, uptime));
    }

    /// Since when a batch is ready, or a little before that.
    pub(super) fn since(&self, batch: BatchId) -> Option<Duration> {
        let behind = self.0.partition_point(|(first, _)| *first <= batch);
        self.0.get(behind.checked_sub(1)?).map(|(_, since)| *since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(sequence: i64) -> BatchId {
        BatchId {
            sequence,
            ..BatchId::default()
        }
    }

    #[test]
    fn a_batch_is_ready_since_the_moment_at_or_before_it() {
        let millis = Duration::from_millis;
        let mut times = ReadyTimes::default();
        assert_eq!(times.since(batch(7)), None);
        times = ReadyTimes::from(millis(1000));
        times.add(batch(10), millis(1005));
        times.add(batch(11), millis(2000));
        times.add(batch(12), millis(2009));
        times.add(batch(13), millis(2010));
        let since = [0, 9, 10, 11, 12, 13, 99].map(|number| times.since(batch(number)));
        assert_eq!(
            since,
            [1000, 1000, 1000, 2000, 2000, 2010, 2010].map(|at| Some(millis(at)))
        );
    }

    #[test]
    fn many_batches_need_few_moments_and_none_seems_younger_than_it_is() {
        let at = |number: u32| Duration::from_secs(u64::from(number));
        let mut times = ReadyTimes::from(Duration::ZERO);
        for number in 1..=100_000 {
            times.add(batch(i64::from(number)), at(number));
        }
        assert!(times.0.len() <= MAX_MOMENTS);
        for number in (1..=100_000).step_by(777) {
            assert!(
                times.since(batch(i64::from(number))) <= Some(at(number)),
                "{number}"
            );
        }
        // The latest are exact.
        assert_eq!(times.since(batch(99_999)), Some(at(99_999)));
    }
}
