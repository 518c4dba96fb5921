//! `pixel-relay queue`: checks and mends the store, and drops what is queued for a sync.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use crate::cli::store::with_store;
use crate::cli::{CommandFailure, Terminal};
use crate::config::SyncName;
use crate::config::load::Sources;
use crate::control::command::{DropQueue, Dropped};

mod repair;
mod verify;

#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    /// Drops what is queued for a sync, for example one that was removed from the configuration
    Drop {
        /// The sync
        #[arg(long, value_name = "NAME", value_parser = parse_name)]
        sync: SyncName,
        /// Drops even if the sync is configured and takes events, for example after it took the wrong ones
        #[arg(long)]
        force: bool,
    },
    /// Looks for damage in the store, beside a running daemon or without one, and changes nothing
    Verify {
        /// Prints a line of JSON for each finding
        #[arg(long)]
        json: bool,
        /// Writes what is left of damaged batches to this file, a line of JSON for each
        #[arg(long, value_name = "FILE")]
        export: Option<PathBuf>,
    },
    /// Mends a store that `verify` finds damaged; of one that a daemon has open, only what needs no other file
    Repair {
        /// Keeps no copy of the files as they were
        #[arg(long)]
        no_copy: bool,
    },
}

pub(super) fn queue(
    command: QueueCommand,
    sources: Sources,
    terminal: &mut Terminal,
) -> Result<(), CommandFailure> {
    match command {
        QueueCommand::Drop { sync, force } => drop_queue(&sync, force, sources, terminal),
        QueueCommand::Verify { json, export } => {
            verify::verify(json, export.as_deref(), sources, terminal)
        }
        QueueCommand::Repair { no_copy } => repair::repair(no_copy, sources, terminal),
    }
}

fn drop_queue(
    sync: &SyncName,
    force: bool,
    sources: Sources,
    terminal: &mut Terminal,
) -> Result<(), CommandFailure> {
    let command = DropQueue {
        sync: sync.clone(),
        force,
    };
    let Dropped { dropped } = with_store(sources, |store| Ok(store.perform(command)?))?;
    let words = format!(
        "{dropped} events of sync {sync} dropped, counted as erased; events that a request carries right \
         now are not dropped"
    );
    terminal.tell(&json!({"dropped": dropped}), &words)?;
    Ok(())
}

fn parse_name(text: &str) -> Result<SyncName, String> {
    SyncName::new(text).ok_or_else(|| format!("`{text}` is not a sync name such as web or eu_app"))
}
