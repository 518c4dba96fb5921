//! Batches that were found damaged: what is stored of them is kept for an operator to look at.

use serde::{Deserialize, Serialize};

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

/// A damaged batch as it is exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedBatch {
    /// Its number among the damaged ones.
    pub id: i64,
    /// The number that it had.
    pub row: i64,
    pub taken_at: UnixMillis,
    pub found_at: UnixMillis,
    /// Events that were lost with it.
    pub events: u64,
    pub why: String,
    /// What is left of it, in hexadecimal digits: which events had ended, their index, their JSON.
    pub settled: Option<String>,
    pub slots: String,
    pub body: String,
}

impl From<DamagedBatch> for ExportedBatch {
    fn from(batch: DamagedBatch) -> Self {
        let DamagedBatch {
            header,
            settled,
            content,
        } = batch;
        Self {
            id: header.id,
            row: header.batch.sequence,
            taken_at: header.taken_at,
            found_at: header.found_at,
            events: header.events,
            why: header.why.to_string(),
            settled: settled.map(hex::encode),
            slots: hex::encode(content.index),
            body: hex::encode(content.body),
        }
    }
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
