//! What mapping makes of an event: the bytes that will travel, and what the queue must know of them.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::config::SyncName;
use crate::hash::sha256;
use crate::outcome::Reason;

/// The one standard event that Meta refuses without a value.
pub const PURCHASE: &str = "Purchase";

pub mod raw;

/// Room for a server event with the usual fields.
const TYPICAL_BYTES: usize = 2048;

/// Most bytes that lie in one piece of memory.
const PIECE_BYTES: usize = 64 << 10;

/// A mapped event.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// The server event: one JSON object on one line. From here to the socket it is only copied.
    #[serde(with = "raw")]
    pub json: Bytes,
    /// Meta's event name, as it stands in the JSON.
    pub event_name: Arc<str>,
    /// Tells whether the same event was taken before.
    pub fingerprint: Fingerprint,
    /// The end of the window in which Meta takes the event: seconds since the epoch.
    pub deadline: i64,
}

impl Payload {
    /// Whether it is the event that earns money.
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
    /// The event id, where it was found; for what could not be decoded, a hash of its bytes.
    pub event_id: Option<Box<str>>,
    /// The mapped event, where it could be mapped and is not too large to be kept; never what came in.
    #[serde(
        default,
        with = "raw::optional",
        skip_serializing_if = "raw::optional::is_unreadable"
    )]
    pub json: Option<Vec<u8>>,
}

impl Rejected {
    /// Of which nothing is known but why.
    pub const fn unmapped(reason: Reason) -> Self {
        Self {
            reason,
            event_name: None,
            event_id: None,
            json: None,
        }
    }

    /// Bytes without an id are told apart by their hash.
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
    /// What it made of it.
    pub mapped: MapResult,
}

/// Where the JSON of events that are mapped together lies: in few pieces of memory, and not in one
/// for each event, which another thread would free than took it.
#[derive(Default)]
pub struct PayloadArena {
    /// The event that is being written.
    draft: Vec<u8>,
    piece: BytesMut,
    /// How many events are still to come.
    expected: usize,
}

impl PayloadArena {
    /// Makes room for about this many events, as they come.
    pub fn for_events(expected: usize) -> Self {
        Self {
            expected,
            ..Self::default()
        }
    }

    /// Where the next event is to be written.
    pub fn draft(&mut self) -> &mut Vec<u8> {
        self.draft.clear();
        self.draft.reserve(TYPICAL_BYTES);
        &mut self.draft
    }

    /// Takes the event that was written.
    pub fn finish(&mut self) -> Bytes {
        self.expected = self.expected.saturating_sub(1);
        if self.expected == 0 {
            // Nothing comes after it, so that there is nothing to lie beside.
            return std::mem::take(&mut self.draft).into();
        }
        if self.piece.capacity() < self.draft.len() {
            let all = self.draft.len().saturating_mul(self.expected + 1);
            self.piece = BytesMut::with_capacity(all.min(PIECE_BYTES).max(self.draft.len()));
        }
        self.piece.extend_from_slice(&self.draft);
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

/// 128 bits that stand for one event of one sync.
///
/// The first 64 depend on the event id alone, so that an event can be found by its id; the others
/// on id, sync, event name and scope. Two events count as the same only where all 128 agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Of the event id alone.
    pub id: u64,
    /// Of event id, sync, event name and scope.
    pub whole: u64,
}

impl Fingerprint {
    /// Computes the fingerprint. The scope is the device (else the user) within which an insert id
    /// is unique; empty for ids that are unique by themselves.
    pub fn new(event_id: &str, sync: &str, event_name: &str, scope: &str) -> Self {
        let parts = [event_id, sync, event_name, scope];
        let lengths = parts.map(|part| (part.len() as u64).to_le_bytes());
        let lengths = lengths.iter().map(<[u8; 8]>::as_slice);
        let with_lengths = lengths
            .zip(parts.map(str::as_bytes))
            .flat_map(<[_; 2]>::from);
        Self {
            id: Self::of_id(event_id),
            whole: first_eight(sha256::digest_of_parts(with_lengths)),
        }
    }

    /// The half that depends on the event id alone.
    pub fn of_id(event_id: &str) -> u64 {
        first_eight(sha256::digest(event_id.as_bytes()))
    }
}

fn first_eight(digest: [u8; 32]) -> u64 {
    let [first, ..] = digest.as_chunks().0 else {
        return 0;
    };
    u64::from_be_bytes(*first)
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
