//! The account at the end: checks every promise against what was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use pixel_relay::clock::UnixMillis;
use pixel_relay::sandbox::Sandbox;
use pixel_relay::sandbox::record::SandboxStats;
use serde::Deserialize;

use crate::chaos::Chaos;
use crate::daemon::{SECRET, TOKEN};
use crate::events::{self, ExpectedOutcome, Kind, Sync};
use crate::load::{Load, SendRecord};
use crate::sqlite;
use crate::witness::Witness;

/// How many violations of one kind are shown in full.
const TOLD: usize = 20;
/// How many violations are shown in all.
const SHOWN: usize = 60;
/// Most events of a request: Meta's rule.
const MOST_EVENTS: usize = 1000;

/// Everything that is known at the end.
pub struct Account<'a> {
    pub load: &'a Load,
    pub witness: &'a Witness,
    pub sandbox: &'a Sandbox,
    pub stats: &'a SandboxStats,
    pub chaos: &'a Chaos,
    /// Whether the queue became empty in time.
    pub drained: bool,
}

/// A dead letter, as `pixel-relay dead list` writes it.
#[derive(Deserialize)]
struct Dead {
    sync: String,
    reason: String,
    event_id: Option<String>,
}

impl Account<'_> {
    /// Prints the account; returns whether every promise was kept.
    pub async fn settle(&self) -> bool {
        self.summarise();
        let mut wrong = Vec::new();
        if !self.drained {
            let metrics = self.chaos.metrics.clone().unwrap_or_default();
            let queued = Sync::ALL.map(|sync| {
                let label = format!("sync=\"{}\"", sync.name());
                (sync, metrics.sum("queue_events", &[&label]))
            });
            wrong.push(format!("the queue did not drain in time: {queued:?}"));
        }
        wrong.extend(self.load.record().wrong.iter().take(TOLD).cloned());
        wrong.extend(self.witness.wrong.iter().cloned());
        wrong.extend(self.chaos.wrong.iter().cloned());
        wrong.extend(self.chaos.watch.grown());
        self.check_calls(&mut wrong);
        self.check_repeats(&mut wrong);
        match sqlite::answers_on_disk(&self.chaos.place.store()) {
            Ok(on_disk) => self.check_early_calls(&on_disk, &mut wrong),
            Err(error) => wrong.push(format!("the store cannot be read: {error}")),
        }
        match self.dead_letters().await {
            Ok(dead) => {
                self.check_events(&dead, &mut wrong);
                self.check_metrics(&dead, &mut wrong);
            }
            Err(error) => wrong.push(format!("the dead letters cannot be read: {error}")),
        }
        self.check_secrets(&mut wrong);
        if wrong.is_empty() {
            println!("torture: every promise was kept");
            return true;
        }
        println!("torture: {} violations", wrong.len());
        for line in wrong.iter().take(SHOWN) {
            println!("  - {line}");
        }
        println!(
            "torture: log and store are kept in {}",
            self.chaos.place.keep().display()
        );
        false
    }

    fn summarise(&self) {
        let record = self.load.record();
        let acknowledged = record.events.iter().filter(|event| event.acknowledged);
        println!(
            "sent      {} events, {} acknowledged",
            record.events.len(),
            acknowledged.count()
        );
        println!(
            "answers   {:?}, none: {}, given up: {}",
            record.answers, record.unanswered, record.given_up
        );
        println!("deeds     {:?}", self.chaos.deeds);
        for line in self.chaos.watch.summary() {
            println!("host      {line}");
        }
        if self.chaos.place.disk.is_none() {
            println!("          no disk was filled: mounting one takes root");
        }
        println!(
            "calls     {} in all, {} batches taken, largest {} events, faults {:?}, refused {:?}",
            self.stats.requests,
            self.stats.batches,
            self.stats.largest_batch,
            self.stats.faults,
            self.stats.refused
        );
        println!(
            "arrived   {} events, {} repeats from {} requests whose answer or settlement was lost",
            self.witness.arrived.len(),
            self.stats.repeats,
            self.witness.repeated_requests.len()
        );
    }

    fn check_calls(&self, wrong: &mut Vec<String>) {
        if self.stats.largest_batch > MOST_EVENTS {
            wrong.push(format!("a batch of {} events", self.stats.largest_batch));
        }
        if self.witness.accepted != self.stats.accepted {
            wrong.push(format!(
                "the witness saw {} of {} accepted events",
                self.witness.accepted, self.stats.accepted
            ));
        }
        // The endpoint refuses only poison.
        for label in self.stats.refused.keys() {
            if label.starts_with("100/") && label != "100/33" && label != POISON_LABEL {
                wrong.push(format!("the endpoint refused a batch with {label}"));
            }
        }
    }

    /// What came again had been in a request whose answer or settlement was lost.
    fn check_repeats(&self, wrong: &mut Vec<String>) {
        let is_excused = |at: &UnixMillis| {
            let known_by = at.plus(SETTLES_WITHIN);
            self.chaos
                .ends
                .iter()
                .any(|end| (*at..=known_by).contains(end))
        };
        let repeated = self.witness.repeated_requests.values();
        let without_kill = repeated.filter(|at| !is_excused(at)).count() as u64;
        let lost = LOSE_ANSWERS
            .iter()
            .filter_map(|name| self.stats.faults.get(name));
        let lost: u64 = lost.sum();
        if without_kill > lost + LATE_ANSWERS {
            wrong.push(format!(
                "{without_kill} requests came again, of which only {lost} answers were lost"
            ));
        }
    }

    /// No call came while a throttle or block was in force. There is one exception: the process was killed
    /// before any answer that told of it was on its disk, so the next process could not know.
    fn check_early_calls(&self, on_disk: &BTreeSet<String>, wrong: &mut Vec<String>) {
        let mut excused = 0;
        let mut early = self.stats.early_calls;
        for call in self.sandbox.early_calls() {
            let known = call
                .announced_by
                .iter()
                .any(|trace_id| on_disk.contains(trace_id));
            let between = call.announced_at..=call.arrived;
            // A wait that is kept across a restart is measured by the clock, which was wrong.
            let was_wrong = self.chaos.clock.was_wrong(call.announced_at, call.arrived);
            let ended = self.chaos.ends.iter().any(|end| between.contains(end));
            if ended && (!known || was_wrong) {
                excused += 1;
                continue;
            }
            if wrong.len() < TOLD {
                wrong.push(format!("a call while throttled: {call:?}, known: {known}"));
            }
        }
        early -= excused;
        if early > 0 {
            wrong.push(format!("{early} calls while throttled"));
        }
        println!("early     {early} calls, and {excused} of a process that could not know");
    }

    /// Every acknowledged event has the expected outcome, and no event has another.
    fn check_events(&self, dead: &[Dead], wrong: &mut Vec<String>) {
        let rejected: BTreeSet<(&str, &str)> = dead
            .iter()
            .filter(|letter| letter.reason == "refused")
            .map(|letter| {
                let id = letter.event_id.as_deref().unwrap_or_default();
                (letter.sync.as_str(), id)
            })
            .collect();
        let record = self.load.record();
        let mut missing = Vec::new();
        for (serial, event) in record.events.iter().enumerate() {
            let serial = serial as u64;
            for (sync, outcome) in event.outcomes() {
                let arrived = self.witness.arrived.contains_key(&(sync, serial));
                let id = events::id(event.kind, serial).unwrap_or_default();
                let is_rejected = rejected.contains(&(sync.name(), id.as_str()));
                let name = || format!("{} {serial} ({:?})", sync.name(), event.kind);
                match outcome {
                    ExpectedOutcome::Delivered(_) | ExpectedOutcome::DeliveredOrDropped(_)
                        if is_rejected =>
                    {
                        wrong.push(format!("a good event was rejected: {}", name()));
                    }
                    ExpectedOutcome::Delivered(_)
                        if event.acknowledged && !arrived && !event.forgotten =>
                    {
                        missing.push(name());
                    }
                    ExpectedOutcome::Rejected if event.acknowledged && !is_rejected => {
                        missing.push(name());
                    }
                    _ => {}
                }
            }
        }
        if !missing.is_empty() {
            wrong.push(format!(
                "{} acknowledged events are missing:",
                missing.len()
            ));
            wrong.extend(missing.into_iter().take(TOLD));
        }
        let mut others: BTreeMap<String, u64> = BTreeMap::new();
        for letter in dead {
            let outcome = match letter.reason.as_str() {
                "refused" => ExpectedOutcome::Rejected,
                "malformed_json" => ExpectedOutcome::Invalid("malformed_json"),
                "too_old" => ExpectedOutcome::Invalid("too_old"),
                "no_identifier" => ExpectedOutcome::Invalid("no_identifier"),
                "in_future" if self.chaos.moves_clock && is_never_good(&record, letter) => continue,
                other => {
                    let what = format!("{} dead letters: {other}", letter.sync);
                    *others.entry(what).or_default() += 1;
                    continue;
                }
            };
            // A broken event has no id that could be trusted.
            let id = letter.event_id.as_deref();
            let Some(serial) = id.and_then(|id| id.strip_prefix("event-")) else {
                continue;
            };
            let event = serial
                .parse()
                .ok()
                .and_then(|serial: usize| record.events.get(serial));
            let true_reason = event.is_some_and(|event| {
                event
                    .outcomes()
                    .any(|(sync, other)| sync.name() == letter.sync && other == outcome)
            });
            if !true_reason {
                wrong.push(format!(
                    "event {serial} is a dead letter of {} as {}",
                    letter.sync, letter.reason
                ));
            }
        }
        wrong.extend(others.iter().map(|(what, count)| format!("{count} {what}")));
    }

    /// The law, and the counts to the event.
    fn check_metrics(&self, dead: &[Dead], wrong: &mut Vec<String>) {
        let Some(metrics) = &self.chaos.metrics else {
            wrong.push("there are no metrics".to_owned());
            return;
        };
        for sync in Sync::ALL {
            let label = format!("sync=\"{}\"", sync.name());
            let of = |name: &str, more: &str| metrics.sum(name, &[&label, more]);
            let (taken, ended) = (of("events_taken_total", ""), of("outcomes_total", ""));
            let (retried, queued) = (of("dead_retried_total", ""), of("queue_events", ""));
            println!(
                "{:<9} taken {taken}, delivered {}, duplicate {}, rejected {}, retried {retried}, invalid {}, filtered {}",
                sync.name(),
                of("outcomes_total", "outcome=\"delivered\""),
                of("outcomes_total", "outcome=\"duplicate\""),
                of("outcomes_total", "outcome=\"rejected\""),
                of("outcomes_total", "outcome=\"invalid\""),
                of("outcomes_total", "outcome=\"filtered\""),
            );
            let mut equal = |what: &str, left: u64, right: u64| {
                if left != right {
                    wrong.push(format!("{}: {what}: {left} and {right}", sync.name()));
                }
            };
            equal(
                "the law: taken, ended + queued",
                taken + retried,
                ended + queued,
            );
            let arrived = self
                .witness
                .arrived
                .keys()
                .filter(|(other, _)| *other == sync);
            let delivered = of("outcomes_total", "outcome=\"delivered\"");
            let arrived = arrived.count() as u64;
            // What was erased may have arrived before, where the answer was lost.
            let erased = of("outcomes_total", "outcome=\"erased\"");
            let possible = arrived.clamp(delivered, delivered + erased);
            equal("arrived, delivered or erased", arrived, possible);
            let of_sync = |letter: &&Dead| letter.sync == sync.name() && letter.reason == "refused";
            let letters = dead.iter().filter(of_sync).count() as u64;
            let rejected = of("outcomes_total", "outcome=\"rejected\"");
            // What a wrong clock put aside was retried, too.
            if !self.chaos.moves_clock {
                equal(
                    "rejected, dead letters and retried",
                    rejected,
                    letters + retried,
                );
                equal(
                    "expired, none",
                    of("outcomes_total", "outcome=\"expired\""),
                    0,
                );
            }
            equal("lost, none", of("outcomes_total", "outcome=\"lost\""), 0);
            if sync != Sync::Scrap {
                equal(
                    "dropped, none",
                    of("outcomes_total", "reason=\"dropped\""),
                    0,
                );
            }
            let forgotten = of("outcomes_total", "reason=\"forgotten\"");
            let record = self.load.record();
            let asked = record.events.iter().filter(|event| event.forgotten);
            let asked = asked.count() as u64;
            drop(record);
            if forgotten > asked {
                wrong.push(format!(
                    "{}: {forgotten} events were forgotten, and {asked} were asked for",
                    sync.name()
                ));
            }
            for reason in ["malformed_json", "too_old", "no_identifier"] {
                let counted = of("outcomes_total", &format!("reason=\"{reason}\""));
                let (tries, acknowledged) = self.tries(sync, ExpectedOutcome::Invalid(reason));
                // A wrong clock gives other reasons.
                if !(acknowledged..=tries).contains(&counted) && !self.chaos.moves_clock {
                    wrong.push(format!(
                        "{}: {counted} {reason}, of {tries} sent and {acknowledged} acknowledged",
                        sync.name()
                    ));
                }
            }
        }
    }

    /// How often events with this expected outcome were sent to a sync, and how often acknowledged.
    fn tries(&self, sync: Sync, outcome: ExpectedOutcome) -> (u64, u64) {
        let record = self.load.record();
        let is_expected = |kind: Kind| kind.outcome(sync) == outcome;
        record
            .tries
            .iter()
            .filter(|((kind, only_web), _)| is_expected(*kind) && (!only_web || sync == Sync::Web))
            .fold((0, 0), |sum, (_, counts)| {
                (sum.0 + counts.0, sum.1 + counts.1)
            })
    }

    /// Raw personal data, tokens and secrets are nowhere on the disk and in no log; nothing panicked.
    fn check_secrets(&self, wrong: &mut Vec<String>) {
        let log = self.chaos.place.log();
        let mut places = vec![("the log".to_owned(), log.clone().into_bytes())];
        for file in fs::read_dir(self.chaos.place.store()).unwrap() {
            let path = file.unwrap().path();
            if let Ok(bytes) = fs::read(&path) {
                places.push((path.display().to_string(), bytes));
            }
        }
        for (place, bytes) in places {
            for secret in [TOKEN, SECRET, events::MAIL] {
                if memchr::memmem::find(&bytes, secret.as_bytes()).is_some() {
                    wrong.push(format!("{place} holds {secret}"));
                }
            }
        }
        for line in log
            .lines()
            .filter(|line| line.contains("panicked"))
            .take(TOLD)
        {
            wrong.push(format!("a panic: {line}"));
        }
    }

    /// All dead letters.
    async fn dead_letters(&self) -> Result<Vec<Dead>, String> {
        let list = self.chaos.place.command(&["dead", "list"]).await?;
        let letters = list.lines().map(serde_json::from_str);
        letters
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())
    }
}

/// Whether a dead letter's event cannot be delivered, whatever the time.
fn is_never_good(record: &SendRecord, letter: &Dead) -> bool {
    let id = letter.event_id.as_deref().unwrap_or_default();
    let serial = id.strip_prefix("event-");
    let serial = serial.and_then(|serial| serial.parse::<usize>().ok());
    let event = serial.and_then(|serial| record.events.get(serial));
    // A broken event, or one without an id of its own, has no number that could be trusted.
    event.is_none_or(|event| {
        event.outcomes().any(|(sync, outcome)| {
            sync.name() == letter.sync
                && !matches!(
                    outcome,
                    ExpectedOutcome::Delivered(_) | ExpectedOutcome::DeliveredOrDropped(_)
                )
        })
    })
}

/// Faults that lose an answer, or part of it, to a batch that was taken.
const LOSE_ANSWERS: [&str; 4] = ["hang_after", "reset_after", "partial", "short_count"];
/// So many answers may come after the time limit of a request on a slow machine.
const LATE_ANSWERS: u64 = 20;
/// An answer is given, and settled, within this.
const SETTLES_WITHIN: Duration = Duration::from_secs(5);

/// What the endpoint answers where it meets poison.
const POISON_LABEL: &str = "100/2804007";
