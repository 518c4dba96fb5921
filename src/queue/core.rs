//! The queue as the writer's thread has it: an open engine, and what is kept in memory beside it.
//!
//! All changes are made inside [`Core::transact`]. They are collected as data, which reads of the same
//! transaction see, and reach the engine in one commit. What a change does to memory is an [`Effect`], applied
//! after the commit. After an error the core is thrown away: the engine is opened again, and everything but leases
//! and requests under way is read from it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
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

use super::QueueSettings;
use super::age_limit::AgeLimit;
use super::attempt::{AttemptId, OpenAttempt};
use super::batch::{BatchId, StoredBatch, SyncId};
use super::batch_builder::{BatchBuilder, BatchKind};
use super::bits::Bits;
use super::compress::Compressor;
use super::cooldown::Cooldown;
use super::damage::{Finding, SearchProgress};
use super::engine::{BatchChange, BatchOrder, Engine, EngineResult, LastIds, Storage, Transaction};
use super::leases::{LeaseChange, LeaseTable, SyncLeases};
use super::mend;
use super::pulse::Pulse;
use super::quota::{CapacityProblem, Quota, StoreHealth, StoreStats, Warned};
use super::recent_clicks::RecentClicks;
use super::shared_reader::{ReadTurns, SharedReader};
use super::state::{BatchPlace, BatchState, Soundness};
use super::totals::{Counter, Counters, SyncCounters};
use super::window::{self, DuplicateWindow};

/// Batches in the first page of a walk, and the most in any.
const FIRST_PAGE: usize = 8;
const LARGEST_PAGE: usize = 256;

/// What the writer and the handles share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) leases: Guarded<LeaseTable>,
    pub(super) view: Guarded<QueueView>,
    /// The requests under way.
    pub(super) requests: Guarded<HashMap<AttemptId, OpenAttempt>>,
    /// Reads profiles.
    pub(super) reader: SharedReader,
    /// Bounds what reads beside the writer.
    pub(super) reads: ReadTurns,
    /// The clicks of recent requests.
    pub(super) clicks: Guarded<RecentClicks>,
    /// Whether the writer gets on.
    pub(super) pulse: Pulse,
    /// The searches for damage, which end when the store is closed.
    pub(super) searches: SearchProgress,
}

/// A value that several threads change.
#[derive(Debug, Default)]
pub(super) struct Guarded<T>(Mutex<T>);

impl<T> Guarded<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

/// What the handles see of the store, as of the last commit.
#[derive(Debug, Default)]
pub(super) struct QueueView {
    pub(super) counters: Vec<SyncCounters>,
    pub(super) stats: StoreStats,
    pub(super) health: StoreHealth,
    /// What the log has told of that.
    pub(super) warned: Warned,
    /// The cooldowns when the process began.
    pub(super) cooldowns: Vec<Cooldown>,
}

/// What outlives the engine when it is closed and opened again.
#[derive(Debug)]
pub(super) struct QueueContext {
    pub(super) settings: Guarded<Arc<QueueSettings>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) storage: Box<dyn Storage>,
    pub(super) shared: Shared,
}

impl QueueContext {
    /// Says on `/health` what keeps the store from storing anything, until something else is said of it.
    pub(super) fn set_trouble(&self, trouble: CapacityProblem) {
        self.shared.view.lock().health.trouble = Some(trouble);
    }

    /// Whether events can be stored now. What the writer has said of itself tells more than that it hangs.
    pub(super) fn health(&self) -> StoreHealth {
        let mut health = self.shared.view.lock().health.clone();
        health.trouble = health.trouble.or_else(|| {
            let hangs = self.shared.pulse.hangs(&*self.clock)?;
            Some(CapacityProblem::Failing(hangs.to_string()))
        });
        health
    }
}

/// What a commit does to memory.
#[derive(Debug)]
pub(super) enum Effect {
    /// The leases of a sync change.
    Leases(usize, LeaseChange),
    /// A request is under way.
    Opened(AttemptId, OpenAttempt),
    /// A request was answered.
    Answered(AttemptId),
    /// A click is stored.
    Clicked(FirstSeen),
}

/// Where the search for the oldest records goes on: it has dealt with all before.
#[derive(Debug, Default)]
pub(super) struct PassedRecords {
    pub(super) dead_letter: i64,
    pub(super) damaged: i64,
    /// By sync; in the present transaction.
    pub(super) profiles: HashMap<usize, (UnixMillis, i64)>,
}

/// The open queue.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) context: Arc<QueueContext>,
    pub(super) settings: Arc<QueueSettings>,
    pub(super) engine: Box<dyn Engine>,
    pub(super) counters: Counters,
    pub(super) window: DuplicateWindow,
    pub(super) quota: Quota,
    /// How many dead letters there are, for reasons of which only a sample is kept.
    pub(super) samples: HashMap<(SyncId, Reason), u64>,
    /// The present transaction.
    pub(super) pending: Transaction,
    pub(super) passed: PassedRecords,
    pub(super) effects: Vec<Effect>,
    /// Batches that are being built, by sync.
    builders: BTreeMap<(usize, BatchKind), BatchBuilder>,
    pub(super) compressor: Compressor,
    pub(super) last: LastIds,
    /// Batches that were found damaged and have not been counted yet.
    pub(super) damaged: Vec<BatchId>,
    /// Batches whose states were not read as they were written.
    pub(super) unsound: BTreeSet<BatchId>,
    /// Damage that was met and is dealt with, but not told yet.
    pub(super) findings: Vec<Finding>,
    /// An index of the engine's may disagree with its table, or the counters with what is there.
    pub(super) suspects_indexes: bool,
    /// The counters may be wrong.
    pub(super) needs_recount: bool,
    /// At which uptime the copies of damaged files were last looked at.
    pub(super) copies_seen_at: Option<Duration>,
    /// A lease met events that have expired.
    pub(super) overdue: bool,
    /// The time of the present transaction, or of the last one.
    pub(super) now: UnixMillis,
    /// And its uptime.
    pub(super) uptime: Duration,
}

impl Core {
    /// A queue that knows nothing yet but its engine, the counters and the duplicate window.
    pub(super) fn new(
        context: &Arc<QueueContext>,
        mut engine: Box<dyn Engine>,
    ) -> EngineResult<Self> {
        let settings = Arc::clone(&context.settings.lock());
        let now = context.clock.now();
        Ok(Self {
            context: Arc::clone(context),
            counters: Counters::load(&mut *engine)?,
            window: window::load(&settings.config, &*context.clock, &mut *engine)?,
            quota: Quota::new(Arc::clone(&settings)),
            settings,
            samples: HashMap::new(),
            pending: Transaction::default(),
            passed: PassedRecords::default(),
            effects: Vec::new(),
            builders: BTreeMap::new(),
            compressor: Compressor::new(),
            last: engine.last_ids()?,
            engine,
            damaged: Vec::new(),
            unsound: BTreeSet::new(),
            findings: Vec::new(),
            suspects_indexes: false,
            copies_seen_at: None,
            needs_recount: false,
            overdue: false,
            now,
            uptime: context.clock.uptime(),
        })
    }

    /// Which records have been kept for so long.
    pub(super) fn age_limit(&self, retention: Duration) -> AgeLimit {
        AgeLimit::new(&*self.context.clock, self.now, retention)
    }

    pub(super) fn leases(&self) -> MutexGuard<'_, LeaseTable> {
        self.context.shared.leases.lock()
    }

    /// Works on the leases of a sync.
    pub(super) fn leases_of<T>(&self, index: usize, act: impl FnOnce(&mut SyncLeases) -> T) -> T {
        act(self.leases().of(&self.counters.all()[index].name))
    }

    /// Which events of a batch are on lease, and the batch's content if any is.
    pub(super) fn on_lease(&self, index: usize, id: BatchId) -> (Bits, Option<Arc<StoredBatch>>) {
        self.leases_of(index, |leases| leases.on_lease(id))
    }

    /// Makes changes in one transaction; they are durable when this returns.
    pub(super) fn transact<T>(
        &mut self,
        change: impl FnOnce(&mut Self) -> EngineResult<T>,
    ) -> EngineResult<T> {
        self.now = self.context.clock.now();
        self.uptime = self.context.clock.uptime();
        self.adopt_settings()?;
        self.window.expire(self.uptime);
        let disk = self.context.storage.disk();
        self.quota
            .measure(&mut *self.engine, disk, &self.counters, self.uptime)?;
        let value = change(self)?;
        while let Some(((index, _), builder)) = self.builders.pop_first() {
            self.add_batch(index, builder);
        }
        self.counters.collect_changes(&mut self.pending.counters);
        if !self.pending.is_empty() {
            self.engine.commit(&self.pending)?;
        }
        self.pending = Transaction::default();
        self.passed.profiles.clear();
        Ok(value)
    }

    /// Goes by the settings that hold now.
    fn adopt_settings(&mut self) -> EngineResult<()> {
        let settings = Arc::clone(&self.context.settings.lock());
        if Arc::ptr_eq(&settings, &self.settings) {
            return Ok(());
        }
        let window = |config: &QueueConfig| (config.duplicate_window, config.duplicate_ids);
        if window(&settings.config) != window(&self.settings.config) {
            self.window = window::load(&settings.config, &*self.context.clock, &mut *self.engine)?;
        }
        for sync in &settings.syncs {
            self.index_of(sync);
        }
        // Other records may have to leave by these settings.
        self.passed = PassedRecords::default();
        self.quota.settings = Arc::clone(&settings);
        self.settings = settings;
        Ok(())
    }

    /// Shows the handles what was committed.
    pub(super) fn publish(&mut self) -> EngineResult<()> {
        self.apply_effects();
        for index in 0..self.counters.all().len() {
            self.refresh_oldest(index)?;
        }
        self.show()
    }

    /// The index of a sync's counters; gives a number to a sync that is new to the store.
    pub(super) fn index_of(&mut self, sync: &SyncName) -> usize {
        if let Some(index) = self.counters.find(sync) {
            return index;
        }
        self.last.sync += 1;
        self.pending.syncs.push((self.last.sync, sync.clone()));
        self.counters.add(self.last.sync, sync.clone())
    }

    /// Adds an event to the batch that is being built; closes a full batch first.
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

    /// Bytes of the store that a sync's batches take, including those that are being built.
    pub(super) fn held_bytes(&mut self, index: usize) -> u64 {
        let first = BatchKind::default();
        let builders = self.builders.range((index, first)..(index + 1, first));
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
        let added = LeaseChange::Added(state.place(), self.uptime);
        self.effects.push(Effect::Leases(index, added));
        self.pending.added.push(batch);
    }

    /// Finds a batch.
    pub(super) fn batch(&mut self, id: BatchId) -> EngineResult<Option<BatchState>> {
        match self.batch_as_stored(id)? {
            Some(found) => self.sound_state(found),
            None => Ok(None),
        }
    }

    /// Finds a batch, its state as it was read, sound or not.
    pub(super) fn batch_as_stored(&mut self, id: BatchId) -> EngineResult<Option<BatchState>> {
        match self.pending.batches.get(&id) {
            Some(pending) => Ok(pending.as_ref().map(|change| change.state.clone())),
            None => self.engine.batch(id),
        }
    }

    /// Finds out what a batch's state should be, if it was not read as it was written; `None` where only its loss is
    /// left. The store is put right soon.
    fn sound_state(&mut self, found: BatchState) -> EngineResult<Option<BatchState>> {
        if found.soundness == Soundness::Sound {
            return Ok(Some(found));
        }
        self.unsound.insert(found.id);
        // An index may have told a wrong place of it.
        match self.engine.batch(found.id)? {
            Some(stored) => mend::mended(&mut *self.engine, stored),
            None => Ok(None),
        }
    }

    /// The events of a batch: `leased`, if memory has them already; `None` where they are damaged.
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

    /// Saves the state of a batch, or removes it if all of its events have ended.
    pub(super) fn save_batch(&mut self, index: usize, state: BatchState) {
        let id = state.id;
        let earlier = self.pending.batches.remove(&id).flatten();
        let change = if state.open().is_empty() {
            self.counters.at(index).take(Counter::HeldBytes, state.held);
            None
        } else {
            let body = earlier.and_then(|earlier| earlier.body);
            Some(BatchChange {
                state,
                body,
                restores: false,
            })
        };
        self.pending.batches.insert(id, change);
    }

    /// Stores a state that was mended.
    pub(super) fn restore_batch(&mut self, state: BatchState) {
        let change = BatchChange {
            state,
            body: None,
            restores: true,
        };
        self.pending.batches.insert(change.state.id, Some(change));
    }

    /// Removes a batch and ends its open events without reading them; gives their number. None may be on
    /// lease.
    pub(super) fn end_batch(&mut self, index: usize, state: &BatchState, reason: Reason) -> u64 {
        let events = state.open().count();
        if state.soundness == Soundness::Sound {
            let counters = self.counters.at(index);
            counters.take(Counter::Queued, events);
            counters.take(Counter::QueuedBytes, state.bytes);
            counters.take(Counter::HeldBytes, state.held);
            counters.add(Counter::Ended(reason), events);
        }
        self.remove_batch(state);
        self.ended_unleased(index, state.id);
        events
    }

    /// Removes a batch. What a damaged state says does not count: everything is counted anew after it.
    pub(super) fn remove_batch(&mut self, state: &BatchState) {
        self.needs_recount |= state.soundness != Soundness::Sound;
        self.pending.batches.insert(state.id, None);
    }

    /// Notes that events of a batch ended that were not on lease.
    pub(super) fn ended_unleased(&mut self, index: usize, id: BatchId) {
        let change = LeaseChange::EndedUnleased(id);
        self.effects.push(Effect::Leases(index, change));
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

    /// Finds the oldest ready event again, after the last one has gone.
    pub(super) fn refresh_oldest(&mut self, index: usize) -> EngineResult<()> {
        let Some(id) = self.leases_of(index, SyncLeases::begin_search) else {
            return Ok(());
        };
        let from = BatchPlace::before_batch(id);
        let mut batches = self.walk(index, BatchOrder::Oldest, Some(from));
        // A disk may hang here, so no lock is held: whoever asks for the backlog would hang with it.
        let oldest = loop {
            let Some(state) = batches.next(self)? else {
                break None;
            };
            let (leased, _) = self.on_lease(index, state.id);
            if !state.open().without(&leased).is_empty() {
                break Some(state.id);
            }
        };
        self.leases_of(index, |leases| leases.end_search(oldest));
        Ok(())
    }

    fn apply_effects(&mut self) {
        let shared = &self.context.shared;
        let all = self.counters.all();
        let mut leases = shared.leases.lock();
        for counters in all {
            let events = counters.get(Counter::Queued);
            let bytes = counters.get(Counter::QueuedBytes);
            leases.of(&counters.name).set_queued(events, bytes);
        }
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Leases(index, change) => leases.of(&all[index].name).apply(change),
                Effect::Opened(id, request) => drop(shared.requests.lock().insert(id, request)),
                Effect::Answered(id) => drop(shared.requests.lock().remove(&id)),
                Effect::Clicked(click) => shared.clicks.lock().store(click),
            }
        }
    }

    fn show(&mut self) -> EngineResult<()> {
        let context = Arc::clone(&self.context);
        let changed = self.changed_since_shown();
        let mut oldest = Vec::with_capacity(changed.len());
        for index in changed {
            oldest.push((index, self.oldest_taken_at(index)?));
        }
        // After all reads: a disk may hang, and `/health` would wait for this lock.
        let mut view = context.shared.view.lock();
        let view = &mut *view;
        for (index, counters) in self.counters.all().iter().enumerate() {
            match view.counters.get_mut(index) {
                Some(shown) if shown == counters => {}
                Some(shown) => shown.clone_from(counters),
                None => view.counters.push(counters.clone()),
            }
        }
        for (index, taken_at) in oldest {
            let name = &self.counters.all()[index].name;
            match taken_at {
                Some(taken_at) => view.stats.oldest.insert(name.clone(), taken_at),
                None => view.stats.oldest.remove(name),
            };
        }
        view.health = StoreHealth {
            trouble: self.quota.is_disk_low().then_some(CapacityProblem::DiskLow),
            full: self.quota.full(&self.counters),
        };
        self.quota.warn(&self.counters, &mut view.warned);
        view.stats.used_bytes = self.quota.used;
        view.stats.headroom = self.quota.headroom(&self.counters);
        view.stats.duplicate_window = self.window.reach(self.uptime);
        Ok(())
    }

    /// The syncs whose oldest batch may be another than the one shown. The oldest stays the oldest until an event ends.
    fn changed_since_shown(&self) -> Vec<usize> {
        let view = self.context.shared.view.lock();
        let all = self.counters.all().iter().enumerate();
        let changed = all.filter(|(index, counters)| {
            let shown = view.counters.get(*index);
            let has_oldest = view.stats.oldest.contains_key(&counters.name)
                && shown.is_some_and(|shown| shown.ended() == counters.ended());
            shown != Some(counters) && !has_oldest
        });
        changed.map(|(index, _)| index).collect()
    }

    /// When the oldest batch of a sync was taken.
    fn oldest_taken_at(&mut self, index: usize) -> EngineResult<Option<UnixMillis>> {
        let sync = self.counters.at(index).id;
        let oldest = self.engine.batches(sync, BatchOrder::Oldest, None, 1)?;
        Ok(oldest.first().map(|oldest| oldest.taken_at.min(self.now)))
    }
}

/// Goes through the batches of a sync, a page at a time, as the present transaction leaves them.
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
                    None => match core.sound_state(stored)? {
                        Some(state) if state.sync == self.sync => return Ok(Some(state)),
                        _ => continue,
                    },
                    Some(Some(change)) => return Ok(Some(change.state.clone())),
                    Some(None) => continue,
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
