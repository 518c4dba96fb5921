//! What mapping makes of an event: the bytes that will travel, and what the queue must know of them.

use std::fmt;

use sha2::{Digest, Sha256};

/// A mapped event.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    /// The server event: one JSON object on one line. From here to the socket it is only copied.
    pub json: Vec<u8>,
    /// Meta's event name, as it stands in the JSON.
    pub event_name: Box<str>,
    /// Tells whether the same event was taken before.
    pub fingerprint: Fingerprint,
    /// The end of the window in which Meta takes the event: seconds since the epoch.
    pub deadline: i64,
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

/// 128 bits that stand for one event of one sync.
///
/// The first 64 depend on the event id alone, so that an event can be found by its id; the others
/// on id, sync, event name and scope. Two events count as the same only where all 128 agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
        let mut hash = Sha256::new();
        for part in [event_id, sync, event_name, scope] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        Self {
            id: Self::of_id(event_id),
            whole: first_eight(&hash.finalize()),
        }
    }

    /// The half that depends on the event id alone.
    pub fn of_id(event_id: &str) -> u64 {
        first_eight(&Sha256::digest(event_id.as_bytes()))
    }
}

fn first_eight(digest: &[u8]) -> u64 {
    digest
        .iter()
        .take(8)
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}
