//! What changes of a batch while its events wait and end.

use crate::clock::UnixMillis;
use crate::outcome::Reason;

use super::batch::{BatchEntry, BatchId, StoredBatch, SyncId};
use super::bits::Bits;
use super::checksum::Checksum;

/// How long Meta recognises a repeat. Events that it may have taken are not repeated after that.
pub const DOUBT_SECONDS: i64 = 48 * 3600;

/// Since when an event is in doubt that was taken and sent at these moments. Nothing is sent before it is taken, so a
/// clock that says so was slow when it was sent; an event whose doubt had begun before that would end too early.
pub fn in_doubt_since(sent_at: UnixMillis, taken_at: UnixMillis) -> UnixMillis {
    sent_at.max(taken_at)
}

/// A place in every order of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BatchPlace {
    pub(super) deadline: i64,
    pub(super) id: BatchId,
}

impl BatchPlace {
    /// The place before all batches with a deadline.
    pub(super) fn before_deadline(deadline: i64) -> Self {
        let id = BatchId::default();
        Self { deadline, id }
    }

    /// The place before a batch, by number.
    pub(super) const fn before_batch(id: BatchId) -> Self {
        Self {
            deadline: 0,
            id: BatchId {
                sequence: id.sequence - 1,
                ..id
            },
        }
    }
}

/// What changes of a batch, and what is known of it without reading its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BatchState {
    pub(super) id: BatchId,
    pub(super) sync: SyncId,
    /// Not later than the deadline of any event that waits.
    pub(super) deadline: i64,
    /// When it was committed.
    pub(super) taken_at: UnixMillis,
    /// How many events it has.
    pub(super) events: usize,
    /// Bytes of those that wait.
    pub(super) bytes: u64,
    /// Bytes of the store that it takes.
    pub(super) held: u64,
    /// The events that have ended.
    pub(super) settled: Bits,
    /// The first request that did not end all of its events.
    pub(super) first_try: Option<UnixMillis>,
    /// The last such request.
    pub(super) last_try: Option<UnixMillis>,
    /// Events that Meta may have taken.
    pub(super) in_doubt: InDoubt,
    /// Whether it was read as it was written.
    pub(super) soundness: Soundness,
}

/// Whether a state was read as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Soundness {
    Sound,
    /// What is wrong can be found out from the events.
    Mendable,
    Lost,
}

impl BatchState {
    pub(super) const fn place(&self) -> BatchPlace {
        BatchPlace {
            deadline: self.deadline,
            id: self.id,
        }
    }

    /// Its checksum. One half covers what only the state tells; see [`Self::history_is_sound`].
    pub(super) fn checksum(&self) -> i64 {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let history = self.history();
        let all = history
            .number(self.sync)
            .number(self.deadline)
            .number(self.taken_at.0)
            .number(count(self.events as u64))
            .number(count(self.bytes))
            .number(count(self.held));
        history.stored_with(all)
    }

    /// Whether what cannot be found out from the events is undamaged: which have ended, and when the rest was
    /// tried.
    pub(super) fn history_is_sound(&self, checksum: i64) -> bool {
        self.checksum() >> 16 == checksum >> 16
    }

    fn history(&self) -> Checksum {
        let moment = |at: Option<UnixMillis>| at.map(|at| at.0);
        let sum = Checksum::default()
            .number(self.id.sequence)
            .optional(moment(self.first_try))
            .optional(moment(self.last_try));
        let words = self.settled.words();
        let sum = words.fold(sum, |sum, word| sum.number(word.cast_signed()));
        let runs = self.in_doubt.0.iter();
        runs.fold(sum, |sum, (from, to, since)| {
            sum.number(i64::from(*from) << 16 | i64::from(*to))
                .number(since.0)
        })
    }

    /// The events that have not ended.
    pub(super) fn open(&self) -> Bits {
        Bits::first(self.events).without(&self.settled)
    }

    /// Notes that an event has ended.
    pub(super) fn end(&mut self, position: usize, entry: &BatchEntry) {
        self.settled.add(position);
        self.bytes = self.bytes.saturating_sub(entry.bytes());
    }

    /// When an event expires, and for which reason.
    pub(super) fn expiry(&self, position: usize, entry: &BatchEntry) -> (i64, Reason) {
        match self.in_doubt.since(position) {
            Some(since) if since.seconds() + DOUBT_SECONDS < entry.deadline => {
                (since.seconds() + DOUBT_SECONDS, Reason::MaybeDelivered)
            }
            _ => (entry.deadline, Reason::WindowClosed),
        }
    }

    /// The earliest expiry of the events that have not ended.
    pub(super) fn next_expiry(&self, content: &StoredBatch) -> i64 {
        self.open()
            .positions()
            .filter_map(|position| Some((position, content.entries.get(position)?)))
            .map(|(position, entry)| self.expiry(position, entry).0)
            .min()
            .unwrap_or(i64::MAX)
    }
}

/// Events that were in a request whose answer was lost, and when the first such request was sent.
///
/// As stored: 12 bytes for each run of events with the same moment, little-endian: the first
/// position and the one after the last (`u16`), the moment in milliseconds (`i64`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct InDoubt(Vec<(u16, u16, UnixMillis)>);

impl InDoubt {
    /// Since when an event is in doubt.
    pub(super) fn since(&self, position: usize) -> Option<UnixMillis> {
        self.0
            .iter()
            .find(|(from, to, _)| (usize::from(*from)..usize::from(*to)).contains(&position))
            .map(|(_, _, since)| *since)
    }

    /// Notes that these events are in doubt, unless they were before.
    pub(super) fn add(&mut self, events: &Bits, since: UnixMillis) {
        let mut known = Bits::default();
        for (from, to, _) in &self.0 {
            known.add_run(*from, *to);
        }
        let new = events.without(&known).runs().into_iter();
        self.0.extend(new.map(|(from, to)| (from, to, since)));
    }

    pub(super) fn stored(&self) -> Option<Vec<u8>> {
        let run = |(from, to, since): &(u16, u16, UnixMillis)| {
            [
                &from.to_le_bytes()[..],
                &to.to_le_bytes(),
                &since.0.to_le_bytes(),
            ]
            .concat()
        };
        (!self.0.is_empty()).then(|| self.0.iter().flat_map(run).collect())
    }

    pub(super) fn from_stored(stored: &[u8]) -> Self {
        let (runs, _) = stored.as_chunks::<12>();
        let run = |run: &[u8; 12]| {
            let [a, b, c, d, since @ ..] = *run;
            let since = UnixMillis(i64::from_le_bytes(since));
            (
                u16::from_le_bytes([a, b]),
                u16::from_le_bytes([c, d]),
                since,
            )
        };
        Self(runs.iter().map(run).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_doubt_counts() {
        let mut doubts = InDoubt::default();
        let mut later = Bits::first(5);
        doubts.add(&Bits::first(3), UnixMillis(100));
        later.add(200);
        doubts.add(&later, UnixMillis(900));
        for (position, since) in [(0, 100), (2, 100), (3, 900), (4, 900), (200, 900)] {
            assert_eq!(doubts.since(position), Some(UnixMillis(since)));
        }
        assert_eq!(doubts.since(5), None);
        assert_eq!(InDoubt::from_stored(&doubts.stored().unwrap()), doubts);
    }
}
