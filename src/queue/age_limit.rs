//! Which records have been kept long enough.

use std::time::Duration;

use crate::clock::{Clock, UnixMillis};

/// How long records are kept, at one moment.
///
/// They come in the order in which they were made. Where the clock was wrong, one may bear a date ahead of now, or
/// one from before it was set. Such a date says nothing, so the record goes with the first one behind it that goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct AgeLimit {
    now: UnixMillis,
    /// What is dated before this has aged.
    pub(super) kept_from: UnixMillis,
}

impl AgeLimit {
    /// While the time is not confirmed no record has aged but what this process has kept for so long itself.
    pub(super) fn new(clock: &dyn Clock, now: UnixMillis, retention: Duration) -> Self {
        let kept_from = if clock.may_end(retention) {
            now.before(retention)
        } else {
            UnixMillis(i64::MIN)
        };
        Self { now, kept_from }
    }

    /// Whether the oldest record is worth a look at those behind it.
    pub(super) fn may_have_passed(self, date: UnixMillis) -> bool {
        self.has_passed(date) || self.says_nothing(date)
    }

    /// The number of records that have aged: the first ones.
    pub(super) fn count(self, dates: impl IntoIterator<Item = UnixMillis>) -> usize {
        let mut aged = 0;
        for (index, date) in dates.into_iter().enumerate() {
            if self.says_nothing(date) {
                continue;
            }
            if !self.has_passed(date) {
                break;
            }
            aged = index + 1;
        }
        aged
    }

    fn has_passed(self, date: UnixMillis) -> bool {
        date < self.kept_from
    }

    fn says_nothing(self, date: UnixMillis) -> bool {
        date > self.now || date < UnixMillis::EARLIEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{SystemClock, TestClock};

    const NOW: i64 = 1_790_000_000;

    /// Dates relative to now, in seconds, and how many have aged where records are kept for 100 seconds.
    fn check(dates: &[i64], expected: usize) {
        let now = UnixMillis::from_seconds(NOW);
        let dates = || {
            dates
                .iter()
                .map(|date| UnixMillis::from_seconds(NOW + date))
        };
        let retention = Duration::from_secs(100);
        let limit = AgeLimit::new(&TestClock::at(now), now, retention);
        assert_eq!(limit.count(dates()), expected);
        // The system's clock alone confirms nothing.
        let limit = AgeLimit::new(&SystemClock, now, retention);
        assert_eq!(limit.count(dates()), 0);
    }

    #[test]
    fn the_first_records_go_when_they_are_old() {
        check(&[], 0);
        check(&[-99, -50], 0);
        check(&[-101, -100, -99], 1);
        check(&[-300, -200, -101], 3);
    }

    #[test]
    fn a_record_whose_date_says_nothing_goes_with_those_behind_it() {
        for wrong in [1, 3600, 365 * 24 * 3600, -NOW, -NOW + 3600] {
            check(&[wrong], 0);
            check(&[wrong, wrong, -50], 0);
            check(&[wrong, wrong, -101, -50], 3);
            check(&[-200, wrong, -50, -101], 1);
            check(&[-200, wrong, -101, wrong, -50], 3);
        }
    }
}
