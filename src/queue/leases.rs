//! What is ready and what is on lease, by sync: in memory, shared by the writer and the handles.
//!
//! Nothing here grows with the backlog. A batch has an entry only while some of its events are on
//! lease. After a restart nothing is on lease, so that every queued event is ready.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::clock::UnixMillis;
use crate::config::SyncName;

use super::batch::{BatchId, StoredBatch};
use super::bits::Bits;
use super::lease::{Backlog, LeaseLimits, Slot};
use super::state::BatchState;

#[derive(Debug, Default)]
pub(super) struct LeaseTable(BTreeMap<SyncName, SyncLeases>);

impl LeaseTable {
    pub(super) fn of(&mut self, sync: &SyncName) -> &mut SyncLeases {
        if !self.0.contains_key(sync) {
            self.0.insert(sync.clone(), SyncLeases::default());
        }
        self.0.get_mut(sync).expect("it was just put there")
    }
}

/// What is ready and what is on lease in one sync.
#[derive(Debug, Default)]
pub(super) struct SyncLeases {
    /// Events in the queue, and their bytes, as of the last commit.
    queued: ReadyEvents,
    /// How much of that is on lease.
    leased: ReadyEvents,
    batches: HashMap<BatchId, LeasedBatch>,
    oldest: Oldest,
    /// No ready event is in a batch with an earlier deadline.
    urgent: i64,
    /// How many leases took a part of what was ready.
    turns: usize,
    wake: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, Default)]
struct ReadyEvents {
    events: u64,
    bytes: u64,
}

impl ReadyEvents {
    fn add(&mut self, bytes: u64) {
        self.events += 1;
        self.bytes += bytes;
    }

    fn take(&mut self, bytes: u64) {
        self.events = self.events.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Whose turn it is, where not all that is ready fits into a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The freshest Purchases, then the freshest of all.
    Purchases,
    /// The freshest, whatever they are.
    Freshest,
    /// Those whose window closes first.
    MostUrgent,
}

/// A round of leases. Each kind of event has its fixed share, so that none waits for ever, whatever comes
/// in meanwhile.
const ROUND: [Turn; 4] = [
    Turn::Purchases,
    Turn::Freshest,
    Turn::Purchases,
    Turn::MostUrgent,
];

/// A batch with events on lease.
#[derive(Debug)]
struct LeasedBatch {
    content: Arc<StoredBatch>,
    taken_at: UnixMillis,
    deadline: i64,
    leased: Bits,
}

/// The oldest batch with ready events.
#[derive(Clone, Copy, Debug)]
enum Oldest {
    /// There is none.
    None,
    /// This one.
    Batch(BatchId, UnixMillis),
    /// None older than this one.
    NotBefore(BatchId),
}

impl Default for Oldest {
    fn default() -> Self {
        Self::NotBefore(BatchId::default())
    }
}

impl SyncLeases {
    /// What is ready.
    pub(super) fn backlog(&self) -> Backlog {
        Backlog {
            events: self.queued.events.saturating_sub(self.leased.events),
            bytes: self.queued.bytes.saturating_sub(self.leased.bytes),
            oldest: match self.oldest {
                Oldest::Batch(_, taken_at) => Some(taken_at),
                Oldest::None | Oldest::NotBefore(_) => None,
            },
        }
    }

    /// Is notified when events become ready.
    pub(super) fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// Takes over what a commit left in the queue.
    pub(super) fn set_queued(&mut self, events: u64, bytes: u64) {
        self.queued = ReadyEvents { events, bytes };
    }

    /// Notes a new batch, later than all before it.
    pub(super) fn added(&mut self, id: BatchId, deadline: i64, taken_at: UnixMillis) {
        if matches!(self.oldest, Oldest::None) {
            self.oldest = Oldest::Batch(id, taken_at);
        }
        self.lower_urgent(deadline);
        self.wake.notify_one();
    }

    /// Notes that unleased events of a batch ended.
    pub(super) fn ended_unleased(&mut self, id: BatchId) {
        if let Oldest::Batch(oldest, _) = self.oldest
            && oldest == id
        {
            self.oldest = Oldest::NotBefore(id);
        }
    }

    /// Whether an event is on lease.
    pub(super) fn is_leased(&self, slot: Slot) -> bool {
        self.batches
            .get(&slot.batch)
            .is_some_and(|batch| batch.leased.has(slot.position()))
    }

    /// Which events of a batch are on lease, and the batch's content if any is.
    pub(super) fn on_lease(&self, id: BatchId) -> (Bits, Option<Arc<StoredBatch>>) {
        self.batches
            .get(&id)
            .map_or_else(Default::default, |batch| {
                (batch.leased, Some(Arc::clone(&batch.content)))
            })
    }

    /// Puts events on lease.
    pub(super) fn lease(&mut self, state: &BatchState, content: &Arc<StoredBatch>, leased: &Bits) {
        for position in leased.positions() {
            self.leased.add(content.entries[position].bytes());
        }
        let batch = self.batches.entry(state.id).or_insert_with(|| LeasedBatch {
            content: Arc::clone(content),
            taken_at: state.taken_at,
            deadline: state.deadline,
            leased: Bits::default(),
        });
        batch.leased = batch.leased.or(leased);
        self.ended_unleased(state.id);
    }

    /// Takes events off lease that have ended.
    pub(super) fn ended(&mut self, slots: &[Slot]) {
        for slot in slots {
            self.remove(*slot);
        }
    }

    /// Makes events on lease ready again.
    pub(super) fn release(&mut self, slots: &[Slot]) {
        let mut woken = false;
        for slot in slots {
            let Some((deadline, taken_at)) = self.remove(*slot) else {
                continue;
            };
            self.lower_urgent(deadline);
            match self.oldest {
                Oldest::Batch(row, _) if row <= slot.batch => {}
                Oldest::NotBefore(row) => self.oldest = Oldest::NotBefore(row.min(slot.batch)),
                Oldest::None | Oldest::Batch(..) => {
                    self.oldest = Oldest::Batch(slot.batch, taken_at);
                }
            }
            woken = true;
        }
        if woken {
            self.wake.notify_one();
        }
    }

    /// Whose turn the next lease is, within these limits. Where all that is ready fits, it
    /// goes at once, and no order makes a difference.
    pub(super) fn turn(&mut self, limits: LeaseLimits) -> Turn {
        let ready = self.backlog();
        if ready.events <= limits.events as u64 && ready.bytes <= limits.bytes as u64 {
            return Turn::MostUrgent;
        }
        let turn = ROUND[self.turns % ROUND.len()];
        self.turns += 1;
        turn
    }

    /// The mark below which no ready event is; raised to the end, for the caller to lower again.
    pub(super) const fn take_urgent(&mut self) -> i64 {
        std::mem::replace(&mut self.urgent, i64::MAX)
    }

    /// Notes that a ready event may be in a batch with this deadline.
    pub(super) fn lower_urgent(&mut self, deadline: i64) {
        self.urgent = self.urgent.min(deadline);
    }

    /// Notes that the oldest batch with ready events may have been lost.
    pub(super) const fn recheck_oldest(&mut self) {
        if let Oldest::Batch(row, _) = self.oldest {
            self.oldest = Oldest::NotBefore(row);
        }
    }

    /// Where to begin looking for the oldest ready event, where it is not known.
    pub(super) const fn stale_oldest(&self) -> Option<BatchId> {
        match self.oldest {
            Oldest::NotBefore(row) => Some(row),
            Oldest::None | Oldest::Batch(..) => None,
        }
    }

    /// Notes which batch with ready events is the oldest.
    pub(super) fn set_oldest(&mut self, oldest: Option<(BatchId, UnixMillis)>) {
        self.oldest = oldest.map_or(Oldest::None, |(row, taken_at)| Oldest::Batch(row, taken_at));
    }

    /// Forgets what was derived from the store, which is to be read anew.
    pub(super) fn reset_marks(&mut self) {
        self.oldest = Oldest::default();
        self.urgent = i64::MIN;
    }

    fn remove(&mut self, slot: Slot) -> Option<(i64, UnixMillis)> {
        let batch = self.batches.get_mut(&slot.batch)?;
        if !batch.leased.has(slot.position()) {
            return None;
        }
        batch.leased.remove(slot.position());
        self.leased
            .take(batch.content.entries[slot.position()].bytes());
        let place = (batch.deadline, batch.taken_at);
        if batch.leased.is_empty() {
            self.batches.remove(&slot.batch);
        }
        Some(place)
    }
}
