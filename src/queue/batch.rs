//! Batches: events that were committed together, and their bytes, which are the same in every engine.
//!
//! The body is the events' JSON, one per line, compressed (see `compress`). The index tells each event's end in
//! the body, its deadline, its fingerprint and its name. A checksum covers the batch's number, the index and the
//! stored body. Nothing of it changes, except where `forget` blanks an event out.
//!
//! The index in bytes, little-endian: the number of events (`u32`); 30 bytes for each: end (`u32`),
//! deadline (`i64`), fingerprint (two `u64`), place of its name (`u16`); then the names, each after
//! its length (`u32`).

use std::fmt;
use std::sync::Arc;

use crate::payload::Fingerprint;

use super::bits::{Bits, MAX_EVENTS};
use super::compress::{self, Compressor};

/// A sync's number in the store.
pub(super) type SyncId = i64;

/// What an event takes in the index.
const ENTRY_BYTES: usize = 30;

/// The number of a batch, given by the writer that committed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct BatchId {
    /// Tells writers of one store apart; 0 in a store that has one writer.
    pub(super) origin: u32,
    /// Counts up from 1.
    pub(super) sequence: i64,
}

impl BatchId {
    /// Of a store with one writer.
    pub(super) const fn embedded(sequence: i64) -> Self {
        Self {
            origin: 0,
            sequence,
        }
    }

    #[must_use]
    pub(super) const fn next(self) -> Self {
        Self {
            sequence: self.sequence + 1,
            ..self
        }
    }
}

/// One event of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BatchEntry {
    /// Where its JSON begins in the body.
    pub(super) start: u32,
    /// Where its JSON ends.
    pub(super) end: u32,
    /// The end of Meta's window: seconds since the epoch.
    pub(super) deadline: i64,
    /// For duplicates and for `trace`.
    pub(super) fingerprint: Fingerprint,
    /// Which of the batch's names it has.
    pub(super) name: u16,
}

impl BatchEntry {
    /// Bytes of JSON.
    pub(super) const fn bytes(&self) -> u64 {
        (self.end - self.start) as u64
    }
}

/// A batch's events, read and checked.
#[derive(Debug)]
pub(super) struct StoredBatch {
    pub(super) entries: Vec<BatchEntry>,
    names: Vec<Arc<str>>,
    body: Arc<[u8]>,
}

impl StoredBatch {
    /// Reads a batch as it is stored; `None` where its checksum says that it is damaged.
    pub(super) fn read(id: BatchId, index: &[u8], stored: &[u8], checksum: u32) -> Option<Self> {
        if self::checksum(id, index, stored) != checksum {
            return None;
        }
        let (entries, names) = decode_index(index)?;
        let length = entries.last().map_or(0, |entry| entry.end as usize);
        let body = compress::decompress(stored, length)?;
        Some(Self {
            entries,
            names,
            body,
        })
    }

    /// About how many bytes of the store it takes.
    pub(super) fn held_bytes(&self) -> u64 {
        (index_bytes(self.entries.len(), &self.names) + self.body.len()) as u64
    }

    /// The name of an event.
    pub(super) fn name(&self, entry: &BatchEntry) -> &Arc<str> {
        &self.names[usize::from(entry.name)]
    }

    /// The JSON of all events.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The JSON of an event.
    pub(super) fn json(&self, entry: &BatchEntry) -> &[u8] {
        &self.body[entry.start as usize..entry.end as usize]
    }

    /// The JSON of an event, for keeping.
    pub(super) fn body(&self, entry: &BatchEntry) -> EventBody {
        EventBody {
            batch: Arc::clone(&self.body),
            start: entry.start,
            end: entry.end,
        }
    }

    /// The body with the JSON of these events blanked out.
    pub(super) fn without(
        &self,
        id: BatchId,
        blanked: &Bits,
        compressor: &mut Compressor,
    ) -> RewrittenBody {
        let mut body = self.body.to_vec();
        for (position, entry) in self.entries.iter().enumerate() {
            if blanked.has(position) {
                body[entry.start as usize..entry.end as usize].fill(b' ');
            }
        }
        let stored = compressor.compress(&body).to_vec();
        let index = encode_index(&self.entries, &self.names);
        RewrittenBody {
            checksum: checksum(id, &index, &stored),
            stored,
        }
    }
}

/// A body that takes the place of another.
#[derive(Clone, Debug)]
pub(super) struct RewrittenBody {
    pub(super) checksum: u32,
    pub(super) stored: Vec<u8>,
}

/// The bytes of one event, shared with the batch that they lie in.
#[derive(Clone)]
pub struct EventBody {
    batch: Arc<[u8]>,
    start: u32,
    end: u32,
}

#[cfg(test)]
impl EventBody {
    pub(super) fn of(json: &[u8]) -> Self {
        Self {
            batch: json.into(),
            start: 0,
            end: u32::try_from(json.len()).unwrap(),
        }
    }
}

impl AsRef<[u8]> for EventBody {
    fn as_ref(&self) -> &[u8] {
        &self.batch[self.start as usize..self.end as usize]
    }
}

impl fmt::Debug for EventBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventBody({} bytes)", self.as_ref().len())
    }
}

/// The checksum of all that must not change unnoticed.
pub(super) fn checksum(id: BatchId, index: &[u8], stored: &[u8]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&id.sequence.to_le_bytes());
    hash.update(index);
    hash.update(stored);
    hash.finalize()
}

pub(super) fn index_bytes(entries: usize, names: &[Arc<str>]) -> usize {
    let names: usize = names.iter().map(|name| 4 + name.len()).sum();
    4 + entries * ENTRY_BYTES + names
}

pub(super) fn encode_index(entries: &[BatchEntry], names: &[Arc<str>]) -> Vec<u8> {
    let length = |length: usize| {
        u32::try_from(length)
            .expect("far smaller than 4 GiB")
            .to_le_bytes()
    };
    let mut index = Vec::with_capacity(index_bytes(entries.len(), names));
    index.extend_from_slice(&length(entries.len()));
    for entry in entries {
        index.extend_from_slice(&entry.end.to_le_bytes());
        index.extend_from_slice(&entry.deadline.to_le_bytes());
        index.extend_from_slice(&entry.fingerprint.id.to_le_bytes());
        index.extend_from_slice(&entry.fingerprint.whole.to_le_bytes());
        index.extend_from_slice(&entry.name.to_le_bytes());
    }
    for name in names {
        index.extend_from_slice(&length(name.len()));
        index.extend_from_slice(name.as_bytes());
    }
    index
}

fn decode_index(mut index: &[u8]) -> Option<(Vec<BatchEntry>, Vec<Arc<str>>)> {
    let rest = &mut index;
    let count = u32::from_le_bytes(array(rest)?) as usize;
    if count > MAX_EVENTS {
        return None;
    }
    let mut entries = Vec::with_capacity(count);
    let mut start: u32 = 0;
    for _ in 0..count {
        let entry = BatchEntry {
            start,
            end: u32::from_le_bytes(array(rest)?),
            deadline: i64::from_le_bytes(array(rest)?),
            fingerprint: Fingerprint {
                id: u64::from_le_bytes(array(rest)?),
                whole: u64::from_le_bytes(array(rest)?),
            },
            name: u16::from_le_bytes(array(rest)?),
        };
        if entry.end < start {
            return None;
        }
        start = entry.end.checked_add(1)?;
        entries.push(entry);
    }
    let mut names: Vec<Arc<str>> = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_le_bytes(array(rest)?) as usize;
        let name = rest.split_off(..length)?;
        names.push(std::str::from_utf8(name).ok()?.into());
    }
    let is_named = |entry: &BatchEntry| usize::from(entry.name) < names.len();
    entries.iter().all(is_named).then_some((entries, names))
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

/// The fingerprints of events, as they are stored.
pub(super) fn encode_fingerprints(entries: &[BatchEntry]) -> Vec<u8> {
    let mut fingerprints = Vec::with_capacity(entries.len() * 16);
    for entry in entries {
        fingerprints.extend_from_slice(&entry.fingerprint.id.to_le_bytes());
        fingerprints.extend_from_slice(&entry.fingerprint.whole.to_le_bytes());
    }
    fingerprints
}

/// Reads fingerprints as they are stored.
pub(super) fn fingerprints(stored: &[u8]) -> impl Iterator<Item = Fingerprint> {
    let (numbers, _) = stored.as_chunks::<8>();
    let (pairs, _) = numbers.as_chunks::<2>();
    pairs.iter().map(|[id, whole]| Fingerprint {
        id: u64::from_le_bytes(*id),
        whole: u64::from_le_bytes(*whole),
    })
}
