//! How a command reaches the store: through the running daemon, or by opening it itself.
//!
//! A daemon that has the store answers on its control socket. Where none runs, the command itself opens the
//! store while it works, and a daemon cannot start meanwhile.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::runtime::Runtime;

use crate::cli::{CommandFailure, load_config, runtime};
use crate::clock::SystemClock;
use crate::config::live::LiveConfig;
use crate::config::load::{Loaded, Sources};
use crate::config::{Config, SyncName};
use crate::control::client::{self, AskError};
use crate::control::command::{CommandHandler, StoreCommand, TellVersion};
use crate::control::problem::ProblemCode;
use crate::queue::{OpenError, Queue};

/// How often, and how long apart, to try for a store that a starting or stopping daemon may hold.
const TRIES: u32 = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct StoreClient {
    runtime: Runtime,
    access: Access,
}

#[derive(Debug)]
enum Access {
    /// Through the daemon that has this queue folder.
    Daemon(PathBuf),
    Direct(Box<CommandHandler>, Queue),
}

/// Whether a command may create a store where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It has nothing to work on; most likely the folder is wrong.
    Refused,
    /// The command brings the first events.
    Made,
}

impl StoreClient {
    pub(super) fn open(config: &Config, missing: Missing) -> anyhow::Result<Self> {
        let folder = &config.queue.path;
        if missing == Missing::Refused && !Queue::exists(&config.queue) {
            return Err(no_store(config));
        }
        let runtime = store_runtime()?;
        let mut starting = None;
        for _ in 0..TRIES {
            match runtime.block_on(client::ask(folder, &TellVersion {})) {
                Ok(Err(problem)) if problem.code == ProblemCode::Starting => {
                    starting = Some(problem);
                    sleep(BETWEEN_TRIES);
                    continue;
                }
                Ok(version) => {
                    version?;
                    let access = Access::Daemon(folder.clone());
                    return Ok(Self { runtime, access });
                }
                Err(AskError::NoDaemon(_)) => {}
                // A daemon may be there all the same.
                Err(error) => return Err(error.into()),
            }
            if let Some(queue) = open_queue(config)? {
                let handler = CommandHandler::new(queue.clone(), LiveConfig::new(config.clone()));
                let access = Access::Direct(Box::new(handler), queue);
                return Ok(Self { runtime, access });
            }
            sleep(BETWEEN_TRIES);
        }
        if let Some(problem) = starting {
            return Err(problem.into());
        }
        bail!(
            "another process has the store in {}, and no daemon answers on its control.sock: where \
             the daemon could not make the socket, as its log then says, stop it for this command",
            folder.display()
        )
    }

    /// Reaches the daemon that has the store; `None` if none runs.
    pub(super) fn of_daemon(config: &Config) -> anyhow::Result<Option<Self>> {
        let folder = &config.queue.path;
        let runtime = store_runtime()?;
        match runtime.block_on(client::ask(folder, &TellVersion {})) {
            Ok(version) => {
                version?;
                let access = Access::Daemon(folder.clone());
                Ok(Some(Self { runtime, access }))
            }
            Err(AskError::NoDaemon(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a daemon runs, which delivers what is queued.
    pub(super) const fn has_daemon(&self) -> bool {
        matches!(self.access, Access::Daemon(_))
    }

    /// Performs a command. Where it meets a `Problem`, that is the error.
    pub(super) fn perform<C: StoreCommand>(&self, command: C) -> anyhow::Result<C::Answer> {
        let done = match &self.access {
            Access::Daemon(folder) => self.runtime.block_on(client::ask(folder, &command))?,
            Access::Direct(handler, _) => self.runtime.block_on(command.perform(handler)),
        };
        Ok(done?)
    }

    /// Leaves the store, and closes it if this command opened it.
    pub(super) fn close(self) -> anyhow::Result<()> {
        match self.access {
            Access::Daemon(_) => Ok(()),
            Access::Direct(handler, queue) => {
                drop(handler);
                let closed = self.runtime.block_on(queue.close());
                closed.context("the store was not closed well")
            }
        }
    }
}

/// Says that there is no store.
pub(super) fn no_store(config: &Config) -> anyhow::Error {
    anyhow!(
        "there is no store in {}; is `queue.path` the folder that the daemon uses?",
        config.queue.path.display()
    )
}

pub(super) fn store_runtime() -> anyhow::Result<Runtime> {
    runtime::of_command().context("cannot prepare to work on the store")
}

/// Works on the store of a configuration, and leaves the store.
pub(super) fn with_store<T>(
    sources: Sources,
    work: impl FnOnce(&StoreClient) -> Result<T, CommandFailure>,
) -> Result<T, CommandFailure> {
    let (Loaded { config, .. }, _) = load_config(sources)?;
    let store = StoreClient::open(&config, Missing::Refused)?;
    let done = work(&store);
    store.close()?;
    done
}

/// Opens the store; `None` where another process has it.
fn open_queue(config: &Config) -> anyhow::Result<Option<Queue>> {
    let syncs: Vec<SyncName> = config.syncs.keys().cloned().collect();
    match Queue::open(&config.queue, &syncs, Arc::new(SystemClock)) {
        Ok(queue) => Ok(Some(queue)),
        Err(OpenError::InUse(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
