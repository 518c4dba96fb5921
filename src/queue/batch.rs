//! Batches: events that were committed together, and how their bytes lie in every engine.
//!
//! The body is the events' JSON, one per line, compressed as `compress` says. Beside it lies the index: for
//! every event its end in the body, its deadline, its fingerprint and its name. Both are covered, as they
//! are stored, by a checksum, together with the batch's number, and are never changed, except where
//! `forget` blanks an event out.
//!
//! The index in bytes, little-endian: the number of events (`u32`); 30 bytes for each: end (`u32`),
//! deadline (`i64`), fingerprint (two `u64`), place of its name (`u16`); then the names, each after
//! its length (`u32`).

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::clock::UnixMillis;
use crate::payload::{Fingerprint, Payload};

use super::bits::Bits;
use super::compress::{self, Compressor};
use super::engine::SyncId;
use super::lease::EventBody;
use super::state::{BatchState, InDoubt};

pub(super) const MAX_EVENTS: usize = 256;
/// Most bytes in a body; a larger event has a batch of its own.
pub(super) const MAX_BYTES: usize = compress::MAX_BYTES;
/// What a batch costs besides its body and index: its other columns, its places in the indexes.
pub(super) const OVERHEAD: usize = 160;
/// What an event takes in the index.
const ENTRY_BYTES: usize = 30;

/// Meta's window, less the hour within which it wants to have an event: what has more of it left than this
/// is fresh.
const FRESH_SECONDS: i64 = 7 * 24 * 3600 - 3600;

/// The number of a batch, given by the writer that committed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct BatchId {
    /// Tells writers of one store apart; 0 in a store that has one writer.
    pub(super) origin: u32,
    /// Counts up from 1.
    pub(super) sequence: i64,
}

impl BatchId {
    /// No batch has a later number.
    pub(super) const LAST: Self = Self {
        origin: u32::MAX,
        sequence: i64::MAX,
    };

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

/// Which events may share a batch. Batches are leased as wholes, so that what is urgent must not lie among
/// what is not: a batch is as old as its oldest event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BatchKind {
    /// No Purchase. Those come first, so that of batches of one moment the rest counts as the fresher.
    rest: bool,
    /// Older than an hour when it came: from a device that was offline, or an export.
    late: bool,
}

impl BatchKind {
    /// The first and the last of all kinds, as they are ordered.
    pub(super) const ALL: RangeInclusive<Self> = Self {
        rest: false,
        late: false,
    }..=Self {
        rest: true,
        late: true,
    };

    /// The kind of an event that comes now.
    pub(super) fn of(payload: &Payload, now: UnixMillis) -> Self {
        Self {
            rest: !payload.is_purchase(),
            late: payload.deadline - now.seconds() < FRESH_SECONDS,
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
    name: u16,
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

    /// The name of an event.
    pub(super) fn name(&self, entry: &BatchEntry) -> &Arc<str> {
        &self.names[usize::from(entry.name)]
    }

    /// The JSON of an event.
    pub(super) fn json(&self, entry: &BatchEntry) -> &[u8] {
        &self.body[entry.start as usize..entry.end as usize]
    }

    /// The JSON of an event, to be kept.
    pub(super) fn body(&self, entry: &BatchEntry) -> EventBody {
        EventBody {
            batch: Arc::clone(&self.body),
            start: entry.start,
            end: entry.end,
        }
    }

    /// The body with the JSON of the given events blanked out, as it is stored, and the checksum that covers
    /// it.
    pub(super) fn without(
        &self,
        id: BatchId,
        blanked: &Bits,
        compressor: &mut Compressor,
    ) -> (u32, Vec<u8>) {
        let mut body = self.body.to_vec();
        for (position, entry) in self.entries.iter().enumerate() {
            if blanked.has(position) {
                body[entry.start as usize..entry.end as usize].fill(b' ');
            }
        }
        let stored = compressor.compress(&body).to_vec();
        let index = encode_index(&self.entries, &self.names);
        (checksum(id, &index, &stored), stored)
    }
}

/// Covers all that must not change unnoticed.
fn checksum(id: BatchId, index: &[u8], stored: &[u8]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&id.sequence.to_le_bytes());
    hash.update(index);
    hash.update(stored);
    hash.finalize()
}

fn index_bytes(entries: usize, names: &[Arc<str>]) -> usize {
    let names: usize = names.iter().map(|name| 4 + name.len()).sum();
    4 + entries * ENTRY_BYTES + names
}

fn encode_index(entries: &[BatchEntry], names: &[Arc<str>]) -> Vec<u8> {
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

fn decode_index(index: &[u8]) -> Option<(Vec<BatchEntry>, Vec<Arc<str>>)> {
    let mut reader = IndexReader(index);
    let count = reader.u32()? as usize;
    if count > MAX_EVENTS {
        return None;
    }
    let mut entries = Vec::with_capacity(count);
    let mut start: u32 = 0;
    for _ in 0..count {
        let end = reader.u32()?;
        let deadline = i64::from_le_bytes(reader.array()?);
        let fingerprint = Fingerprint {
            id: u64::from_le_bytes(reader.array()?),
            whole: u64::from_le_bytes(reader.array()?),
        };
        let name = u16::from_le_bytes(reader.array()?);
        if end < start {
            return None;
        }
        entries.push(BatchEntry {
            start,
            end,
            deadline,
            fingerprint,
            name,
        });
        start = end.checked_add(1)?;
    }
    let mut names: Vec<Arc<str>> = Vec::new();
    while !reader.0.is_empty() {
        let length = reader.u32()? as usize;
        names.push(std::str::from_utf8(reader.take(length)?).ok()?.into());
    }
    let is_named = |entry: &BatchEntry| usize::from(entry.name) < names.len();
    entries.iter().all(is_named).then_some((entries, names))
}

struct IndexReader<'a>(&'a [u8]);

impl<'a> IndexReader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }
}

/// A batch in the making.
#[derive(Debug, Default)]
pub(super) struct BatchBuilder {
    /// The events so far.
    body: Vec<u8>,
    /// The earliest deadline.
    deadline: i64,
    is_purchase: bool,
    entries: Vec<BatchEntry>,
    names: Vec<Arc<str>>,
}

impl BatchBuilder {
    /// Whether an event of this many bytes has to begin a new batch.
    pub(super) fn is_full_for(&self, bytes: usize) -> bool {
        let events = self.entries.len();
        events == MAX_EVENTS || (events > 0 && self.body.len() + 1 + bytes > MAX_BYTES)
    }

    /// Adds an event.
    pub(super) fn add(&mut self, payload: Payload) {
        if !self.entries.is_empty() {
            self.body.push(b'\n');
        }
        let offset = |body: &[u8]| u32::try_from(body.len()).expect("a body is far below 4 GiB");
        let start = offset(&self.body);
        self.body.extend_from_slice(&payload.json);
        self.is_purchase = payload.is_purchase();
        self.deadline = match self.entries.len() {
            0 => payload.deadline,
            _ => self.deadline.min(payload.deadline),
        };
        let name = self
            .names
            .iter()
            .position(|name| *name == payload.event_name)
            .unwrap_or_else(|| {
                self.names.push(payload.event_name);
                self.names.len() - 1
            });
        self.entries.push(BatchEntry {
            start,
            end: offset(&self.body),
            deadline: payload.deadline,
            fingerprint: payload.fingerprint,
            name: u16::try_from(name).expect("a batch has at most 256 names"),
        });
    }

    /// Bytes of the store that the batch will take at most.
    pub(super) fn max_held_bytes(&self) -> usize {
        self.held_bytes(self.body.len())
    }

    fn held_bytes(&self, stored: usize) -> usize {
        OVERHEAD + stored + index_bytes(self.entries.len(), &self.names)
    }

    /// Closes the batch, which gets this number.
    pub(super) fn build(
        self,
        id: BatchId,
        sync: SyncId,
        taken_at: UnixMillis,
        compressor: &mut Compressor,
    ) -> NewBatch {
        let body = compressor.compress(&self.body).to_vec();
        let index = encode_index(&self.entries, &self.names);
        let mut fingerprints = Vec::with_capacity(self.entries.len() * 16);
        for entry in &self.entries {
            fingerprints.extend_from_slice(&entry.fingerprint.id.to_le_bytes());
            fingerprints.extend_from_slice(&entry.fingerprint.whole.to_le_bytes());
        }
        let events = self.entries.len();
        NewBatch {
            state: BatchState {
                id,
                sync,
                deadline: self.deadline,
                taken_at,
                events,
                // All but the line ends.
                bytes: (self.body.len() - events.saturating_sub(1)) as u64,
                held: self.held_bytes(body.len()) as u64,
                settled: Bits::default(),
                first_try: None,
                last_try: None,
                in_doubt: InDoubt::default(),
            },
            is_purchase: self.is_purchase,
            checksum: checksum(id, &index, &body),
            index,
            body,
            fingerprints,
        }
    }
}

/// A batch as it is to be stored.
#[derive(Clone, Debug)]
pub(super) struct NewBatch {
    pub(super) state: BatchState,
    /// Its events are Purchases.
    pub(super) is_purchase: bool,
    pub(super) checksum: u32,
    pub(super) index: Vec<u8>,
    pub(super) body: Vec<u8>,
    pub(super) fingerprints: Vec<u8>,
}

/// Reads fingerprints as they are stored.
pub(super) fn fingerprints(stored: &[u8]) -> impl Iterator<Item = Fingerprint> {
    let (pairs, _) = stored.as_chunks::<16>();
    pairs.iter().map(|pair| {
        let (id, whole) = pair.split_at(8);
        let number = |half: &[u8]| u64::from_le_bytes(half.try_into().expect("half of 16 bytes"));
        Fingerprint {
            id: number(id),
            whole: number(whole),
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: BatchId = BatchId::embedded(5);

    fn payload(json: &str, name: &str, deadline: i64) -> Payload {
        Payload {
            json: json.to_owned().into(),
            event_name: name.into(),
            fingerprint: Fingerprint::new(json, "web", name, ""),
            deadline,
        }
    }

    fn built(events: &[(&str, &str, i64)]) -> NewBatch {
        let mut builder = BatchBuilder::default();
        for (json, name, deadline) in events {
            builder.add(payload(json, name, *deadline));
        }
        builder.build(ID, 1, UnixMillis(0), &mut Compressor::new())
    }

    #[test]
    fn reads_back_what_was_built() {
        let events = [("{}", "A", 9), (r#"{"a":1}"#, "B", 7), ("{ }", "A", 8)];
        let batch = built(&events);
        assert_eq!(batch.body, b"{}\n{\"a\":1}\n{ }");
        assert_eq!((batch.state.deadline, batch.state.bytes), (7, 12));
        let held = OVERHEAD + batch.index.len() + batch.body.len();
        assert_eq!(batch.state.held, held as u64);

        let content = StoredBatch::read(ID, &batch.index, &batch.body, batch.checksum).unwrap();
        for (entry, (json, name, deadline)) in content.entries.iter().zip(events) {
            assert_eq!(content.json(entry), json.as_bytes());
            assert_eq!(&**content.name(entry), name);
            assert_eq!(entry.deadline, deadline);
            assert_eq!(entry.fingerprint, Fingerprint::new(json, "web", name, ""));
        }
        let stored: Vec<_> = fingerprints(&batch.fingerprints).collect();
        let indexed: Vec<_> = content.entries.iter().map(|e| e.fingerprint).collect();
        assert_eq!(stored, indexed);
    }

    #[test]
    fn blanks_out_only_what_it_is_told() {
        let batch = built(&[("{1}", "A", 1), ("{22}", "A", 1)]);
        let content = StoredBatch::read(ID, &batch.index, &batch.body, batch.checksum).unwrap();
        let mut blanked = Bits::default();
        blanked.add(0);
        let (checksum, body) = content.without(ID, &blanked, &mut Compressor::new());
        assert_eq!(body, b"   \n{22}");
        assert!(StoredBatch::read(ID, &batch.index, &body, checksum).is_some());
    }

    #[test]
    fn a_large_event_begins_a_batch_of_its_own() {
        let mut builder = BatchBuilder::default();
        assert!(!builder.is_full_for(MAX_BYTES * 2));
        builder.add(payload("{}", "A", 1));
        assert!(builder.is_full_for(MAX_BYTES * 2));
        assert!(builder.is_full_for(MAX_BYTES - 2));
        assert!(!builder.is_full_for(MAX_BYTES - 3));
    }

    proptest! {
        #[test]
        fn notices_any_flipped_bit(byte in 0_usize..64, bit in 0..8) {
            let batch = built(&[(r#"{"event_name":"Purchase"}"#, "Purchase", 3)]);
            let (mut index, mut body) = (batch.index.clone(), batch.body.clone());
            match index.get_mut(byte) {
                Some(flipped) => *flipped ^= 1_u8 << bit,
                None => body[byte - index.len()] ^= 1_u8 << bit,
            }
            prop_assert!(StoredBatch::read(ID, &index, &body, batch.checksum).is_none());
            let read = StoredBatch::read(ID.next(), &batch.index, &batch.body, batch.checksum);
            prop_assert!(read.is_none());
        }
    }
}
