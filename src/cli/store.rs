//! How a command reaches the store: through the running daemon, or by opening it itself.
//!
//! A daemon that has the store answers on its control socket. Where none runs, the command takes
//! possession of the store for as long as it works, and a daemon cannot start meanwhile.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::runtime::Runtime;

use crate::clock::SystemClock;
use crate::config::{Config, SyncName};
use crate::control::client::{self, AskError};
use crate::control::desk::CommandHandler;
use crate::control::wire::{Answer, Mapped, Problem, Request};
use crate::queue::dead::{DeadFilter, DeadLetter, Retried};
use crate::queue::erase::{Forgotten, Person};
use crate::queue::trace::Trace;
use crate::queue::{OpenError, Queue};

/// How often, and how long apart, a store is asked for that a starting or stopping daemon may have.
const TRIES: u32 = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// The store, by one way or the other.
#[derive(Debug)]
pub(super) struct StoreClient {
    folder: PathBuf,
    way: Access,
}

#[derive(Debug)]
enum Access {
    Daemon,
    Own(Box<Own>),
}

#[derive(Debug)]
struct Own {
    desk: CommandHandler,
    queue: Queue,
    runtime: Runtime,
}

/// Whether a command may make a store where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// There is nothing to work on: most likely the wrong folder.
    Refused,
    /// The command brings the first events.
    Made,
}

/// What became of a piece of events.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stored {
    pub(super) queued: u64,
    pub(super) duplicates: u64,
}

impl StoreClient {
    /// Finds the way to the store of a configuration.
    pub(super) fn open(config: &Config, missing: Missing) -> anyhow::Result<Self> {
        let folder = config.queue.path.clone();
        let store = folder.join("queue.db");
        if missing == Missing::Refused && !store.exists() {
            bail!(
                "there is no store in {}; is `queue.path` the folder that the daemon uses?",
                folder.display()
            );
        }
        for _ in 0..TRIES {
            if client::is_answered(&folder)? {
                let way = Access::Daemon;
                return Ok(Self { folder, way });
            }
            if let Some(own) = Own::open(config)? {
                let way = Access::Own(Box::new(own));
                return Ok(Self { folder, way });
            }
            sleep(BETWEEN_TRIES);
        }
        bail!(
            "another process has the store in {}, and no daemon answers on its control.sock: where \
             the daemon could not make the socket, as its log then says, stop it for this command",
            folder.display()
        )
    }

    /// Whether a daemon runs, which delivers what is queued.
    pub(super) const fn has_daemon(&self) -> bool {
        matches!(self.way, Access::Daemon)
    }

    /// Gives a page of dead letters; an empty one is behind the last.
    pub(super) fn letters(
        &self,
        filter: &DeadFilter,
        after: i64,
        with_events: bool,
    ) -> anyhow::Result<Vec<DeadLetter>> {
        let filter = filter.clone();
        let request = Request::Letters {
            filter,
            after,
            with_events,
        };
        match self.ask(request)? {
            Answer::Letters(letters) => Ok(letters),
            _ => Err(unexpected()),
        }
    }

    /// Queues dead letters anew.
    pub(super) fn retry(&self, filter: &DeadFilter) -> anyhow::Result<Retried> {
        let filter = filter.clone();
        match self.ask(Request::Retry { filter })? {
            Answer::Retried(retried) => Ok(retried),
            _ => Err(unexpected()),
        }
    }

    /// Drops dead letters; gives their number.
    pub(super) fn drop_letters(&self, filter: &DeadFilter) -> anyhow::Result<u64> {
        let filter = filter.clone();
        match self.ask(Request::Drop { filter })? {
            Answer::Dropped(letters) => Ok(letters),
            _ => Err(unexpected()),
        }
    }

    /// Drops the queued events of a sync; gives their number.
    pub(super) fn drop_queue(&self, sync: &SyncName, force: bool) -> anyhow::Result<u64> {
        let sync = sync.as_str().to_owned();
        match self.ask(Request::DropQueue { sync, force })? {
            Answer::Dropped(events) => Ok(events),
            _ => Err(unexpected()),
        }
    }

    /// Tells what became of an event.
    pub(super) fn trace(&self, event_id: &str) -> anyhow::Result<Vec<Trace>> {
        let event_id = event_id.to_owned();
        match self.ask(Request::Trace { event_id })? {
            Answer::Traces(traces) => Ok(traces),
            _ => Err(unexpected()),
        }
    }

    /// Erases a person.
    pub(super) fn forget(&self, person: &Person) -> anyhow::Result<Forgotten> {
        match self.ask(Request::Forget(person.clone()))? {
            Answer::Forgotten(forgotten) => Ok(forgotten),
            _ => Err(unexpected()),
        }
    }

    /// Finds the places of those events that were taken in the last 8 days.
    pub(super) fn remembered(&self, fingerprints: Vec<[u64; 2]>) -> anyhow::Result<Vec<u32>> {
        match self.ask(Request::Remembered { fingerprints })? {
            Answer::Remembered(places) => Ok(places),
            _ => Err(unexpected()),
        }
    }

    /// Hands events over to the queue.
    pub(super) fn take(&self, events: &[Mapped]) -> anyhow::Result<Stored> {
        let events = events.to_vec();
        match self.ask(Request::Take { events })? {
            Answer::Taken { queued, duplicates } => Ok(Stored { queued, duplicates }),
            _ => Err(unexpected()),
        }
    }

    /// Leaves the store; one of our own is closed.
    pub(super) fn close(self) -> anyhow::Result<()> {
        match self.way {
            Access::Daemon => Ok(()),
            Access::Own(own) => {
                let Own {
                    desk,
                    queue,
                    runtime,
                } = *own;
                drop(desk);
                let closed = runtime.block_on(queue.close());
                closed.context("the store was not closed well")
            }
        }
    }

    fn ask(&self, request: Request) -> anyhow::Result<Answer> {
        match &self.way {
            Access::Daemon => client::ask(&self.folder, &request).map_err(|error| match error {
                AskError::Problem(problem) => problem.into(),
                error => error.into(),
            }),
            Access::Own(own) => Ok(own.runtime.block_on(own.desk.perform(request))?),
        }
    }
}

impl Own {
    /// Takes possession of the store; `None` where another process has it.
    fn open(config: &Config) -> anyhow::Result<Option<Self>> {
        let syncs: Vec<SyncName> = config.syncs.keys().cloned().collect();
        let queue = match Queue::open(&config.queue, &syncs, Arc::new(SystemClock)) {
            Ok(queue) => queue,
            Err(OpenError::InUse(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot prepare to work on the store")?;
        Ok(Some(Self {
            desk: CommandHandler::new(queue.clone(), config),
            queue,
            runtime,
        }))
    }
}

/// The problem that a request met, if that is why it failed.
pub(super) fn problem(error: &anyhow::Error) -> Option<&Problem> {
    error.downcast_ref()
}

fn unexpected() -> anyhow::Error {
    anyhow!("the daemon answered something else than was asked; use the daemon's own program")
}
