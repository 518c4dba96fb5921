//! `pixel-relay run`: the daemon.

use std::sync::Arc;

use clap::Args;

use crate::app::{self, App, BuildError};
use crate::cli::{CommandFailure, Terminal, load_config_to_send, runtime};
use crate::clock::SystemClock;
use crate::config::load::{Loaded, Sources};
use crate::panics;
use crate::telemetry::logs;

mod trial;

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// Tries it out with no account: a built-in sync, a throw-away store, and a simulated Graph
    /// endpoint, all on loopback
    #[arg(long, conflicts_with = "config")]
    sandbox: bool,
}

pub(super) fn run(
    arguments: &RunArguments,
    sources: Sources,
    terminal: &mut Terminal,
) -> Result<(), CommandFailure> {
    if arguments.sandbox {
        return trial::run(sources, terminal);
    }
    let (Loaded { config, warnings }, _) = load_config_to_send(sources)?;
    logs::init(&config.log).map_err(|error| CommandFailure::configuration(vec![error]))?;
    panics::log_panics();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    runtime::serve(config.keys_in_files(), async {
        let shutdown = app::stop_on_signals()?;
        let app = tokio::select! {
            app = App::build(config, Arc::new(SystemClock)) => app.map_err(build_failure)?,
            // It may wait for the store, or open it for long.
            () = shutdown.cancelled() => return Ok(()),
        };
        app.run(shutdown).await?;
        Ok(())
    })
}

fn build_failure(error: BuildError) -> CommandFailure {
    match error {
        BuildError::Configuration(errors) => CommandFailure::configuration(errors),
        BuildError::Failed(error) => CommandFailure::Other(error),
    }
}
