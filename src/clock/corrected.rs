//! A clock that is right although the system's is not.
//!
//! The answers of the Graph API carry the time of day. Once three agree, what they say is kept as the distance
//! between the true time and the uptime, so that it stays right while the system's clock is set, and tells how far
//! that one is off. While that is little the system's time is as good and finer; beyond it the time of the answers
//! counts.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::dates::{DateSample, DateSamples};
use super::{Clock, UnixMillis, millis};

/// Up to this skew the system's clock counts as right.
const TOLERANCE_MILLIS: i64 = 60_000;
const UNKNOWN: i64 = i64::MIN;

/// A clock that is corrected by what others say of the time.
#[derive(Debug)]
pub struct CorrectedClock {
    system: Arc<dyn Clock>,
    /// Since which uptime it waits for others to tell the time, once it does.
    waits_since: OnceLock<Duration>,
    /// The true time less the uptime, in milliseconds.
    offset: AtomicI64,
    samples: Mutex<DateSamples>,
}

/// How far the system's clock is ahead of the true time, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockSkew(pub i64);

impl CorrectedClock {
    /// Goes by the system's clock until it learns more.
    pub fn new(system: Arc<dyn Clock>) -> Self {
        Self {
            system,
            waits_since: OnceLock::new(),
            offset: AtomicI64::new(UNKNOWN),
            samples: Mutex::default(),
        }
    }

    /// From now on others can be asked for the time. A start that took long, as one that opens a large store, has not
    /// waited for them.
    pub fn begin_to_wait(&self) {
        self.waits_since.get_or_init(|| self.system.uptime());
    }

    /// Learns from the date of an answer. The uptimes are those at which the request was sent and the answer came.
    /// False where the date tells nothing.
    pub fn on_date(&self, date: UnixMillis, sent: Duration, received: Duration) -> bool {
        let Some(sample) = DateSample::new(date, sent, received) else {
            return false;
        };
        // A panic leaves nothing half done.
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(offset) = samples.add(sample) {
            self.offset.store(offset, Ordering::Relaxed);
        }
        true
    }

    /// How far the system's clock is off; `None` before that is known.
    pub fn skew(&self) -> Option<ClockSkew> {
        let now = self.true_time()?;
        Some(ClockSkew(self.system.now().0.saturating_sub(now.0)))
    }

    fn true_time(&self) -> Option<UnixMillis> {
        let offset = self.offset.load(Ordering::Relaxed);
        let uptime = millis(self.system.uptime());
        (offset != UNKNOWN).then(|| UnixMillis(uptime.saturating_add(offset)))
    }
}

impl Clock for CorrectedClock {
    fn now(&self) -> UnixMillis {
        let now = self.system.now();
        let corrected = self.true_time().filter(|true_time| {
            let skew = ClockSkew(now.0.saturating_sub(true_time.0));
            skew.is_large()
        });
        corrected.unwrap_or(now)
    }

    fn uptime(&self) -> Duration {
        self.system.uptime()
    }

    fn unconfirmed_for(&self) -> Option<Duration> {
        let is_known = self.offset.load(Ordering::Relaxed) != UNKNOWN;
        let waited = |since: &Duration| self.system.uptime().saturating_sub(*since);
        (!is_known).then(|| self.waits_since.get().map_or(Duration::ZERO, waited))
    }
}

impl ClockSkew {
    /// Whether the system's clock is not to be used.
    pub const fn is_large(self) -> bool {
        self.0.saturating_abs() > TOLERANCE_MILLIS
    }

    /// In seconds; negative where the system's clock is behind.
    #[expect(clippy::cast_precision_loss, reason = "years are exact enough")]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

/// As in "2h 3m ahead of".
impl fmt::Display for ClockSkew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let off = Duration::from_secs(self.0.unsigned_abs() / 1000);
        let side = if self.0 < 0 { "behind" } else { "ahead of" };
        write!(f, "{} {side}", humantime::format_duration(off))
    }
}

#[cfg(test)]
mod tests {
    use super::super::TestClock;
    use super::*;

    const NOW: UnixMillis = UnixMillis::from_seconds(1_790_000_000);
    const HOUR: i64 = 3_600_000;
    const HOUR_LONG: Duration = Duration::from_secs(3600);

    struct Corrected {
        system: Arc<TestClock>,
        clock: CorrectedClock,
        ahead: i64,
    }

    impl Corrected {
        /// Its system's clock is ahead by this much.
        fn by(ahead: i64) -> Self {
            let system = Arc::new(TestClock::at(UnixMillis(NOW.0 + ahead)));
            let clock = CorrectedClock::new(system.clone());
            clock.begin_to_wait();
            Self {
                system,
                clock,
                ahead,
            }
        }

        fn true_time(&self) -> UnixMillis {
            UnixMillis(self.system.now().0 - self.ahead)
        }

        fn set_ahead(&mut self, ahead: i64) {
            self.system.set(UnixMillis(self.true_time().0 + ahead));
            self.ahead = ahead;
        }

        /// An answer comes, whose date is off by this much.
        fn answer(&self, off: i64) {
            let sent = self.system.uptime();
            self.system.advance(Duration::from_millis(300));
            let date = UnixMillis::from_seconds((self.true_time().0 - 150 + off).div_euclid(1000));
            self.clock.on_date(date, sent, self.system.uptime());
            self.system.advance(Duration::from_millis(700));
        }

        #[track_caller]
        fn assert_right(&self) {
            let off = self.clock.now().0 - self.true_time().0;
            assert!(off.abs() < 2000, "{off} ms off");
        }
    }

    #[test]
    fn three_answers_correct_a_wrong_clock() {
        for ahead in [
            2 * HOUR,
            -2 * HOUR,
            8 * 24 * HOUR,
            -NOW.0,
            100_000,
            -100_000,
        ] {
            let corrected = Corrected::by(ahead);
            for _ in 0..2 {
                corrected.answer(0);
                assert_eq!(corrected.clock.skew(), None);
                assert_eq!(corrected.clock.now(), corrected.system.now());
                assert!(!corrected.clock.may_end(HOUR_LONG));
            }
            corrected.answer(0);
            corrected.assert_right();
            assert!(corrected.clock.may_end(Duration::MAX));
            let skew = corrected.clock.skew().unwrap();
            assert!((skew.0 - ahead).abs() < 2000, "{skew:?}");
            assert!(skew.is_large());
        }
    }

    #[test]
    fn a_clock_that_is_set_is_right_at_once_and_wrong_never() {
        let mut corrected = Corrected::by(0);
        (0..3).for_each(|_| corrected.answer(0));
        for ahead in [2 * HOUR, 0, -30 * 24 * HOUR, -NOW.0, 0, 61_000, -1] {
            corrected.set_ahead(ahead);
            corrected.assert_right();
            corrected.system.advance(Duration::from_secs(86_400));
            corrected.assert_right();
        }
    }

    #[test]
    fn a_clock_that_is_a_little_off_is_used() {
        for ahead in [58_000, -58_000] {
            let corrected = Corrected::by(ahead);
            (0..3).for_each(|_| corrected.answer(0));
            assert_eq!(corrected.clock.now(), corrected.system.now());
            assert!(!corrected.clock.skew().unwrap().is_large());
        }
    }

    #[test]
    fn answers_that_disagree_change_nothing() {
        let corrected = Corrected::by(0);
        for off in [0, HOUR, 0, -HOUR, 0, 0, HOUR] {
            corrected.answer(off);
            assert_eq!(corrected.clock.skew(), None);
        }
        (0..3).for_each(|_| corrected.answer(0));
        corrected.assert_right();
        // One odd machine among many changes nothing later either.
        for off in [HOUR, 0, HOUR, HOUR, 0] {
            corrected.answer(off);
            corrected.assert_right();
        }
        assert!(!corrected.clock.skew().unwrap().is_large());
    }

    #[test]
    fn without_an_answer_only_what_the_process_has_waited_for_has_aged() {
        for ahead in [0, 30 * 24 * HOUR, -30 * 24 * HOUR] {
            let corrected = Corrected::by(ahead);
            corrected
                .system
                .advance(HOUR_LONG.saturating_sub(Duration::from_secs(1)));
            assert!(!corrected.clock.may_end(HOUR_LONG));
            corrected.system.advance(Duration::from_secs(1));
            assert!(corrected.clock.may_end(HOUR_LONG));
            assert!(!corrected.clock.may_end(2 * HOUR_LONG));
        }
    }

    #[test]
    fn a_skew_is_told_in_words() {
        for (millis, words) in [
            (7_200_900, "2h ahead of"),
            (-90_000, "1m 30s behind"),
            (0, "0s ahead of"),
        ] {
            assert_eq!(ClockSkew(millis).to_string(), words);
        }
    }
}
