//! `pixel-relay map`: what would become of these events, without sending anything.
//!
//! Reads one event per line, and writes one JSON line per event and sync, in input order:
//! `{"sync","outcome","reason"?,"event"?}` with outcome `mapped`, `filtered` or `invalid`. With
//! `--explain` each line also says, per field, where it came from or why it is missing; a person
//! at a terminal gets a table instead.

use std::io::{BufRead as _, Write as _};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::cli::{Failure, Terminal, load_config, parse_time};
use crate::clock::{Clock as _, SystemClock, UnixMillis};
use crate::config::SyncName;
use crate::config::load::Sources;
use crate::event::Event;
use crate::map::explain::Explanation;
use crate::outcome::Reason;
use crate::sync::Fate;

/// What `pixel-relay map` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Says for each field where it came from, how it was normalised, or why it is missing
    #[arg(long)]
    explain: bool,
    /// The present moment, as in `2026-11-20T18:05:00Z` [default: the clock]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    now: Option<UnixMillis>,
}

#[derive(Serialize)]
struct Line<'a> {
    sync: &'a str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<&'a Explanation>,
}

pub(super) fn map(
    arguments: &Arguments,
    sources: Sources,
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    let (_, syncs) = load_config(sources)?;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = terminal
            .input
            .read_until(b'\n', &mut line)
            .context("cannot read the events")?;
        if read == 0 {
            return Ok(());
        }
        let raw = line.trim_ascii();
        if raw.is_empty() {
            continue;
        }
        let now = arguments.now.unwrap_or_else(|| SystemClock.now());
        let event = Event::decode(raw);
        for sync in &syncs {
            let (fate, explanation) = match &event {
                Ok(event) if arguments.explain => {
                    let (fate, explanation) = sync.explain(event, now);
                    (fate, Some(explanation))
                }
                event => (
                    sync.take(event.as_ref().map_err(|reason| *reason), raw, now)
                        .0,
                    None,
                ),
            };
            write_line(sync.name(), &fate, explanation.as_ref(), terminal)?;
        }
    }
}

fn write_line(
    sync: &SyncName,
    fate: &Fate,
    explanation: Option<&Explanation>,
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    let (reason, json) = match fate {
        Fate::Mapped(payload) => (None, Some(payload.json.as_slice())),
        Fate::Ended(ended) => (Some(ended.reason), ended.json.as_deref()),
    };
    let line = Line {
        sync: sync.as_str(),
        outcome: reason.map_or("mapped", |reason| reason.outcome().as_str()),
        reason: reason.map(Reason::as_str),
        event: json.map(serde_json::from_slice).transpose()?,
        explain: explanation,
    };
    match explanation {
        Some(explanation) if terminal.is_interactive => {
            let because = line
                .reason
                .map_or_else(String::new, |reason| format!(", {reason}"));
            let table = explanation.table();
            writeln!(
                terminal.output,
                "{sync}: {}{because}\n{table}",
                line.outcome
            )?;
        }
        _ => {
            serde_json::to_writer(&mut terminal.output, &line)?;
            terminal.output.write_all(b"\n")?;
        }
    }
    Ok(())
}
