//! The whole daemon under load, beside a bare server, in one run.
//!
//! `cargo bench --bench load` starts the release binary and, in turn, a bare axum server that reads
//! the same bodies and drops them; the same client drives both. Each server is pinned to the first
//! core, the client and the endpoint that stands for Meta to the second. Every figure is CPU time of
//! the server process per event, as the kernel accounts it, so that a busy machine shifts both alike;
//! quote ratios. Everything stays on loopback and ends by itself.

#![allow(
    unreachable_pub,
    missing_debug_implementations,
    reason = "a bench has no outside"
)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench tells its figures"
)]
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

mod client;
mod process;
mod servers;
mod table;

use std::time::Duration;

use client::{Load, Shape};
use process::{Measured, Server};
use table::Table;

/// Requests of one event, per round.
const SINGLES: usize = 60_000;
/// Requests of a hundred events, per round.
const ARRAYS: usize = 3_000;
/// Rounds, the two servers in turn.
const ROUNDS: usize = 3;
/// Events that wait while the endpoint is away, and are then drained.
const BACKLOG: usize = 300_000;
/// Events per second of the paced run, and its length.
const PACE: u32 = 1000;
const PACED_FOR: Duration = Duration::from_secs(10);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("serve-bare") => servers::bare(),
        Some("serve-sink") => servers::sink(),
        // `cargo bench` passes `--bench`; `cargo test` does not, and has nothing to run here.
        Some("--bench") => measure(),
        _ => {}
    }
}

fn measure() {
    process::pin_this_process(1);
    let mut table = Table::default();
    ingest(&mut table, "one event per request", Shape::Single, SINGLES);
    ingest(
        &mut table,
        "a hundred events per request",
        Shape::Array(100),
        ARRAYS,
    );
    drain(&mut table);
    paced(&mut table);
    println!("{table}");
    println!("{}", table.to_json());
}

/// Bare server and daemon in turn; the daemon's endpoint is away, so that it only takes and stores.
fn ingest(table: &mut Table, name: &str, shape: Shape, requests: usize) {
    let mut bare = Vec::new();
    let mut daemon = Vec::new();
    let folder = tempfile::tempdir().expect("a folder for the store");
    let bare_server = Server::start_bare();
    let daemon_server = Server::start_daemon(folder.path(), "http://127.0.0.1:9");
    for round in 0..=ROUNDS {
        for (server, samples) in [(&bare_server, &mut bare), (&daemon_server, &mut daemon)] {
            let load = Load {
                shape,
                requests,
                connections: 64,
                prefix: format!("{name}-{round}"),
            };
            let before = server.measure();
            client::run(server.address, &load);
            // The first round warms up.
            if round > 0 {
                samples.push(
                    server
                        .measure()
                        .since(before)
                        .cpu_per(requests * shape.events()),
                );
            }
        }
    }
    let (bare, daemon) = (table::median(bare), table::median(daemon));
    table.row(
        format!("{name}: bare server, CPU per event"),
        format!("{:.2} µs", bare * 1e6),
        bare * 1e6,
    );
    table.row(
        format!("{name}: pixel-relay, CPU per event"),
        format!("{:.2} µs", daemon * 1e6),
        daemon * 1e6,
    );
    table.row(
        format!("{name}: ratio"),
        format!("{:.2}", bare / daemon),
        bare / daemon,
    );
    table.row(
        format!("{name}: events per second and core"),
        format!("{:.0}", 1.0 / daemon),
        1.0 / daemon,
    );
    let after = daemon_server.measure();
    let events = (ROUNDS + 1) * requests * shape.events();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let written = after.written as f64 / events as f64;
    table.row(
        format!("{name}: bytes written per event"),
        format!("{written:.0}"),
        written,
    );
    memory(table, name, after);
}

/// A backlog is taken in while the endpoint is away; then it answers at once.
fn drain(table: &mut Table) {
    let folder = tempfile::tempdir().expect("a folder for the store");
    let daemon = Server::start_daemon(folder.path(), "http://127.0.0.1:9");
    let load = Load {
        shape: Shape::Array(100),
        requests: BACKLOG / 100,
        connections: 16,
        prefix: "backlog".to_owned(),
    };
    client::run(daemon.address, &load);
    daemon.stop();

    let sink = Server::start_sink();
    let started = std::time::Instant::now();
    let daemon = Server::start_daemon(folder.path(), &format!("http://{}", sink.address));
    let start = started.elapsed();
    let before = daemon.measure();
    let begun = std::time::Instant::now();
    client::wait_until_delivered(daemon.admin, BACKLOG);
    let wall = begun.elapsed();
    let after = daemon.measure();
    let cpu = after.since(before).cpu_per(BACKLOG);
    table.row(
        "backlog: start".to_owned(),
        format!("{} ms", start.as_millis()),
        start.as_secs_f64(),
    );
    table.row(
        "backlog: drained, CPU per event".to_owned(),
        format!("{:.2} µs", cpu * 1e6),
        cpu * 1e6,
    );
    table.row(
        "backlog: drained, events per second and core".to_owned(),
        format!("{:.0}", 1.0 / cpu),
        1.0 / cpu,
    );
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let rate = BACKLOG as f64 / wall.as_secs_f64();
    table.row(
        "backlog: drained, events per second of wall time".to_owned(),
        format!("{rate:.0}"),
        rate,
    );
    memory(table, "backlog", after);
}

/// A steady stream, with the endpoint answering at once.
fn paced(table: &mut Table) {
    let folder = tempfile::tempdir().expect("a folder for the store");
    let sink = Server::start_sink();
    let daemon = Server::start_daemon(folder.path(), &format!("http://{}", sink.address));
    let mut answers = client::run_paced(daemon.address, PACE, PACED_FOR);
    answers.sort_by(f64::total_cmp);
    for percent in [50, 99] {
        let at = table::percentile(&answers, percent);
        table.row(
            format!("{PACE} events/s: answer, {percent}th percentile"),
            format!("{:.1} ms", at * 1e3),
            at * 1e3,
        );
    }
    let sent = answers.len();
    client::wait_until_delivered(daemon.admin, sent);
    let late = client::delivered_later_than(daemon.admin, 0.25);
    table.row(
        format!("{PACE} events/s: share delivered within max_batch_delay (200 ms) + 50 ms"),
        format!("{:.4}", 1.0 - late),
        1.0 - late,
    );
}

fn memory(table: &mut Table, name: &str, measured: Measured) {
    for (what, bytes) in [("peak", measured.peak_memory), ("final", measured.memory)] {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let mebibytes = bytes as f64 / f64::from(1 << 20);
        table.row(
            format!("{name}: {what} resident memory"),
            format!("{mebibytes:.1} MiB"),
            mebibytes,
        );
    }
}
