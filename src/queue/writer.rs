//! The writer: the one thread that changes the store.
//!
//! Whatever waits when it comes round goes into one transaction, so that one sync of the disk serves
//! many. Nothing is answered before the commit. If anything fails, all that was in the transaction
//! is answered with the error, the file is closed, and nothing is acknowledged until it was opened
//! anew, a write was proved to reach the disk, and what memory holds was read again. That is tried
//! with every new batch of work and every second, so a full disk is waited out.

use std::fs::File;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fmt, io, mem};

use tokio::runtime::{self, Runtime};
use tokio::sync::{mpsc, oneshot};

use crate::clock::UnixMillis;
use crate::config::SyncName;

use super::disk::CapacityProblem;
use super::lease::{LeaseLimits, Leased, Order};
use super::recovery;
use super::rows;
use super::salvage;
use super::schema;
use super::store::{Core, QueueContext};
use super::{OpenError, StoreError};

/// Most commands that go into one transaction.
const BATCH: usize = 1024;
/// How often the store tidies up.
const TICK: Duration = Duration::from_secs(1);

/// What a handle asks of the writer.
pub(super) enum WriterCommand {
    /// A change, in the next transaction.
    Change(Box<dyn StoreChange>),
    /// Something that cannot be done inside a transaction.
    Outside(Box<dyn StoreChange>),
    /// A lease, after the next transaction.
    Lease {
        sync: SyncName,
        limits: LeaseLimits,
        order: Order,
        reply: oneshot::Sender<Result<Vec<Leased>, StoreError>>,
    },
    /// The end.
    Close(oneshot::Sender<Result<(), StoreError>>),
}

impl fmt::Debug for WriterCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Change(_) => "Change",
            Self::Outside(_) => "Outside",
            Self::Lease { .. } => "Lease",
            Self::Close(_) => "Close",
        })
    }
}

/// A change of the store, answered after the commit.
pub(super) trait StoreChange: Send {
    /// Makes the change.
    fn make(&mut self, store: &mut Core) -> rusqlite::Result<()>;
    /// Tells whoever asked how it went.
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// A change by a closure, and who waits for what it returns.
pub(super) struct Ask<T, F> {
    work: Option<F>,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Ask<T, F>
where
    T: Send + 'static,
    F: FnOnce(&mut Core) -> rusqlite::Result<T> + Send + 'static,
{
    /// A change that is about to be asked for, and where the answer will come.
    pub(super) fn boxed(
        work: F,
    ) -> (
        Box<dyn StoreChange>,
        oneshot::Receiver<Result<T, StoreError>>,
    ) {
        let (reply, answer) = oneshot::channel();
        let ask = Self {
            work: Some(work),
            value: None,
            reply,
        };
        (Box::new(ask), answer)
    }
}

impl<T, F> StoreChange for Ask<T, F>
where
    T: Send,
    F: FnOnce(&mut Core) -> rusqlite::Result<T> + Send,
{
    fn make(&mut self, store: &mut Core) -> rusqlite::Result<()> {
        if let Some(work) = self.work.take() {
            self.value = Some(work(store)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { value, reply, .. } = *self;
        // Whoever asked may have given up; what was done stays done.
        drop(reply.send(outcome.and_then(|()| value.ok_or(StoreError::Closed))));
    }
}

/// The thread's state.
#[derive(Debug)]
struct Writer {
    ground: Arc<QueueContext>,
    /// The open store, or the error after which it was closed.
    store: Result<Core, Arc<rusqlite::Error>>,
    commands: mpsc::Receiver<WriterCommand>,
    tidied_at: UnixMillis,
    /// The last pass left something to do.
    untidy: bool,
    /// A failure was logged, and not yet that it is over.
    complained: bool,
}

/// Starts the thread; returns once the store is open. The lock is held as long as the thread lives.
pub(super) fn start(
    ground: Arc<QueueContext>,
    lock: File,
    commands: mpsc::Receiver<WriterCommand>,
) -> Result<JoinHandle<()>, OpenError> {
    let (opened, wait) = std::sync::mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name("queue".to_owned())
        .spawn(move || {
            let runtime = runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .map_err(OpenError::Thread);
            let started = runtime.and_then(|runtime| {
                let store = open(&ground)?;
                let writer = Writer {
                    tidied_at: store.now,
                    ground,
                    store: Ok(store),
                    commands,
                    untidy: true,
                    complained: false,
                };
                Ok((runtime, writer))
            });
            let (runtime, writer, outcome) = match started {
                Ok((runtime, writer)) => (Some(runtime), Some(writer), Ok(())),
                Err(error) => (None, None, Err(error)),
            };
            // Whoever opens the queue waits for this.
            drop(opened.send(outcome));
            if let (Some(runtime), Some(writer)) = (runtime, writer) {
                writer.run(&runtime, lock);
            }
        })
        .map_err(OpenError::Thread)?;
    match wait.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(error),
        Err(gone) => Err(OpenError::Thread(io::Error::other(gone))),
    }
}

/// Opens the store of a new process, salvaging it if need be.
fn open(ground: &Arc<QueueContext>) -> Result<Core, OpenError> {
    match recovery::open(ground, true) {
        Err(OpenError::Sqlite(error)) if rows::is_damage(&error) => {
            salvage::salvage(&ground.config.path)?;
            recovery::open(ground, true)
        }
        opened => opened,
    }
}

impl Writer {
    /// Serves until it is told to close or every handle is gone.
    fn run(mut self, runtime: &Runtime, lock: File) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let wait = if self.untidy { Duration::ZERO } else { TICK };
            let received = runtime.block_on(async {
                tokio::time::timeout(wait, self.commands.recv_many(&mut batch, BATCH)).await
            });
            match received {
                Ok(0) => return,
                Ok(_) => {
                    self.gather(&mut batch);
                    if let Some(reply) = self.serve(&mut batch) {
                        let outcome = self.close();
                        // The file and the lock are free before anyone hears of it.
                        drop((self, lock));
                        drop(reply.send(outcome));
                        return;
                    }
                }
                Err(_) => {
                    self.reopen();
                    self.rejoice();
                }
            }
            self.tidy();
        }
    }

    /// Takes what else waits by now. A thread that shares this one's core is let by first: it may be
    /// about to hand over more, and a commit costs the same for few events as for many.
    fn gather(&mut self, batch: &mut Vec<WriterCommand>) {
        thread::yield_now();
        while batch.len() < BATCH
            && let Ok(command) = self.commands.try_recv()
        {
            batch.push(command);
        }
    }

    /// Serves a batch; gives back a wish to close, with which a batch ends.
    fn serve(
        &mut self,
        batch: &mut Vec<WriterCommand>,
    ) -> Option<oneshot::Sender<Result<(), StoreError>>> {
        self.reopen();
        let mut changes = Vec::new();
        let mut outside = Vec::new();
        let mut leases = Vec::new();
        let mut close = None;
        for command in batch.drain(..) {
            match command {
                WriterCommand::Change(change) => changes.push(change),
                WriterCommand::Outside(change) => outside.push(change),
                WriterCommand::Lease {
                    sync,
                    limits,
                    order,
                    reply,
                } => leases.push((sync, limits, order, reply)),
                WriterCommand::Close(reply) => close = Some(reply),
            }
        }
        if !changes.is_empty() {
            let outcome = self.attempt(|store| {
                store.transact(|store| {
                    changes.iter_mut().try_for_each(|change| change.make(store))
                })?;
                store.publish()
            });
            if outcome.is_ok() {
                self.rejoice();
            }
            for change in changes {
                change.answer(outcome.clone());
            }
        }
        for (sync, limits, order, reply) in leases {
            let leased = self.attempt(|store| lease(store, &sync, limits, order));
            if let Err(Ok(unwanted)) = reply.send(leased) {
                let slots: Vec<_> = unwanted.iter().map(|event| event.slot).collect();
                self.ground.shared.lanes().lane(&sync).release(&slots);
            }
        }
        for mut change in outside {
            let outcome = self.attempt(|store| change.make(store));
            change.answer(outcome);
        }
        close
    }

    /// Does something with the store; after an error the store counts as failed.
    fn attempt<T>(
        &mut self,
        work: impl FnOnce(&mut Core) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let error = match &mut self.store {
            Ok(store) => match work(store) {
                Ok(value) => return Ok(value),
                Err(error) => Arc::new(error),
            },
            Err(error) => return Err(StoreError::Storage(Arc::clone(error))),
        };
        if !mem::replace(&mut self.complained, true) {
            tracing::error!(
                %error,
                "the store cannot be written; nothing is acknowledged until it can"
            );
        }
        self.fail(Arc::clone(&error));
        Err(StoreError::Storage(error))
    }

    /// Opens a store that failed, if that is possible by now.
    fn reopen(&mut self) {
        if self.store.is_ok() {
            return;
        }
        if let Err(error) = &self.store
            && rows::is_damage(error)
            && let Err(error) = salvage::salvage(&self.ground.config.path)
        {
            tracing::error!(%error, "the store could not be salvaged");
            return;
        }
        match recovery::open(&self.ground, false) {
            Ok(store) => self.store = Ok(store),
            Err(OpenError::Sqlite(error)) => self.fail(Arc::new(error)),
            // The store has gone, or is another by now: the first error remains.
            Err(_) => {}
        }
    }

    /// Tells that a failure is over, if it is.
    fn rejoice(&mut self) {
        if self.store.is_ok() && mem::replace(&mut self.complained, false) {
            tracing::info!("the store can be written again");
        }
    }

    fn fail(&mut self, error: Arc<rusqlite::Error>) {
        self.ground.shared.view().health.trouble =
            Some(CapacityProblem::Failing(error.to_string()));
        self.store = Err(error);
    }

    fn tidy(&mut self) {
        let Ok(store) = &self.store else {
            self.untidy = false;
            return;
        };
        let now = self.ground.clock.now();
        let passed = now.since(self.tidied_at);
        if !self.untidy && passed < TICK && store.damaged.is_empty() && !store.overdue {
            return;
        }
        self.tidied_at = now;
        let more = self.attempt(|store| {
            store.room.tick(passed);
            store.overdue = false;
            let mut more = false;
            store.transact(|store| {
                store.lose_damaged()?;
                more = store.tidy()?;
                Ok(())
            })?;
            store.publish()?;
            store.give_back_pages()?;
            Ok(more)
        });
        // An error was told where it was handled; the next round opens the store again.
        self.untidy = more.unwrap_or(false);
    }

    fn close(&mut self) -> Result<(), StoreError> {
        *self.ground.shared.reader() = None;
        let outcome = self.attempt(|store| schema::truncate_log(&store.connection));
        self.ground.shared.view().health.trouble = Some(CapacityProblem::Closed);
        outcome
    }
}

fn lease(
    store: &mut Core,
    sync: &SyncName,
    limits: LeaseLimits,
    order: Order,
) -> rusqlite::Result<Vec<Leased>> {
    store.now = store.ground.clock.now();
    store.lease(sync, limits, order)
}
