//! `pixel-relay queue`: drops what is queued for a sync.

use clap::Subcommand;
use serde_json::json;

use crate::cli::store::with_store;
use crate::cli::{CommandFailure, Terminal};
use crate::config::SyncName;
use crate::config::load::Sources;
use crate::control::command::{DropQueue, Dropped};

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
}

pub(super) fn queue(
    command: QueueCommand,
    sources: Sources,
    terminal: &mut Terminal,
) -> Result<(), CommandFailure> {
    let QueueCommand::Drop { sync, force } = command;
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
