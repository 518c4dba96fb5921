//! The n-th operation on the store's files fails, is halved, or is the last of the process.

use std::time::Duration;

use tokio::time::sleep;

use crate::CaseReport;
use crate::account::{self, STANDING_FAULTS};
use crate::graph::Graph;
use crate::load::Load;
use crate::place::{Daemon, Place};
use crate::preload::{Fault, FileOperation, Shim, StoreFile, Strike};

/// Operations, with the faults that each can meet.
const TRIALS: [(FileOperation, &[Fault]); 7] = [
    (FileOperation::Read, &[Fault::Flipped]),
    (
        FileOperation::Write,
        &[
            Fault::Fails,
            Fault::NoSpace,
            Fault::Halved,
            Fault::Last,
            Fault::HalvedLast,
        ],
    ),
    (
        FileOperation::Sync,
        &[Fault::Fails, Fault::NoSpace, Fault::Last, Fault::HalvedLast],
    ),
    (FileOperation::Truncate, &[Fault::Fails, Fault::Last]),
    (
        FileOperation::Open,
        &[Fault::Fails, Fault::NoSpace, Fault::Last],
    ),
    (FileOperation::Unlink, &[Fault::Fails, Fault::Last]),
    (FileOperation::Read, &[Fault::Fails, Fault::Last]),
];

/// How long the faults last, at most.
const TROUBLE: Duration = Duration::from_millis(1200);

/// When the strike is set.
#[derive(Debug, PartialEq, Eq)]
enum Moment {
    /// While events come in.
    Running,
    /// Before a start on a new folder.
    FirstStart,
    /// Before a start on what a killed daemon left: also a second fault, while the first is mended.
    StartAfterKill,
}

fn draw(random: &mut fastrand::Rng) -> (Moment, Strike) {
    let (operation, faults) = TRIALS[random.usize(0..TRIALS.len())];
    let moment = match random.u8(0..10) {
        0..5 => Moment::Running,
        5 => Moment::FirstStart,
        _ => Moment::StartAfterKill,
    };
    // Small numbers are as frequent as large ones.
    let most = match operation {
        FileOperation::Write | FileOperation::Read => [4, 16, 64, 256],
        FileOperation::Sync => [2, 8, 32, 64],
        _ => [1, 2, 3, 6],
    };
    let most = most[random.usize(0..4)];
    let fault = faults[random.usize(0..faults.len())];
    let strike = Strike {
        fault,
        operation,
        file: [StoreFile::Store, StoreFile::Log, StoreFile::Any][random.usize(0..3)],
        nth: random.u32(1..=most),
        // A bit is wrong in what was read, not on the disk.
        times: if fault == Fault::Flipped {
            1
        } else {
            [1, 1, 3, 100_000][random.usize(0..4)]
        },
        bit: random.u32(..),
    };
    (moment, strike)
}

/// Runs one case.
pub async fn run(mut random: fastrand::Rng) -> CaseReport {
    let (moment, strike) = draw(&mut random);
    let what = format!("{moment:?}, {strike:?}");
    let mut wrong = Vec::new();
    let graph = Graph::start(STANDING_FAULTS).await;
    let place = Place::new(graph.address, "20ms");
    let shim = Shim::new(place.path()).watching(&place.store());
    let load = Load::new(|| 0);
    let senders = load.start(4, &mut random);

    if moment != Moment::FirstStart {
        match place.start(Some(&shim)).await {
            Ok(daemon) => {
                load.point_at(Some(daemon.public.clone()));
                sleep(Duration::from_millis(random.u64(100..400))).await;
                if moment == Moment::Running {
                    shim.strike(&strike);
                    sleep(TROUBLE).await;
                }
                load.point_at(None);
                end(daemon, &strike, &mut wrong).await;
            }
            Err(refusal) => wrong.push(format!("no first start: {}", refusal.said)),
        }
    }
    if moment != Moment::Running {
        shim.strike(&strike);
        if let Ok(daemon) = place.start(Some(&shim)).await {
            load.point_at(Some(daemon.public.clone()));
            sleep(TROUBLE).await;
            load.point_at(None);
            end(daemon, &strike, &mut wrong).await;
        } else if shim.struck() == 0 {
            wrong.push("it did not start, although nothing failed".to_owned());
        }
    }
    shim.heal();
    match place.start(Some(&shim)).await {
        Ok(mut daemon) => {
            load.point_at(Some(daemon.public.clone()));
            sleep(Duration::from_millis(50)).await;
            load.stop(senders).await;
            if !load.send(3, Duration::from_secs(20)).await {
                wrong.push("it takes no event after all is well again".to_owned());
            }
            match account::drain(&daemon, &load).await {
                Ok(metrics) => account::check_metrics(&metrics, &mut wrong),
                Err(problem) => wrong.push(problem),
            }
            let arrived = account::arrived(&graph.sandbox, &mut wrong);
            match account::dead_letters(&place).await {
                Ok(dead) => {
                    let acknowledged = load.acknowledged().into_keys();
                    let arrived = |serial| arrived.contains(&serial);
                    account::check_events(acknowledged, arrived, &dead, &mut wrong);
                }
                Err(problem) => wrong.push(problem),
            }
            if let Some(status) = daemon.has_ended() {
                wrong.push(format!("it ended by itself: {status}"));
            }
            daemon.kill().await;
        }
        Err(refusal) => wrong.push(format!("no start after all is well: {}", refusal.said)),
    }
    account::check_log(&place, &mut wrong);
    wrong.extend(load.wrong());
    CaseReport {
        what: format!("{what}, struck {}", shim.struck()),
        acknowledged: load.acknowledged().len(),
        wrong,
    }
}

/// Kills a daemon; one that has ended already must have been told to.
async fn end(mut daemon: Daemon, strike: &Strike, wrong: &mut Vec<String>) {
    let may_die = matches!(strike.fault, Fault::Last | Fault::HalvedLast);
    match daemon.has_ended() {
        Some(status) if !may_die => wrong.push(format!("it ended by itself: {status}")),
        Some(_) => {}
        None => daemon.kill().await,
    }
}
