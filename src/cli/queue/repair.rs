//! `pixel-relay queue repair`: mends a damaged store.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde_json::json;

use super::verify::search;
use crate::cli::store::{self, StoreClient, no_store};
use crate::cli::{CommandFailure, Terminal, load_config};
use crate::clock::SystemClock;
use crate::config::load::{Loaded, Sources};
use crate::config::{Config, SyncName};
use crate::control::command::{MendStore, TellDamage};
use crate::queue::{DamageKind, Finding, Queue, StoppedStore};

pub(super) fn repair(
    no_copy: bool,
    sources: Sources,
    terminal: &mut Terminal,
) -> Result<(), CommandFailure> {
    let (Loaded { config, .. }, _) = load_config(sources)?;
    if !Queue::exists(&config.queue) {
        return Err(no_store(&config).into());
    }
    let done = if let Some(daemon) = StoreClient::of_daemon(&config)? {
        daemon.perform(MendStore {})?;
        let met = daemon.perform(TellDamage {})?;
        met.into_iter().map(|(_, finding)| finding).collect()
    } else {
        repair_stopped(&config, no_copy, terminal)?
    };
    for Finding { kind, what } in &done {
        if !terminal.is_interactive {
            terminal.write_json(&json!({"kind": kind, "what": what}))?;
        }
        writeln!(terminal.errors, "{kind}: {what}")?;
    }
    if done.is_empty() {
        writeln!(terminal.errors, "nothing was damaged")?;
    }
    Ok(())
}

fn repair_stopped(
    config: &Config,
    no_copy: bool,
    terminal: &mut Terminal,
) -> anyhow::Result<Vec<Finding>> {
    let stopped = StoppedStore::take(&config.queue).context("cannot repair the store")?;
    let (found, _) = search(
        stopped.inspect().context("cannot repair the store")?,
        |step| Ok(stopped.verify(step)?),
        terminal,
    )?;
    if found.is_empty() {
        return Ok(found);
    }
    if !no_copy {
        let copied = stopped.copy();
        let copied =
            copied.context("the files cannot be copied; --no-copy repairs them without that")?;
        let Some(copy) = copied else {
            bail!(
                "there is no room for a copy of the files as they are: free some, or repair them \
                 without one: --no-copy"
            );
        };
        writeln!(
            terminal.errors,
            "the files as they were are kept in {}; `forget` and the retention of dead letters \
             remove them",
            copy.display()
        )?;
    }
    let needs_salvage =
        |finding: &Finding| matches!(finding.kind, DamageKind::Pages | DamageKind::Schema);
    if found.iter().any(needs_salvage) {
        stopped.salvage().context("the store cannot be saved")?;
    }
    let syncs: Vec<SyncName> = config.syncs.keys().cloned().collect();
    let queue = stopped
        .open(&config.queue, &syncs, Arc::new(SystemClock))
        .context("the store cannot be opened after its repair")?;
    let done = store::store_runtime()?.block_on(async {
        queue.mend().await?;
        let done = queue.stats().damage.recent;
        queue.close().await?;
        Ok::<_, anyhow::Error>(done)
    })?;
    let mut mended = found;
    let met = done.into_iter().map(|(_, finding)| finding);
    for finding in met {
        if !mended.contains(&finding) {
            mended.push(finding);
        }
    }
    Ok(mended)
}
