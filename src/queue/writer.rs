//! The writer: the one thread that changes the store.
//!
//! All changes that wait go into one transaction, so that one sync of the disk serves many. Nothing is answered
//! before the commit. If anything fails, every change of the transaction gets the error, the engine is closed, and
//! nothing is acknowledged until it is open again, a write has reached the disk, and memory has been read from it
//! again. The writer tries that every second and whenever a command comes, so it outlasts a full disk.
//!
//! [`Writer`] is what it does; whoever opens the store drives it. The daemon gives it a thread of its own
//! ([`start`]), the simulation a task.

use std::any::Any;
use std::error::Error;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::SendError;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fmt, io, mem};

use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::copy_bounds::CopyBounds;
use super::core::{Core, QueueContext};
use super::displaced::FileFate;
use super::engine::{EngineError, EngineResult, Opening};
use super::error::with_causes;
use super::quota::CapacityProblem;
use super::{OpenError, StoreError, expire, opening, totals};

/// How long commands wait for what is being mended. After that they fail until it is done.
const SHORT_MENDING: Duration = Duration::from_millis(100);
/// Where less is free on the disk, a store that cannot be written takes the room of kept copies.
const LEAST_FREE: u64 = 16 << 20;
/// Most commands that go into one transaction.
const BATCH: usize = 1024;
/// How often expiry and maintenance come round.
const TICK: Duration = Duration::from_secs(1);
/// After a copy of the store has failed, the next one is tried once this many times its length have passed, within
/// these bounds: it may cost much, and fill the disk.
const REST_AFTER_COPY: u32 = 10;
const BETWEEN_COPIES: [Duration; 2] = [TICK, Duration::from_secs(60)];
/// How long a removed file must have been gone before what was saved of it takes its place.
const BEFORE_RESCUE: Duration = Duration::from_secs(10);

/// What a handle asks of the writer.
pub(super) enum WriterCommand {
    /// A change, in the next transaction; answered after the commit.
    Change(WriterWork, Reply),
    /// Work outside a transaction, after the next one.
    Outside(WriterWork, Reply),
    /// Close the store.
    Close(Reply),
}

/// What the writer is to do. Its value goes to the caller by a channel of its own.
pub(super) type WriterWork = Box<dyn FnOnce(&mut Core) -> EngineResult<()> + Send>;
/// Tells the caller how it went.
pub(super) type Reply = oneshot::Sender<Result<(), StoreError>>;

impl fmt::Debug for WriterCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Change(..) => "Change",
            Self::Outside(..) => "Outside",
            Self::Close(_) => "Close",
        })
    }
}

/// Changes the store while [`Writer::run`] runs, and owns it until then.
pub struct Writer {
    context: Arc<QueueContext>,
    /// The open queue, or the error after which it was closed.
    core: Result<Core, EngineError>,
    commands: mpsc::Receiver<WriterCommand>,
    /// The thread that has the core, or will have one, while damage is mended.
    mending: Option<JoinHandle<EngineResult<Core>>>,
    /// Whether a thread of its own drives it, so that it may start another.
    has_thread: bool,
    /// At which uptime.
    maintained_at: Duration,
    /// The last pass left something to do.
    has_more: bool,
    /// A failure was logged, and its end was not yet.
    failure_logged: bool,
    /// Since when a file of the store is not where it was opened.
    displaced: Option<Instant>,
    /// When the copy began of a damaged store; `None` where only parts of it are mended.
    copy_since: Option<Instant>,
    /// How the displaced file was lost of which all is saved.
    rescued: Option<FileFate>,
    copy_failed: Option<FailedCopy>,
    /// Keeps other processes from the store: the last field, so that it goes when the engine is closed.
    possession: Box<dyn Any + Send>,
}

/// Why nothing can be done while the store is mended.
#[derive(Debug, thiserror::Error)]
#[error("the store is being mended")]
struct BeingMended;
/// A copy of the store that has failed.
struct FailedCopy {
    why: String,
    /// When the next may be tried.
    next: Instant,
}

/// Starts a thread that drives a writer.
pub(super) fn start(mut writer: Writer) -> io::Result<JoinHandle<()>> {
    writer.has_thread = true;
    // For waiting with a time-out.
    let runtime = runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    thread::Builder::new()
        .name("queue".to_owned())
        .spawn(move || runtime.block_on(writer.run()))
}

/// Does something on a thread of its own. Where the machine refuses one, it is given back.
fn on_thread<T, W>(work: W) -> Result<JoinHandle<T>, W>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let run = move || {
        let work: W = receiver.recv().expect("it is sent at once");
        work()
    };
    let name = "queue-mend".to_owned();
    match thread::Builder::new().name(name).spawn(run) {
        Ok(thread) => match sender.send(work) {
            Ok(()) => Ok(thread),
            Err(SendError(work)) => Err(work),
        },
        Err(_) => Err(work),
    }
}

impl Writer {
    /// Opens the store when the process begins; salvages a damaged one.
    pub(super) fn open(
        context: Arc<QueueContext>,
        possession: Box<dyn Any + Send>,
        commands: mpsc::Receiver<WriterCommand>,
    ) -> Result<Self, OpenError> {
        let core = match opening::open(&context, Opening::Start) {
            Err(OpenError::Engine(EngineError::Damaged(_))) => {
                context.set_trouble(CapacityProblem::Busy(opening::SALVAGING));
                context
                    .storage
                    .salvage(context.clock.now(), totals::recount)?;
                opening::open(&context, Opening::Start)
            }
            opened => opened,
        }?;
        Ok(Self {
            maintained_at: core.uptime,
            context,
            core: Ok(core),
            commands,
            mending: None,
            has_thread: false,
            has_more: true,
            failure_logged: false,
            displaced: None,
            copy_since: None,
            rescued: None,
            copy_failed: None,
            possession,
        })
    }

    /// Serves until a handle closes the store or every handle is gone.
    pub async fn run(self) {
        let context = Arc::clone(&self.context);
        self.serve_until_closed().await;
        context.shared.pulse.rest();
    }

    async fn serve_until_closed(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let wait = if self.has_more { Duration::ZERO } else { TICK };
            self.context.shared.pulse.rest();
            let received = timeout(wait, self.commands.recv_many(&mut batch, BATCH)).await;
            self.context.shared.pulse.begin(&*self.context.clock);
            match received {
                Ok(0) => return self.finish_mending(),
                Ok(_) => {
                    self.gather(&mut batch);
                    if let Some(reply) = self.serve(&mut batch) {
                        let outcome = self.close();
                        // The caller may open the store as soon as it has the answer.
                        drop(self);
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

    /// Takes the commands that have come meanwhile. Other threads on this core run first: they may be about to
    /// send more, and a commit costs the same for few events as for many.
    fn gather(&mut self, batch: &mut Vec<WriterCommand>) {
        thread::yield_now();
        while batch.len() < BATCH
            && let Ok(command) = self.commands.try_recv()
        {
            batch.push(command);
        }
    }

    /// Serves a batch of commands; gives who waits for the store to close, if that is among them.
    fn serve(&mut self, batch: &mut Vec<WriterCommand>) -> Option<Reply> {
        self.reopen();
        let mut changes = Vec::new();
        let mut replies = Vec::new();
        let mut outside = Vec::new();
        let mut close = None;
        for command in batch.drain(..) {
            match command {
                WriterCommand::Change(work, reply) => {
                    changes.push(work);
                    replies.push(reply);
                }
                WriterCommand::Outside(work, reply) => outside.push((work, reply)),
                WriterCommand::Close(reply) => close = Some(reply),
            }
        }
        let in_place = self.check_place();
        if let Err(error) = in_place {
            let outside = outside.into_iter().map(|(_, reply)| reply);
            for reply in replies.into_iter().chain(outside) {
                drop(reply.send(Err(error.clone().into())));
            }
            return close;
        }
        if !changes.is_empty() {
            let outcome = self.attempt(|core| {
                core.transact(|core| changes.into_iter().try_for_each(|work| work(core)))
            });
            // What was committed is done, whatever becomes of showing it.
            if outcome.is_ok() && self.attempt(Core::publish).is_ok() {
                self.log_recovery();
            }
            for reply in replies {
                drop(reply.send(outcome.clone()));
            }
        }
        for (work, reply) in outside {
            drop(reply.send(self.attempt(work)));
        }
        close
    }

    /// Whether the store's files are where they were opened: what goes into a file that nobody finds again must not be
    /// acknowledged. What can be mended is mended.
    fn check_place(&mut self) -> EngineResult<()> {
        if self.core.is_err() {
            return Ok(());
        }
        let Err(displaced) = self.context.storage.check_place() else {
            if self.displaced.take().is_some() {
                self.copy_failed = None;
                self.rescued = None;
                self.context.shared.view.lock().health.trouble = None;
            }
            return Ok(());
        };
        if displaced.fate == FileFate::Unlocked
            && let Ok(possession) = self.context.storage.acquire()
        {
            self.possession = possession;
            tracing::warn!(
                file = displaced.file,
                "a removed lock of the store was made anew"
            );
            return self.check_place();
        }
        let since = *self.displaced.get_or_insert_with(Instant::now);
        let error = EngineError::Unavailable(Arc::new(displaced.clone()));
        if !mem::replace(&mut self.failure_logged, true) {
            tracing::error!(
                %error,
                "nothing is acknowledged; what the file holds is open in this process as long as it runs, among \
                 /proc/{}/fd", std::process::id()
            );
        }
        // A copy may take long.
        let trouble = CapacityProblem::Failing(error.to_string());
        self.context.set_trouble(trouble);
        if displaced.fate != FileFate::Unlocked {
            self.rescue(displaced.fate, since);
        }
        if let Some(FailedCopy { why, .. }) = &self.copy_failed {
            let trouble = format!("{error}, and what it holds cannot be saved: {why}");
            self.context.set_trouble(CapacityProblem::Failing(trouble));
        }
        Err(error)
    }

    /// Notes why a copy of the store has failed, and since when it was tried.
    fn note_failed_copy(&mut self, error: &dyn Error, began: Instant) {
        let why = with_causes(error);
        let [shortest, longest] = BETWEEN_COPIES;
        let wait = (REST_AFTER_COPY * began.elapsed()).clamp(shortest, longest);
        let known = self.copy_failed.as_ref().map(|failed| &failed.why);
        if known != Some(&why) {
            tracing::error!(
                error = why,
                "what the store holds cannot be copied into a new file, which is tried again and again; \
                 nothing is acknowledged until it can"
            );
        }
        let trouble = format!("what it holds cannot be copied into a new file: {why}");
        self.context.set_trouble(CapacityProblem::Failing(trouble));
        let next = Instant::now() + wait;
        self.copy_failed = Some(FailedCopy { why, next });
    }

    /// Whether a copy may be tried.
    fn may_copy(&self) -> bool {
        let failed = self.copy_failed.as_ref();
        failed.is_none_or(|failed| failed.next <= Instant::now())
    }

    /// Saves what a displaced file holds. The copy of a removed one takes its place after a while: whoever removed the
    /// file may not have finished, as with a whole folder.
    fn rescue(&mut self, fate: FileFate, since: Instant) {
        let may_copy = self.may_copy();
        let Ok(core) = &mut self.core else { return };
        if self.rescued != Some(fate) {
            if !may_copy {
                return;
            }
            let began = Instant::now();
            if let Err(error) = core.engine.rescue(fate) {
                self.note_failed_copy(&error, began);
                return;
            }
            self.copy_failed = None;
            self.rescued = Some(fate);
        }
        let is_removed = matches!(fate, FileFate::Removed | FileFate::RemovedBeside);
        if is_removed && since.elapsed() >= BEFORE_RESCUE {
            tracing::warn!(
                "what a removed file of the store held was saved, and is used from now on"
            );
            let error = io::Error::other("a removed file of the store is being replaced");
            self.fail(EngineError::Unavailable(Arc::new(error)));
            self.displaced = None;
            self.rescued = None;
        }
    }

    /// Works on the store; after an error the store counts as failed.
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

    /// Tries to open a store that failed.
    fn reopen(&mut self) {
        if self.is_mending() || self.core.is_ok() {
            return;
        }
        if let Err(EngineError::Damaged(_)) = &self.core {
            if !self.may_copy() {
                return;
            }
            // The readers' locks would go with the damaged file.
            self.context.shared.reader.close();
            self.copy_since = Some(Instant::now());
            let context = Arc::clone(&self.context);
            self.mend_aside(move || opening::salvage(&context));
            return;
        }
        match opening::open(&self.context, Opening::AfterFailure) {
            Ok(core) => self.core = Ok(core),
            Err(OpenError::Engine(error)) => {
                self.fail(error);
                self.free_room();
            }
            // The file is gone or replaced: the first error remains.
            Err(_) => {}
        }
    }

    /// Does what may take long on a thread of its own. Commands wait a little for it, and fail after that until it is
    /// done.
    fn mend_aside(&mut self, work: impl FnOnce() -> EngineResult<Core> + Send + 'static) {
        self.context.set_trouble(CapacityProblem::Mending);
        self.core = Err(EngineError::Unavailable(Arc::new(BeingMended)));
        let begun = if self.has_thread {
            on_thread(work)
        } else {
            Err(work)
        };
        match begun {
            Ok(thread) => {
                let begun = Instant::now();
                while !thread.is_finished() && begun.elapsed() < SHORT_MENDING {
                    thread::sleep(Duration::from_millis(1));
                }
                self.mending = Some(thread);
                self.is_mending();
            }
            Err(work) => self.set_core(work()),
        }
    }

    /// Whether a thread still mends the store. Takes the core from one that has ended.
    fn is_mending(&mut self) -> bool {
        match self.mending.take_if(|thread| thread.is_finished()) {
            Some(thread) => {
                self.finish(thread);
                false
            }
            None => self.mending.is_some(),
        }
    }

    fn finish_mending(&mut self) {
        if let Some(thread) = self.mending.take() {
            self.finish(thread);
        }
    }

    /// Waits for a thread that mends. Its panic is one of the writer.
    fn finish(&mut self, thread: JoinHandle<EngineResult<Core>>) {
        match thread.join() {
            Ok(core) => self.set_core(core),
            Err(panic) => resume_unwind(panic),
        }
    }

    fn set_core(&mut self, core: EngineResult<Core>) {
        let copy_since = self.copy_since.take();
        match core {
            Ok(core) => {
                self.core = Ok(core);
                self.copy_failed = None;
            }
            Err(error) => {
                self.fail(error.clone());
                if let EngineError::Damaged(error) = &error
                    && let Some(began) = copy_since
                {
                    self.note_failed_copy(&**error, began);
                }
                self.free_room();
            }
        }
    }

    /// Removes kept copies where they leave the store no room to be written.
    fn free_room(&self) {
        let bounds = CopyBounds {
            now: self.context.clock.now(),
            retention: None,
            max_bytes: u64::MAX,
            min_free: LEAST_FREE,
        };
        if let Err(error) = self.context.storage.remove_copies(bounds) {
            tracing::warn!(%error, "copies of damaged files could not be removed");
        }
    }

    /// Logs that a failure is over, if it is.
    fn log_recovery(&mut self) {
        let works = self.core.is_ok() && self.displaced.is_none();
        if works && mem::replace(&mut self.failure_logged, false) {
            tracing::info!("the store can be written again");
        }
    }

    fn fail(&mut self, error: EngineError) {
        let trouble = CapacityProblem::Failing(error.to_string());
        self.context.set_trouble(trouble);
        self.core = Err(error);
    }

    fn maintain(&mut self) {
        let in_place = self.check_place().is_ok();
        let Some(core) = self.core.as_mut().ok().filter(|_| in_place) else {
            self.has_more = false;
            return;
        };
        opening::note(&self.context, mem::take(&mut core.findings));
        let now = self.context.clock.uptime();
        let passed = now.saturating_sub(self.maintained_at);
        let is_damaged = core.suspects_indexes || !core.unsound.is_empty();
        if !self.has_more
            && passed < TICK
            && core.damaged.is_empty()
            && !core.overdue
            && !core.needs_recount
            && !is_damaged
        {
            return;
        }
        if is_damaged || core.needs_recount {
            self.has_more = true;
            self.mend(is_damaged);
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
        // `attempt` has logged an error; the next round opens the store again.
        self.has_more = more.unwrap_or(false);
    }

    /// Mends what is damaged, or only counts anew.
    fn mend(&mut self, is_damaged: bool) {
        let being_mended = Err(EngineError::Unavailable(Arc::new(BeingMended)));
        let Ok(mut core) = mem::replace(&mut self.core, being_mended) else {
            return;
        };
        let work = if is_damaged {
            opening::mend
        } else {
            opening::recount
        };
        self.mend_aside(move || work(&mut core).map(|()| core));
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.context.shared.searches.stop();
        self.finish_mending();
        self.context.shared.reader.close();
        self.copy_failed = None;
        // What was met last may not be mended yet.
        self.reopen();
        self.finish_mending();
        // The next process takes over what this can save of a removed file.
        let in_place = self.check_place();
        let outcome = self.attempt(|core| core.engine.close());
        let outcome = outcome.and(in_place.map_err(StoreError::from));
        self.context.set_trouble(CapacityProblem::Closed);
        outcome
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("core", &self.core)
            .finish_non_exhaustive()
    }
}
