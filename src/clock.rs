//! The time, as an argument.
//!
//! A [`Clock`] tells two times. [`Clock::now`] is the time of day. Anyone may set it, back and forth, while the
//! process runs and while it does not: it dates what is kept, and measures nothing. [`Clock::uptime`] only ever
//! goes on: it measures how long something has lasted. Waiting is for `tokio::time`.
//!
//! A date that lies ahead of the time of day counts as now. [`CorrectedClock`] corrects the time of day of another
//! clock; the daemon wraps the [`SystemClock`] in one, and hands it to all of its parts.

use std::borrow::Cow;
use std::fmt::{self, Debug};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use corrected::{ClockSkew, CorrectedClock};
pub use deadlines::Deadlines;

mod corrected;
mod dates;
mod deadlines;

/// A moment: milliseconds since 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// The year 2020. A clock that says less was never set.
    pub const EARLIEST: Self = Self::from_seconds(1_577_836_800);

    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// Reads `2026-11-20T18:05:00Z`, with or without a fraction; a space may stand for the `T`, and the
    /// `Z` may be missing.
    pub fn parse(text: &str) -> Option<Self> {
        let time = humantime::parse_rfc3339_weak(text).ok()?;
        Some(Self(millis(time.duration_since(UNIX_EPOCH).ok()?)))
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since_epoch = Duration::from_millis(u64::try_from(self.0).unwrap_or(0));
        let moment = humantime::format_rfc3339_millis(UNIX_EPOCH + since_epoch);
        write!(f, "{moment}")
    }
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// JSON has the same text as messages for people.
impl Serialize for UnixMillis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UnixMillis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is not a time")))
    }
}

/// What tells the time.
pub trait Clock: Debug + Send + Sync {
    /// The time of day: for dates.
    fn now(&self) -> UnixMillis;

    /// The time since a fixed moment before the process began, sleep of the machine included. It never goes
    /// back, however the time of day is set: for durations.
    fn uptime(&self) -> Duration;

    /// How long this process has waited for another machine to confirm the time of day; `None` once one has. A date
    /// that no machine has confirmed tells nothing, except of what this process alone has waited for.
    fn unconfirmed_for(&self) -> Option<Duration>;

    /// Whether a date may end what ends after this time: another machine has confirmed the time of day, or this
    /// process alone has run for so long.
    fn may_end(&self, lifetime: Duration) -> bool {
        self.unconfirmed_for()
            .is_none_or(|waited| waited >= lifetime)
    }

    /// Which deadlines are over now.
    fn deadlines(&self) -> Deadlines {
        Deadlines {
            now: self.now(),
            unconfirmed_for: self.unconfirmed_for(),
        }
    }
}

/// The clocks of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks for the time"
    )]
    fn now(&self) -> UnixMillis {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        UnixMillis(millis(since_epoch.unwrap_or_default()))
    }

    fn uptime(&self) -> Duration {
        #[cfg(target_os = "linux")]
        const UPTIME: ClockId = ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        const UPTIME: ClockId = ClockId::Monotonic;
        clock_gettime(UPTIME)
            .try_into()
            .expect("the machine did not boot in the future")
    }

    fn unconfirmed_for(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}

/// A clock that stands still until a test moves it.
#[derive(Debug)]
pub struct TestClock {
    now: AtomicI64,
    /// In nanoseconds.
    uptime: AtomicU64,
}

impl TestClock {
    /// The uptime is an hour.
    pub const fn at(now: UnixMillis) -> Self {
        Self {
            now: AtomicI64::new(now.0),
            uptime: AtomicU64::new(3_600_000_000_000),
        }
    }

    /// Lets time pass: the time of day and the uptime.
    pub fn advance(&self, duration: Duration) {
        self.now.fetch_add(millis(duration), Ordering::SeqCst);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.uptime.fetch_add(nanos, Ordering::SeqCst);
    }

    /// Sets the time of day, as a person or a time server does.
    pub fn set(&self, now: UnixMillis) {
        self.now.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.now.load(Ordering::SeqCst))
    }

    fn uptime(&self) -> Duration {
        Duration::from_nanos(self.uptime.load(Ordering::SeqCst))
    }

    fn unconfirmed_for(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_it_is_written() {
        let moment = UnixMillis(1_795_197_849_412);
        assert_eq!(moment.to_string(), "2026-11-20T18:04:09.412Z");
        assert_eq!(UnixMillis::parse(&moment.to_string()), Some(moment));
    }

    #[test]
    fn moments_are_read_in_these_forms_and_no_others() {
        let whole = Some(1_795_197_900_000);
        for (text, expected) in [
            ("2026-11-20T18:05:00Z", whole),
            ("2026-11-20 18:05:00Z", whole),
            ("2026-11-20T18:05:00", whole),
            ("2026-11-20 18:05:00", whole),
            ("2026-11-20T18:05:00+00:00", whole),
            ("2026-11-20T18:05:00.5Z", Some(1_795_197_900_500)),
            ("2026-11-20 18:05:00.123456789", Some(1_795_197_900_123)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799_000)),
            ("2026-11-20", None),
            ("2026-11-20T18:05", None),
            ("2026-11-20T18Z", None),
            ("2026-11-20t18:05:00z", None),
            ("20261120T180500Z", None),
            ("2026-11-20T18:05:00,5Z", None),
            ("2026-11-20T18:05:00+02:00", None),
            (" 2026-11-20T18:05:00Z", None),
            ("+2026-11-20T18:05:00Z", None),
            ("2026-02-29T00:00:00Z", None),
            ("2026-11-20T24:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("10000-01-01T00:00:00Z", None),
            ("1795197900", None),
            ("yesterday", None),
            ("", None),
        ] {
            let read = UnixMillis::parse(text).map(|moment| moment.0);
            assert_eq!(read, expected, "{text:?}");
        }
    }
}
