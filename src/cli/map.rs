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

use crate::cli::{Failure, Terminal, load_config};
use crate::clock::{Clock as _, SystemClock, UnixMillis};
use crate::config::load::Sources;
use crate::event::Event;
use crate::map::explain::Explanation;
use crate::sync::{self, Fate};

/// What `pixel-relay map` takes.
#[derive(Debug, Args)]
pub struct Arguments {
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
    let config = load_config(sources, terminal)?;
    let syncs = sync::compile_all(&config).map_err(Failure::Configuration)?.syncs;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = terminal.input.read_until(b'\n', &mut line).context("cannot read the events")?;
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
            let mut explanation = arguments.explain.then(Explanation::default);
            let fate = sync.explain(event.as_ref().map_err(|reason| *reason), now, explanation.as_mut());
            let json = match &fate {
                Fate::Mapped(payload) => Some(payload.json.as_slice()),
                Fate::Ended(ended) => ended.json.as_deref(),
            };
            let reason = match &fate {
                Fate::Mapped(_) => None,
                Fate::Ended(ended) => Some(ended.reason),
            };
            let line = Line {
                sync: sync.name().as_str(),
                outcome: reason.map_or("mapped", |reason| reason.outcome().as_str()),
                reason: reason.map(|reason| reason.as_str()),
                event: json.map(serde_json::from_slice).transpose()?,
                explain: explanation.as_ref(),
            };
            match &explanation {
                Some(explanation) if terminal.is_interactive => {
                    let ending = line.reason.map_or(String::new(), |reason| format!(" ({reason})"));
                    writeln!(terminal.output, "{}: {}{ending}\n{explanation}", line.sync, line.outcome)?;
                }
                _ => {
                    serde_json::to_writer(&mut terminal.output, &line)?;
                    terminal.output.write_all(b"\n")?;
                }
            }
        }
    }
}

fn parse_time(text: &str) -> Result<UnixMillis, String> {
    crate::map::time::parse(text)
        .ok_or_else(|| format!("`{text}` is no moment such as 2026-11-20T18:05:00Z"))
}
