//! `pixel-relay dead`: handles dead letters, the events that could not be delivered.
//!
//! Lists are read page by page, so that any number of dead letters is shown in constant memory.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::store::{StoreClient, with_store};
use crate::cli::table::TextTable;
use crate::cli::{CommandFailure, Terminal};
use crate::clock::{Clock as _, SystemClock, UnixMillis};
use crate::config::SyncName;
use crate::config::load::Sources;
use crate::control::command::{DropDead, ListDead, RetryDead};
use crate::outcome::{Outcome, Reason};
use crate::queue::dead::{DeadFilter, DeadLetter};

#[derive(Debug, Subcommand)]
pub(super) enum DeadCommand {
    /// Lists dead letters: a table on a terminal, else one JSON line each
    List {
        #[command(flatten)]
        which: DeadSelection,
        /// One JSON line each, on a terminal too
        #[arg(long)]
        json: bool,
    },
    /// Shows dead letters in full, with their mapped events
    Show {
        /// Numbers, as `list` shows them
        #[arg(required = true, value_name = "ID")]
        ids: Vec<i64>,
    },
    /// Queues dead letters anew: the same bytes, not mapped again
    Retry(Chosen),
    /// Drops dead letters for good
    Drop(Chosen),
    /// Writes dead letters in full, one JSON line each
    Export {
        #[command(flatten)]
        which: DeadSelection,
    },
}

/// A filter of dead letters.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(super) struct DeadSelection {
    /// Of this sync
    #[arg(long, value_name = "NAME")]
    sync: Option<String>,
    /// With this reason, as in `refused` or `window_closed`
    #[arg(long, value_parser = parse_reason)]
    reason: Option<Reason>,
    /// With this event name, as Meta knows it
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// Filed longer ago than this, as in `7d` or `90min`
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
    /// Filed within this time
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    newer_than: Option<Duration>,
}

/// The dead letters to change; at least one option must choose them.
#[derive(Debug, Args)]
pub(super) struct Chosen {
    /// Numbers, as `list` shows them
    #[arg(value_name = "ID", conflicts_with_all = ["sync", "reason", "event", "older_than", "newer_than", "all"])]
    ids: Vec<i64>,
    #[command(flatten)]
    which: DeadSelection,
    /// All of them
    #[arg(long)]
    all: bool,
}

pub(super) fn dead(
    command: DeadCommand,
    sources: Sources,
    terminal: &mut Terminal,
) -> Result<(), CommandFailure> {
    let now = SystemClock.now();
    let chosen = match &command {
        DeadCommand::Retry(chosen) | DeadCommand::Drop(chosen) => chosen.filters(now)?,
        _ => Vec::new(),
    };
    with_store(sources, |store| match command {
        DeadCommand::List { which, json } if terminal.is_interactive && !json => {
            table(store, &which.filter(now)?, terminal)
        }
        DeadCommand::List { which, .. } => lines(store, &which.filter(now)?, false, terminal),
        DeadCommand::Export { which } => lines(store, &which.filter(now)?, true, terminal),
        DeadCommand::Show { ids } => show(store, &ids, terminal),
        DeadCommand::Retry(_) => retry(store, chosen, terminal),
        DeadCommand::Drop(_) => drop_dead(store, chosen, terminal),
    })
}

impl DeadSelection {
    fn filter(&self, now: UnixMillis) -> anyhow::Result<DeadFilter> {
        let ago = |age: Duration| {
            let millis = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            UnixMillis(now.0.saturating_sub(millis))
        };
        let sync = self.sync.as_ref().map(|name| {
            SyncName::new(name).with_context(|| format!("`{name}` is not a sync name"))
        });
        Ok(DeadFilter {
            sync: sync.transpose()?,
            reason: self.reason,
            event_name: self.event.clone(),
            filed_from: self.newer_than.map(ago),
            filed_before: self.older_than.map(ago),
            id: None,
        })
    }
}

impl Chosen {
    /// One filter, or one for each number.
    fn filters(&self, now: UnixMillis) -> Result<Vec<DeadFilter>, CommandFailure> {
        if self.ids.is_empty() && self.which == DeadSelection::default() && !self.all {
            return Err(CommandFailure::Usage(
                "say which dead letters are meant: their numbers, a filter such as --reason, or --all"
                    .to_owned(),
            ));
        }
        if self.ids.is_empty() {
            return Ok(vec![self.which.filter(now)?]);
        }
        Ok(self.ids.iter().copied().map(by_number).collect())
    }
}

fn by_number(id: i64) -> DeadFilter {
    DeadFilter {
        id: Some(id),
        ..DeadFilter::default()
    }
}

fn table(
    store: &StoreClient,
    filter: &DeadFilter,
    terminal: &mut Terminal,
) -> Result<(), CommandFailure> {
    let mut table = TextTable::default();
    let heads = [
        "ID", "FILED", "SYNC", "OUTCOME", "REASON", "CODE", "EVENT", "EVENT ID",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    let mut count = 0;
    each_page(store, filter, false, |page| {
        count += page.len();
        rows.extend(page.into_iter().map(row));
        table.write(&mut terminal.output, &rows)?;
        terminal.output.flush()?;
        rows.clear();
        Ok(())
    })?;
    let words = match count {
        0 => "no dead letters match".to_owned(),
        1 => "1 dead letter".to_owned(),
        count => format!("{count} dead letters"),
    };
    writeln!(terminal.errors, "{words}")?;
    Ok(())
}

fn row(dead_letter: DeadLetter) -> Vec<String> {
    let code = match (dead_letter.code, dead_letter.sub_code) {
        (Some(code), Some(sub_code)) => format!("{code}/{sub_code}"),
        (Some(code), None) => code.to_string(),
        (None, _) => "-".to_owned(),
    };
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        dead_letter.id.to_string(),
        // Whole seconds will do for people.
        format!("{:.19}Z", dead_letter.filed_at.to_string()),
        dead_letter.sync.to_string(),
        dead_letter.reason.outcome().to_string(),
        dead_letter.reason.to_string(),
        code,
        or_dash(dead_letter.event_name),
        or_dash(dead_letter.event_id),
    ]
}

fn lines(
    store: &StoreClient,
    filter: &DeadFilter,
    with_events: bool,
    terminal: &mut Terminal,
) -> Result<(), CommandFailure> {
    each_page(store, filter, with_events, |page| {
        for dead_letter in page {
            terminal.write_json(&dead_letter)?;
        }
        Ok(())
    })
}

fn show(store: &StoreClient, ids: &[i64], terminal: &mut Terminal) -> Result<(), CommandFailure> {
    let mut missing = Vec::new();
    for id in ids {
        let found = store.perform(ListDead {
            filter: by_number(*id),
            after: 0,
            with_events: true,
        })?;
        if found.is_empty() {
            missing.push(id.to_string());
        }
        for dead_letter in found {
            if terminal.is_interactive {
                // Through a value, or the event would stay on one line.
                writeln!(terminal.output, "{:#}", serde_json::to_value(&dead_letter)?)?;
            } else {
                terminal.write_json(&dead_letter)?;
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(", ");
    Err(anyhow::anyhow!("no dead letter has the number {missing}").into())
}

fn retry(
    store: &StoreClient,
    filters: Vec<DeadFilter>,
    terminal: &mut Terminal,
) -> Result<(), CommandFailure> {
    let (mut queued, mut kept, mut replaced) = (0, 0, 0);
    for filter in filters {
        let retried = store.perform(RetryDead(filter));
        let retried = retried.with_context(|| format!("{queued} were queued anew before"))?;
        queued += retried.queued;
        kept += retried.kept;
        replaced += retried.replaced;
    }
    let mut words = format!("{queued} queued anew");
    if kept > 0 {
        let why = "they were never mapped, are too old for Meta by now, or are in the future yet \
                   (fix the mapping or the clock and backfill, or drop them)";
        words = format!("{words}; {kept} kept: {why}");
    }
    if queued > 0 && !store.has_daemon() {
        words += "; they are delivered once the daemon runs";
    }
    let mut data = json!({"queued": queued, "kept": kept});
    if replaced > 0 {
        data["replaced"] = replaced.into();
        words = format!("{words}; {replaced} removed: their events were taken after all");
    }
    terminal.tell(&data, &words)?;
    Ok(())
}

fn drop_dead(
    store: &StoreClient,
    filters: Vec<DeadFilter>,
    terminal: &mut Terminal,
) -> Result<(), CommandFailure> {
    let mut dropped = 0;
    for filter in filters {
        let more = store.perform(DropDead(filter));
        dropped += more
            .with_context(|| format!("{dropped} were dropped before"))?
            .dropped;
    }
    terminal.tell(&json!({"dropped": dropped}), &format!("{dropped} dropped"))?;
    Ok(())
}

/// Reads all dead letters that match, page by page.
fn each_page(
    store: &StoreClient,
    filter: &DeadFilter,
    with_events: bool,
    mut show: impl FnMut(Vec<DeadLetter>) -> Result<(), CommandFailure>,
) -> Result<(), CommandFailure> {
    let (mut after, mut shown) = (0, 0);
    loop {
        let page = store.perform(ListDead {
            filter: filter.clone(),
            after,
            with_events,
        });
        let page = page.with_context(|| match after {
            0 => "no dead letter was shown".to_owned(),
            last => format!("{shown} dead letters were shown, up to number {last}"),
        })?;
        let Some(last) = page.last() else {
            // An empty list is shown too.
            return if after == 0 { show(page) } else { Ok(()) };
        };
        (after, shown) = (last.id, shown + page.len());
        show(page)?;
    }
}

fn parse_reason(text: &str) -> Result<Reason, String> {
    let files = |reason: &Reason| {
        matches!(
            reason.outcome(),
            Outcome::Invalid | Outcome::Rejected | Outcome::Expired
        )
    };
    Reason::parse(text).filter(files).ok_or_else(|| {
        let known: Vec<_> = Reason::ALL
            .iter()
            .filter(|reason| files(reason))
            .map(|reason| reason.as_str())
            .collect();
        format!(
            "dead letters have one of these reasons: {}",
            known.join(", ")
        )
    })
}
