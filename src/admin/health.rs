//! `/health` in detail: each problem, its sync, and how long it lasts.
//!
//! [`report`] is pure: its argument is what is known at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use crate::clock::{ClockSkew, UnixMillis};
use crate::config::SyncName;
use crate::deliver::LaneStatus;
use crate::ingest::{MissedEvents, is_silent};
use crate::queue::{CapacityProblem, StoreHealth, StoreStats, SyncTotals, Totals};
use crate::telemetry::LaneState;

/// How long a warning lasts after the last event for a disabled sync.
const LATELY: Duration = Duration::from_secs(60 * 60);

/// How long a warning lasts after a loss that nothing repairs.
const FOR_A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What is known at one moment.
#[derive(Debug, Default)]
pub struct HealthView {
    pub now: UnixMillis,
    pub uptime: Duration,
    /// How far the system's clock is off, where that is known.
    pub skew: Option<ClockSkew>,
    /// The syncs of the configuration.
    pub syncs: BTreeMap<SyncName, SyncView>,
    /// `ingest.silence_after`.
    pub silence_after: Option<Duration>,
    pub health: StoreHealth,
    /// Syncs that are no longer configured among them.
    pub totals: Totals,
    pub stats: StoreStats,
}

/// What is known of a sync besides what the store has counted.
#[derive(Clone, Debug)]
pub struct SyncView {
    /// Whether it takes events.
    pub enabled: bool,
    /// `None` before its lane begins.
    pub lane: Option<LaneStatus>,
    /// Bytes that are ready to be sent.
    pub ready_bytes: u64,
    /// At which uptime.
    pub last_event: Option<Duration>,
    /// How long no event has come in; `None` if the sync takes no events.
    pub silence: Option<Duration>,
    /// Events that went on to Amplitude and could not be stored here.
    pub missed: Option<MissedEvents>,
}

/// The state of the relay, or of one sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Ok,
    /// An operator should look; events are taken and kept.
    Warning,
    /// Events cannot be stored.
    Failing,
}

/// The body of `/health`.
#[derive(Debug, Serialize)]
pub struct HealthReport {
    /// The worst of all below.
    pub status: Status,
    /// One sentence for each.
    pub problems: Vec<String>,
    clock: ClockReport,
    store: StoreReport,
    syncs: BTreeMap<String, SyncReport>,
}

#[derive(Debug, Serialize)]
struct ClockReport {
    status: Status,
    /// How far the system's clock is ahead.
    skew_seconds: Option<i64>,
}

#[derive(Debug, Serialize)]
struct StoreReport {
    status: Status,
    used_bytes: u64,
    headroom_seconds: Option<u64>,
}

#[derive(Debug, Serialize)]
struct SyncReport {
    status: Status,
    enabled: bool,
    lane: Option<LaneReport>,
    queued_events: u64,
    ready_bytes: u64,
    oldest_age_seconds: Option<u64>,
    last_event_seconds_ago: Option<u64>,
    silence_warning: bool,
    dead_letters: u64,
}

#[derive(Debug, Serialize)]
struct LaneReport {
    state: LaneState,
    for_seconds: u64,
    reason: Option<String>,
    next_try_in_seconds: Option<u64>,
    requests_in_flight: usize,
}

pub fn report(view: &HealthView) -> HealthReport {
    let mut problems = Vec::new();
    let clock = report_clock(view, &mut problems);
    let store = report_store(view, &mut problems);
    let names: BTreeSet<&SyncName> = view.syncs.keys().chain(view.totals.keys()).collect();
    let syncs: BTreeMap<String, SyncReport> = names
        .into_iter()
        .filter_map(|name| {
            let sync = report_sync(view, name, &mut problems)?;
            Some((name.to_string(), sync))
        })
        .collect();
    let worst = syncs.values().map(|sync| sync.status).max();
    HealthReport {
        status: (store.status.max(clock.status)).max(worst.unwrap_or(Status::Ok)),
        problems,
        clock,
        store,
        syncs,
    }
}

fn report_clock(view: &HealthView, problems: &mut Vec<String>) -> ClockReport {
    let known = problems.len();
    match view.skew {
        Some(skew) if skew.is_large() => problems.push(format!(
            "the system's clock is {skew} the time that Meta's answers tell; events are dated and judged by that \
             time meanwhile. Set the clock: see that the machine's time service runs"
        )),
        None if view.now < UnixMillis::EARLIEST => problems.push(format!(
            "the system's clock was never set: it says {}. By such a time no certificate is valid, so Meta \
             cannot be reached. Set it: see that the machine's time service runs",
            view.now
        )),
        _ => {}
    }
    let is_wrong = problems.len() > known;
    ClockReport {
        status: if is_wrong {
            Status::Warning
        } else {
            Status::Ok
        },
        skew_seconds: view.skew.map(|skew| skew.0 / 1000),
    }
}

fn report_store(view: &HealthView, problems: &mut Vec<String>) -> StoreReport {
    let trouble = view.health.trouble.as_ref().map(|problem| match problem {
        CapacityProblem::DiskLow => {
            "less disk is free than queue.min_free_disk: no event is taken".to_owned()
        }
        CapacityProblem::Failing(reason) => format!("the store cannot write: {reason}"),
        CapacityProblem::Mending => {
            "the store is damaged and is being mended: no event is taken until that is done"
                .to_owned()
        }
        CapacityProblem::Busy(doing) => format!("the store takes no event for now: {doing}"),
        CapacityProblem::Closed => "the store is closed".to_owned(),
    });
    let taking = view.syncs.iter().filter(|(_, sync)| sync.enabled);
    let mut full = taking
        .map(|(name, _)| view.health.full.contains(name))
        .peekable();
    let all_full = full.peek().is_some() && full.all(|is_full| is_full);
    let recent = view.stats.damage.recent.iter();
    let mut recent = recent
        .filter(|(at, _)| view.now.since(*at) < FOR_A_DAY)
        .peekable();
    let status = if trouble.is_some() || all_full {
        Status::Failing
    } else if recent.peek().is_some() {
        Status::Warning
    } else {
        Status::Ok
    };
    problems.extend(trouble);
    problems.extend(recent.map(|(at, finding)| {
        let ago = in_words(view.now.since(*at));
        format!(
            "the store was found damaged {ago} ago: {}. Check the disk; `pixel-relay queue verify` \
             looks for more",
            finding.what
        )
    }));
    StoreReport {
        status,
        used_bytes: view.stats.used_bytes,
        headroom_seconds: view.stats.headroom.map(|headroom| headroom.as_secs()),
    }
}

/// Reports on one sync; `None` if it is no longer configured and holds nothing.
fn report_sync(
    view: &HealthView,
    name: &SyncName,
    problems: &mut Vec<String>,
) -> Option<SyncReport> {
    let none = SyncTotals::default();
    let totals = view.totals.get(name).unwrap_or(&none);
    let sync = view.syncs.get(name);
    let known = problems.len();
    let silent = sync.is_some_and(|sync| is_silent(sync.silence, view.silence_after));
    match sync {
        Some(sync) => {
            let lane = sync.lane.as_ref();
            problems.extend(lane.and_then(|lane| lane_problem(name, lane, view.uptime)));
            problems.extend(lane.and_then(|lane| restarted_lane(name, lane, view.uptime)));
            if let (true, Some(silence)) = (silent, sync.silence) {
                problems.push(format!(
                    "sync {name}: no event has come in for {}; Amplitude pauses streams when their \
                     quota is used up",
                    in_words(silence)
                ));
            }
            problems.extend(stray_events(name, sync, view.uptime));
            problems.extend(missed_events(name, sync, view.uptime));
        }
        None if totals.queued == 0 => return None,
        None => problems.push(format!(
            "sync {name} is not in the configuration and still holds {} events; put it back, or \
             drop them with `pixel-relay queue drop --sync {name}`",
            totals.queued
        )),
    }
    if view.health.full.contains(name) {
        problems.push(format!(
            "sync {name}: its part of queue.max_bytes is used up; its events are refused"
        ));
    }
    let status = if problems.len() > known {
        Status::Warning
    } else {
        Status::Ok
    };
    let ago = |uptime: Duration| view.uptime.saturating_sub(uptime).as_secs();
    let age = |taken_at: &UnixMillis| view.now.since(*taken_at).as_secs();
    let lane = sync.and_then(|sync| sync.lane.as_ref());
    Some(SyncReport {
        status,
        enabled: sync.is_some_and(|sync| sync.enabled),
        lane: lane.map(|lane| LaneReport {
            state: lane.state,
            for_seconds: ago(lane.since),
            reason: lane.reason.clone(),
            next_try_in_seconds: (lane.next_try).map(|at| at.saturating_sub(view.uptime).as_secs()),
            requests_in_flight: lane.in_flight,
        }),
        queued_events: totals.queued,
        ready_bytes: sync.map_or(0, |sync| sync.ready_bytes),
        oldest_age_seconds: view.stats.oldest.get(name).map(age),
        last_event_seconds_ago: sync.and_then(|sync| sync.last_event).map(ago),
        silence_warning: silent,
        dead_letters: totals.dead,
    })
}

/// Warns of events that come in for a disabled sync.
fn stray_events(name: &SyncName, sync: &SyncView, uptime: Duration) -> Option<String> {
    let ago = uptime.saturating_sub(sync.last_event.filter(|_| !sync.enabled)?);
    (ago < LATELY).then(|| {
        format!(
            "sync {name} is disabled, and events come in for it, the last {} ago: they are filtered, \
             reason sync_disabled",
            in_words(ago)
        )
    })
}

/// Warns of events that Amplitude has and Meta misses.
fn missed_events(name: &SyncName, sync: &SyncView, uptime: Duration) -> Option<String> {
    let missed = sync.missed?;
    let ago = uptime.saturating_sub(missed.last);
    (ago < FOR_A_DAY).then(|| {
        format!(
            "sync {name}: {} events of SDKs went on to ingest.upstream without being stored here, the \
             last {} ago; Meta misses them",
            missed.events,
            in_words(ago)
        )
    })
}

fn lane_problem(name: &SyncName, lane: &LaneStatus, uptime: Duration) -> Option<String> {
    let what = match lane.state {
        LaneState::Running | LaneState::Draining => return None,
        LaneState::BackingOff => "is backing off",
        LaneState::Throttled => "waits for Meta's rate limit",
        LaneState::Blocked => "is blocked by Meta",
        LaneState::Paused => "is paused and keeps its events",
    };
    let duration = in_words(uptime.saturating_sub(lane.since));
    let reason = lane.reason.as_deref().unwrap_or("no reason was given");
    Some(format!(
        "sync {name}: delivery {what}, for {duration} now: {reason}"
    ))
}

/// Warns of a lane that has failed and goes on.
fn restarted_lane(name: &SyncName, lane: &LaneStatus, uptime: Duration) -> Option<String> {
    let restarts = lane.restarts.as_ref()?;
    let ago = uptime.saturating_sub(restarts.last);
    (ago < FOR_A_DAY).then(|| {
        let times = match restarts.count {
            1 => "once".to_owned(),
            count => format!("{count} times"),
        };
        format!(
            "sync {name}: delivery was begun anew {times}, the last time {} ago, and its events are kept: {}",
            in_words(ago),
            restarts.cause
        )
    })
}

/// A duration, without parts of a second.
fn in_words(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(duration.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::LaneRestarts;
    use crate::queue::{DamageKind, DamageLog, Finding};

    const NOW: UnixMillis = UnixMillis::from_seconds(10_000);

    /// A change of a healthy relay, and the resulting status and problems.
    type Case = (fn(&mut HealthView), Status, &'static [&'static str]);

    fn name(text: &str) -> SyncName {
        SyncName::new(text).unwrap()
    }

    fn healthy() -> HealthView {
        let sync = SyncView {
            enabled: true,
            lane: Some(LaneStatus::idle(
                LaneState::Running,
                Duration::from_secs(9_000),
            )),
            ready_bytes: 900,
            last_event: Some(Duration::from_secs(9_990)),
            silence: Some(Duration::from_secs(10)),
            missed: None,
        };
        let totals = SyncTotals {
            taken: 5,
            queued: 2,
            dead: 1,
            ..SyncTotals::default()
        };
        HealthView {
            now: NOW,
            uptime: Duration::from_secs(10_000),
            skew: Some(ClockSkew(400)),
            syncs: [(name("app"), sync.clone()), (name("web"), sync)].into(),
            silence_after: Some(Duration::from_secs(1800)),
            health: StoreHealth::default(),
            totals: [(name("web"), totals)].into(),
            stats: StoreStats {
                used_bytes: 4096,
                headroom: Some(Duration::from_secs(7200)),
                duplicate_window: Duration::from_secs(48 * 3600),
                oldest: [(name("web"), UnixMillis::from_seconds(9_700))].into(),
                damage: DamageLog::default(),
            },
        }
    }

    fn lane_of_web(view: &mut HealthView) -> &mut LaneStatus {
        let sync = view.syncs.get_mut(&name("web")).unwrap();
        sync.lane.as_mut().unwrap()
    }

    #[test]
    fn says_how_everything_stands() {
        let report = serde_json::to_string_pretty(&report(&healthy())).unwrap();
        insta::assert_snapshot!(report);
    }

    #[test]
    fn names_each_problem_and_how_bad_it_is() {
        let cases: &[Case] = &[
            (|_| {}, Status::Ok, &[]),
            (
                |view| {
                    let lane = lane_of_web(view);
                    lane.state = LaneState::Paused;
                    lane.reason = Some("Meta refused the access token (190)".to_owned());
                },
                Status::Warning,
                &[
                    "sync web: delivery is paused and keeps its events, for 16m 40s now: Meta refused the access token (190)",
                ],
            ),
            (
                |view| {
                    lane_of_web(view).restarts = Some(LaneRestarts {
                        count: 2,
                        last: Duration::from_secs(9_940),
                        cause: "a fault of this program at src/x.rs:1".to_owned(),
                    });
                },
                Status::Warning,
                &[
                    "sync web: delivery was begun anew 2 times, the last time 1m ago, and its events are kept: a fault of this program at src/x.rs:1",
                ],
            ),
            (
                |view| lane_of_web(view).state = LaneState::Draining,
                Status::Ok,
                &[],
            ),
            (
                |view| {
                    view.syncs.get_mut(&name("app")).unwrap().silence =
                        Some(Duration::from_secs(1800));
                },
                Status::Warning,
                &[
                    "sync app: no event has come in for 30m; Amplitude pauses streams when their quota is used up",
                ],
            ),
            (
                |view| view.health.full = vec![name("web")],
                Status::Warning,
                &["sync web: its part of queue.max_bytes is used up; its events are refused"],
            ),
            (
                |view| {
                    view.syncs.remove(&name("web"));
                    let app = view.syncs.get_mut(&name("app")).unwrap();
                    app.enabled = false;
                    app.last_event = None;
                },
                Status::Warning,
                &[
                    "sync web is not in the configuration and still holds 2 events; put it back, or drop them with `pixel-relay queue drop --sync web`",
                ],
            ),
            (
                |view| {
                    view.syncs.remove(&name("app"));
                    view.health.full = vec![name("web")];
                },
                Status::Failing,
                &["sync web: its part of queue.max_bytes is used up; its events are refused"],
            ),
            (
                |view| view.health.trouble = Some(CapacityProblem::DiskLow),
                Status::Failing,
                &["less disk is free than queue.min_free_disk: no event is taken"],
            ),
            (
                |view| {
                    view.health.trouble =
                        Some(CapacityProblem::Failing("input/output error".to_owned()));
                },
                Status::Failing,
                &["the store cannot write: input/output error"],
            ),
        ];
        check(cases);
    }

    #[test]
    fn warns_of_a_wrong_clock() {
        check(&[
            (
                |view| view.skew = Some(ClockSkew(-7_200_000)),
                Status::Warning,
                &[
                    "the system's clock is 2h behind the time that Meta's answers tell; events are dated and judged by that time meanwhile. Set the clock: see that the machine's time service runs",
                ],
            ),
            (|view| view.skew = Some(ClockSkew(60_000)), Status::Ok, &[]),
            (
                |view| view.skew = None,
                Status::Warning,
                &[
                    "the system's clock was never set: it says 1970-01-01T02:46:40.000Z. By such a time no certificate is valid, so Meta cannot be reached. Set it: see that the machine's time service runs",
                ],
            ),
        ]);
    }

    #[test]
    fn warns_of_damage_for_a_day() {
        let damaged = |seconds: i64| {
            let finding = Finding {
                kind: DamageKind::Index,
                what: "index row_by_age disagrees with table row".to_owned(),
            };
            let mut view = healthy();
            view.now = UnixMillis::from_seconds(1_000_000);
            let at = UnixMillis::from_seconds(1_000_000 - seconds);
            view.stats.damage.recent.push((at, finding));
            report(&view)
        };
        let report = damaged(60);
        assert_eq!(report.store.status, Status::Warning);
        assert_eq!(
            report.problems,
            [
                "the store was found damaged 1m ago: index row_by_age disagrees with table row. Check the disk; `pixel-relay queue verify` looks for more"
            ]
        );
        assert_eq!(damaged(24 * 3600).store.status, Status::Ok);
    }

    #[test]
    fn warns_of_events_that_nobody_delivers() {
        check(&[
            (
                |view| view.syncs.get_mut(&name("app")).unwrap().enabled = false,
                Status::Warning,
                &[
                    "sync app is disabled, and events come in for it, the last 10s ago: they are filtered, reason sync_disabled",
                ],
            ),
            (
                |view| {
                    let app = view.syncs.get_mut(&name("app")).unwrap();
                    app.enabled = false;
                    app.last_event = Some(Duration::from_secs(10_000 - 3600));
                },
                Status::Ok,
                &[],
            ),
            (
                |view| {
                    view.syncs.get_mut(&name("app")).unwrap().missed = Some(MissedEvents {
                        events: 12,
                        last: Duration::from_secs(9_820),
                    });
                },
                Status::Warning,
                &[
                    "sync app: 12 events of SDKs went on to ingest.upstream without being stored here, the last 3m ago; Meta misses them",
                ],
            ),
        ]);
    }

    #[track_caller]
    fn check(cases: &[Case]) {
        for (change, status, problems) in cases {
            let mut view = healthy();
            change(&mut view);
            let report = report(&view);
            assert_eq!(report.problems, *problems);
            assert_eq!(report.status, *status, "{problems:?}");
        }
    }
}
