//! The torture test: the real program under load and under every fault at once, and an account at the end.
//!
//! ```sh
//! cargo test --test torture                                # half a minute
//! cargo test --test torture -- --minutes 10                # as long as you like
//! cargo test --test torture -- --minutes 10 --seed 7       # the same choices again
//! cargo test --test torture -- --minutes 10 --clock        # and the clock is wrong at times
//! ```
//!
//! Many connections send events (`load`), among them poison and repeats, and one sends rubbish (`rubbish`). The endpoint is the
//! simulated Graph edge, in this process, with every fault that it knows (`chaos`). Meanwhile the
//! daemon is killed with SIGKILL, stopped with SIGTERM, its disk fills up, and its clock is moved (`clock`), while commands
//! run beside it and what it takes of the host is watched (`watch`). Then everything is healed,
//! the queue drains, and `account` compares what was acknowledged with what arrived (`witness`), with
//! the metrics and with the dead letters, event by event. The seed decides every choice; the timing depends
//! on the machine.

#![allow(
    unreachable_pub,
    missing_debug_implementations,
    reason = "a test binary has no outside"
)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test may panic, spawn, ask for the time, and talk to whoever runs it"
)]

#[path = "../harness/program.rs"]
mod harness;
mod account;
mod chaos;
mod clock;
mod daemon;
mod disk;
mod events;
mod rubbish;
mod load;
mod metrics;
mod options;
#[path = "../shim/preload.rs"]
mod preload;
mod sqlite;
mod watch;
mod witness;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use pixel_relay::sandbox::{self, Sandbox, SandboxConfig};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use account::Account;
use chaos::Chaos;
use daemon::Place;
use load::Load;
use options::Options;
use witness::Witness;

/// How often to check what arrived.
const LOOK: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let options = options::read(std::env::args().skip(1));
    harness::main("torture", options, torture)
}

/// Runs everything; returns whether every promise was kept.
async fn torture(options: Options) -> bool {
    println!(
        "torture: {} seconds of trouble, seed {}",
        options.length.as_secs(),
        options.seed
    );
    let sandbox = Sandbox::new(SandboxConfig {
        tokens: vec![daemon::TOKEN.to_owned()],
        pixels: Some(events::PIXELS.map(str::to_owned).to_vec()),
        seed: options.seed,
        keep_events: 1 << 20,
        keep_bytes: 1 << 30,
        ..SandboxConfig::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = Place::new(listener.local_addr().unwrap());
    let closing = CancellationToken::new();
    tokio::spawn(sandbox::serve(listener, sandbox.clone(), closing.clone()));

    let load = Arc::new(Load::new());
    let senders = load.start(options.seed);
    let looking = CancellationToken::new();
    let witness =
        tokio::spawn(Witness::default().watch(sandbox.clone(), Arc::clone(&load), looking.clone()));

    let mut chaos = Chaos::new(&options, sandbox.clone(), place, Arc::clone(&load));
    chaos.rage(options.length).await;
    load.stop();
    senders.join_all().await;
    let drained = chaos.heal_and_drain(options.patience()).await;

    looking.cancel();
    let witness = witness.await.unwrap();
    let account = Account {
        load: &load,
        witness: &witness,
        sandbox: &sandbox,
        stats: &sandbox.stats(),
        chaos: &chaos,
        drained,
    };
    let kept = account.settle().await;
    closing.cancel();
    kept
}
