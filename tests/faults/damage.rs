//! A byte is wrong in a store: in each kind of page, and in the log of a killed daemon.
//!
//! The program starts, or says why it does not. It delivers nothing altered or made up. What it cannot deliver it
//! counts, or speaks of; nothing stays queued for ever while all is said to be well.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::account::{self, STANDING_FAULTS};
use crate::events::{self, Fate};
use crate::graph::Graph;
use crate::load::Load;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::pages::{self, Kinds, Range};
use crate::place::{Daemon, Place};
use crate::{CaseReport, cases};

/// How many bytes a short run damages.
const SHORT: usize = 30;
/// How long no progress may be seen before it counts as a standstill.
const STANDSTILL: Duration = Duration::from_secs(6);
/// How long a case may take, if it goes on and on.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two stores with the same events: one was closed, one was killed.
struct Originals {
    closed: Place,
    killed: Place,
    kinds: Vec<(Kind, Vec<Range>)>,
    acknowledged: BTreeSet<u64>,
    /// Every event with a smaller number was sent, at least.
    sent: u64,
    /// What had arrived, or had been filed, before the damage.
    ended: BTreeSet<u64>,
}

#[derive(Clone)]
struct Kind {
    name: String,
    in_log: bool,
}

/// Damages copies of one store; returns whether every promise was kept.
pub async fn run(options: &Options) -> bool {
    let originals = Arc::new(prepare(fastrand::Rng::with_seed(options.seed)).await);
    let names: Vec<String> = originals
        .kinds
        .iter()
        .map(|(kind, pages)| format!("{} {}", pages.len(), kind.name))
        .collect();
    println!(
        "faults: damage: {} kinds: {}",
        names.len(),
        names.join(", ")
    );
    let case = |random| damage(Arc::clone(&originals), random);
    cases("damage", options, SHORT, case).await
}

/// Makes the originals by the real program: some events end, and many stay queued.
async fn prepare(mut random: fastrand::Rng) -> Originals {
    let graph = Graph::start(STANDING_FAULTS).await;
    let place = Place::new(graph.address, "20ms");
    let load = Load::new(|| 0);
    let mut wrong = Vec::new();
    let start = async || {
        let daemon = place.start(None).await;
        let daemon = daemon.unwrap_or_else(|refusal| panic!("no start: {}", refusal.said));
        load.point_at(Some(daemon.public.clone()));
        daemon
    };
    let daemon = start().await;
    let sent = load.send(600, PATIENCE).await && load.send(1, PATIENCE).await;
    assert!(sent, "the first events are taken");
    account::drain(&daemon, &load).await.unwrap();
    let mut ended = account::arrived(&graph.sandbox, &mut wrong);
    let dead = account::dead_letters(&place).await.unwrap();
    ended.extend(dead.keys());
    daemon.kill().await;

    // Nothing listens there, so what comes now stays queued.
    place.configure(SocketAddr::from(([127, 0, 0, 1], 9)), "20ms");
    let daemon = start().await;
    let senders = load.start(8, &mut random);
    let given_up = Instant::now() + PATIENCE;
    while load.acknowledged().len() < 2000 && Instant::now() < given_up {
        sleep(Duration::from_millis(20)).await;
    }
    load.stop(senders).await;
    daemon.kill().await;

    let killed = Place::new(graph.address, "20ms");
    copy(&place.store(), &killed.store());
    let daemon = start().await;
    daemon.stop().await;
    let store = place.store();
    let of = |kinds: Kinds, in_log| {
        kinds
            .into_iter()
            .map(move |(name, pages)| (Kind { name, in_log }, pages))
    };
    Originals {
        kinds: of(pages::of_store(&store), false)
            .chain(of(pages::of_log(&killed.store()), true))
            .collect(),
        closed: place,
        killed,
        acknowledged: load.acknowledged().into_keys().collect(),
        sent: load.sent(),
        ended,
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in ["queue.db", "queue.db-wal"] {
        let file = from.join(name);
        if file.exists() {
            fs::copy(file, to.join(name)).unwrap();
        }
    }
}

/// Damages one byte, and starts the program on what is left.
async fn damage(originals: Arc<Originals>, mut random: fastrand::Rng) -> CaseReport {
    let (kind, ranges) = &originals.kinds[random.usize(0..originals.kinds.len())];
    let range = ranges[random.usize(0..ranges.len())];
    let graph = Graph::start(STANDING_FAULTS).await;
    let place = Place::new(graph.address, "20ms");
    let original = if kind.in_log {
        &originals.killed
    } else {
        &originals.closed
    };
    copy(&original.store(), &place.store());
    let (at, before, after) = spoil(&place.store(), range, &mut random);
    let mut report = CaseReport {
        what: format!("{}: byte {at} is {after}, not {before}", kind.name),
        acknowledged: originals.acknowledged.len(),
        wrong: Vec::new(),
    };
    match place.start(None).await {
        Ok(daemon) => {
            check(&originals, &graph, &place, &daemon, &mut report.wrong).await;
            daemon.kill().await;
        }
        Err(refusal) => {
            let said = refusal.said.lines().last().unwrap_or_default().to_owned();
            let may_refuse = ["first page", "file header", "sqlite_schema leaf"];
            if refusal.status.code() != Some(1) || said.is_empty() {
                report
                    .wrong
                    .push(format!("it ended with {}: {said}", refusal.status));
            } else if !may_refuse.contains(&kind.name.as_str()) {
                report.wrong.push(format!("it does not start: {said}"));
            }
        }
    }
    account::check_log(&place, &mut report.wrong);
    report
}

/// Makes a byte wrong; mostly one that is used. Returns where, what it was, and what it is.
fn spoil(store: &Path, range: Range, random: &mut fastrand::Rng) -> (u64, u8, u8) {
    let file = File::options()
        .read(true)
        .write(true)
        .open(store.join(range.file))
        .unwrap();
    let mut found = [0];
    let mut at = range.begin;
    for _ in 0..20 {
        at = range.begin + random.u64(0..range.length);
        file.read_exact_at(&mut found, at).unwrap();
        if found[0] != 0 {
            break;
        }
    }
    let wrong = match random.u8(0..3) {
        0 => found[0] ^ (1 << random.u8(0..8)),
        1 => 0xff - found[0],
        _ => found[0].wrapping_add(random.u8(1..)),
    };
    file.write_all_at(&[wrong], at).unwrap();
    (at, found[0], wrong)
}

/// Waits until nothing is queued or nothing moves, and settles the account.
async fn check(
    originals: &Originals,
    graph: &Graph,
    place: &Place,
    daemon: &Daemon,
    wrong: &mut Vec<String>,
) {
    let begun = Instant::now();
    let mut moved = Instant::now();
    let mut before = (u64::MAX, u64::MAX);
    let metrics = loop {
        let metrics = Metrics::read(&daemon.admin).await;
        let queued = metrics.sum("queue_events", &[]);
        let now = (queued, graph.sandbox.stats().accepted);
        if now != before {
            moved = Instant::now();
            before = now;
        }
        let is_empty = queued == 0 && moved.elapsed() > Duration::from_millis(300);
        if is_empty || moved.elapsed() > STANDSTILL || begun.elapsed() > PATIENCE {
            break metrics;
        }
        sleep(Duration::from_millis(50)).await;
    };
    let health = daemon.health().await;
    let log = place.log();
    let spoke = log.lines().any(|line| {
        line.contains("\"ERROR\"") || line.contains("\"WARN\"") && line.contains("damage")
    });
    let is_told = health["status"] != "ok" || spoke;

    let queued = metrics.sum("queue_events", &[]);
    if queued > 0 && health["status"] == "ok" {
        wrong.push(format!("{queued} events stay queued, and health is ok"));
    }
    let (taken, ended) = (
        metrics.sum("events_taken_total", &[]),
        metrics.sum("outcomes_total", &[]),
    );
    let retried = metrics.sum("dead_retried_total", &[]);
    if taken + retried != ended + queued && !is_told {
        wrong.push(format!(
            "the law: {taken} taken + {retried} retried, {ended} ended + {queued} queued, and no word of it"
        ));
    }
    let arrived = account::arrived(&graph.sandbox, wrong);
    let invented = arrived.range(originals.sent..).count();
    if invented > 0 {
        wrong.push(format!("{invented} events arrived that nobody sent"));
    }
    let dead = account::dead_letters(place).await.unwrap_or_default();
    let missing: Vec<u64> = originals
        .acknowledged
        .iter()
        .copied()
        .filter(|serial| {
            let ended = originals.ended.contains(serial) || arrived.contains(serial);
            !ended && !dead.contains_key(serial) && events::fate(*serial) != Fate::TooOld
        })
        .collect();
    let missing = missing.len() as u64;
    let counted = metrics.sum("outcomes_total", &["outcome=\"lost\""]);
    if missing > counted + queued && !is_told {
        wrong.push(format!(
            "{missing} events are missing, {counted} counted as lost, {queued} queued, and no word of it"
        ));
    }
}
