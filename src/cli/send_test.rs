//! `pixel-relay send-test`: one real request to Meta, and its answer in plain words.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::cli::{Failure, Terminal, load_config};
use crate::clock::{Clock, SystemClock};
use crate::config::load::Sources;
use crate::config::{Config, SyncConfig, SyncName};
use crate::deliver::client::GraphClient;
use crate::deliver::verdict::{self, Verdict};
use crate::map::hash::Hashed;

/// What `pixel-relay send-test` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The sync whose pixel is tried; needed where there are several
    #[arg(long, value_name = "NAME")]
    sync: Option<String>,
    /// The code shown in Events Manager under Test Events [default: the sync's test_event_code]
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
}

pub(super) fn send_test(
    arguments: &Arguments,
    sources: Sources,
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    let config = load_config(sources, terminal)?;
    let (name, mut sync) = choose(&config, arguments)?;
    sync.test_event_code = arguments.code.clone().or(sync.test_event_code);
    let Some(code) = sync.test_event_code.clone() else {
        return Err(Failure::Usage(
            "a test event code is needed, so that the event shows under Test Events in Events \
             Manager: give --code, or set test_event_code"
                .to_owned(),
        ));
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let event_id = format!("pixel-relay-test-{}", clock.now().0);
    let event = json!({
        "event_name": "PageView",
        "event_time": clock.now().seconds(),
        "event_id": event_id,
        "action_source": "system_generated",
        "user_data": { "external_id": Hashed::of("pixel-relay-test").as_str() },
    })
    .to_string();
    let client = GraphClient::new(&config.meta, &sync, clock).context("cannot build the client")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let reply = runtime.block_on(client.post(&[event.as_bytes()]));
    let judged = verdict::judge(&reply, 1);
    writeln!(
        terminal.output,
        "sync {name}: event {event_id} to pixel {} under test code {code}",
        sync.pixel_id
    )?;
    writeln!(terminal.output, "{}", verdict::in_plain_words(&judged, &reply))?;
    if matches!(judged.verdict, Verdict::Delivered { .. }) {
        Ok(())
    } else {
        Err(anyhow::anyhow!("the test event was not accepted").into())
    }
}

fn choose(config: &Config, arguments: &Arguments) -> Result<(SyncName, SyncConfig), Failure> {
    let names = || config.syncs.keys().map(SyncName::as_str).collect::<Vec<_>>().join(", ");
    let chosen = match &arguments.sync {
        Some(wanted) => config
            .syncs
            .iter()
            .find(|(name, _)| name.as_str() == wanted)
            .ok_or_else(|| Failure::Usage(format!("no sync is called `{wanted}`; there is {}", names())))?,
        None if config.syncs.len() == 1 => config.syncs.iter().next().expect("there is one"),
        None => {
            return Err(Failure::Usage(format!("there are several syncs; name one of {} with --sync", names())));
        }
    };
    Ok((chosen.0.clone(), chosen.1.clone()))
}
