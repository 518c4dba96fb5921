//! Power cuts: one run is written down, operation by operation; then the store opens as it may be after a cut at
//! any of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::account::{self, STANDING_FAULTS};
use crate::disk::Disk;
use crate::events;
use crate::graph::Graph;
use crate::load::Load;
use crate::options::Options;
use crate::place::Place;
use crate::preload::Shim;
use crate::trace::{self, Entry, Operation};
use crate::{CaseReport, cases};

/// How many cuts a short run makes.
const SHORT: usize = 30;
/// How many cuts are made of one recording.
const CUTS_OF_ONE: usize = 120;
/// How long each of the two processes of a recording runs.
const RUNNING: Duration = Duration::from_millis(1200);
/// With what chance a part that is on its way is kept.
const CHANCES: [f64; 4] = [0.0, 0.5, 0.9, 1.0];

/// A run that was written down. `u64` values are lengths of the record.
struct Recording {
    store: PathBuf,
    entries: Vec<Entry>,
    /// The places of operations that are rarer than writes to the log.
    rare: Vec<usize>,
    /// When the answer to an event was there.
    acknowledged: BTreeMap<u64, u64>,
    /// Before this moment an event had not arrived at Meta.
    arrived: BTreeMap<u64, u64>,
}

/// Makes recordings, and cuts each; returns whether every promise was kept.
pub async fn run(options: &Options) -> bool {
    let wanted = options
        .only
        .map_or(options.cases.unwrap_or(SHORT), |only| only + 1);
    let mut kept = true;
    let mut rest = wanted;
    let mut number = 0;
    while rest > 0 {
        let seed = options.seed.wrapping_add(1000 * number);
        let recording = Arc::new(record(fastrand::Rng::with_seed(seed)).await);
        println!(
            "faults: cuts: {} operations written down, {} events acknowledged, {} arrived",
            recording.entries.len(),
            recording.acknowledged.len(),
            recording.arrived.len()
        );
        let case = |random| cut(Arc::clone(&recording), random);
        let part = Options::part(options, seed, rest.min(CUTS_OF_ONE));
        kept &= cases("cuts", &part, SHORT, case).await;
        rest = rest.saturating_sub(CUTS_OF_ONE);
        number += 1;
    }
    kept
}

/// Runs the program under load, kills it once, and has it all written down.
async fn record(mut random: fastrand::Rng) -> Recording {
    let graph = Graph::start(&format!(
        "{STANDING_FAULTS},status=503:0.1,reset_after=0.05"
    ))
    .await;
    let place = Place::new(graph.address, "20ms");
    let path = place.path().join("trace");
    let shim = Shim::new(place.path())
        .watching(&place.store())
        .tracing(&path);
    let marked = path.clone();
    let mark = move || fs::metadata(&marked).map_or(0, |found| found.len());
    let load = Load::new(mark.clone());
    let senders = load.start(4, &mut random);

    let looking = CancellationToken::new();
    let stop = looking.clone();
    let sandbox = graph.sandbox.clone();
    let watching = tokio::spawn(async move {
        let mut arrived = BTreeMap::new();
        loop {
            let before = mark();
            sleep(Duration::from_millis(2)).await;
            for record in sandbox.take_records() {
                arrived
                    .entry(events::look_at(&record.event).0)
                    .or_insert(before);
            }
            if stop.is_cancelled() {
                return arrived;
            }
        }
    });
    for _ in 0..2 {
        let daemon = place.start(Some(&shim)).await;
        let daemon = daemon.unwrap_or_else(|refusal| panic!("no start: {}", refusal.said));
        load.point_at(Some(daemon.public.clone()));
        sleep(RUNNING).await;
        load.point_at(None);
        daemon.kill().await;
    }
    load.stop(senders).await;
    looking.cancel();
    let arrived = watching.await.unwrap();
    let entries = trace::read(&fs::read(&path).unwrap());
    let rare = rare(&entries);
    Recording {
        store: place.store(),
        entries,
        rare,
        acknowledged: load.acknowledged(),
        arrived,
    }
}

/// Where something else than a write happens, or a write to another file than the log.
fn rare(entries: &[Entry]) -> Vec<usize> {
    let mut logs = Vec::new();
    let mut rare = Vec::new();
    for (place, entry) in entries.iter().enumerate() {
        match &entry.operation {
            Operation::Open { file, path, .. } if path.ends_with("queue.db-wal") => {
                logs.push(*file);
            }
            Operation::Write { file, .. } | Operation::Sync { file } if logs.contains(file) => {
                continue;
            }
            _ => {}
        }
        rare.push(place);
    }
    rare
}

/// Cuts the power once, and starts the program on what is left.
async fn cut(recording: Arc<Recording>, mut random: fastrand::Rng) -> CaseReport {
    let all = recording.entries.len();
    let place_of_cut = if random.bool() {
        random.usize(0..=all)
    } else {
        let near = recording.rare[random.usize(0..recording.rare.len())];
        (near + random.usize(0..4)).min(all)
    };
    let chance = CHANCES[random.usize(0..CHANCES.len())];
    let mut report = CaseReport {
        what: format!("cut after {place_of_cut} operations, {chance} kept"),
        ..CaseReport::default()
    };
    let mut disk = Disk::default();
    for entry in &recording.entries[..place_of_cut] {
        disk.apply(&entry.operation);
    }
    let moment = place_of_cut
        .checked_sub(1)
        .map_or(0, |last| recording.entries[last].end);
    let graph = Graph::start(STANDING_FAULTS).await;
    let place = Place::new(graph.address, "20ms");
    fs::create_dir(place.store()).unwrap();
    disk.cut(chance, &mut random, &recording.store, &place.store());
    let acknowledged: Vec<u64> = recording
        .acknowledged
        .iter()
        .filter(|(_, mark)| **mark <= moment)
        .map(|(serial, _)| *serial)
        .collect();
    report.acknowledged = acknowledged.len();
    check(
        &recording,
        &acknowledged,
        moment,
        &graph,
        &place,
        &mut report.wrong,
    )
    .await;
    report
}

async fn check(
    recording: &Recording,
    acknowledged: &[u64],
    moment: u64,
    graph: &Graph,
    place: &Place,
    wrong: &mut Vec<String>,
) {
    let begun = Instant::now();
    let daemon = match place.start(None).await {
        Ok(daemon) => daemon,
        Err(refusal) => {
            wrong.push(format!("no start after the cut: {}", refusal.said));
            return;
        }
    };
    let load = Load::new(|| 0);
    load.skip_to(1_000_000);
    load.point_at(Some(daemon.public.clone()));
    if !load.send(2, Duration::from_secs(20)).await {
        wrong.push("it takes no event".to_owned());
    }
    match account::drain(&daemon, &load).await {
        Ok(metrics) => account::check_metrics(&metrics, wrong),
        Err(problem) => wrong.push(problem),
    }
    let after = account::arrived(&graph.sandbox, wrong);
    let arrived = |serial| {
        after.contains(&serial)
            || recording
                .arrived
                .get(&serial)
                .is_some_and(|before| *before <= moment)
    };
    match account::dead_letters(place).await {
        Ok(dead) => {
            let acknowledged = acknowledged.iter().copied();
            account::check_events(acknowledged, arrived, &dead, wrong);
        }
        Err(problem) => wrong.push(problem),
    }
    account::check_log(place, wrong);
    let log = place.log();
    let errors = log.lines().filter(|line| line.contains("\"ERROR\""));
    wrong.extend(errors.take(3).map(|line| format!("an error: {line}")));
    wrong.extend(load.wrong());
    daemon.kill().await;
    if !wrong.is_empty() {
        wrong.push(format!("after {:?}", begun.elapsed()));
    }
}
