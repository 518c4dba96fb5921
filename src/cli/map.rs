//! `pixel-relay map`: shows what would become of these events, without sending anything.
//!
//! Reads one event per line, and writes one JSON line per event and sync, in input order:
//! `{"sync","outcome","reason"?,"event"?}` with outcome `mapped`, `filtered` or `invalid`. An event may
//! also span lines, and stand in an array or in `{"events":[…]}`, as in a request. Any other line is one
//! invalid event. With `--explain` each line also says, per field, where it came from or why it is missing;
//! a person at a terminal gets a table instead. A sync with user memory learns from the events before, and
//! knows nothing that a daemon has stored.

use std::io::Write as _;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::cli::table::TextTable;
use crate::cli::{CommandFailure, Terminal, load_config, parse_time};
use crate::clock::{Clock as _, SystemClock, UnixMillis};
use crate::config::SyncName;
use crate::config::load::Sources;
use crate::event::arena::Arena;
use crate::event::request::BrowserRequest;
use crate::ingest::decode::{RawElement, decode};
use crate::json::Json;
use crate::json::split::NotJson;
use crate::map::explain::Explanation;
use crate::outcome::Reason;
use crate::payload::{MapResult, PayloadArena};
use crate::profile::in_memory::InMemoryProfiles;
use crate::sync::Sync;

mod lines;

use lines::InputLines;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

const UNREADABLE: &str = "cannot read the events";

#[derive(Debug, Args)]
pub(super) struct MapArguments {
    /// Says for each field where it came from, how it was normalised, or why it is missing
    #[arg(long)]
    explain: bool,
    /// The present moment, as in `2026-11-20T18:05:00Z` [default: the clock]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    now: Option<UnixMillis>,
    /// What a browser's own request tells with each event, as in `{"cookies":{"_fbp":"…"},"gpc":true}`
    #[arg(long, value_name = "JSON", value_parser = parse_request)]
    request: Option<BrowserRequest>,
}

fn parse_request(text: &str) -> Result<BrowserRequest, serde_json::Error> {
    serde_json::from_str(text)
}

#[derive(Serialize)]
struct MapLine<'a> {
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
    arguments: &MapArguments,
    sources: Sources,
    terminal: &mut Terminal,
) -> Result<(), CommandFailure> {
    let (_, syncs) = load_config(sources)?;
    let mut lines = InputLines::default();
    let mut people = InMemoryProfiles::default();
    let request = arguments.request.as_ref().map(BrowserRequest::to_json);
    loop {
        let line = lines.next(&mut *terminal.input);
        let Some(line) = line.context(UNREADABLE)? else {
            return Ok(());
        };
        let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&line);
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let arena = Arena::default();
        let value;
        let elements = match decode(line, &arena) {
            Err(NotJson::Unclosed) => {
                let first = [line, b"\n"].concat();
                value = lines
                    .value(&mut *terminal.input, &first)
                    .context(UNREADABLE)?;
                decode(value.as_deref().unwrap_or(line), &arena)
            }
            decoded => decoded,
        };
        match elements {
            Ok(elements) => {
                for mut element in elements {
                    if let (Ok(event), Some(request)) = (&mut element.event, &request) {
                        event.put_request(Json::of_valid_text(request));
                    }
                    map_element(&element, &syncs, &mut people, arguments, terminal)?;
                }
            }
            Err(problem) => {
                let element = RawElement {
                    raw: line,
                    event: Err(reason_of(problem)),
                };
                map_element(&element, &syncs, &mut people, arguments, terminal)?;
            }
        }
    }
}

/// Maps an element for each sync. Profiles are those of the events before, as at the endpoints for SDKs.
fn map_element(
    element: &RawElement<'_>,
    syncs: &[Sync],
    people: &mut InMemoryProfiles,
    arguments: &MapArguments,
    terminal: &mut Terminal,
) -> Result<(), CommandFailure> {
    let now = arguments.now.unwrap_or_else(|| SystemClock.now());
    for sync in syncs {
        let bodies = &mut PayloadArena::default();
        let (mapped, explanation) = match &element.event {
            Ok(event) if arguments.explain => {
                let Ok((mapped, explanation)) = sync.explain(event, now, people);
                (mapped, Some(explanation))
            }
            Ok(event) => {
                let Ok((mapped, ..)) = sync.take_with_profiles(event, now, bodies, people);
                (mapped, None)
            }
            Err(reason) => (sync.take(Err(*reason), element.raw, now, bodies).0, None),
        };
        write_line(sync.name(), &mapped, explanation.as_ref(), terminal)?;
    }
    Ok(())
}

/// Why a line that cannot be decoded is invalid.
const fn reason_of(problem: NotJson) -> Reason {
    match problem {
        NotJson::GroupedNumber => Reason::GroupedNumber,
        _ => Reason::MalformedJson,
    }
}

fn write_line(
    sync: &SyncName,
    mapped: &MapResult,
    explanation: Option<&Explanation>,
    terminal: &mut Terminal,
) -> Result<(), CommandFailure> {
    let (reason, json) = match mapped {
        Ok(payload) => (None, Some(&*payload.json)),
        Err(rejected) => (Some(rejected.reason), rejected.json.as_deref()),
    };
    let line = MapLine {
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
            writeln!(terminal.output, "{sync}: {}{because}", line.outcome)?;
            TextTable::default().write(&mut terminal.output, &explanation.rows())?;
            writeln!(terminal.output)?;
        }
        _ => terminal.write_json(&line)?,
    }
    Ok(())
}
