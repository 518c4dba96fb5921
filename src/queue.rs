//! The queue: every event that was accepted, on disk until it has ended.
//!
//! # What it is built for
//!
//! - What a push reports as stored survives kill -9, a full disk and a power cut, and ends in exactly
//!   one outcome. Per sync and at any moment, events taken + dead letters retried = events ended +
//!   events queued; the counts are in the store and change in the transaction that moves the event.
//! - The cost of an event grows neither with the backlog nor with the age of the store, and memory
//!   does not grow with the backlog. Besides the duplicate window, memory holds counters, and rows
//!   while some of their events are on lease.
//! - Only mapped events get here: nothing in the store is raw personal data.
//!
//! # How it is kept
//!
//! One thread (`writer`) changes the queue. It commits everything that waits in one transaction, in batches of at
//! most 256 events and 256 KiB per sync (`batch`), compressed (`compress`). Purchases and late events have batches
//! of their own. A batch's events are never rewritten: a small bitmap (`state`) says which have ended, and the
//! batch is removed with its last event. The batch's fingerprints stay longer, for the duplicate window
//! (`window`) and for `trace`.
//!
//! The rules stand in files named after what they do: `push`, `leasing`, `settle`, `dead_letters`, `expire`,
//! `erase`, `profiles`, `trace`, each a few functions over the `core`. Below them an `engine` stores and finds. In
//! use is `sqlite`: a file in WAL mode with `synchronous = FULL`, and a locked file that decides which process owns
//! it.
//!
//! # What the operations promise
//!
//! - **push**: durable when it returns. A repeat within the window is a `duplicate`, even within one
//!   transaction; if the transaction fails, neither was taken.
//! - **lease**: hands an event out once, until it is settled or released. Where more is ready than fits, as
//!   after an outage, fresh events go first, Purchases before the rest, and every fourth lease takes those with
//!   the earliest deadline; so nothing waits for ever. Never hands out an event that has expired by a confirmed clock.
//! - **open delivery**: the request is on record before it is sent.
//! - **settle**: one transaction ends events, files dead letters, closes the request's record, and
//!   notes the waits that Meta asked for. It may be repeated after an error: an event ends once. If it never
//!   happens, the events are delivered again.
//! - **expiry**: an event leaves at its deadline, in paused lanes too, and 48 hours after a request
//!   whose answer was lost, or that was refused whole: after that Meta no longer recognises a repeat.
//! - **recover**: after an error nothing is acknowledged until the store has been opened again. A restart
//!   finds every queued event ready. A request that a crash cut off counts as one with a lost answer.
//! - **damage**: what looks damaged is read again through a new connection. A row whose checksum does not match then
//!   ends as `lost`, and what is stored of it is set aside; the rest goes on. Where a page is damaged, what is
//!   readable is copied into a new file (`salvage`). Where events are ready by the counts and no lease
//!   finds them, the indexes are built anew.
//!
//! The queue knows neither what a lane is doing nor what the events mean.

use std::any::Any;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{mpsc, oneshot};

use crate::clock::{Clock, UnixMillis};
use crate::config::SyncName;
use crate::config::queue::QueueConfig;
use crate::config::sync::UserMemory;
use crate::payload::{Fingerprint, Submission};

use attempt::AttemptId;
use cooldown::Cooldown;
use core::{Core, Guarded, QueueContext, Shared};
use damaged::DamagedBatch;
use engine::{Beside, EngineResult, Reader, Storage};
use lease::{Backlog, Leased, Order, Slot};
use memory::MemoryEngine;
use profile_reader::ProfileReader;
use settle::Settlement;
use sqlite::Sqlite;
use writer::{Reply, WriterCommand, WriterWork};

pub mod attempt;
pub mod lease;
pub mod settle;
pub mod cooldown;
pub mod totals;
pub mod dead;
pub mod quota;
pub mod trace;
pub mod erase;
mod profiles;
mod recent_clicks;
mod batch_builder;
mod leasing;
mod dead_letters;
pub mod damaged;
mod room;
mod set_aside;
pub mod profile_reader;
pub mod engine;
mod copy_bounds;
mod displaced;
mod shared_reader;
mod pulse;
mod opening;
mod writer;
mod core;
pub mod damage;
mod mend;
pub mod verify;
mod push;
mod expire;
mod clicks;
mod age_limit;
mod leases;
mod ready_times;
mod window;
pub mod state;
mod batch;
mod bits;
mod checksum;
mod error;
mod compress;
mod sqlite;
#[doc(hidden)]
pub mod memory;

pub use damage::{DamageKind, DamageLog, Finding, Verified, VerifyStep};
pub use damaged::ExportedBatch;
pub use dead::{DeadFilter, DeadLetter, Retried};
pub use erase::{Forgotten, Person};
pub use error::{OpenError, StoreError};
pub use push::{Observed, PushError, Pushed};
pub use quota::{CapacityProblem, StoreHealth, StoreStats};
pub use totals::{Removal, SyncTotals, Totals};
pub use trace::Trace;
pub use verify::StoppedStore;
pub use writer::Writer;

/// Commands that may wait for the writer.
const WAITING: usize = 4096;
/// Bytes of dead letters that are read at once; one more may come on top.
const LISTED_BYTES: usize = 1 << 20;

/// A handle on the store; clones share it. The store is closed when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Queue(Arc<QueueInner>);

#[derive(Debug)]
struct QueueInner {
    context: Arc<QueueContext>,
    commands: Option<mpsc::Sender<WriterCommand>>,
    /// Drives the writer, unless whoever opened the store does.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for QueueInner {
    /// Waits for the transaction under way, so that the store is free afterwards.
    fn drop(&mut self) {
        self.commands = None;
        let thread = self.thread.get_mut().map(Option::take);
        if let Ok(Some(thread)) = thread {
            // A panic of the writer is already on standard error.
            drop(thread.join());
        }
    }
}

/// A store that this process has, and has not opened.
#[derive(Debug)]
pub struct TakenStore {
    context: Arc<QueueContext>,
    possession: Box<dyn Any + Send>,
}

/// Tells what the opening of a store is about.
#[derive(Clone, Debug)]
pub struct OpeningWatch(Arc<QueueContext>);

impl TakenStore {
    /// Tells what [`Self::open`] does.
    pub fn watch(&self) -> OpeningWatch {
        OpeningWatch(Arc::clone(&self.context))
    }

    /// Opens the store. Blocks while that is mended, brought up to date and read.
    pub fn open(self) -> Result<Queue, OpenError> {
        self.with_writer().and_then(Queue::on_thread)
    }

    fn with_writer(self) -> Result<(Queue, Writer), OpenError> {
        let Self {
            context,
            possession,
        } = self;
        let (commands, waiting) = mpsc::channel(WAITING);
        let writer = Writer::open(Arc::clone(&context), possession, waiting)?;
        let queue = Queue(Arc::new(QueueInner {
            context,
            commands: Some(commands),
            thread: Mutex::default(),
        }));
        Ok((queue, writer))
    }
}

impl OpeningWatch {
    /// What is being done.
    pub fn doing(&self) -> &'static str {
        match self.0.shared.view.lock().health.trouble {
            Some(CapacityProblem::Busy(doing)) => doing,
            _ => "it is being opened",
        }
    }
}

/// What the configuration says of the store.
#[derive(Debug)]
pub struct QueueSettings {
    pub config: QueueConfig,
    /// The syncs that take events in; `max_bytes` is shared out among them.
    pub syncs: Vec<SyncName>,
    /// The syncs that remember people; no other sync's profiles are kept. `None`: none is removed.
    pub memories: Option<BTreeMap<SyncName, UserMemory>>,
}

/// The engine that the configuration asks for.
fn storage(config: &QueueConfig) -> Box<dyn Storage> {
    Box::new(Sqlite::new(&config.path))
}

impl Queue {
    /// Opens the store, or makes one, and takes possession of it. Blocks while the duplicate window is
    /// loaded. The `syncs` share `max_bytes`.
    pub fn open(
        config: &QueueConfig,
        syncs: &[SyncName],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        Self::take(config, syncs, clock)?.open()
    }

    /// Opens a queue on the reference engine. Whoever opens it drives the writer: the queue works while
    /// [`Writer::run`] does.
    #[doc(hidden)]
    pub fn open_in_memory(
        memory: &MemoryEngine,
        config: &QueueConfig,
        syncs: &[SyncName],
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Writer), OpenError> {
        Self::take_on(Box::new(memory.clone()), config, syncs, clock)?.with_writer()
    }

    /// Whether a store is there already.
    pub fn exists(config: &QueueConfig) -> bool {
        storage(config).exists()
    }

    /// Copies of damaged files that are kept beside the store, and when each was made.
    pub fn kept_copies(config: &QueueConfig) -> Vec<(PathBuf, UnixMillis)> {
        storage(config).kept_copies()
    }

    /// Takes possession of a store, or of the place of one, without opening it.
    pub fn take(
        config: &QueueConfig,
        syncs: &[SyncName],
        clock: Arc<dyn Clock>,
    ) -> Result<TakenStore, OpenError> {
        Self::take_on(storage(config), config, syncs, clock)
    }

    fn take_on(
        storage: Box<dyn Storage>,
        config: &QueueConfig,
        syncs: &[SyncName],
        clock: Arc<dyn Clock>,
    ) -> Result<TakenStore, OpenError> {
        let possession = storage.acquire()?;
        let settings = QueueSettings {
            config: config.clone(),
            syncs: syncs.to_vec(),
            memories: None,
        };
        let context = Arc::new(QueueContext {
            settings: Guarded::new(Arc::new(settings)),
            clock,
            storage,
            shared: Shared::default(),
        });
        Ok(TakenStore {
            context,
            possession,
        })
    }

    /// Gives the writer a thread of its own.
    pub(crate) fn on_thread((queue, writer): (Self, Writer)) -> Result<Self, OpenError> {
        let thread = writer::start(writer).map_err(OpenError::Thread)?;
        let mut driver = queue
            .0
            .thread
            .lock()
            .expect("no holder of this lock panics");
        *driver = Some(thread);
        drop(driver);
        Ok(queue)
    }

    /// Takes events in; durable when this returns.
    pub async fn push(&self, taken: Vec<Submission>) -> Result<Pushed, PushError> {
        self.push_with(taken, Observed::default()).await
    }

    /// Takes events in, and learns what they tell; both durable when this returns.
    pub async fn push_with(
        &self,
        taken: Vec<Submission>,
        observed: Observed,
    ) -> Result<Pushed, PushError> {
        self.take_in(taken, None, observed).await
    }

    /// Reads profiles and clicks as of the last commit.
    pub fn profiles(&self) -> ProfileReader {
        ProfileReader::new(Arc::clone(&self.0.context))
    }

    /// Goes by other settings from the next transaction on. The path stays.
    pub fn configure(&self, settings: QueueSettings) {
        *self.0.context.settings.lock() = Arc::new(settings);
    }

    /// Takes events in as `push` does, but an event replaces its dead letter, so that a mended mapping can be run
    /// again. `known` events are repeats too, even if they have left the duplicate window; see
    /// `known_fingerprints`.
    pub async fn push_again(
        &self,
        taken: Vec<Submission>,
        known: HashSet<Fingerprint>,
    ) -> Result<Pushed, PushError> {
        self.take_in(taken, Some(known), Observed::default()).await
    }

    /// Finds which of these events were taken in the last 8 days: longer than the duplicate window reaches.
    /// Reads all fingerprints, so ask for many at once.
    pub async fn known_fingerprints(
        &self,
        wanted: Vec<Fingerprint>,
    ) -> Result<HashSet<Fingerprint>, StoreError> {
        self.read(move |reader| window::known_fingerprints(reader, &wanted))
            .await
    }

    /// What is ready to be leased.
    pub fn backlog(&self, sync: &SyncName) -> Backlog {
        self.0.context.shared.leases.lock().of(sync).backlog()
    }

    /// Returns when events became ready since the last call: new ones, or released ones. For one
    /// caller per sync.
    pub async fn changed(&self, sync: &SyncName) {
        let wake = Arc::clone(&self.0.context.shared.leases.lock().of(sync).wake);
        wake.notified().await;
    }

    /// Hands out ready events: at most `max_events` and `max_bytes` of JSON, but at least one event.
    pub async fn lease(
        &self,
        sync: &SyncName,
        max_events: usize,
        max_bytes: usize,
        order: Order,
    ) -> Result<Vec<Leased>, StoreError> {
        let sync = sync.clone();
        let (taker, leased) = oneshot::channel();
        self.ask(WriterCommand::Outside, move |core| {
            let leased = leasing::lease(core, &sync, max_events, max_bytes, order)?;
            // If the caller no longer waits, the events are ready again.
            if let Err(unwanted) = taker.send(leased) {
                leasing::give_back(core, &sync, &unwanted);
            }
            Ok(())
        })
        .await?;
        leased.await.map_err(|_| StoreError::Closed)
    }

    /// Makes events on lease ready again, at once. Passes over those that are not on lease.
    pub fn release(&self, sync: &SyncName, slots: &[Slot]) {
        self.0.context.shared.leases.lock().of(sync).release(slots);
    }

    /// Gives up what a lane left behind when it failed: all its events on lease are ready again, and its requests
    /// under way count as some with a lost answer.
    pub async fn abandon(&self, sync: &SyncName) -> Result<(), StoreError> {
        let sync = sync.clone();
        // After the transaction with the requests that the lane recorded last.
        self.ask(WriterCommand::Outside, move |core| {
            core.transact(|core| settle::abandon(core, &sync))?;
            core.publish()
        })
        .await
    }

    /// Puts a request on record, durably, before it is sent.
    pub async fn open_attempt(
        &self,
        sync: &SyncName,
        slots: &[Slot],
    ) -> Result<AttemptId, StoreError> {
        let (sync, slots) = (sync.clone(), slots.to_vec());
        self.change(move |core| Ok(settle::open(core, &sync, &slots)))
            .await
    }

    /// Applies the answer to a request, in one transaction.
    pub async fn settle(&self, settlement: Settlement) -> Result<(), StoreError> {
        self.change(move |core| settle::settle(core, &settlement))
            .await
    }

    /// The cooldowns when the store was opened.
    pub fn cooldowns(&self) -> Vec<Cooldown> {
        self.0.context.shared.view.lock().cooldowns.clone()
    }

    /// The counts of every sync, as of the last commit.
    pub fn totals(&self) -> Totals {
        let view = self.0.context.shared.view.lock();
        view.counters
            .iter()
            .map(|counters| (counters.name.clone(), counters.totals()))
            .collect()
    }

    /// Sizes and ages, as of the last commit.
    pub fn stats(&self) -> StoreStats {
        self.0.context.shared.view.lock().stats.clone()
    }

    /// Whether events can be stored now, and why not.
    pub fn health(&self) -> StoreHealth {
        self.0.context.health()
    }

    /// Expires all that is due and removes all that is too old. The store does so by itself, a piece every
    /// second.
    pub async fn expire(&self) -> Result<(), StoreError> {
        while self.change(expire::expire).await? {}
        Ok(())
    }

    /// Reads at most `limit` dead letters with numbers above `after`, in the order of filing; fewer
    /// where they are large. An empty list means that there are no more.
    pub async fn dead(
        &self,
        filter: &DeadFilter,
        after: i64,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let filter = filter.clone();
        self.read(move |reader| reader.dead_letters(&filter, after, limit, LISTED_BYTES))
            .await
    }

    /// Queues dead letters again: the same bytes, through the same lane.
    pub async fn retry_dead(&self, filter: &DeadFilter) -> Result<Retried, StoreError> {
        dead_letters::retry_all(self, filter).await
    }

    /// Drops dead letters; gives their number.
    pub async fn drop_dead(&self, filter: &DeadFilter) -> Result<u64, StoreError> {
        let mut dropped = 0;
        let drop = |core: &mut Core, ids: &[i64]| dead_letters::remove(core, ids, Removal::Dropped);
        dead_letters::in_pieces(self, filter, drop, |piece| dropped += piece).await?;
        Ok(dropped)
    }

    /// Reads at most `limit` damaged batches with numbers above `after`, in the order in which they were found.
    pub async fn damaged(&self, after: i64, limit: usize) -> Result<Vec<DamagedBatch>, StoreError> {
        self.read(move |reader| reader.damaged_batches(after, limit))
            .await
    }

    /// Tells what became of an event, once for each time that it was taken.
    pub async fn trace(&self, event_id: &str) -> Result<Vec<Trace>, StoreError> {
        let event_id = event_id.to_owned();
        let context = Arc::clone(&self.0.context);
        self.read(move |reader| {
            trace::trace(reader, &event_id, |sync, slot| {
                context.shared.leases.lock().of(sync).is_leased(slot)
            })
        })
        .await
    }

    /// Erases a person's events from the queue, the dead letters and the bytes on disk.
    pub async fn forget(&self, person: Person) -> Result<Forgotten, StoreError> {
        erase::forget(self, person).await
    }

    /// Removes the queued events of a sync and its profiles; gives the number of events. Batches with events on
    /// lease stay.
    pub async fn drop_sync(&self, sync: &SyncName) -> Result<u64, StoreError> {
        erase::drop_sync(self, sync).await
    }

    /// Returns when nothing changes the store any more: it was closed, or its writer failed.
    pub async fn ended(&self) {
        if let Some(commands) = &self.0.commands {
            commands.closed().await;
        }
    }

    /// Does one step of the search for damage, beside the writer.
    pub async fn verify(&self, step: VerifyStep) -> Result<Verified, StoreError> {
        verify::verify(self, step).await
    }

    /// Searches the whole store for damage in small steps, and has it mended.
    pub async fn search_and_mend(&self) -> Result<(), StoreError> {
        verify::search_and_mend(self).await
    }

    /// Rebuilds indexes, mends batches and counts anew.
    pub async fn mend(&self) -> Result<(), StoreError> {
        verify::mend(self).await
    }

    /// Waits until no damage is being mended.
    async fn mended(&self) -> Result<(), StoreError> {
        verify::mended(self).await
    }

    /// Closes the store, with everything in one file; other handles then get `Closed`.
    pub async fn close(self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(WriterCommand::Close(reply)).await?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn take_in(
        &self,
        taken: Vec<Submission>,
        again: Option<HashSet<Fingerprint>>,
        observed: Observed,
    ) -> Result<Pushed, PushError> {
        let context = &self.0.context;
        let push = self.change(move |core| push::push(core, taken, again.as_ref(), &observed));
        tokio::select! {
            biased;
            pushed = push => pushed?,
            // Whatever becomes of the events: sent again, they are duplicates.
            hangs = context.shared.pulse.stops(&*context.clock) => Err(StoreError::from(hangs).into()),
        }
    }

    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Core) -> EngineResult<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(WriterCommand::Change, work).await
    }

    /// Has the writer do something, and gives what that returned.
    async fn ask<T: Send + 'static>(
        &self,
        command: fn(WriterWork, Reply) -> WriterCommand,
        work: impl FnOnce(&mut Core) -> EngineResult<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (value, made) = oneshot::channel();
        let work = move |core: &mut Core| {
            // The caller may have gone; the work stays done.
            drop(value.send(work(core)?));
            Ok(())
        };
        let (reply, done) = oneshot::channel();
        self.send(command(Box::new(work), reply)).await?;
        done.await.unwrap_or(Err(StoreError::Closed))?;
        made.await.map_err(|_| StoreError::Closed)
    }

    /// Reads beside the writer: on a thread for blocking work, unless the runtime has one thread only, as that of a
    /// command. There nothing else waits, and a run in virtual time can be repeated.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Reader) -> EngineResult<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let context = Arc::clone(&self.0.context);
        let read = move || work(&mut *context.storage.reader(Beside::Writer)?);
        if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            return Ok(read()?);
        }
        Ok(self.0.context.shared.reads.perform(read).await??)
    }

    async fn send(&self, command: WriterCommand) -> Result<(), StoreError> {
        let commands = self.0.commands.as_ref().ok_or(StoreError::Closed)?;
        let sent = commands.send(command).await;
        sent.map_err(|_| StoreError::Closed)
    }
}

#[cfg(test)]
mod tests;
