//! Batches that were found damaged: what is stored of them is kept for an operator to look at.

use crate::clock::UnixMillis;
use crate::words::words;

use super::batch::{BatchId, SyncId};

words! {
    /// How a batch is damaged.
    pub enum Damage {
        /// Its bytes are not those that its checksum was made of.
        Checksum = "checksum",
        /// Some or all of its bytes are missing, or are on a page that cannot be read.
        Unreadable = "unreadable",
        /// Its bytes are there, but not what is known of its events.
        NoState = "no_state",
    }
}

/// A batch that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedBatch {
    /// What is known of it.
    pub header: DamagedHeader,
    /// A bit for each event that had ended before; `None`: none had, or nobody knows.
    pub settled: Option<Vec<u8>>,
    /// What is left of its bytes.
    pub content: RawContent,
}

/// What it takes to list a batch that was set aside, and to remove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedHeader {
    /// Its number among the damaged ones.
    pub id: i64,
    /// The number that it had.
    pub(super) batch: BatchId,
    pub(super) sync: SyncId,
    /// When its events were taken.
    pub taken_at: UnixMillis,
    /// Events that were lost with it.
    pub events: u64,
    /// How it is damaged.
    pub why: Damage,
    /// When that was found.
    pub found_at: UnixMillis,
    /// Bytes of the store that it takes.
    pub bytes: u64,
}

/// What is stored of a batch's events, whether or not it makes sense. What cannot be read is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawContent {
    /// The checksum of the rest.
    pub checksum: Option<i64>,
    /// The index of the events.
    pub index: Vec<u8>,
    /// Their JSON, compressed.
    pub body: Vec<u8>,
}

impl RawContent {
    /// Estimates the bytes of the store that it takes where it is set aside.
    pub(super) const fn held_bytes(&self) -> u64 {
        (128 + self.index.len() + self.body.len()) as u64
    }

    /// How the batch is damaged of which this is left.
    pub(super) const fn damage(&self) -> Damage {
        if self.checksum.is_none() || self.index.is_empty() || self.body.is_empty() {
            return Damage::Unreadable;
        }
        Damage::Checksum
    }
}
