//! The real program on a bad host: system calls that fail, power cuts, damaged files, clients that never read.
//!
//! ```sh
//! cargo test --test faults                                       # a short run of each kind
//! cargo test --test faults -- cuts --cases 500                   # one kind, as long as you like
//! cargo test --test faults -- calls --seed 7 --only 31           # one case again
//! PROGRAM_UNDER_TEST=target/release/pixel-relay cargo test --test faults
//! ```
//!
//! - `calls`: the n-th operation on the store's files fails, is halved, or is the last of the process.
//! - `cuts`: every operation is written down; a disk is built as it may be after a power cut at one of them.
//! - `damage`: a byte is wrong, in every kind of page and in the log.
//! - `silent`: more clients than there are connections, none of which reads an answer.
//!
//! The first three send events (`load`) to the program (`place`), which delivers to the simulated Graph endpoint,
//! and settle the account at the end (`account`). The seed decides every choice; the timing depends on the machine.

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
mod calls;
mod cuts;
mod damage;
mod disk;
mod events;
mod graph;
mod load;
#[path = "../torture/metrics.rs"]
mod metrics;
mod options;
mod pages;
mod place;
#[path = "../shim/preload.rs"]
mod preload;
mod silent;
mod trace;

use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use options::Options;

/// How many cases run at once: most of their time they wait.
const AT_ONCE: usize = 6;

/// What became of one case.
#[derive(Default)]
pub struct CaseReport {
    /// What it was, for people.
    pub what: String,
    /// Events that were acknowledged.
    pub acknowledged: usize,
    /// Violations.
    pub wrong: Vec<String>,
}

fn main() -> ExitCode {
    let options = options::read(std::env::args().skip(1));
    harness::main("faults", options, |options| run(Arc::new(options)))
}

/// Runs the kinds that are asked for; returns whether every promise was kept.
async fn run(options: Arc<Options>) -> bool {
    let silent = options.wants("silent").then(|| tokio::spawn(silent::run()));
    let mut kept = true;
    if options.wants("calls") {
        kept &= cases("calls", &options, 24, calls::run).await;
    }
    if options.wants("cuts") {
        kept &= cuts::run(&options).await;
    }
    if options.wants("damage") {
        kept &= damage::run(&options).await;
    }
    if let Some(silent) = silent {
        let report = silent.await.unwrap();
        kept &= tell("silent", &[report]);
    }
    kept
}

/// Runs the cases of a kind, several at once.
pub async fn cases<Case, Running>(kind: &str, options: &Options, short: usize, case: Case) -> bool
where
    Case: Fn(fastrand::Rng) -> Running,
    Running: Future<Output = CaseReport> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    let numbers = match options.only {
        Some(only) => only..only + 1,
        None => 0..options.cases.unwrap_or(short),
    };
    for number in numbers {
        let seed = options.seed.wrapping_mul(1_000_003) + number as u64;
        let case = case(fastrand::Rng::with_seed(seed));
        let places = Arc::clone(&places);
        running.spawn(async move {
            let _place = places.acquire_owned().await;
            let mut report = case.await;
            report.what = format!("{number}, {}", report.what);
            report
        });
    }
    tell(kind, &running.join_all().await)
}

/// Prints what became of the cases; returns whether every promise was kept.
fn tell(kind: &str, reports: &[CaseReport]) -> bool {
    let acknowledged: usize = reports.iter().map(|report| report.acknowledged).sum();
    let wrong: Vec<_> = reports
        .iter()
        .filter(|report| !report.wrong.is_empty())
        .collect();
    println!(
        "faults: {kind}: {} cases, {acknowledged} events acknowledged, {} broke a promise",
        reports.len(),
        wrong.len()
    );
    for report in &wrong {
        println!("  case {}", report.what);
        for line in &report.wrong {
            println!("    - {line}");
        }
    }
    wrong.is_empty()
}
