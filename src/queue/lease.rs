//! What is handed out for delivery.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixMillis;

use super::batch::{BatchId, EventBody};

/// The place of one queued event: a batch of the store, and a position in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    pub(super) batch: BatchId,
    pub(super) position: u16,
}

impl Slot {
    pub(super) fn new(batch: BatchId, position: usize) -> Self {
        let position = u16::try_from(position).expect("a batch has at most 256 events");
        Self { batch, position }
    }

    pub(super) fn position(self) -> usize {
        usize::from(self.position)
    }
}

/// An event on lease: nobody else gets it until it is settled or released.
#[derive(Clone, Debug)]
pub struct Leased {
    /// Where it is, for the settlement.
    pub slot: Slot,
    /// The mapped event: one JSON object.
    pub body: EventBody,
    /// Meta's event name.
    pub event_name: Arc<str>,
    /// When it expires, in seconds since the epoch: with Meta's window or, if an earlier request may have
    /// delivered it, 48 hours after that request.
    pub deadline: i64,
    /// When it was taken.
    pub taken_at: UnixMillis,
}

#[cfg(test)]
impl Leased {
    /// An event that lies in no store; different numbers make different events.
    pub(crate) fn sample(number: i64) -> Self {
        let batch = BatchId {
            origin: 0,
            sequence: number,
        };
        Self {
            slot: Slot::new(batch, 0),
            body: EventBody::of(b"{}"),
            event_name: "Lead".into(),
            deadline: i64::MAX,
            taken_at: UnixMillis(number),
        }
    }
}

/// Which events a lease takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// For delivery. Where more is ready than fits, as after an outage, leases take turns: half of them
    /// begin with the freshest Purchases, one in four takes the freshest events of all, and one in four
    /// those whose window closes first.
    MostUrgent,
    /// The newest of each event name: for probing a paused lane. Looks at the newest 256 batches.
    NewestOfEachName,
}

/// What is ready to be leased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Events.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Since which uptime the oldest is ready; `None` where that is unknown.
    pub since: Option<Duration>,
}
