//! `pixel-relay trace`: tells what became of one event.

use std::io::{self, Write};

use anyhow::anyhow;
use clap::Args;

use crate::cli::store::with_store;
use crate::cli::table::plain;
use crate::cli::{CommandFailure, Terminal};
use crate::config::load::Sources;
use crate::control::command::TraceEvent;
use crate::queue::attempt::TracedRequest;
use crate::queue::trace::{Trace, TracedPlace};

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
    let event_id = arguments.id.clone();
    let traces = with_store(sources, |store| Ok(store.perform(TraceEvent { event_id })?))?;
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
            terminal.write_json(trace)?;
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
    let place = match &trace.place {
        TracedPlace::Waiting { until } if trace.requests.is_empty() => {
            format!("queued, not sent yet; expires {until}")
        }
        TracedPlace::Waiting { until } => format!("queued, to be sent again; expires {until}"),
        TracedPlace::InFlight { until } => {
            format!("queued, about to be sent or being sent; expires {until}")
        }
        TracedPlace::Delivered { at } => format!("delivered {at}"),
        TracedPlace::Dead { id, reason } => format!(
            "{}, reason {reason}: dead letter {id} (pixel-relay dead show {id})",
            reason.outcome()
        ),
        TracedPlace::Gone => {
            "gone without being delivered: erased or dropped by command, or a dead \
                              letter that was dropped, retried, replaced or became too old"
                .to_owned()
        }
    };
    writeln!(out, "  {place}")
}

/// The answer to a request, on one line.
fn answer(sent: &TracedRequest) -> String {
    let Some(answered_at) = &sent.answered_at else {
        return "no answer yet, or it was lost".to_owned();
    };
    let verdict = plain(sent.verdict.as_deref().unwrap_or("unknown"));
    let mut parts = vec![format!("answered {answered_at}: {verdict}")];
    parts.extend(sent.status.map(|status| format!("HTTP {status}")));
    parts.extend(sent.code.map(|code| format!("code {code}")));
    parts.extend(sent.sub_code.map(|code| format!("sub-code {code}")));
    let trace_id = sent.trace_id.as_deref();
    parts.extend(trace_id.map(|id| format!("trace id {}", plain(id))));
    parts.join(", ")
}
