//! What a lane writes to the store, and what it does while the store cannot write.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info};

use crate::deliver::backoff::Backoff;
use crate::deliver::limiter;
use crate::deliver::verdict::Fix;
use crate::queue::StoreError;
use crate::queue::cooldown::{Cooldown, CooldownChange};
use crate::queue::settle::Settlement;

use super::breaker::LaneTrouble;
use super::{Lane, LaneStep, TaskOutput};

/// Between tries of a store that failed.
const STORE: Backoff = Backoff::new(
    Duration::from_secs(1),
    Duration::from_secs(15),
    Duration::from_secs(15),
);

impl Lane {
    /// Writes settlements that could not be written. Tells what to do meanwhile.
    pub(super) fn mind_store(&mut self, now: Instant) -> Option<LaneStep> {
        let next = self.store_next?;
        if next > now {
            return Some(LaneStep::Idle(Some(next)));
        }
        let Some(settlement) = self.unsettled.pop_front() else {
            self.store_next = None;
            return None;
        };
        // Until it is written, or the next try is due.
        self.store_next = Some(now + STORE.bound(self.store_failures));
        self.settle(settlement);
        Some(LaneStep::Progress)
    }

    pub(super) fn settlement(&self) -> Settlement {
        Settlement {
            sync: self.sync.clone(),
            delivery: None,
            answer: None,
            ends: Vec::new(),
            release: Vec::new(),
            standstills: Vec::new(),
        }
    }

    /// Notes that nothing goes out to a pixel for so long, so that a restart does not forget it.
    pub(super) fn note_standstill(
        &self,
        settlement: &mut Settlement,
        pixel_id: &str,
        why: limiter::CooldownReason,
        wait: Duration,
    ) {
        let note = self.begun(pixel_id, why.as_str(), wait);
        settlement.standstills.push(note);
    }

    /// Notes that the pixel's standstills are over.
    pub(super) fn note_passed(&self, settlement: &mut Settlement) {
        settlement.standstills.push(self.over(&self.pixel_id));
    }

    /// Notes that the lane is paused. No wait is owed: a restart may have mended it.
    pub(super) fn note_pause(&self, settlement: &mut Settlement, fix: Fix) {
        let note = self.begun(self.sync.as_str(), fix.name(), Duration::ZERO);
        settlement.standstills.push(note);
    }

    /// Notes that the lane is no longer paused, if it is.
    pub(super) fn note_mended(&self, settlement: &mut Settlement) {
        if matches!(self.standing.trouble(), Some(LaneTrouble::Fix(_))) {
            settlement.standstills.push(self.over(self.sync.as_str()));
        }
    }

    fn begun(&self, whose: &str, kind: &str, wait: Duration) -> CooldownChange {
        let since = self.clock.now();
        CooldownChange::Begun(Cooldown {
            whose: whose.to_owned(),
            kind: kind.to_owned(),
            since,
            until: since.plus(wait),
        })
    }

    fn over(&self, whose: &str) -> CooldownChange {
        CooldownChange::Over {
            whose: whose.to_owned(),
            by: self.clock.now(),
        }
    }

    pub(super) fn settle(&mut self, settlement: Settlement) {
        let queue = self.queue.clone();
        self.tasks.spawn(async move {
            let result = queue.settle(settlement.clone()).await;
            TaskOutput::Settled(settlement, result)
        });
    }

    pub(super) fn settled(&mut self, settlement: Settlement, result: Result<(), StoreError>) {
        match result {
            Ok(()) => {
                if self.store_failures > 0 {
                    info!(sync = %self.sync, "the store takes settlements again");
                }
                self.store_failures = 0;
                self.store_next = (!self.unsettled.is_empty()).then(Instant::now);
            }
            Err(error) => {
                self.unsettled.push_back(settlement);
                self.store_failed(&error);
            }
        }
    }

    pub(super) fn store_failed(&mut self, error: &StoreError) {
        if matches!(error, StoreError::Closed) {
            self.stop.cancel();
            return;
        }
        self.store_failures = self.store_failures.saturating_add(1);
        self.store_next = Some(Instant::now() + STORE.bound(self.store_failures));
        if self.store_failures == 1 {
            let error: &dyn std::error::Error = error;
            error!(sync = %self.sync, error, "the store failed; nothing is sent until it is well");
        }
    }
}
