//! Virtual time, and the clocks of a machine that go wrong in it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use pixel_relay::clock::{Clock, UnixMillis};
use tokio::time::Instant;

/// When every run begins.
const BEGINNING: UnixMillis = UnixMillis(1_795_000_000_000);
/// Since when the machine has been up by then.
const UPTIME: Duration = Duration::from_secs(3_600);

/// The truth: tokio's virtual time, dated.
#[derive(Debug)]
pub struct TrueClock {
    began: Instant,
}

impl TrueClock {
    /// Begins now.
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Clock for TrueClock {
    fn now(&self) -> UnixMillis {
        BEGINNING.plus(self.elapsed())
    }

    fn uptime(&self) -> Duration {
        UPTIME + self.elapsed()
    }

    fn unconfirmed_for(&self) -> Option<Duration> {
        None
    }
}

/// The clock of the machine: somebody sets it, and it drifts.
#[derive(Debug)]
pub struct MachineClock {
    truth: std::sync::Arc<TrueClock>,
    /// Milliseconds from the truth.
    error: AtomicI64,
    /// Millionths, and when they began to count, in milliseconds of virtual time.
    drift: AtomicI64,
    drifts_since: AtomicI64,
}

impl MachineClock {
    pub fn new(truth: std::sync::Arc<TrueClock>, error: i64) -> Self {
        Self {
            truth,
            error: AtomicI64::new(error),
            drift: AtomicI64::new(0),
            drifts_since: AtomicI64::new(0),
        }
    }

    /// How far it is from the truth, in milliseconds.
    pub fn error(&self) -> i64 {
        let drifted = self.elapsed() - self.drifts_since.load(Ordering::Relaxed);
        self.error.load(Ordering::Relaxed)
            + drifted * self.drift.load(Ordering::Relaxed) / 1_000_000
    }

    pub fn set_error(&self, error: i64) {
        self.error.store(error, Ordering::Relaxed);
        self.drifts_since.store(self.elapsed(), Ordering::Relaxed);
    }

    pub fn set_drift(&self, millionths: i64) {
        self.set_error(self.error());
        self.drift.store(millionths, Ordering::Relaxed);
    }

    /// Shows 1970.
    pub fn set_to_epoch(&self) {
        self.set_error(-self.truth.now().0);
    }

    fn elapsed(&self) -> i64 {
        i64::try_from(self.truth.elapsed().as_millis()).unwrap()
    }
}

impl Clock for MachineClock {
    fn now(&self) -> UnixMillis {
        UnixMillis((self.truth.now().0 + self.error()).max(0))
    }

    /// Nobody sets it, and it keeps time well enough.
    fn uptime(&self) -> Duration {
        self.truth.uptime()
    }

    fn unconfirmed_for(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}
