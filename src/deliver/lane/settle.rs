//! What a lane writes to the store, and when it tries again after a failure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::UnixMillis;
use crate::config::SyncName;
use crate::deliver::backoff::Backoff;
use crate::deliver::verdict::Judgement;
use crate::queue::attempt::{AttemptAnswer, AttemptId};
use crate::queue::cooldown::{Cooldown, CooldownChange};
use crate::queue::dead::Refusal;
use crate::queue::lease::Leased;
use crate::queue::settle::{End, Settlement};

/// Between tries of a store that failed.
const STORE: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15));

/// A settlement under construction.
#[derive(Debug)]
pub(super) struct Settling {
    pub(super) settlement: Settlement,
    pub(super) now: UnixMillis,
}

impl Settling {
    pub(super) fn new(sync: &SyncName, delivery: Option<AttemptId>, now: UnixMillis) -> Self {
        let settlement = Settlement {
            sync: sync.clone(),
            delivery,
            answer: None,
            ends: Vec::new(),
            release: Vec::new(),
            cooldowns: Vec::new(),
        };
        Self { settlement, now }
    }

    pub(super) fn reject(&mut self, refused: impl IntoIterator<Item = (Leased, Refusal)>) {
        let end = |(event, refusal): (Leased, Refusal)| (event.slot, End::Rejected(refusal));
        self.settlement.ends.extend(refused.into_iter().map(end));
    }

    /// Makes events ready again.
    pub(super) fn release(&mut self, events: &[Leased]) {
        (self.settlement.release).extend(events.iter().map(|event| event.slot));
    }

    /// Records that a cooldown of a pixel or a lane begins, so that a restart does not forget it.
    pub(super) fn begin_cooldown(&mut self, whose: &str, kind: &str, wait: Duration) {
        let change = CooldownChange::Begun(Cooldown {
            whose: whose.to_owned(),
            kind: kind.to_owned(),
            since: self.now,
            until: self.now.plus(wait),
        });
        self.settlement.cooldowns.push(change);
    }

    /// Records that the cooldowns of a pixel or a lane are over.
    pub(super) fn end_cooldowns(&mut self, whose: &str) {
        self.settlement.cooldowns.push(CooldownChange::Over {
            whose: whose.to_owned(),
            by: self.now,
        });
    }
}

/// Settlements that the store did not take, and when they are tried again.
#[derive(Debug, Default)]
pub(super) struct StoreRetry {
    pub(super) unsettled: VecDeque<Settlement>,
    failures: u32,
    /// Nothing is sent before this moment.
    pub(super) next: Option<Instant>,
}

impl StoreRetry {
    /// The settlement to try again now.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Settlement> {
        if self.next? > now {
            return None;
        }
        let settlement = self.unsettled.pop_front();
        // Nothing is sent until it is written, or the next try is due.
        let next = now + STORE.bound(self.failures);
        self.next = settlement.is_some().then_some(next);
        settlement
    }

    /// The store took a settlement. Tells whether it had failed before.
    pub(super) fn on_success(&mut self, now: Instant) -> bool {
        self.next = (!self.unsettled.is_empty()).then_some(now);
        std::mem::take(&mut self.failures) > 0
    }

    /// The store failed. Tells whether it is the first failure in a row.
    pub(super) fn on_failure(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.next = Some(now + STORE.bound(self.failures));
        self.failures == 1
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }
}

/// The record of how a request ended.
pub(super) fn answer(judgement: &Judgement) -> AttemptAnswer {
    AttemptAnswer {
        verdict: judgement.verdict.as_str(),
        status: judgement.status,
        code: judgement.code,
        sub_code: judgement.sub_code,
        trace_id: judgement.trace_id.clone(),
        lost: judgement.may_be_taken,
    }
}
