//! The account at the end of a case: checks every promise against what was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pixel_relay::sandbox::Sandbox;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::events::{self, Fate};
use crate::load::Load;
use crate::metrics::Metrics;
use crate::place::{Daemon, Place};

/// Poison is refused whatever else is wrong.
pub const STANDING_FAULTS: &str = "poison=Poison";

/// How many violations of one kind are shown.
const TOLD: usize = 5;
/// How long the queue may take to drain.
const PATIENCE: Duration = Duration::from_secs(60);
/// After so long without a word a good event is sent, so that a lane that met only poison finds out that not
/// every event is refused.
const ENCOURAGE_EVERY: Duration = Duration::from_secs(2);

/// Waits until nothing is queued; returns the metrics of that moment.
pub async fn drain(daemon: &Daemon, load: &Load) -> Result<Metrics, String> {
    let begun = Instant::now();
    let mut encouraged = Instant::now();
    loop {
        let metrics = Metrics::read(&daemon.admin).await;
        let is_there = metrics.sum("events_taken_total", &[]) > 0;
        let queued = metrics.sum("queue_events", &[]);
        if is_there && queued == 0 {
            return Ok(metrics);
        }
        if begun.elapsed() > PATIENCE {
            let health = daemon.health().await;
            return Err(format!("{queued} events stay queued; health: {health}"));
        }
        if encouraged.elapsed() > ENCOURAGE_EVERY {
            load.send(1, Duration::from_secs(5)).await;
            encouraged = Instant::now();
        }
        sleep(Duration::from_millis(30)).await;
    }
}

/// Checks that the metrics keep the law, and that nothing was lost or ran out.
pub fn check_metrics(metrics: &Metrics, wrong: &mut Vec<String>) {
    let of = |name: &str| metrics.sum(name, &[]);
    let (taken, retried) = (of("events_taken_total"), of("dead_retried_total"));
    let (ended, queued) = (of("outcomes_total"), of("queue_events"));
    if taken + retried != ended + queued {
        wrong.push(format!(
            "the law: {taken} taken + {retried} retried, {ended} ended + {queued} queued"
        ));
    }
    for outcome in ["lost", "expired", "erased"] {
        let ended = metrics.sum("outcomes_total", &[&format!("outcome=\"{outcome}\"")]);
        if ended > 0 {
            wrong.push(format!("{ended} events were {outcome}"));
        }
    }
}

/// What arrived, by serial number; what arrived altered is a violation.
pub fn arrived(sandbox: &Sandbox, wrong: &mut Vec<String>) -> BTreeSet<u64> {
    let mut serials = BTreeSet::new();
    for record in sandbox.take_records() {
        let (serial, altered) = events::look_at(&record.event);
        wrong.extend(altered.filter(|_| wrong.len() < TOLD));
        serials.insert(serial);
    }
    serials
}

/// The dead letters: which events, and why.
pub async fn dead_letters(place: &Place) -> Result<BTreeMap<u64, String>, String> {
    let list = place.command(&["dead", "list"]).await?;
    let letters = list.lines().filter_map(|line| {
        let letter: Value = serde_json::from_str(line).ok()?;
        let serial = letter["event_id"].as_str()?.strip_prefix("event-")?;
        Some((serial.parse().ok()?, letter["reason"].as_str()?.to_owned()))
    });
    Ok(letters.collect())
}

/// Checks that every acknowledged event has arrived, or is the dead letter that it must be.
pub fn check_events(
    acknowledged: impl Iterator<Item = u64>,
    arrived: impl Fn(u64) -> bool,
    dead: &BTreeMap<u64, String>,
    wrong: &mut Vec<String>,
) {
    let mut missing = Vec::new();
    for serial in acknowledged {
        let reason = dead.get(&serial).map(String::as_str);
        let is_right = match events::fate(serial) {
            Fate::Delivered => arrived(serial) && reason.is_none(),
            Fate::Refused => reason == Some("refused"),
            // Only samples of these are kept.
            Fate::TooOld => reason.is_none_or(|reason| reason == "too_old"),
        };
        if !is_right {
            missing.push(format!("{serial} ({:?}, {reason:?})", events::fate(serial)));
        }
    }
    if !missing.is_empty() {
        let count = missing.len();
        missing.truncate(TOLD);
        wrong.push(format!(
            "{count} acknowledged events are missing: {missing:?}"
        ));
    }
}

/// Checks that no part of the program panicked.
pub fn check_log(place: &Place, wrong: &mut Vec<String>) {
    let log = place.log();
    let panics = log.lines().filter(|line| line.contains("panicked"));
    wrong.extend(panics.take(TOLD).map(|line| format!("a panic: {line}")));
}
