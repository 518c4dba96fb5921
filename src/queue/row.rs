//! Rows: events that were committed together, as they lie in the store.
//!
//! The body is the events' JSON, one per line, stored as `packed` says. Beside it lies the index: for
//! every event its end in the body, its deadline, its fingerprint and its name. Both are covered, as they
//! are stored, by a checksum, together with the row's number, and are never changed, except where
//! `forget` blanks an event out.
//!
//! The index in bytes, little-endian: the number of events (`u32`); 30 bytes for each: end (`u32`),
//! deadline (`i64`), fingerprint (two `u64`), place of its name (`u16`); then the names, each after
//! its length (`u32`).

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::clock::UnixMillis;
use crate::payload::{Fingerprint, Payload};

use super::lease::EventBody;
use super::packed;

/// Most events in a row.
pub(super) const MAX_EVENTS: usize = 256;
/// Most bytes in a row's body; a larger event has a row of its own.
pub(super) const MAX_BYTES: usize = packed::MOST_BYTES;
/// What a row costs besides its body and index: its other columns, its places in the indexes.
pub(super) const OVERHEAD: usize = 160;

/// Meta's window, less the hour within which it wants to have an event: what has more of it left than this
/// is fresh.
const FRESH_SECONDS: i64 = 7 * 24 * 3600 - 3600;

/// Which events may share a row. Rows are handed out as wholes, so that what is urgent must not lie among
/// what is not: a row is as old as its oldest event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BatchKind {
    /// No Purchase. Those come first, so that of rows of one moment the rest counts as the fresher.
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

/// One event of a row.
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
    /// Which of the row's names it has.
    name: u16,
}

impl BatchEntry {
    /// Bytes of JSON.
    pub(super) const fn bytes(&self) -> u64 {
        (self.end - self.start) as u64
    }
}

/// A row's events, read and checked.
#[derive(Debug)]
pub(super) struct StoredBatch {
    /// Its events.
    pub(super) entries: Vec<BatchEntry>,
    names: Vec<Arc<str>>,
    body: Arc<[u8]>,
}

impl StoredBatch {
    /// Reads a row as it is stored; `None` where its checksum says that it is damaged.
    pub(super) fn read(row: i64, index: &[u8], stored: &[u8], checksum: u32) -> Option<Self> {
        if self::checksum(row, index, stored) != checksum {
            return None;
        }
        let mut reader = Reader(index);
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
        let length = entries.last().map_or(0, |entry| entry.end as usize);
        let body = packed::unpack(stored, length)?;
        let named = |entry: &BatchEntry| usize::from(entry.name) < names.len();
        entries.iter().all(named).then_some(Self {
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
            row: Arc::clone(&self.body),
            start: entry.start,
            end: entry.end,
        }
    }

    /// The body, with the JSON of the given events blanked out.
    pub(super) fn without(&self, blanked: &Bits) -> Vec<u8> {
        let mut body = self.body.to_vec();
        for (position, entry) in self.entries.iter().enumerate() {
            if blanked.has(position) {
                body[entry.start as usize..entry.end as usize].fill(b' ');
            }
        }
        body
    }
}

/// Covers all that must not change unnoticed.
pub(super) fn checksum(row: i64, index: &[u8], stored: &[u8]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&row.to_le_bytes());
    hash.update(index);
    hash.update(stored);
    hash.finalize()
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
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

/// A row in the making.
#[derive(Debug, Default)]
pub(super) struct BatchBuilder {
    /// The events so far.
    pub(super) body: Vec<u8>,
    /// Their fingerprints, as they are stored.
    pub(super) fingerprints: Vec<u8>,
    /// The earliest deadline.
    pub(super) deadline: i64,
    /// How many there are.
    pub(super) events: usize,
    /// They are Purchases.
    pub(super) purchase: bool,
    entries: Vec<u8>,
    names: Vec<Arc<str>>,
}

impl BatchBuilder {
    /// Whether an event of so many bytes has to begin a new row.
    pub(super) fn is_full_for(&self, bytes: usize) -> bool {
        self.events == MAX_EVENTS || (self.events > 0 && self.body.len() + 1 + bytes > MAX_BYTES)
    }

    /// Adds an event.
    pub(super) fn add(&mut self, payload: Payload) {
        if self.events > 0 {
            self.body.push(b'\n');
        }
        self.body.extend_from_slice(&payload.json);
        self.purchase = payload.is_purchase();
        let name = self
            .names
            .iter()
            .position(|name| *name == payload.event_name)
            .unwrap_or_else(|| {
                self.names.push(payload.event_name);
                self.names.len() - 1
            });
        let end = u32::try_from(self.body.len()).expect("a body is far smaller than 4 GiB");
        let name = u16::try_from(name).expect("a row has at most 256 names");
        self.entries.extend_from_slice(&end.to_le_bytes());
        self.entries
            .extend_from_slice(&payload.deadline.to_le_bytes());
        for fingerprints in [&mut self.entries, &mut self.fingerprints] {
            fingerprints.extend_from_slice(&payload.fingerprint.id.to_le_bytes());
            fingerprints.extend_from_slice(&payload.fingerprint.whole.to_le_bytes());
        }
        self.entries.extend_from_slice(&name.to_le_bytes());
        self.deadline = match self.events {
            0 => payload.deadline,
            _ => self.deadline.min(payload.deadline),
        };
        self.events += 1;
    }

    /// The bytes of the events alone.
    pub(super) fn event_bytes(&self) -> usize {
        self.body.len() - self.events.saturating_sub(1)
    }

    /// The index, as it is stored.
    pub(super) fn index(&self) -> Vec<u8> {
        let names: usize = self.names.iter().map(|name| 4 + name.len()).sum();
        let mut index = Vec::with_capacity(4 + self.entries.len() + names);
        let length = |length: usize| {
            u32::try_from(length)
                .expect("far smaller than 4 GiB")
                .to_le_bytes()
        };
        index.extend_from_slice(&length(self.events));
        index.extend_from_slice(&self.entries);
        for name in &self.names {
            index.extend_from_slice(&length(name.len()));
            index.extend_from_slice(name.as_bytes());
        }
        index
    }

    /// Bytes of the store that the row will take, if so many are stored for its body.
    pub(super) fn held_bytes(&self, stored: usize) -> usize {
        let names: usize = self.names.iter().map(|name| 4 + name.len()).sum();
        OVERHEAD + stored + 4 + self.entries.len() + names
    }
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

/// Some of a row's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits([u64; MAX_EVENTS / 64]);

impl Bits {
    /// The first so many.
    pub(super) fn first(count: usize) -> Self {
        let mut bits = Self::default();
        for (word, bits) in bits.0.iter_mut().enumerate() {
            *bits = match count.saturating_sub(word * 64) {
                0 => 0,
                left @ 1..64 => (1 << left) - 1,
                _ => u64::MAX,
            };
        }
        bits
    }

    /// Whether this one is among them.
    pub(super) const fn has(&self, position: usize) -> bool {
        self.0[position / 64] & 1 << (position % 64) != 0
    }

    /// Puts this one among them.
    pub(super) const fn add(&mut self, position: usize) {
        self.0[position / 64] |= 1 << (position % 64);
    }

    /// Takes this one out.
    pub(super) const fn remove(&mut self, position: usize) {
        self.0[position / 64] &= !(1 << (position % 64));
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0 == [0; MAX_EVENTS / 64]
    }

    /// Those that are in either.
    #[must_use]
    pub(super) fn or(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    /// Those that are not in the other.
    #[must_use]
    pub(super) fn without(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & !other.0[word]))
    }

    /// Their positions.
    pub(super) fn positions(self) -> impl Iterator<Item = usize> {
        (0..MAX_EVENTS).filter(move |position| self.has(*position))
    }

    /// Their runs: the first position and the one after the last.
    pub(super) fn runs(self) -> Vec<(u16, u16)> {
        let mut runs: Vec<(u16, u16)> = Vec::new();
        for position in self.positions() {
            let at = u16::try_from(position).expect("a row has at most 256 events");
            match runs.last_mut() {
                Some((_, to)) if *to == at => *to += 1,
                _ => runs.push((at, at + 1)),
            }
        }
        runs
    }

    /// Adds a run.
    pub(super) fn add_run(&mut self, from: u16, to: u16) {
        for position in usize::from(from)..usize::from(to).min(MAX_EVENTS) {
            self.add(position);
        }
    }

    /// As it is stored, for a row of so many events.
    pub(super) fn stored(&self, events: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.truncate(events.div_ceil(8));
        bytes
    }

    /// Reads what was stored.
    pub(super) fn from_stored(stored: &[u8]) -> Self {
        let mut bits = Self::default();
        for (byte, value) in stored.iter().take(MAX_EVENTS / 8).enumerate() {
            bits.0[byte / 8] |= u64::from(*value) << (byte % 8 * 8);
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn payload(json: &str, name: &str, deadline: i64) -> Payload {
        Payload {
            json: json.to_owned().into(),
            event_name: name.into(),
            fingerprint: Fingerprint::new(json, "web", name, ""),
            deadline,
        }
    }

    #[test]
    fn reads_back_what_was_drafted() {
        let events = [("{}", "A", 9), (r#"{"a":1}"#, "B", 7), ("{ }", "A", 8)];
        let mut draft = BatchBuilder::default();
        for (json, name, deadline) in events {
            draft.add(payload(json, name, deadline));
        }
        assert_eq!(draft.body, b"{}\n{\"a\":1}\n{ }");
        assert_eq!(draft.deadline, 7);
        let index = draft.index();
        assert_eq!(
            draft.held_bytes(draft.body.len()),
            OVERHEAD + index.len() + draft.body.len()
        );

        let checksum = checksum(5, &index, &draft.body);
        let content = StoredBatch::read(5, &index, &draft.body, checksum).unwrap();
        for (entry, (json, name, deadline)) in content.entries.iter().zip(events) {
            assert_eq!(content.json(entry), json.as_bytes());
            assert_eq!(&**content.name(entry), name);
            assert_eq!(entry.deadline, deadline);
            assert_eq!(entry.fingerprint, Fingerprint::new(json, "web", name, ""));
        }
        let stored: Vec<_> = fingerprints(&draft.fingerprints).collect();
        let indexed: Vec<_> = content.entries.iter().map(|e| e.fingerprint).collect();
        assert_eq!(stored, indexed);
    }

    #[test]
    fn blanks_out_only_what_it_is_told() {
        let mut draft = BatchBuilder::default();
        draft.add(payload("{1}", "A", 1));
        draft.add(payload("{22}", "A", 1));
        let index = draft.index();
        let sum = checksum(1, &index, &draft.body);
        let content = StoredBatch::read(1, &index, &draft.body, sum).unwrap();
        let mut blanked = Bits::default();
        blanked.add(0);
        assert_eq!(content.without(&blanked), b"   \n{22}");
    }

    #[test]
    fn a_large_event_begins_a_row_of_its_own() {
        let mut draft = BatchBuilder::default();
        assert!(!draft.is_full_for(MAX_BYTES * 2));
        draft.add(payload("{}", "A", 1));
        assert!(draft.is_full_for(MAX_BYTES * 2));
        assert!(draft.is_full_for(MAX_BYTES - 2));
        assert!(!draft.is_full_for(MAX_BYTES - 3));
    }

    proptest! {
        #[test]
        fn notices_any_flipped_bit(byte in 0_usize..64, bit in 0..8) {
            let mut draft = BatchBuilder::default();
            draft.add(payload(r#"{"event_name":"Purchase"}"#, "Purchase", 3));
            let mut index = draft.index();
            let sum = checksum(1, &index, &draft.body);
            let mut body = draft.body.clone();
            match index.get_mut(byte) {
                Some(flipped) => *flipped ^= 1_u8 << bit,
                None => body[byte - index.len()] ^= 1_u8 << bit,
            }
            prop_assert!(StoredBatch::read(1, &index, &body, sum).is_none());
            prop_assert!(StoredBatch::read(2, &draft.index(), &draft.body, sum).is_none());
        }

        #[test]
        fn bits_are_a_set(some in prop::collection::btree_set(0_usize..MAX_EVENTS, 0..40)) {
            let mut bits = Bits::default();
            for position in &some {
                bits.add(*position);
            }
            prop_assert!(bits.positions().eq(some.iter().copied()));
            prop_assert_eq!(bits.count(), some.len() as u64);
            let mut of_runs = Bits::default();
            for (from, to) in bits.runs() {
                of_runs.add_run(from, to);
            }
            prop_assert_eq!(of_runs, bits);
            prop_assert_eq!(Bits::from_stored(&bits.stored(MAX_EVENTS)), bits);
            let rest = Bits::first(MAX_EVENTS).without(&bits);
            prop_assert_eq!(rest.count(), (MAX_EVENTS - some.len()) as u64);
            prop_assert_eq!(rest.or(&bits), Bits::first(MAX_EVENTS));
            for position in &some {
                bits.remove(*position);
            }
            prop_assert!(bits.is_empty());
        }

        #[test]
        fn the_first_so_many(count in 0..=MAX_EVENTS) {
            prop_assert!(Bits::first(count).positions().eq(0..count));
        }
    }
}
