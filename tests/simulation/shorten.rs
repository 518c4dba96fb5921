//! Runs a seed again: as it was, or with fewer operations as long as it still fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use crate::plan::Plan;
use crate::run::{Outcomes, run};
use crate::world::Failure;

/// Lines of the trace that are shown of a shortened run.
const SHOWN: usize = 60;

/// Runs a plan; a panic is a broken promise too.
pub fn run_safely(plan: &Plan) -> Outcomes {
    catch_unwind(AssertUnwindSafe(|| run(plan))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Outcomes {
            trace: Vec::new(),
            failure: Some(Failure {
                promise: "panic",
                what: text.unwrap_or_default(),
            }),
        }
    })
}

/// Runs one seed twice and shows its trace.
pub fn replay(seed: u64) -> ExitCode {
    let plan = Plan::draw(seed);
    let (first, second) = (run_safely(&plan), run_safely(&plan));
    for line in &first.trace {
        println!("{line}");
    }
    if first.trace != second.trace {
        let place = first
            .trace
            .iter()
            .zip(&second.trace)
            .position(|(one, other)| one != other);
        println!("simulation: the second run differs from line {place:?} on");
        return ExitCode::FAILURE;
    }
    match first.failure {
        None => {
            println!("simulation: seed {seed} keeps all promises, twice alike");
            ExitCode::SUCCESS
        }
        Some(failure) => {
            println!(
                "simulation: seed {seed} breaks a promise: {}: {}",
                failure.promise, failure.what
            );
            shorten(&plan, &failure);
            ExitCode::FAILURE
        }
    }
}

/// Leaves out operations as long as the same promise is broken, and shows what is left.
pub fn shorten(plan: &Plan, failure: &Failure) {
    let mut shortest = plan.clone();
    let mut piece = shortest.operations.len().div_ceil(2);
    loop {
        let mut from = 0;
        while from < shortest.operations.len() {
            let mut shorter = shortest.clone();
            let to = (from + piece).min(shorter.operations.len());
            shorter.operations.drain(from..to);
            let broken = run_safely(&shorter).failure;
            if broken.is_some_and(|broken| broken.promise == failure.promise) {
                shortest = shorter;
            } else {
                from += piece;
            }
        }
        if piece <= 1 {
            break;
        }
        piece = piece.div_ceil(2);
    }
    let outcomes = run_safely(&shortest);
    println!(
        "\nshortened from {} operations to {}:",
        plan.operations.len(),
        shortest.operations.len()
    );
    println!("the clock is {} ms wrong at first", shortest.clock_error);
    for sync in &shortest.syncs {
        println!("{sync:?}");
    }
    for operation in &shortest.operations {
        println!("{operation}");
    }
    println!("\nthe end of its trace:");
    let skipped = outcomes.trace.len().saturating_sub(SHOWN);
    for line in outcomes.trace.iter().skip(skipped) {
        println!("{line}");
    }
}
