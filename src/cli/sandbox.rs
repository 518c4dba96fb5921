//! `pixel-relay sandbox`: the simulated Graph endpoint alone, as the target of a daemon or a test.

use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Args;
use tokio::net::TcpListener;

use crate::app;
use crate::cli::{CommandFailure, Terminal, runtime};
use crate::sandbox::faults::Faults;
use crate::sandbox::{Sandbox, SandboxConfig};

#[derive(Debug, Args)]
pub(super) struct SandboxArguments {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// An access token that it accepts; may be given several times [default: any]
    #[arg(long = "token", value_name = "TOKEN")]
    tokens: Vec<String>,
    /// A pixel id that it knows; may be given several times [default: any]
    #[arg(long = "pixel", value_name = "ID")]
    pixels: Vec<String>,
    /// Faults, as in `latency=200ms,status=503:0.1,reset_after=0.02`
    #[arg(long, default_value = "", value_name = "LIST")]
    faults: String,
    /// Seed of the faults, so that a run can be repeated
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) fn sandbox(
    arguments: SandboxArguments,
    terminal: &mut Terminal,
) -> Result<(), CommandFailure> {
    let faults = arguments
        .faults
        .parse::<Faults>()
        .map_err(|error| CommandFailure::Usage(format!("--faults: {error}")))?;
    runtime::serve(0, async {
        let listener = TcpListener::bind(arguments.listen)
            .await
            .with_context(|| format!("cannot listen on {}", arguments.listen))?;
        let sandbox = Sandbox::new(SandboxConfig {
            tokens: arguments.tokens,
            pixels: (!arguments.pixels.is_empty()).then_some(arguments.pixels),
            seed: arguments.seed,
            ..SandboxConfig::default()
        });
        sandbox.set_faults(faults);
        let address = listener.local_addr()?;
        writeln!(
            terminal.errors,
            "a simulated Graph endpoint listens on http://{address}\n\
             point `meta.url` at it; read what it accepted at /sandbox/events, counts at \
             /sandbox/stats, and change its faults with PUT /sandbox/faults"
        )?;
        let shutdown = app::stop_on_signals()?;
        crate::sandbox::serve(listener, sandbox, shutdown)
            .await
            .context("the endpoint failed")?;
        Ok(())
    })
}
