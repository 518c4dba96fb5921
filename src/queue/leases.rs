//! What is ready and what is on lease, by sync: in memory, shared by the writer and the handles.
//!
//! Nothing here grows with the backlog. A batch has an entry only while some of its events are on
//! lease. After a restart nothing is on lease: every queued event is ready.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::config::SyncName;

use super::batch::{BatchId, StoredBatch};
use super::bits::Bits;
use super::engine::BatchOrder;
use super::lease::{Backlog, Slot};
use super::ready_times::ReadyTimes;
use super::state::{BatchPlace, BatchState};

#[derive(Debug, Default)]
pub(super) struct LeaseTable(BTreeMap<SyncName, SyncLeases>);

impl LeaseTable {
    pub(super) fn of(&mut self, sync: &SyncName) -> &mut SyncLeases {
        self.0.entry(sync.clone()).or_default()
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
    /// `None` where there is none.
    oldest: Option<OldestBatch>,
    /// The oldest batch of which events were released since the search for the oldest began.
    released: Option<BatchId>,
    ready_times: ReadyTimes,
    /// A lower bound of the deadlines of the batches that have ready events.
    urgent: i64,
    /// How many leases took only a part of what was ready.
    turns: usize,
    /// How often events were released.
    releases: u64,
    /// How many leases in a row have found less than what is ready.
    short: u32,
    /// How often so many had that something was done about it.
    errors: u32,
    /// Is notified when events become ready.
    pub(super) wake: Arc<Notify>,
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

/// The batches that a lease begins with, then those that it fills up with.
pub(super) type Turn = &'static [BatchOrder];

const PURCHASES: Turn = &[BatchOrder::FreshestPurchases, BatchOrder::Freshest];
const FRESHEST: Turn = &[BatchOrder::Freshest];
const MOST_URGENT: Turn = &[BatchOrder::Deadline];
/// A round of leases, where not all that is ready fits into one. Each kind of event has its fixed share, so
/// that none waits for ever.
const ROUND: [Turn; 4] = [PURCHASES, FRESHEST, PURCHASES, MOST_URGENT];

/// So many leases in a row that find less than what is ready are damage. The first may be a wrong read.
const SHORT_LEASES: u32 = 2;

/// Events that are ready by the counts, and that no lease finds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shortage {
    pub(super) events: u64,
    /// There was one before, and what may be mended was.
    pub(super) is_mended: bool,
}

/// What a commit does to the leases of a sync.
#[derive(Debug)]
pub(super) enum LeaseChange {
    /// A batch was committed, later than all before it, and is ready since this uptime.
    Added(BatchPlace, Duration),
    /// Events on lease ended.
    Ended(Vec<Slot>),
    /// Events on lease are ready again.
    Released(Vec<Slot>),
    /// All events on lease are ready again.
    ReleasedAll,
    /// Events of a batch ended that were not on lease.
    EndedUnleased(BatchId),
}

/// A batch with events on lease.
#[derive(Debug)]
struct LeasedBatch {
    content: Arc<StoredBatch>,
    deadline: i64,
    leased: Bits,
}

/// The oldest batch with ready events.
#[derive(Clone, Copy, Debug)]
struct OldestBatch {
    id: BatchId,
    /// Not until it is looked up: till then it is this batch or a later one.
    is_certain: bool,
}

impl SyncLeases {
    /// What is ready.
    pub(super) fn backlog(&self) -> Backlog {
        Backlog {
            events: self.queued.events.saturating_sub(self.leased.events),
            bytes: self.queued.bytes.saturating_sub(self.leased.bytes),
            since: (self.oldest.filter(|oldest| oldest.is_certain))
                .and_then(|oldest| self.ready_times.since(oldest.id)),
        }
    }

    /// Sets what a commit has left in the queue.
    pub(super) fn set_queued(&mut self, events: u64, bytes: u64) {
        self.queued = ReadyEvents { events, bytes };
    }

    /// Applies what a commit has done.
    pub(super) fn apply(&mut self, change: LeaseChange) {
        match change {
            LeaseChange::Added(place, since) => {
                self.ready_times.add(place.id, since);
                self.oldest.get_or_insert(OldestBatch {
                    id: place.id,
                    is_certain: true,
                });
                self.lower_urgent(place.deadline);
                self.wake.notify_one();
            }
            LeaseChange::Ended(slots) => {
                for slot in slots {
                    self.remove(slot);
                }
            }
            LeaseChange::Released(slots) => self.release(&slots),
            LeaseChange::ReleasedAll => {
                let leased = self.batches.iter().flat_map(|(id, batch)| {
                    let positions = batch.leased.positions();
                    positions.map(|position| Slot::new(*id, position))
                });
                let leased: Vec<Slot> = leased.collect();
                self.release(&leased);
            }
            LeaseChange::EndedUnleased(id) => self.ended_unleased(id),
        }
    }

    fn ended_unleased(&mut self, id: BatchId) {
        if self.oldest.is_some_and(|oldest| oldest.id == id) {
            self.recheck_oldest();
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
            deadline: state.deadline,
            leased: Bits::default(),
        });
        batch.leased = batch.leased.or(leased);
        self.ended_unleased(state.id);
    }

    /// Makes events on lease ready again.
    pub(super) fn release(&mut self, slots: &[Slot]) {
        let mut woken = false;
        for slot in slots {
            let Some(deadline) = self.remove(*slot) else {
                continue;
            };
            self.lower_urgent(deadline);
            let released = self.released.map_or(slot.batch, |id| id.min(slot.batch));
            self.released = Some(released);
            if self.oldest.is_none_or(|oldest| slot.batch < oldest.id) {
                self.oldest = Some(OldestBatch {
                    id: slot.batch,
                    is_certain: true,
                });
            }
            woken = true;
        }
        if woken {
            self.releases += 1;
            self.wake.notify_one();
        }
    }

    /// How often events were released.
    pub(super) const fn releases(&self) -> u64 {
        self.releases
    }

    /// Whose turn the next lease is. Where all that is ready fits into the limits, the order makes no
    /// difference.
    pub(super) fn turn(&mut self, max_events: usize, max_bytes: usize) -> Turn {
        let ready = self.backlog();
        if ready.events <= max_events as u64 && ready.bytes <= max_bytes as u64 {
            return MOST_URGENT;
        }
        let turn = ROUND[self.turns % ROUND.len()];
        self.turns += 1;
        turn
    }

    /// Notes that a lease has taken all that it found; `releases`: how many there had been when it began. Only the
    /// caller leases and commits, so only a release meanwhile explains what is left. Tells how many events that is
    /// after some such leases; each time it takes more of them.
    pub(super) fn took_all(&mut self, releases: u64) -> Option<Shortage> {
        let left = self.backlog().events;
        if left == 0 {
            // All that was counted was found.
            (self.short, self.errors) = (0, 0);
            return None;
        }
        if self.releases != releases {
            return None;
        }
        self.short += 1;
        if self.short < SHORT_LEASES << self.errors.min(16) {
            return None;
        }
        self.short = 0;
        let is_mended = self.errors > 0;
        self.errors += 2;
        Some(Shortage {
            events: left,
            is_mended,
        })
    }

    /// Gives the earliest deadline that a ready event can have, and raises the mark to the end; the caller lowers
    /// it again.
    pub(super) const fn take_urgent(&mut self) -> i64 {
        std::mem::replace(&mut self.urgent, i64::MAX)
    }

    /// Notes that a ready event may be in a batch with this deadline.
    pub(super) fn lower_urgent(&mut self, deadline: i64) {
        self.urgent = self.urgent.min(deadline);
    }

    /// Notes that a batch has an earlier deadline: what is on lease of it comes back to that place.
    pub(super) fn lower_deadline(&mut self, id: BatchId, deadline: i64) {
        self.lower_urgent(deadline);
        if let Some(batch) = self.batches.get_mut(&id) {
            batch.deadline = batch.deadline.min(deadline);
        }
    }

    /// Notes that the oldest batch may have no ready events left.
    pub(super) const fn recheck_oldest(&mut self) {
        if let Some(oldest) = &mut self.oldest {
            oldest.is_certain = false;
        }
    }

    /// Begins to search for the oldest batch with ready events, and gives the first that it may be; `None` where it is
    /// known.
    pub(super) fn begin_search(&mut self) -> Option<BatchId> {
        let oldest = self.oldest.filter(|oldest| !oldest.is_certain)?;
        self.released = None;
        Some(oldest.id)
    }

    /// Takes what the search has found. It may have passed batches of which events were released meanwhile; only the
    /// caller leases and commits, so they are ready still.
    pub(super) fn end_search(&mut self, found: Option<BatchId>) {
        let oldest = found.into_iter().chain(self.released).min();
        self.oldest = oldest.map(|id| OldestBatch {
            id,
            is_certain: true,
        });
    }

    /// Forgets what was derived from the store, before it is read again. What it holds is ready since then.
    pub(super) fn reset_marks(&mut self, uptime: Duration) {
        self.oldest = Some(OldestBatch {
            id: BatchId::default(),
            is_certain: false,
        });
        self.ready_times = ReadyTimes::from(uptime);
        self.urgent = i64::MIN;
    }

    fn remove(&mut self, slot: Slot) -> Option<i64> {
        let batch = self.batches.get_mut(&slot.batch)?;
        if !batch.leased.has(slot.position()) {
            return None;
        }
        batch.leased.remove(slot.position());
        self.leased
            .take(batch.content.entries[slot.position()].bytes());
        let deadline = batch.deadline;
        if batch.leased.is_empty() {
            self.batches.remove(&slot.batch);
        }
        Some(deadline)
    }
}
