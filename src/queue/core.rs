//! The queue as the writer's thread has it: an open engine, and what is kept in memory beside it.
//!
//! All changes are made inside [`Core::transact`]. They are put down as data, which reads of the same
//! transaction see, and reach the engine in one commit. What a change does to memory is an [`Effect`], done only
//! after the commit. After an error nothing of this is to be used any more: the engine is opened anew, and all
//! but leases and requests under way is read from it again.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use std::vec;

use crate::clock::{Clock, UnixMillis};
use crate::config::SyncName;
use crate::config::queue::QueueConfig;
use crate::outcome::Reason;
use crate::payload::Payload;
use crate::profile::clicks::FirstSeen;

use super::attempt::{DeliveryId, OpenAttempt};
use super::batch::{BatchId, StoredBatch, SyncId};
use super::batch_builder::{BatchBuilder, BatchKind};
use super::bounds::AllBounds;
use super::compress::Compressor;
use super::cooldown::Cooldown;
use super::engine::{
    BatchChange, BatchOrder, Engine, EngineResult, LastIds, Reader, Storage, Transaction,
};
use super::lease::Slot;
use super::leases::{LeaseTable, SyncLeases};
use super::quota::{CapacityProblem, Quota, StoreHealth, Warned};
use super::recent_clicks::RecentClicks;
use super::state::{BatchPlace, BatchState};
use super::totals::{Counter, Counters, SyncCounters};
use super::window::DuplicateWindow;

/// Batches in the first page of a walk, and the most in any.
const FIRST_PAGE: usize = 8;
const LARGEST_PAGE: usize = 256;

/// What the writer and the handles share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    leases: Mutex<LeaseTable>,
    view: Mutex<QueueView>,
    requests: Mutex<HashMap<DeliveryId, OpenAttempt>>,
    reader: Mutex<Option<Box<dyn Reader>>>,
    bounds: Mutex<Option<AllBounds>>,
    clicks: Mutex<RecentClicks>,
}

/// What the handles see of the store, as of the last commit.
#[derive(Debug, Default)]
pub(super) struct QueueView {
    pub(super) counters: Vec<SyncCounters>,
    /// When the oldest queued event of a sync was taken.
    pub(super) oldest: BTreeMap<SyncName, UnixMillis>,
    /// Whether it can store.
    pub(super) health: StoreHealth,
    /// What the log has said of that.
    pub(super) warned: Warned,
    pub(super) used_bytes: u64,
    /// See [`StoreStats`](super::quota::StoreStats), as the next.
    pub(super) headroom: Option<Duration>,
    pub(super) duplicate_window: Duration,
    /// What stood still when the process began.
    pub(super) cooldowns: Vec<Cooldown>,
}

impl Shared {
    pub(super) fn leases(&self) -> MutexGuard<'_, LeaseTable> {
        self.leases.lock().expect("no holder of this lock panics")
    }

    pub(super) fn view(&self) -> MutexGuard<'_, QueueView> {
        self.view.lock().expect("no holder of this lock panics")
    }

    /// The requests under way.
    pub(super) fn requests(&self) -> MutexGuard<'_, HashMap<DeliveryId, OpenAttempt>> {
        self.requests.lock().expect("no holder of this lock panics")
    }

    /// What reads profiles; none where it is yet to be opened.
    pub(super) fn reader(&self) -> MutexGuard<'_, Option<Box<dyn Reader>>> {
        self.reader.lock().expect("no holder of this lock panics")
    }

    /// The clicks that were asked for lately.
    pub(super) fn clicks(&self) -> MutexGuard<'_, RecentClicks> {
        self.clicks.lock().expect("no holder of this lock panics")
    }

    /// How much is remembered of people; none where nobody said so.
    pub(super) fn bounds(&self) -> MutexGuard<'_, Option<AllBounds>> {
        self.bounds.lock().expect("no holder of this lock panics")
    }
}

/// What stays the same while the engine is closed and opened again.
#[derive(Debug)]
pub(super) struct QueueContext {
    pub(super) config: QueueConfig,
    /// The syncs that take events in.
    pub(super) syncs: Vec<SyncName>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) storage: Box<dyn Storage>,
    pub(super) shared: Shared,
}

/// What a commit does to memory.
#[derive(Debug)]
pub(super) enum Effect {
    /// A batch came.
    Added {
        index: usize,
        id: BatchId,
        deadline: i64,
        taken_at: UnixMillis,
    },
    /// Events on lease ended.
    Ended { index: usize, slots: Vec<Slot> },
    /// Events on lease are ready again.
    Released { index: usize, slots: Vec<Slot> },
    /// Events of a batch ended that were not on lease.
    EndedUnleased { index: usize, id: BatchId },
    /// Events of a batch expire earlier than was known.
    Sooner { index: usize, deadline: i64 },
    /// A request is under way.
    Opened(DeliveryId, OpenAttempt),
    /// A request was answered.
    Answered(DeliveryId),
    /// A click is stored.
    Clicked(FirstSeen),
}

/// How far the transaction under way has come with removing what is oldest: all before was removed or changed by
/// it, and is not looked at again.
#[derive(Debug, Default)]
pub(super) struct PassedRecords {
    pub(super) dead_letter: i64,
    /// By sync.
    pub(super) profiles: HashMap<usize, (UnixMillis, i64)>,
}

/// The open queue.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) context: Arc<QueueContext>,
    pub(super) engine: Box<dyn Engine>,
    pub(super) counters: Counters,
    pub(super) window: DuplicateWindow,
    pub(super) quota: Quota,
    /// Dead letters by reason, of reasons of which only a sample is kept.
    pub(super) samples: HashMap<(SyncId, Reason), u64>,
    /// The transaction under way.
    pub(super) pending: Transaction,
    pub(super) passed: PassedRecords,
    pub(super) effects: Vec<Effect>,
    /// Batches in the making, by sync.
    builders: BTreeMap<(usize, BatchKind), BatchBuilder>,
    pub(super) compressor: Compressor,
    last: LastIds,
    /// Batches that were found damaged and have not been counted yet.
    pub(super) damaged: Vec<BatchId>,
    /// A lease came upon events that have expired.
    pub(super) overdue: bool,
    /// The time of the transaction under way, or of the last one.
    pub(super) now: UnixMillis,
}

impl Core {
    /// A queue of which only the engine and what it counts is known yet.
    pub(super) fn new(
        context: &Arc<QueueContext>,
        mut engine: Box<dyn Engine>,
        window: DuplicateWindow,
    ) -> EngineResult<Self> {
        let config = &context.config;
        Ok(Self {
            context: Arc::clone(context),
            counters: Counters::load(&mut *engine)?,
            window,
            quota: Quota::new(config, context.syncs.clone()),
            samples: HashMap::new(),
            pending: Transaction::default(),
            passed: PassedRecords::default(),
            effects: Vec::new(),
            builders: BTreeMap::new(),
            compressor: Compressor::new(),
            last: engine.last_ids()?,
            engine,
            damaged: Vec::new(),
            overdue: false,
            now: context.clock.now(),
        })
    }

    pub(super) fn leases(&self) -> MutexGuard<'_, LeaseTable> {
        self.context.shared.leases()
    }

    /// Does something with the leases of a sync.
    pub(super) fn leases_of<T>(&self, index: usize, act: impl FnOnce(&mut SyncLeases) -> T) -> T {
        act(self.leases().of(&self.counters.all()[index].name))
    }

    /// Makes changes in one transaction, durable when this returns.
    pub(super) fn transact<T>(
        &mut self,
        change: impl FnOnce(&mut Self) -> EngineResult<T>,
    ) -> EngineResult<T> {
        self.now = self.context.clock.now();
        self.window.expire(self.now);
        let disk = self.context.storage.disk();
        self.quota
            .measure(&mut *self.engine, disk, &self.counters, self.now)?;
        let value = change(self)?;
        while let Some(((index, _), builder)) = self.builders.pop_first() {
            self.add_batch(index, builder);
        }
        self.counters.collect_changes(&mut self.pending.counters);
        if !self.pending.is_empty() {
            self.engine.commit(&self.pending)?;
        }
        self.pending = Transaction::default();
        self.passed = PassedRecords::default();
        Ok(value)
    }

    /// Shows others what was committed.
    pub(super) fn publish(&mut self) -> EngineResult<()> {
        let effects = mem::take(&mut self.effects);
        self.apply(effects);
        for index in 0..self.counters.all().len() {
            self.refresh_oldest(index)?;
        }
        self.show()
    }

    /// Where the counters of a sync are; a sync that is new to the store gets its number.
    pub(super) fn index_of(&mut self, sync: &SyncName) -> usize {
        if let Some(index) = self.counters.find(sync) {
            return index;
        }
        self.last.sync += 1;
        self.pending.syncs.push((self.last.sync, sync.clone()));
        self.counters.add(self.last.sync, sync.clone())
    }

    pub(super) const fn next_attempt_id(&mut self) -> DeliveryId {
        self.last.attempt += 1;
        DeliveryId(self.last.attempt)
    }

    pub(super) const fn next_dead_letter_id(&mut self) -> i64 {
        self.last.dead_letter += 1;
        self.last.dead_letter
    }

    /// Adds an event to the batch in the making; a batch that is full is closed first.
    pub(super) fn queue(&mut self, index: usize, payload: Payload) {
        let key = (index, BatchKind::of(&payload, self.now));
        let bytes = payload.json.len();
        let builder = self.builders.entry(key).or_default();
        if builder.is_full_for(bytes) {
            let full = mem::take(builder);
            self.add_batch(index, full);
        }
        let counters = self.counters.at(index);
        counters.add(Counter::Queued, 1);
        counters.add(Counter::QueuedBytes, bytes as u64);
        self.builders.entry(key).or_default().add(payload);
    }

    /// Bytes of the store that a sync's batches take, with those in the making.
    pub(super) fn held_bytes(&mut self, index: usize) -> u64 {
        let (first, last) = BatchKind::ALL.into_inner();
        let builders = self.builders.range((index, first)..=(index, last));
        let building: u64 = builders
            .map(|(_, builder)| builder.max_held_bytes() as u64)
            .sum();
        self.counters.at(index).get(Counter::HeldBytes) + building
    }

    fn add_batch(&mut self, index: usize, builder: BatchBuilder) {
        self.last.batch = self.last.batch.next();
        let counters = self.counters.at(index);
        let batch = builder.build(self.last.batch, counters.id, self.now, &mut self.compressor);
        let state = &batch.state;
        counters.add(Counter::HeldBytes, state.held);
        counters.add(Counter::SeenBytes, batch.fingerprints.len() as u64);
        self.quota.taken(&counters.name, state.held);
        self.effects.push(Effect::Added {
            index,
            id: state.id,
            deadline: state.deadline,
            taken_at: state.taken_at,
        });
        self.pending.added.push(batch);
    }

    /// Finds a batch.
    pub(super) fn batch(&mut self, id: BatchId) -> EngineResult<Option<BatchState>> {
        match self.pending.batches.get(&id) {
            Some(BatchChange::Save(state) | BatchChange::Rewrite(state, _)) => {
                Ok(Some(state.clone()))
            }
            Some(BatchChange::Remove) => Ok(None),
            None => self.engine.batch(id),
        }
    }

    /// The events of a batch, which are `leased` if any of them is on lease; `None` where they are damaged.
    pub(super) fn content(
        &mut self,
        state: &BatchState,
        leased: Option<Arc<StoredBatch>>,
    ) -> EngineResult<Option<Arc<StoredBatch>>> {
        if leased.is_some() {
            return Ok(leased);
        }
        let content = self.engine.content(state.id)?;
        let whole = content.filter(|content| content.entries.len() == state.events);
        Ok(whole.map(Arc::new))
    }

    /// Counts an event of a batch as ended.
    pub(super) fn end_event(
        &mut self,
        index: usize,
        state: &mut BatchState,
        content: &StoredBatch,
        position: usize,
        reason: Reason,
    ) {
        let entry = &content.entries[position];
        state.end(position, entry);
        let counters = self.counters.at(index);
        counters.take(Counter::Queued, 1);
        counters.take(Counter::QueuedBytes, entry.bytes());
        counters.add(Counter::Ended(reason), 1);
    }

    /// Saves what has changed of a batch, or removes it if all of its events have ended.
    pub(super) fn save_batch(&mut self, index: usize, state: BatchState) {
        let id = state.id;
        let change = if state.open().is_empty() {
            self.counters.at(index).take(Counter::HeldBytes, state.held);
            BatchChange::Remove
        } else if let Some(BatchChange::Rewrite(_, body)) = self.pending.batches.remove(&id) {
            BatchChange::Rewrite(state, body)
        } else {
            BatchChange::Save(state)
        };
        self.pending.batches.insert(id, change);
    }

    /// Removes a batch with all its open events, for a reason that needs no look at them. The batch
    /// must have none on lease. Gives their number.
    pub(super) fn end_batch(&mut self, index: usize, state: &BatchState, reason: Reason) -> u64 {
        let events = state.open().count();
        let counters = self.counters.at(index);
        counters.take(Counter::Queued, events);
        counters.take(Counter::QueuedBytes, state.bytes);
        counters.take(Counter::HeldBytes, state.held);
        counters.add(Counter::Ended(reason), events);
        let id = state.id;
        self.pending.batches.insert(id, BatchChange::Remove);
        self.effects.push(Effect::EndedUnleased { index, id });
        events
    }

    /// Goes through the batches of a sync.
    pub(super) fn walk(
        &mut self,
        index: usize,
        order: BatchOrder,
        after: Option<BatchPlace>,
    ) -> BatchWalk {
        BatchWalk {
            sync: self.counters.at(index).id,
            order,
            after,
            limit: FIRST_PAGE,
            page: Vec::new().into_iter(),
            is_last: false,
        }
    }

    /// Finds out again which ready event is the oldest, after the one that was has gone.
    pub(super) fn refresh_oldest(&mut self, index: usize) -> EngineResult<()> {
        let context = Arc::clone(&self.context);
        // Held throughout, or an event that is released meanwhile would be missed.
        let mut leases = context.shared.leases();
        let leases = leases.of(&self.counters.all()[index].name);
        let Some(from) = leases.stale_oldest() else {
            return Ok(());
        };
        let from = BatchPlace::before_batch(from);
        let mut batches = self.walk(index, BatchOrder::Oldest, Some(from));
        let mut oldest = None;
        while let Some(state) = batches.next(self)? {
            let (leased, _) = leases.on_lease(state.id);
            if !state.open().without(&leased).is_empty() {
                oldest = Some((state.id, state.taken_at));
                break;
            }
        }
        leases.set_oldest(oldest);
        Ok(())
    }

    fn apply(&mut self, effects: Vec<Effect>) {
        let shared = &self.context.shared;
        let mut leases = shared.leases();
        let all = self.counters.all();
        for counters in all {
            let bytes = counters.get(Counter::QueuedBytes);
            leases
                .of(&counters.name)
                .set_queued(counters.get(Counter::Queued), bytes);
        }
        let mut change = |index: usize, change: &dyn Fn(&mut SyncLeases)| {
            change(leases.of(&all[index].name));
        };
        for effect in effects {
            match effect {
                Effect::Added {
                    index,
                    id,
                    deadline,
                    taken_at,
                } => change(index, &|leases| leases.added(id, deadline, taken_at)),
                Effect::Ended { index, slots } => change(index, &|leases| leases.ended(&slots)),
                Effect::Released { index, slots } => {
                    change(index, &|leases| leases.release(&slots));
                }
                Effect::EndedUnleased { index, id } => {
                    change(index, &|leases| leases.ended_unleased(id));
                }
                Effect::Sooner { index, deadline } => {
                    change(index, &|leases| leases.lower_urgent(deadline));
                }
                Effect::Opened(id, request) => drop(shared.requests().insert(id, request)),
                Effect::Answered(id) => drop(shared.requests().remove(&id)),
                Effect::Clicked(click) => shared.clicks().store(click),
            }
        }
    }

    fn show(&mut self) -> EngineResult<()> {
        let context = Arc::clone(&self.context);
        let mut view = context.shared.view();
        for (index, counters) in self.counters.all().iter().enumerate() {
            let shown = view.counters.get(index);
            if shown == Some(counters) {
                continue;
            }
            // A batch leaves with its last event, and a new one is not the oldest but where there was none.
            let has_oldest = view.oldest.contains_key(&counters.name)
                && shown.is_some_and(|shown| shown.ended() == counters.ended());
            match view.counters.get_mut(index) {
                Some(shown) => shown.clone_from(counters),
                None => view.counters.push(counters.clone()),
            }
            if has_oldest {
                continue;
            }
            let oldest = self
                .engine
                .batches(counters.id, BatchOrder::Oldest, None, 1)?;
            match oldest.first() {
                Some(oldest) => view.oldest.insert(counters.name.clone(), oldest.taken_at),
                None => view.oldest.remove(&counters.name),
            };
        }
        view.health = StoreHealth {
            trouble: self.quota.is_disk_low().then_some(CapacityProblem::DiskLow),
            full: self.quota.full(&self.counters),
        };
        self.quota.warn(&self.counters, &mut view.warned);
        view.used_bytes = self.quota.used_bytes();
        view.headroom = self.quota.headroom(&self.counters);
        view.duplicate_window = self.window.reach(self.now);
        Ok(())
    }
}

/// Goes through the batches of a sync, a page at a time, as the transaction under way leaves them.
#[derive(Debug)]
pub(super) struct BatchWalk {
    sync: SyncId,
    order: BatchOrder,
    after: Option<BatchPlace>,
    limit: usize,
    page: vec::IntoIter<BatchState>,
    is_last: bool,
}

impl BatchWalk {
    pub(super) fn next(&mut self, core: &mut Core) -> EngineResult<Option<BatchState>> {
        loop {
            if let Some(stored) = self.page.next() {
                match core.pending.batches.get(&stored.id) {
                    None => return Ok(Some(stored)),
                    Some(BatchChange::Save(state) | BatchChange::Rewrite(state, _)) => {
                        return Ok(Some(state.clone()));
                    }
                    Some(BatchChange::Remove) => continue,
                }
            }
            if self.is_last {
                return Ok(None);
            }
            let page = core
                .engine
                .batches(self.sync, self.order, self.after, self.limit)?;
            self.is_last = page.len() < self.limit;
            self.after = page.last().map(BatchState::place);
            self.limit = (self.limit * 2).min(LARGEST_PAGE);
            self.page = page.into_iter();
        }
    }
}
