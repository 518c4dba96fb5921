//! The whole daemon under load, beside a bare server, in one run: `cargo bench --bench load`.
//!
//! Starts the release binary and, in turn with it, a bare axum server that reads the same bodies and
//! drops them; the same client drives both. Each server is pinned to the first core, the client and
//! the endpoint that stands for Meta to the second. CPU is what the kernel accounts to the server's
//! threads, so that a busy machine shifts both alike; quote ratios. Everything stays on loopback, and
//! ends by itself within minutes. Parts can be run alone: `cargo bench --bench load -- ingest drain`.

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
#![allow(clippy::cast_precision_loss, reason = "figures far below 2^52")]

mod client;
mod growth;
mod ingest;
mod pace;
mod process;
mod servers;
mod table;

#[path = "../sample.rs"]
mod sample;

use table::Table;

/// Nothing listens there: the daemon only takes and stores.
const NOWHERE: &str = "http://127.0.0.1:9";

/// A part by its name.
type Part = (&'static str, fn(&mut Table));

/// Parts that take long, or much disk, and are run only by name.
const ALONE: [Part; 2] = [
    ("deep", growth::with_deep_backlog),
    ("hour", growth::for_an_hour),
];

/// The parts, in the order of the table.
const PARTS: [Part; 7] = [
    ("ingest", ingest::measure),
    ("node", ingest::of_node),
    ("syncs", growth::with_syncs),
    ("memory", growth::with_memory),
    ("drain", growth::with_backlog),
    ("pace", pace::at_a_thousand),
    ("capacity", pace::at_capacity),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("serve-bare") => return servers::bare(),
        Some("serve-sink") => return servers::sink(),
        _ => {}
    }
    // `cargo bench` passes `--bench`; `cargo test` does not, and has nothing to run here.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    process::pin_this_process(1);
    let mut parts: Vec<&Part> = PARTS.iter().chain(&ALONE).collect();
    parts.retain(|(name, _)| arguments.iter().any(|wanted| wanted == name));
    if parts.is_empty() {
        parts.extend(&PARTS);
    }
    let mut table = Table::default();
    for (_, measure) in parts {
        measure(&mut table);
    }
    println!("{table}");
    println!("{}", table.to_json());
}
