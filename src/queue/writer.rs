//! The writer: the one thread that changes the store.
//!
//! Whatever waits when it comes round goes into one transaction, so that one sync of the disk serves
//! many. Nothing is answered before the commit. If anything fails, all that was in the transaction
//! is answered with the error, the file is closed, and nothing is acknowledged until it was opened
//! anew, a write was proved to reach the disk, and what memory holds was read again. That is tried
//! with every new batch of work and every second, so a full disk is waited out.

use std::any::Any;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fmt, io, mem};

use tokio::runtime::{self, Runtime};
use tokio::sync::{mpsc, oneshot};

use crate::clock::UnixMillis;
use crate::config::SyncName;

use super::core::{Core, QueueContext};
use super::engine::{EngineError, EngineResult, Opening};
use super::lease::{LeaseLimits, Leased, Order};
use super::quota::CapacityProblem;
use super::{OpenError, StoreError, expire, leasing, recovery, totals};

/// Most commands that go into one transaction.
const BATCH: usize = 1024;
/// How often expiry and maintenance come round.
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
    fn make(&mut self, core: &mut Core) -> EngineResult<()>;
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
    F: FnOnce(&mut Core) -> EngineResult<T> + Send + 'static,
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
    F: FnOnce(&mut Core) -> EngineResult<T> + Send,
{
    fn make(&mut self, core: &mut Core) -> EngineResult<()> {
        if let Some(work) = self.work.take() {
            self.value = Some(work(core)?);
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
    context: Arc<QueueContext>,
    /// The open queue, or the error after which it was closed.
    core: Result<Core, EngineError>,
    commands: mpsc::Receiver<WriterCommand>,
    maintained_at: UnixMillis,
    /// The last pass left something to do.
    has_more: bool,
    /// A failure was logged, and not yet that it is over.
    failure_logged: bool,
}

/// Starts the thread; returns once the store is open. The store stays in its possession as long as the thread lives.
pub(super) fn start(
    context: Arc<QueueContext>,
    possession: Box<dyn Any + Send>,
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
                let core = open(&context)?;
                let writer = Writer {
                    maintained_at: core.now,
                    context,
                    core: Ok(core),
                    commands,
                    has_more: true,
                    failure_logged: false,
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
                writer.run(&runtime, possession);
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
fn open(context: &Arc<QueueContext>) -> Result<Core, OpenError> {
    match recovery::open(context, Opening::Start) {
        Err(OpenError::Engine(EngineError::Damaged(_))) => {
            context.storage.salvage(totals::recount)?;
            recovery::open(context, Opening::Start)
        }
        opened => opened,
    }
}

impl Writer {
    /// Serves until it is told to close or every handle is gone.
    fn run(mut self, runtime: &Runtime, possession: Box<dyn Any + Send>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let wait = if self.has_more { Duration::ZERO } else { TICK };
            let received = runtime.block_on(async {
                tokio::time::timeout(wait, self.commands.recv_many(&mut batch, BATCH)).await
            });
            match received {
                Ok(0) => return,
                Ok(_) => {
                    self.gather(&mut batch);
                    if let Some(reply) = self.serve(&mut batch) {
                        let outcome = self.close();
                        // The store is free before anyone hears of it.
                        drop((self, possession));
                        drop(reply.send(outcome));
                        return;
                    }
                }
                Err(_) => {
                    self.reopen();
                    self.log_recovery();
                }
            }
            self.maintain();
        }
    }

    /// Takes what else waits by now. Threads on this core run first: they may be about to hand over more,
    /// and a commit costs the same for few events as for many.
    fn gather(&mut self, batch: &mut Vec<WriterCommand>) {
        thread::yield_now();
        while batch.len() < BATCH
            && let Ok(command) = self.commands.try_recv()
        {
            batch.push(command);
        }
    }

    /// Serves a batch of commands; gives the one to close, with which it ends.
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
            let outcome = self.attempt(|core| {
                core.transact(|core| changes.iter_mut().try_for_each(|change| change.make(core)))?;
                core.publish()
            });
            if outcome.is_ok() {
                self.log_recovery();
            }
            for change in changes {
                change.answer(outcome.clone());
            }
        }
        for (sync, limits, order, reply) in leases {
            let leased = self.attempt(|core| lease(core, &sync, limits, order));
            if let Err(Ok(unwanted)) = reply.send(leased) {
                let slots: Vec<_> = unwanted.iter().map(|event| event.slot).collect();
                self.context.shared.leases().of(&sync).release(&slots);
            }
        }
        for mut change in outside {
            let outcome = self.attempt(|core| change.make(core));
            change.answer(outcome);
        }
        close
    }

    /// Does something with the store; after an error the store counts as failed.
    fn attempt<T>(
        &mut self,
        work: impl FnOnce(&mut Core) -> EngineResult<T>,
    ) -> Result<T, StoreError> {
        let error = match &mut self.core {
            Ok(core) => match work(core) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            },
            Err(error) => return Err(error.clone().into()),
        };
        if !mem::replace(&mut self.failure_logged, true) {
            tracing::error!(
                %error,
                "the store cannot be written; nothing is acknowledged until it can"
            );
        }
        self.fail(error.clone());
        Err(error.into())
    }

    /// Opens a store that failed, if that is possible by now.
    fn reopen(&mut self) {
        if self.core.is_ok() {
            return;
        }
        if let Err(EngineError::Damaged(_)) = &self.core
            && let Err(error) = self.context.storage.salvage(totals::recount)
        {
            tracing::error!(%error, "the store could not be salvaged");
            return;
        }
        match recovery::open(&self.context, Opening::AfterFailure) {
            Ok(core) => self.core = Ok(core),
            Err(OpenError::Engine(error)) => self.fail(error),
            // The store has gone, or is another by now: the first error remains.
            Err(_) => {}
        }
    }

    /// Tells that a failure is over, if it is.
    fn log_recovery(&mut self) {
        if self.core.is_ok() && mem::replace(&mut self.failure_logged, false) {
            tracing::info!("the store can be written again");
        }
    }

    fn fail(&mut self, error: EngineError) {
        self.context.shared.view().health.trouble =
            Some(CapacityProblem::Failing(error.to_string()));
        self.core = Err(error);
    }

    fn maintain(&mut self) {
        let Ok(core) = &self.core else {
            self.has_more = false;
            return;
        };
        let now = self.context.clock.now();
        let passed = now.since(self.maintained_at);
        if !self.has_more && passed < TICK && core.damaged.is_empty() && !core.overdue {
            return;
        }
        self.maintained_at = now;
        let more = self.attempt(|core| {
            core.quota.tick(passed);
            core.overdue = false;
            let more = core.transact(expire::expire)?;
            core.publish()?;
            let clock = Arc::clone(&core.context.clock);
            Ok(core.engine.maintain(&*clock)? || more)
        });
        // An error was told where it was handled; the next round opens the store again.
        self.has_more = more.unwrap_or(false);
    }

    fn close(&mut self) -> Result<(), StoreError> {
        *self.context.shared.reader() = None;
        let outcome = self.attempt(|core| core.engine.close());
        self.context.shared.view().health.trouble = Some(CapacityProblem::Closed);
        outcome
    }
}

fn lease(
    core: &mut Core,
    sync: &SyncName,
    limits: LeaseLimits,
    order: Order,
) -> EngineResult<Vec<Leased>> {
    core.now = core.context.clock.now();
    leasing::lease(core, sync, limits, order)
}
