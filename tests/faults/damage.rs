//! A byte is wrong in a store: in each kind of page, and in the log of a killed daemon.
//!
//! The program starts. It delivers nothing altered or made up, and nothing once more. It takes events, and delivers
//! what is sound; what it cannot deliver it counts. After a restart no damage is left.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
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
const SHORT: usize = 20;
/// How long each part of a case may take.
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
    let checked = match start(&place).await {
        Ok(daemon) => check(&originals, kind, &graph, &place, daemon).await,
        Err(refusal) => Err(refusal),
    };
    match checked {
        Ok(wrong) => report.wrong = wrong,
        Err(problem) => report.wrong.push(problem),
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

/// Has everything delivered, settles the account, and does so once more after a restart.
async fn check(
    originals: &Originals,
    kind: &Kind,
    graph: &Graph,
    place: &Place,
    daemon: Daemon,
) -> Result<Vec<String>, String> {
    let mut wrong = Vec::new();
    let load = Load::new(|| 0);
    load.skip_to(originals.sent);
    load.point_at(Some(daemon.public.clone()));
    if !load.send(3, PATIENCE).await {
        return Err("it takes no event".to_owned());
    }
    account::drain(&daemon, &load).await?;
    searched(&daemon, place).await?;
    let metrics = account::drain(&daemon, &load).await?;
    let lost = check_counts(&metrics, &mut wrong);
    let told = told(&daemon.health().await, &mut wrong);
    let arrived = account::arrived(&graph.sandbox, &mut wrong);
    let dead = account::dead_letters(place).await?;
    let is_new = |serial: &u64| !originals.ended.contains(serial);
    let repeated = arrived.iter().filter(|serial| !is_new(serial)).count();
    // A settlement may have been in the part of the log that is lost.
    if repeated > 0 && !kind.in_log {
        wrong.push(format!("{repeated} events arrived once more"));
    }
    let acknowledged = originals.acknowledged.iter().copied();
    let acknowledged: BTreeSet<u64> = acknowledged
        .chain(load.acknowledged().into_keys())
        .collect();
    let missing: Vec<u64> = (acknowledged.iter().copied())
        .filter(is_new)
        .filter(|serial| !arrived.contains(serial) && !dead.contains_key(serial))
        .filter(|serial| events::fate(*serial) != Fate::TooOld)
        .collect();
    let count = missing.len() as u64;
    // What a damaged log held was never counted as taken.
    let is_told_of_log = told.iter().any(|it| it.contains("the log was damaged"));
    if count != lost && !is_told_of_log {
        wrong.push(format!(
            "{count} events are missing, {lost} are counted as lost"
        ));
    }
    let unfiled = originals
        .ended
        .iter()
        .filter(|serial| events::fate(**serial) == Fate::Refused);
    let unfiled = unfiled.filter(|serial| !dead.contains_key(serial)).count();
    if unfiled > 0 && told.is_empty() {
        wrong.push(format!(
            "{unfiled} dead letters are missing, and no word of it"
        ));
    }
    daemon.stop().await;

    let daemon = start(place).await?;
    load.point_at(Some(daemon.public.clone()));
    if !load.send(3, PATIENCE).await {
        return Err("after a restart it takes no event".to_owned());
    }
    account::drain(&daemon, &load).await?;
    searched(&daemon, place).await?;
    let metrics = account::drain(&daemon, &load).await?;
    if check_counts(&metrics, &mut wrong) != lost {
        wrong.push("another number is lost after a restart".to_owned());
    }
    let health = daemon.health().await;
    if health["status"] != "ok" {
        wrong.push(format!("it is damaged again: {}", health["problems"]));
    }
    if account::arrived(&graph.sandbox, &mut wrong)
        .iter()
        .any(|it| arrived.contains(it))
    {
        wrong.push("events arrived once more after a restart".to_owned());
    }
    daemon.kill().await;
    Ok(wrong)
}

async fn start(place: &Place) -> Result<Daemon, String> {
    let started = place.start(None).await;
    started.map_err(|refusal| {
        let said = refusal.said.lines().last().unwrap_or_default();
        format!(
            "it ended with {} instead of starting: {said}",
            refusal.status
        )
    })
}

/// Waits until the daemon has searched its store and has mended what it found. Drops the dead letters that are
/// damaged, which is for the operator to do.
async fn searched(daemon: &Daemon, place: &Place) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        for problem in problems(&daemon.health().await) {
            let Some((_, letters)) = problem.split_once("these dead letters are damaged: ") else {
                continue;
            };
            let letters = letters
                .split_once(". Check")
                .map_or(letters, |(list, _)| list);
            for letter in letters.split(", ") {
                place.command(&["dead", "drop", letter]).await?;
            }
        }
        let found = place.command(&["queue", "verify"]).await;
        match found {
            Ok(_) => return Ok(()),
            Err(found) if begun.elapsed() > PATIENCE => {
                let health = daemon.health().await;
                return Err(format!("it stays damaged: {found}; health: {health}"));
            }
            Err(_) => sleep(Duration::from_millis(500)).await,
        }
    }
}

/// Checks the law; gives how many events are lost.
fn check_counts(metrics: &Metrics, wrong: &mut Vec<String>) -> u64 {
    let of = |name: &str| metrics.sum(name, &[]);
    let (taken, retried) = (of("events_taken_total"), of("dead_retried_total"));
    let (ended, queued) = (of("outcomes_total"), of("queue_events"));
    if taken + retried != ended + queued {
        wrong.push(format!(
            "the law: {taken} taken + {retried} retried, {ended} ended + {queued} queued"
        ));
    }
    metrics.sum("outcomes_total", &["outcome=\"lost\""])
}

fn problems(health: &Value) -> Vec<String> {
    let problems = health["problems"].as_array().cloned().unwrap_or_default();
    let problems = problems.iter().filter_map(Value::as_str);
    problems.map(str::to_owned).collect()
}

/// What the daemon says of its store.
fn told(health: &Value, wrong: &mut Vec<String>) -> Vec<String> {
    let told = problems(health);
    if health["status"] != "ok" && !told.iter().any(|it| it.contains("damage")) {
        wrong.push(format!("not well, and no word of damage: {health}"));
    }
    told
}
