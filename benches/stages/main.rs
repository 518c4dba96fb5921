//! Every stage of an event's path, beside its floor, in one run: `cargo bench --bench stages`.
//!
//! A floor is the least work for a stage: read the JSON, hash the values, write the bytes and sync them. Times
//! depend on the machine; the ratios in the table at the end do not.

#![allow(
    unreachable_pub,
    missing_debug_implementations,
    reason = "a bench has no outside"
)]
#![allow(clippy::print_stdout, reason = "a bench tells its figures")]
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

mod mapping;
mod ratios;
mod storing;

#[path = "../sample.rs"]
mod sample;

use std::path::Path;
use std::time::Duration;

use criterion::Criterion;

use ratios::Ratios;

fn main() {
    // `cargo test` runs benches without it, and has nothing to run here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stages");
    let mut criterion = Criterion::default()
        .output_directory(&folder)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    mapping::measure(&mut criterion);
    storing::measure(&mut criterion);
    criterion.final_summary();

    let mut table = Ratios::of(&folder);
    table.row("decode", 1, ("parse", 1));
    table.row("select", 1, ("parse", 1));
    table.row("hash", 1, ("sha-256", 1));
    table.row("map", 1, ("parse and hash", 1));
    table.row("append", storing::PUSH, ("write and sync", storing::PUSH));
    table.row("take", storing::BATCH, ("read and sync", storing::BATCH));
    table.row("join", storing::BATCH, ("copy", storing::BATCH));
    println!("{table}");
    println!("{}", mapping::allocations());
}
