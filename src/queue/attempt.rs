//! Requests to Meta: which events each carries, as memory and the store hold it.

use std::collections::BTreeMap;

use crate::clock::UnixMillis;
use crate::config::SyncName;

use super::batch::BatchId;
use super::bits::Bits;
use super::core::{Core, Effect};
use super::engine::AttemptChange;
use super::lease::Slot;

/// A request to Meta, noted in the store before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId(pub(super) i64);

/// A request under way.
#[derive(Clone, Debug)]
pub(super) struct OpenAttempt {
    pub(super) sent_at: UnixMillis,
    pub(super) events: AttemptedEvents,
}

/// Puts down a request that is about to be sent.
pub(super) fn open(core: &mut Core, sync: &SyncName, slots: &[Slot]) -> DeliveryId {
    let index = core.index_of(sync);
    let id = core.next_attempt_id();
    let sent_at = core.now;
    let events = AttemptedEvents::of(slots);
    let change = AttemptChange::Open {
        sync: core.counters.at(index).id,
        sent_at,
        events: events.clone(),
    };
    core.pending.attempts.insert(id, change);
    core.effects
        .push(Effect::Opened(id, OpenAttempt { sent_at, events }));
    id
}

/// The events that a request carries, by batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AttemptedEvents(pub(super) BTreeMap<BatchId, Bits>);

impl AttemptedEvents {
    pub(super) fn of(slots: &[Slot]) -> Self {
        let mut events = Self::default();
        for slot in slots {
            events.0.entry(slot.batch).or_default().add(slot.position());
        }
        events
    }

    pub(super) fn contain(&self, slot: Slot) -> bool {
        self.0
            .get(&slot.batch)
            .is_some_and(|bits| bits.has(slot.position()))
    }
}
