//! `pixel-relay send-test`: sends one real request to Meta, and explains its answer.

use std::io::{self, Write};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::cli::{CommandFailure, Terminal, load_config_to_send};
use crate::clock::{Clock as _, CorrectedClock, SystemClock};
use crate::config::load::{Loaded, Sources};
use crate::config::sync::SyncConfig;
use crate::config::{Config, SyncName, is_test_event_code};
use crate::deliver::Internet;
use crate::deliver::client::GraphClient;
use crate::deliver::redact::Redactor;
use crate::deliver::verdict::{self, Fix, Judgement, Verdict};
use crate::hash::Hashed;
use crate::http::{Resolver, tls};

#[derive(Debug, Args)]
pub(super) struct SendTestArguments {
    /// The sync whose pixel is tried; needed where there are several
    #[arg(long, value_name = "NAME")]
    sync: Option<String>,
    /// The code shown in Events Manager under Test Events [default: that of the sync]
    #[arg(long, value_name = "CODE", value_parser = parse_code)]
    code: Option<String>,
}

pub(super) fn send_test(
    arguments: &SendTestArguments,
    sources: Sources,
    terminal: &mut Terminal,
) -> Result<(), CommandFailure> {
    let (Loaded { config, .. }, _) = load_config_to_send(sources)?;
    let (name, mut sync) = choose(&config, arguments)?;
    sync.test_event_code = arguments.code.clone().or(sync.test_event_code);
    let Some(code) = sync.test_event_code.clone() else {
        return Err(CommandFailure::Usage(
            "a test event code is needed, so that the event shows under Test Events in Events \
             Manager: give --code, or set test_event_code"
                .to_owned(),
        ));
    };
    let now = SystemClock.now();
    let event_id = format!("pixel-relay-test-{}", now.0);
    let event = json!({
        "event_name": "PageView",
        "event_time": now.seconds(),
        "event_id": event_id,
        "action_source": "system_generated",
        "user_data": { "external_id": Hashed::of("pixel-relay-test").as_str() },
    })
    .to_string();
    let clock = Arc::new(CorrectedClock::new(Arc::new(SystemClock)));
    let tls = tls::client_config(&config.meta.url, clock.clone());
    let tls = tls.context("cannot prepare encryption")?;
    let resolver = Resolver::start().context("cannot start a thread")?;
    let network = Internet::new(clock.clone(), resolver);
    let transport = network.transport(&tls, &sync.delivery);
    let transport = transport.context("cannot build the client")?;
    let graph = GraphClient::new(transport, &config.meta, &sync, clock)
        .context("cannot build the client")?;
    let redactor = Redactor::new(
        [Some(sync.access_token.clone()), sync.app_secret.clone()]
            .into_iter()
            .flatten(),
    );
    writeln!(
        terminal.output,
        "sync {name}: event {event_id} to pixel {}, test code {code}",
        sync.pixel_id
    )?;
    terminal.output.flush()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let reply = runtime
        .block_on(graph.post(&[event]))
        .with_context(|| format!("no answer from {}", config.meta.url))?;
    let judged = verdict::judge(&reply, 1, sync.app_secret.is_some());
    explain(&judged, reply.status, &redactor, &mut terminal.output)?;
    match judged.verdict {
        Verdict::Delivered | Verdict::Uncounted => Ok(()),
        _ => Err(anyhow::anyhow!("the test event was not accepted").into()),
    }
}

/// Reads a code by the rule of `test_event_code`.
fn parse_code(text: &str) -> Result<String, String> {
    is_test_event_code(text)
        .then(|| text.to_owned())
        .ok_or_else(|| "expected letters and digits, such as TEST12345".to_owned())
}

/// Writes what Meta's answer means, and what to do about it.
fn explain(
    judged: &Judgement,
    status: u16,
    redactor: &Redactor,
    out: &mut dyn Write,
) -> io::Result<()> {
    let meaning = match judged.verdict {
        Verdict::Delivered => {
            "accepted: token, permission and pixel id are right; the event shows in Events Manager \
             under Test Events"
        }
        Verdict::Uncounted => {
            "accepted, as far as can be told: Meta does not say how many events it counted; look in \
             Events Manager under Test Events"
        }
        Verdict::ShortCount { .. } => "answered well, but the event was not counted",
        Verdict::Transient { .. } if judged.is_foreign => {
            "what answers is not Meta's Graph API: look for a proxy or a firewall in between, and at \
             meta.url"
        }
        Verdict::Transient { .. } | Verdict::Unanswered { .. } => {
            "a passing fault at Meta's end; try again in a minute"
        }
        Verdict::Throttled { .. } => "a rate limit is used up; try again later",
        Verdict::Blocked { .. } => "Meta has blocked the account for a while, for policy reasons",
        Verdict::Paused(Fix::Token) => {
            "the access token is not valid; generate a new one in Events Manager, under Settings, \
             Conversions API"
        }
        Verdict::Paused(Fix::AppSecret) => {
            "the app secret does not belong to the access token, or the app asks for one; correct \
             app_secret"
        }
        Verdict::Paused(Fix::Permission) => {
            "the access token may not send events; give its owner access to the dataset"
        }
        Verdict::Paused(Fix::Pixel) => {
            "the pixel id is wrong, or the dataset is not assigned to the owner of the token"
        }
        Verdict::Paused(Fix::AppSecretOrPixel) => {
            "the app secret does not belong to the access token, or the pixel id is wrong, or the \
             dataset is not assigned to the owner of the token; leave app_secret out to see which"
        }
        Verdict::Paused(Fix::Version) => {
            "there is no such Graph API version, or it no longer exists; correct meta.api_version"
        }
        Verdict::TooLarge => "the request was too large",
        Verdict::Invalid { .. } => "the event was refused",
        Verdict::Refused => "the request was refused, for a reason that is not known",
    };
    writeln!(out, "HTTP {status}: {meaning}")?;
    for (what, number) in [("code", judged.code), ("sub-code", judged.sub_code)] {
        if let Some(number) = number {
            writeln!(out, "{what}: {number}")?;
        }
    }
    if let Some(text) = judged.text.as_ref().or(judged.remarks.as_ref()) {
        writeln!(out, "Meta says: {}", redactor.text(text))?;
    }
    let trace_id = judged.trace_id.as_deref();
    if let Some(trace_id) = trace_id.and_then(|id| redactor.identifier(id)) {
        writeln!(out, "trace id, for Meta's support: {trace_id}")?;
    }
    Ok(())
}

fn choose(
    config: &Config,
    arguments: &SendTestArguments,
) -> Result<(SyncName, SyncConfig), CommandFailure> {
    let wanted = arguments.sync.as_ref();
    let is_wanted = |name: &SyncName| wanted.is_none_or(|wanted| name.as_str() == wanted);
    let mut fitting = config.syncs.iter().filter(|(name, _)| is_wanted(name));
    if let (Some((name, sync)), None) = (fitting.next(), fitting.next()) {
        return Ok((name.clone(), sync.clone()));
    }
    let names: Vec<_> = config.syncs.keys().map(SyncName::as_str).collect();
    let names = names.join(", ");
    Err(CommandFailure::Usage(match wanted {
        Some(wanted) => format!("no sync is called `{wanted}`; there is {names}"),
        None => format!("there are several syncs; name one of {names} with --sync"),
    }))
}
