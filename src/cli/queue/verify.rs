//! `pixel-relay queue verify`: looks for damage.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use serde_json::json;

use crate::cli::store::{StoreClient, no_store};
use crate::cli::{CommandFailure, Terminal, load_config};
use crate::config::load::{Loaded, Sources};
use crate::control::command::{ListSetAside, TellDamage, VerifyStore};
use crate::queue::{ExportedBatch, Finding, Queue, StoppedStore, Verified, VerifyStep};

pub(super) fn verify(
    as_json: bool,
    export: Option<&Path>,
    sources: Sources,
    terminal: &mut Terminal,
) -> Result<(), CommandFailure> {
    let (Loaded { config, .. }, _) = load_config(sources)?;
    if !Queue::exists(&config.queue) {
        return Err(no_store(&config).into());
    }
    let (findings, batches) = if let Some(daemon) = StoreClient::of_daemon(&config)? {
        for (at, Finding { what, .. }) in daemon.perform(TellDamage {})? {
            writeln!(terminal.errors, "met by the daemon at {at}: {what}")?;
        }
        let found = search(
            Vec::new(),
            |step| daemon.perform(VerifyStore(step)),
            terminal,
        )?;
        let page = |after| daemon.perform(ListSetAside { after });
        list_set_aside(page, export, terminal)?;
        found
    } else {
        let stopped = StoppedStore::look(&config.queue).context("cannot check the store")?;
        let found = search(
            stopped.inspect().context("cannot check the store")?,
            |step| Ok(stopped.verify(step)?),
            terminal,
        )?;
        let page = |after| {
            let page = stopped.damaged(after, ListSetAside::PAGE)?;
            Ok(page.into_iter().map(ExportedBatch::from).collect())
        };
        // Where the table cannot be read, the findings say so; that there is no export does not show in them.
        match list_set_aside(page, export, terminal) {
            Err(error) if found.0.is_empty() || export.is_some() => return Err(error.into()),
            _ => {}
        }
        found
    };
    for (copy, at) in Queue::kept_copies(&config.queue) {
        writeln!(
            terminal.errors,
            "a copy of files is kept since {at}: {}",
            copy.display()
        )?;
    }
    for Finding { kind, what } in &findings {
        if as_json {
            let line = json!({"kind": kind, "what": what, "remedy": kind.remedy()});
            terminal.write_json(&line)?;
        } else {
            writeln!(terminal.output, "{kind}: {what}\n  {}", kind.remedy())?;
        }
    }
    if findings.is_empty() {
        writeln!(
            terminal.errors,
            "the store is well; {batches} batches were read"
        )?;
        return Ok(());
    }
    let found = match findings.len() {
        1 => "the store is damaged in one place".to_owned(),
        places => format!("the store is damaged in {places} places"),
    };
    Err(anyhow!(found).into())
}

/// Batches that are listed one by one; an export has all.
const LISTED: u64 = 20;

/// Says what was set aside, and exports it.
fn list_set_aside(
    page: impl Fn(i64) -> anyhow::Result<Vec<ExportedBatch>>,
    export: Option<&Path>,
    terminal: &mut Terminal,
) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", export.unwrap_or(Path::new("")).display());
    let mut file = match export {
        Some(path) => {
            let mut options = File::options();
            let options = options.create(true).truncate(true).write(true).mode(0o600);
            Some(BufWriter::new(options.open(path).with_context(cannot)?))
        }
        None => None,
    };
    let (mut batches, mut events, mut after) = (0_u64, 0, 0);
    loop {
        let page = page(after)?;
        let Some(last) = page.last() else {
            break;
        };
        after = last.id;
        for batch in page {
            batches += 1;
            events += batch.events;
            if batches <= LISTED {
                let ExportedBatch {
                    row,
                    taken_at,
                    found_at,
                    events,
                    why,
                    ..
                } = &batch;
                writeln!(
                    terminal.errors,
                    "set aside: batch {row}, {events} events taken at {taken_at}, found damaged at {found_at}: {why}"
                )?;
            }
            if let Some(file) = &mut file {
                serde_json::to_writer(&mut *file, &batch).with_context(cannot)?;
                file.write_all(b"\n").with_context(cannot)?;
            }
        }
    }
    if let Some(mut file) = file {
        file.flush().with_context(cannot)?;
    }
    if batches > 0 {
        writeln!(
            terminal.errors,
            "{batches} damaged batches with {events} events that were lost are set aside{}",
            if export.is_some() {
                ""
            } else {
                "; --export FILE writes what is left of them"
            }
        )?;
    }
    Ok(())
}

/// Takes all steps of a search; gives what they found, and how many batches they read.
pub(super) fn search(
    mut findings: Vec<Finding>,
    step: impl Fn(VerifyStep) -> anyhow::Result<Verified>,
    terminal: &mut Terminal,
) -> anyhow::Result<(Vec<Finding>, u64)> {
    let mut next = Some(VerifyStep::default());
    let mut read = 0;
    while let Some(now) = next {
        let verified = step(now)?;
        findings.extend(verified.findings);
        read += verified.batches;
        next = verified.next;
        if terminal.shows_progress && verified.batches > 0 {
            write!(terminal.errors, "\r{read} batches read")?;
        }
    }
    if terminal.shows_progress && read > 0 {
        writeln!(terminal.errors)?;
    }
    Ok((findings, read))
}
