//! `pixel-relay trace`: what became of one event, in words.

use std::io::{self, Write};

use anyhow::anyhow;
use clap::Args;

use crate::cli::store::{Missing, StoreClient};
use crate::cli::table::plain;
use crate::cli::{CommandFailure, Terminal, load_config};
use crate::config::load::{Loaded, Sources};
use crate::control::command::TraceEvent;
use crate::queue::attempt::TracedRequest;
use crate::queue::trace::{Trace, TracedPlace};

/// What `pixel-relay trace` takes.
#[derive(Debug, Args)]
pub(super) struct TraceArguments {
    /// The event id, as Meta has it: the insert id or what `event_id` maps
    #[arg(value_name = "ID")]
    id: String,
    /// One JSON line for each time that the event was taken
    #[arg(long)]
    json: bool,
}

pub(super) fn trace(
    arguments: &TraceArguments,
    sources: Sources,
    terminal: &mut Terminal,
) -> Result<(), CommandFailure> {
    let (Loaded { config, .. }, _) = load_config(sources)?;
    let store = StoreClient::open(&config, Missing::Refused)?;
    let traces = store.perform(TraceEvent {
        event_id: arguments.id.clone(),
    });
    store.close()?;
    let traces = traces?;
    if traces.is_empty() {
        return Err(anyhow!(
            "nothing is known of event {}: it never came, or it was filtered, or it was taken more \
             than 8 days ago",
            plain(&arguments.id)
        )
        .into());
    }
    for trace in &traces {
        if arguments.json {
            serde_json::to_writer(&mut terminal.output, trace)?;
            terminal.output.write_all(b"\n")?;
        } else {
            tell(trace, &mut terminal.output)?;
        }
    }
    Ok(())
}

fn tell(trace: &Trace, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "sync {}: taken {}", trace.sync, trace.taken_at)?;
    for sent in &trace.requests {
        writeln!(out, "  sent {}: {}", sent.sent_at, answer(sent))?;
    }
    match &trace.place {
        TracedPlace::Waiting { until } if trace.requests.is_empty() => {
            writeln!(out, "  queued, not sent yet; expires {until}")
        }
        TracedPlace::Waiting { until } => {
            writeln!(out, "  queued, to be sent again; expires {until}")
        }
        TracedPlace::InFlight { until } => {
            writeln!(
                out,
                "  queued, about to be sent or being sent; expires {until}"
            )
        }
        TracedPlace::Delivered { at } => writeln!(out, "  delivered {at}"),
        TracedPlace::Dead { id, reason } => writeln!(
            out,
            "  {}, reason {reason}: dead letter {id} (pixel-relay dead show {id})",
            reason.outcome()
        ),
        TracedPlace::Gone => writeln!(
            out,
            "  gone without being delivered: erased or dropped by command, or a dead letter that \
             was dropped, retried, replaced or became too old"
        ),
    }
}

/// What was answered to a request, on one line.
fn answer(sent: &TracedRequest) -> String {
    let Some(answered_at) = &sent.answered_at else {
        return "no answer yet, or it was lost".to_owned();
    };
    let mut parts = vec![format!(
        "answered {answered_at}: {}",
        sent.verdict
            .as_deref()
            .map_or_else(|| "unknown".to_owned(), plain)
    )];
    parts.extend(sent.status.map(|status| format!("HTTP {status}")));
    parts.extend(sent.code.map(|code| format!("code {code}")));
    parts.extend(sent.sub_code.map(|code| format!("sub-code {code}")));
    parts.extend(
        sent.trace_id
            .as_deref()
            .map(|id| format!("trace id {}", plain(id))),
    );
    parts.join(", ")
}
