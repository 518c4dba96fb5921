//! Builds batches.

use std::sync::Arc;

use crate::clock::UnixMillis;
use crate::payload::Payload;

use super::batch::{
    BatchEntry, BatchId, SyncId, checksum, encode_fingerprints, encode_index, index_bytes,
};
use super::bits::{Bits, MAX_EVENTS};
use super::compress::{self, Compressor};
use super::state::{BatchState, InDoubt, Soundness};

/// Most bytes in a body; a larger event has a batch of its own.
const MAX_BYTES: usize = compress::MAX_BYTES;
/// What a batch takes besides its body and index: other columns, and entries of the store's indexes.
const OVERHEAD: usize = 160;
/// Meta's window less one hour, within which it wants to have an event: an event with less of it left is late.
const FRESH_SECONDS: i64 = 7 * 24 * 3600 - 3600;

/// Which events may share a batch. A batch is ordered by its most urgent event, so that urgent events must not
/// share one with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BatchKind {
    /// Not a Purchase. `false` sorts first: Purchases get the lower numbers, which count as older.
    rest: bool,
    /// More than an hour old when it came: from a device that was offline, or an export.
    late: bool,
}

impl BatchKind {
    /// The kind of an event that comes in now.
    pub(super) fn of(payload: &Payload, now: UnixMillis) -> Self {
        Self {
            rest: !payload.is_purchase(),
            late: payload.deadline - now.seconds() < FRESH_SECONDS,
        }
    }
}

/// A batch that is being built.
#[derive(Debug, Default)]
pub(super) struct BatchBuilder {
    /// The events so far.
    body: Vec<u8>,
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
        let fingerprints = encode_fingerprints(&self.entries);
        let events = self.entries.len();
        let deadlines = self.entries.iter().map(|entry| entry.deadline);
        NewBatch {
            state: BatchState {
                id,
                sync,
                deadline: deadlines.min().unwrap_or(i64::MAX),
                taken_at,
                events,
                // All but the line ends.
                bytes: (self.body.len() - events.saturating_sub(1)) as u64,
                held: self.held_bytes(body.len()) as u64,
                settled: Bits::default(),
                first_try: None,
                last_try: None,
                in_doubt: InDoubt::default(),
                soundness: Soundness::Sound,
            },
            is_purchase: self.is_purchase,
            checksum: checksum(id, &index, &body),
            index,
            body,
            fingerprints,
        }
    }
}

/// A batch that is about to be stored.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::payload::Fingerprint;
    use crate::queue::batch::{StoredBatch, fingerprints};

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
        let body = content.without(ID, &blanked, &mut Compressor::new());
        assert_eq!(body.stored, b"   \n{22}");
        assert!(StoredBatch::read(ID, &batch.index, &body.stored, body.checksum).is_some());
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
