//! What mapping makes of an event: the bytes to send, and what the queue must know of them.

use std::sync::Arc;
use std::{fmt, ops};

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::config::SyncName;
use crate::hash::sha256;
use crate::outcome::Reason;

/// The standard event that Meta refuses without a value.
pub const PURCHASE: &str = "Purchase";

pub mod raw;

/// Room for a server event with the usual fields.
const TYPICAL_BYTES: usize = 2048;

/// Room for what a fingerprint is made from.
const TYPICAL_ID_BYTES: usize = 256;

/// Most bytes of one piece of memory.
const PIECE_BYTES: usize = 64 << 10;

/// A mapped event.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// The server event: one JSON object on one line. It is sent as it is.
    #[serde(with = "raw")]
    pub json: Bytes,
    /// Meta's event name, as in the JSON.
    pub event_name: Arc<str>,
    /// Recognises a repeat of the event.
    pub fingerprint: Fingerprint,
    /// When Meta stops accepting the event: seconds since the epoch.
    pub deadline: i64,
}

impl Payload {
    /// Whether it is a Purchase.
    pub fn is_purchase(&self) -> bool {
        &*self.event_name == PURCHASE
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("bytes", &self.json.len())
            .field("event_name", &self.event_name)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// An event that ends before the queue.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Why.
    pub reason: Reason,
    /// Meta's event name, where it was found.
    pub event_name: Option<Box<str>>,
    /// The event id, where it was found; for bytes that are no event, their hash.
    pub event_id: Option<Box<str>>,
    /// The mapped event, unless it could not be mapped or is too large; never the event as it came in.
    #[serde(
        default,
        with = "raw::optional",
        skip_serializing_if = "raw::optional::is_unreadable"
    )]
    pub json: Option<Vec<u8>>,
    /// How to queue the mapped event all the same, where nothing but its time is wrong: that may be our clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mistimed: Option<Box<Mistimed>>,
    /// Its request has ended so many events for this reason that it leaves no dead letter.
    #[serde(default, skip_serializing_if = "ops::Not::not")]
    pub counted_alone: bool,
}

/// What the queue must know of an event that was refused for its time alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mistimed {
    /// Recognises a repeat of the event.
    pub fingerprint: Fingerprint,
    /// When Meta stops accepting the event, if its own time is right: seconds since the epoch.
    pub deadline: i64,
}

impl Rejected {
    /// An event of which only the reason is known.
    pub const fn unmapped(reason: Reason) -> Self {
        Self {
            reason,
            event_name: None,
            event_id: None,
            json: None,
            mistimed: None,
            counted_alone: false,
        }
    }

    /// An event that leaves no dead letter.
    pub fn counted_alone(reason: Reason) -> Self {
        Self {
            counted_alone: true,
            ..Self::unmapped(reason)
        }
    }

    /// Bytes that are no event. Their hash stands in for an id.
    pub fn undecoded(reason: Reason, raw: &[u8]) -> Self {
        let id = sha256::digest(raw);
        Self {
            event_id: Some(hex::encode(id.get(..16).unwrap_or_default()).into()),
            ..Self::unmapped(reason)
        }
    }
}

impl fmt::Debug for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected")
            .field("reason", &self.reason)
            .field("event_name", &self.event_name)
            .finish_non_exhaustive()
    }
}

/// What mapping makes of an event.
pub type MapResult = Result<Payload, Rejected>;

/// An event that a sync took, for the queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Submission {
    /// The sync that took it.
    pub sync: SyncName,
    /// What the sync made of it.
    pub mapped: MapResult,
}

/// Stores the JSON of events that are mapped together in few pieces of memory: with one for each event,
/// the thread that delivers would free what the thread that maps allocated.
#[derive(Default)]
pub struct PayloadArena {
    /// The buffer of the last event, for the next.
    draft: Vec<u8>,
    piece: BytesMut,
    /// How many events are still expected.
    expected: usize,
}

impl PayloadArena {
    /// Expects about this many events.
    pub fn for_events(expected: usize) -> Self {
        Self {
            expected,
            ..Self::default()
        }
    }

    /// An empty buffer for the next event. A finished event gives it back.
    pub fn draft(&mut self) -> Vec<u8> {
        let mut draft = std::mem::take(&mut self.draft);
        draft.clear();
        draft.reserve(TYPICAL_BYTES);
        draft
    }

    /// Copies an event that was written into a draft and will not be sent.
    pub fn rejected(&mut self, draft: Vec<u8>) -> Vec<u8> {
        let json = draft.as_slice().to_vec();
        self.draft = draft;
        json
    }

    /// Stores an event that was written into a draft.
    pub fn finish(&mut self, draft: Vec<u8>) -> Bytes {
        self.expected = self.expected.saturating_sub(1);
        if self.expected == 0 {
            // No other event will share a piece with it.
            return draft.into();
        }
        if self.piece.capacity() < draft.len() {
            let all = draft.len().saturating_mul(self.expected + 1);
            self.piece = BytesMut::with_capacity(all.min(PIECE_BYTES).max(draft.len()));
        }
        self.piece.extend_from_slice(&draft);
        self.draft = draft;
        self.piece.split().freeze()
    }
}

impl fmt::Debug for PayloadArena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayloadArena")
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

/// 128 bits that identify one event of one sync.
///
/// The first 64 depend on the event id alone, so that an event can be found by its id; the others
/// on id, sync, event name and scope. Two events are the same only if all 128 agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fingerprint {
    /// A hash of the event id alone.
    pub id: u64,
    /// A hash of event id, sync, event name and scope.
    pub whole: u64,
}

impl Fingerprint {
    /// Computes the fingerprint. The scope is the device (else the user) within which an insert id
    /// is unique; empty for ids that are unique by themselves.
    pub fn new(event_id: &str, sync: &str, event_name: &str, scope: &str) -> Self {
        let mut whole = Vec::with_capacity(TYPICAL_ID_BYTES);
        for part in [event_id, sync, event_name, scope] {
            whole.extend_from_slice(&(part.len() as u64).to_le_bytes());
            whole.extend_from_slice(part.as_bytes());
        }
        Self {
            id: Self::of_id(event_id),
            whole: first_eight(&whole),
        }
    }

    /// The half that depends on the event id alone.
    pub fn of_id(event_id: &str) -> u64 {
        first_eight(event_id.as_bytes())
    }
}

/// The first 64 bits of a hash.
fn first_eight(text: &[u8]) -> u64 {
    let digest = sha256::digest(text);
    digest
        .first_chunk()
        .map_or(0, |first| u64::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_the_one_that_stores_hold() {
        let scope = "device-1-2f9d2c2c-0000-4000-8000-000000000000-and-what-more-there-is";
        let fingerprint = Fingerprint::new("order-1", "web", "Purchase", scope);
        let expected = Fingerprint {
            id: 0x0baf_e221_56d2_698c,
            whole: 0x56aa_77af_4c65_6c21,
        };
        assert_eq!(fingerprint, expected);
    }
}
