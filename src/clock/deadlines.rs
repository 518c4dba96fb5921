//! Which deadlines are over, where the time of day may be wrong.

use std::time::Duration;

use super::UnixMillis;

/// How long what seems to be late waits for the time of day to be confirmed.
const PATIENCE: Duration = Duration::from_secs(4);

/// What can be said of deadlines at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    pub(super) now: UnixMillis,
    pub(super) unconfirmed_for: Option<Duration>,
}

impl Deadlines {
    /// Whether a deadline, in seconds since the epoch, is over for what was taken at a moment. Before the time of day is
    /// confirmed, that is told by how long this process has waited for that: the clock may be far ahead. A deadline that
    /// is not after the taking tells nothing till then: two clocks have set them, and nobody knows which is right.
    pub fn has_passed(self, deadline: i64, taken_at: UnixMillis) -> bool {
        let lifetime = UnixMillis::from_seconds(deadline).since(taken_at);
        let has_lived = |waited| !lifetime.is_zero() && waited >= lifetime;
        self.seems_over(deadline) && self.unconfirmed_for.is_none_or(has_lived)
    }

    /// Whether what has this deadline must not be sent now. Shortly after the start, what seems to be late waits until the
    /// time of day is confirmed. If that does not happen soon it is sent, and the other end judges it.
    pub fn holds_back(self, deadline: i64, taken_at: UnixMillis) -> bool {
        let waits = self.unconfirmed_for.is_some_and(|waited| waited < PATIENCE);
        waits && self.seems_over(deadline) || self.has_passed(deadline, taken_at)
    }

    const fn seems_over(self, deadline: i64) -> bool {
        deadline <= self.now.seconds()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;
    const HOUR: u64 = 3600;

    /// For a deadline so many seconds ahead of now, of an event taken an hour before it: whether it is over, and whether
    /// the event must not be sent.
    fn check(unconfirmed_for: Option<u64>, ahead: i64, expected: (bool, bool)) {
        let deadlines = Deadlines {
            now: UnixMillis::from_seconds(NOW),
            unconfirmed_for: unconfirmed_for.map(Duration::from_secs),
        };
        let deadline = NOW + ahead;
        let taken_at = UnixMillis::from_seconds(deadline).before(Duration::from_secs(HOUR));
        let found = (
            deadlines.has_passed(deadline, taken_at),
            deadlines.holds_back(deadline, taken_at),
        );
        assert_eq!(found, expected, "{unconfirmed_for:?} {ahead}");
    }

    #[test]
    fn a_deadline_is_over_by_a_confirmed_clock_or_by_the_time_that_was_waited() {
        let (over, held, open) = ((true, true), (false, true), (false, false));
        for waited in [None, Some(0), Some(3), Some(4), Some(2 * HOUR)] {
            check(waited, 1, open);
        }
        for behind in [0, -30 * 24 * 3600] {
            check(None, behind, over);
            check(Some(0), behind, held);
            check(Some(3), behind, held);
            check(Some(4), behind, open);
            check(Some(HOUR - 1), behind, open);
            check(Some(HOUR), behind, over);
        }
    }

    #[test]
    fn a_deadline_before_the_taking_ends_nothing_until_the_time_is_confirmed() {
        let now = UnixMillis::from_seconds(NOW);
        for taken_at in [now, now.plus(Duration::from_secs(30 * 24 * HOUR))] {
            let found = [None, Some(0), Some(4), Some(1000 * HOUR)].map(|waited| {
                let deadlines = Deadlines {
                    now,
                    unconfirmed_for: waited.map(Duration::from_secs),
                };
                (
                    deadlines.has_passed(NOW, taken_at),
                    deadlines.holds_back(NOW, taken_at),
                )
            });
            let expected = [(true, true), (false, true), (false, false), (false, false)];
            assert_eq!(found, expected, "{taken_at}");
        }
    }
}
