//! The simulation: one seed decides everything that happens between a request and Graph's answer.
//!
//! ```sh
//! cargo test --test simulation                                  # 300 seeds
//! cargo test --release --test simulation                        # 2,000 seeds
//! cargo test --release --test simulation -- --seeds 1000000     # as many as you like
//! cargo test --test simulation -- --seed 42                     # one seed again, with its trace
//! cargo test --test simulation -- --keep-going                  # all, and a line for each that fails
//! cargo test --test simulation -- --promise liveness            # until one breaks this promise
//! ```
//!
//! A seed stands for a configuration and a list of operations (`plan`): requests, clock steps, faults of the store
//! and of Graph, kills, reloads. They are carried out in virtual time on one thread (`run`): the code behind the
//! listeners, the queue on the reference engine and the lanes run as in the daemon (`process`); the clock (`time`), the
//! network (`graph`) and the disk (`world`) are simulated, and the sandbox judges what arrives. Every promise is checked on
//! the way and at the end (`checks`, `account`). A seed that fails is run again with fewer operations, as long as
//! it still fails (`shorten`). Torn writes and power cuts are not simulated.

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
    clippy::large_futures,
    reason = "a test may panic, ask for the time, and talk to whoever runs it"
)]

mod account;
mod checks;
mod events;
mod graph;
mod options;
mod plan;
mod process;
mod run;
mod shorten;
mod time;
mod world;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use options::Options;
use plan::Plan;
use run::Outcomes;
use shorten::{replay, run_safely, shorten};

/// Seeds that are run twice, to see that a run can be repeated.
const REPEATED: u64 = 50;

fn main() -> ExitCode {
    let options = match options::read(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("simulation: {problem}");
            return ExitCode::from(2);
        }
    };
    if options.replays {
        return replay(options.from);
    }
    search(&options)
}

/// Says in a line what a seed breaks, if it does.
fn name_failure(outcomes: &Outcomes, seed: u64, differs: bool) {
    if differs {
        println!("seed {seed}: runs differently when it is repeated");
    }
    if let Some(failure) = &outcomes.failure {
        let what: String = failure.what.chars().take(200).collect();
        println!("seed {seed}: {}: {what}", failure.promise);
    }
}

/// Runs all seeds, or until one fails.
fn search(options: &Options) -> ExitCode {
    let began = Instant::now();
    let next = AtomicU64::new(options.from);
    let stop = AtomicBool::new(false);
    let failed = Mutex::new(None);
    let broken = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed - options.from >= options.seeds {
                        return;
                    }
                    let plan = Plan::draw(seed);
                    let mut first = run_safely(&plan);
                    if let Some(promise) = &options.promise {
                        first.failure = first.failure.filter(|it| it.promise == promise);
                    }
                    let differs =
                        seed.is_multiple_of(REPEATED) && run_safely(&plan).trace != first.trace;
                    if first.failure.is_none() && !differs {
                        continue;
                    }
                    broken.fetch_add(1, Ordering::Relaxed);
                    if options.goes_on {
                        name_failure(&first, seed, differs);
                    } else {
                        stop.store(true, Ordering::Relaxed);
                        failed.lock().unwrap().get_or_insert((plan, first, differs));
                    }
                }
            });
        }
    });
    let Some((plan, outcomes, differs)) = failed.into_inner().unwrap() else {
        let (seeds, took) = (options.seeds, began.elapsed());
        return match broken.into_inner() {
            0 => {
                println!("simulation: {seeds} seeds, all promises kept, {took:.0?}");
                ExitCode::SUCCESS
            }
            broken => {
                println!("simulation: {broken} of {seeds} seeds break a promise, {took:.0?}");
                ExitCode::FAILURE
            }
        };
    };
    let seed = plan.seed;
    if differs {
        println!("simulation: seed {seed} runs differently when it is repeated");
        return ExitCode::FAILURE;
    }
    let failure = outcomes.failure.unwrap();
    println!(
        "simulation: seed {seed} breaks a promise: {}: {}",
        failure.promise, failure.what
    );
    shorten(&plan, &failure);
    println!("\nreplay: cargo test --test simulation -- --seed {seed}");
    ExitCode::FAILURE
}
