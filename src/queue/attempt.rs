//! Requests to Meta: the events that each carries, and how it was answered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::UnixMillis;

use super::batch::BatchId;
use super::bits::Bits;
use super::lease::Slot;

/// A request to Meta, noted in the store before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(pub(super) i64);

/// A request under way.
#[derive(Clone, Debug)]
pub(super) struct OpenAttempt {
    pub(super) sent_at: UnixMillis,
    pub(super) events: AttemptedEvents,
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

/// How a request was answered.
#[derive(Clone, Debug, Default)]
pub struct AttemptAnswer {
    /// The verdict's name.
    pub verdict: &'static str,
    /// The HTTP status, if there was one.
    pub status: Option<u16>,
    /// Meta's code.
    pub code: Option<i64>,
    /// Meta's sub-code.
    pub sub_code: Option<i64>,
    /// Meta's trace id.
    pub trace_id: Option<String>,
    /// Meta may have taken the events: no complete answer came after bytes were written, or it refused them
    /// together with others. Events that stay open expire 48 hours after the request.
    pub lost: bool,
}

/// A request that carried a traced event.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TracedRequest {
    /// When it was sent.
    pub sent_at: UnixMillis,
    /// When it was answered; `None`: not yet, or never.
    pub answered_at: Option<UnixMillis>,
    /// The verdict's name.
    pub verdict: Option<String>,
    /// The HTTP status.
    pub status: Option<u16>,
    /// Meta's code.
    pub code: Option<i64>,
    /// Meta's sub-code.
    pub sub_code: Option<i64>,
    /// Meta's trace id.
    pub trace_id: Option<String>,
}
