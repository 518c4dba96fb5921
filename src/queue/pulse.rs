//! Tells whether the writer gets on: a disk may hang, and the writer with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use crate::clock::Clock;

use super::engine::EngineError;

/// No piece of the writer's work takes so long on a disk that answers.
const HANGS_AFTER: Duration = Duration::from_secs(10);
/// How often whoever waits for the writer looks.
const LOOK: Duration = Duration::from_secs(1);

/// Since when the writer is at its present piece of work.
#[derive(Debug, Default)]
pub(super) struct Pulse(AtomicU64);

/// The writer got nowhere for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a read or a write of the disk has hung for {} s", .0.as_secs())]
pub(super) struct Hangs(Duration);

impl Pulse {
    /// Notes that the writer begins a piece of work.
    pub(super) fn begin(&self, clock: &dyn Clock) {
        // Zero is for rest.
        self.0.store(1 + millis(clock), Ordering::Relaxed);
    }

    /// Notes that the writer waits for work.
    pub(super) fn rest(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Whether the writer gets nowhere.
    pub(super) fn hangs(&self, clock: &dyn Clock) -> Option<Hangs> {
        let began = self.0.load(Ordering::Relaxed).checked_sub(1)?;
        let waited = Duration::from_millis(millis(clock).saturating_sub(began));
        (waited >= HANGS_AFTER).then_some(Hangs(waited))
    }

    /// Returns once the writer gets nowhere.
    pub(super) async fn stops(&self, clock: &dyn Clock) -> EngineError {
        loop {
            sleep(LOOK).await;
            if let Some(hangs) = self.hangs(clock) {
                return EngineError::Unavailable(Arc::new(hangs));
            }
        }
    }
}

fn millis(clock: &dyn Clock) -> u64 {
    u64::try_from(clock.uptime().as_millis()).unwrap_or(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{TestClock, UnixMillis};

    #[tokio::test(start_paused = true)]
    async fn a_writer_hangs_once_a_piece_of_work_takes_very_long() {
        let clock = TestClock::at(UnixMillis::from_seconds(1_790_000_000));
        let pulse = Pulse::default();
        for _ in 0..5 {
            pulse.begin(&clock);
            clock.advance(HANGS_AFTER.saturating_sub(Duration::from_millis(1)));
            assert_eq!(pulse.hangs(&clock), None);
        }
        clock.advance(Duration::from_millis(1));
        assert_eq!(pulse.hangs(&clock), Some(Hangs(HANGS_AFTER)));
        let told = pulse.stops(&clock).await;
        assert!(matches!(told, EngineError::Unavailable(_)), "{told}");
        pulse.rest();
        clock.advance(2 * HANGS_AFTER);
        assert_eq!(pulse.hangs(&clock), None);
    }
}
