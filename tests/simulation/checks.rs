//! The promises, looked at now and then while a run goes on, and at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use memchr::memmem;
use pixel_relay::config::SyncName;
use pixel_relay::outcome::{Outcome, Reason};
use pixel_relay::queue::memory::TextsSeen;
use pixel_relay::queue::{DeadFilter, DeadLetter, SyncTotals};
use pixel_relay::telemetry::metrics::LaneState;
use tokio::time::Instant;

use crate::events::{EventKind, MAIL, PHONE};
use crate::plan::Plan;
use crate::process::Process;
use crate::world::{Damage, World};

/// What is ready is sent within its batch's delay and this.
const BOUND: Duration = Duration::from_secs(5);
/// How exactly is looked.
const COARSE: Duration = Duration::from_millis(500);
/// How long a search for a refused event may hold up others.
const SEARCH: Duration = Duration::from_secs(30);
/// How long a request takes in a network that is well.
const TURN: Duration = Duration::from_millis(100);
/// How far Graph's usage spreads requests out, at most.
const SLOWEST_PACE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Checks {
    world: World,
    /// Since when nothing keeps a sync from sending.
    free: BTreeMap<SyncName, Instant>,
    /// The same, and all that is ready fits into one request.
    free_for_all: BTreeMap<SyncName, Instant>,
    /// The most events that were queued since then: one of them may have waited behind all others.
    most_queued: BTreeMap<SyncName, u32>,
    pub may_be_slowed: bool,
    looks: u32,
    /// What of the store was looked at.
    seen: TextsSeen,
}

impl Checks {
    pub fn new(world: World) -> Self {
        Self {
            world,
            free: BTreeMap::new(),
            free_for_all: BTreeMap::new(),
            most_queued: BTreeMap::new(),
            may_be_slowed: false,
            looks: 0,
            seen: TextsSeen::default(),
        }
    }

    /// Waits are counted anew.
    pub fn restarted(&mut self) {
        self.free.clear();
        self.free_for_all.clear();
        self.most_queued.clear();
    }

    pub async fn look(&mut self, process: &mut Process, plan: &Plan) {
        if let Some(ended) = process.ended() {
            self.world.fail("process", ended);
        }
        for (sync, totals) in process.queue.totals() {
            self.check_law(&sync, &totals);
        }
        if process.is_clock_confirmed() {
            let mut state = self.world.state();
            state.confirmed_at.get_or_insert_with(Instant::now);
        }
        self.looks += 1;
        if self.looks.is_multiple_of(16) {
            self.check_privacy();
            self.check_soundness(process);
        }
        self.check_liveness(process, plan).await;
    }

    /// Events taken and dead letters retried are the events that ended and those that are queued.
    fn check_law(&self, sync: &SyncName, totals: &SyncTotals) {
        let came = totals.taken + totals.dead_retried;
        let there = totals.ended.values().sum::<u64>() + totals.queued;
        if came != there {
            self.world.fail("law", format!("{sync}: {totals:?}"));
        }
    }

    /// A store that nothing has damaged is not taken for damaged.
    fn check_soundness(&self, process: &Process) {
        let found = process.queue.stats().damage.recent;
        let rebuilt = self.world.memory.rebuilt();
        if self.world.state().damage == Damage::None && (rebuilt > 0 || !found.is_empty()) {
            let what = format!("rebuilt {rebuilt} times, and found damaged: {found:?}");
            self.world.fail("soundness", what);
        }
    }

    /// Looks at what was stored since the last look.
    fn check_privacy(&mut self) {
        let holds = |text: &[u8], marker: &str| memmem::find(text, marker.as_bytes()).is_some();
        let texts = self.world.memory.texts(&mut self.seen);
        if texts
            .iter()
            .any(|text| holds(text, MAIL) || holds(text, PHONE))
        {
            self.world
                .fail("privacy", "the store holds raw personal data".to_owned());
        }
    }

    /// What is ready is sent in time.
    async fn check_liveness(&mut self, process: &Process, plan: &Plan) {
        let now = Instant::now();
        let is_store_well =
            process.queue.health().trouble.is_none() && !self.world.disk().is_unwell();
        for sync in &plan.syncs {
            let name = SyncName::new(sync.name).unwrap();
            let Some(handle) = process.handles.0.get(&name) else {
                continue;
            };
            let (status, backlog) = (handle.status(), process.queue.backlog(&name));
            let is_free = is_store_well
                && matches!(status.state, LaneState::Running | LaneState::Draining)
                && status.in_flight < status.concurrency
                && backlog.events > 0;
            let is_free_for_all = is_free && backlog.events <= sync.max_batch_events as u64;
            let free = since(&mut self.free, &name, is_free, now);
            let free_for_all = since(&mut self.free_for_all, &name, is_free_for_all, now);
            let lanes = u32::try_from(plan.syncs.len()).unwrap();
            let rates = plan
                .syncs
                .iter()
                .filter_map(|sync| sync.requests_per_second)
                .min();
            let mut gap = rates.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate);
            if self.may_be_slowed {
                gap += SLOWEST_PACE;
            }
            let bound = sync.max_batch_delay + BOUND + gap * 2 * lanes + COARSE;
            let last_sent = self.world.state().account.last_sent.get(&name).copied();
            if let Some(free) = free {
                let since = last_sent.map_or(free, |sent| sent.max(free));
                if now - since > bound {
                    let waited = (now - since).as_secs_f64();
                    let what = format!(
                        "{name}: {} events are ready and nothing is sent for {waited} s",
                        backlog.events
                    );
                    self.world.fail("liveness", what);
                    return;
                }
            }
            if free_for_all.is_none() {
                self.most_queued.remove(&name);
            }
            if let Some(free) = free_for_all {
                // An event may wait behind all others, and for a search among them.
                let totals = process.queue.totals();
                let queued = totals.get(&name).map_or(0, |totals| totals.queued);
                let queued = u32::try_from(queued).unwrap_or(u32::MAX);
                let most = self.most_queued.entry(name.clone()).or_default();
                *most = queued.max(*most);
                let queued = *most;
                let turn = gap.max(TURN) * 4 * lanes;
                self.check_each(process, &name, free, bound + SEARCH + turn * queued)
                    .await;
            }
        }
    }

    /// Each event that is ready is sent in time.
    async fn check_each(&self, process: &Process, sync: &SyncName, free: Instant, bound: Duration) {
        let late = {
            let state = self.world.state();
            let waiting = state
                .account
                .waiting
                .iter()
                .filter(|((of, _), _)| of == sync);
            let late = waiting.filter(|(_, acked)| free.max(**acked).elapsed() > bound);
            late.map(|((_, id), _)| id.clone()).collect::<Vec<_>>()
        };
        if late.is_empty() {
            return;
        }
        let dead = dead_letters(process).await;
        for id in late {
            let key = (sync.clone(), id);
            let is_dead = dead.contains_key(&key);
            let mut state = self.world.state();
            state.account.waiting.remove(&key);
            let is_undamaged = state.damage < Damage::Batch;
            drop(state);
            if !is_dead && is_undamaged {
                let what = format!(
                    "{sync}: {} is ready and is not sent within {} s",
                    key.1,
                    bound.as_secs_f64()
                );
                self.world.fail("liveness", what);
            }
        }
    }

    /// At the end: every acknowledged event has had the fate that it must have.
    pub async fn account(&mut self, process: &mut Process, syncs: &[SyncName]) {
        self.check_privacy();
        self.check_soundness(process);
        let dead = dead_letters(process).await;
        let totals = process.queue.totals();
        let state = self.world.state();
        let mut broken = None;
        for sync in syncs {
            let lost = totals
                .get(sync)
                .and_then(|totals| totals.ended.get(&Reason::DamagedRow));
            let lost = lost.copied().unwrap_or(0);
            if lost > 0 && state.damage < Damage::Batch {
                broken = Some((
                    "loss",
                    format!("{sync}: {lost} events are lost from a store that is well"),
                ));
            }
            let mut missing = BTreeSet::new();
            for id in &state.account.acknowledged {
                let event = &state.account.events[id];
                let key = (sync.clone(), id.clone());
                let taken = state.account.deliveries.get(&key).map_or(0, |it| it.taken);
                let died_of = dead.get(&key);
                match event.kind {
                    EventKind::Large if died_of == Some(&Reason::TooLarge) => {}
                    EventKind::Page | EventKind::Purchase | EventKind::Large if taken == 0 => {
                        missing.insert((id, died_of));
                    }
                    EventKind::Poison if taken > 0 => {
                        broken = Some((
                            "refusal",
                            format!("{sync}: Graph took {id}, which it refuses"),
                        ));
                    }
                    EventKind::Poison
                        if died_of.is_none_or(|of| of.outcome() != Outcome::Rejected)
                            && lost == 0 =>
                    {
                        broken = Some((
                            "refusal",
                            format!("{sync}: {id} is refused, and is {died_of:?}"),
                        ));
                    }
                    _ => {}
                }
            }
            if missing.len() as u64 > lost {
                broken = Some((
                    "loss",
                    format!("{sync}: acknowledged and never delivered: {missing:?}"),
                ));
            }
        }
        drop(state);
        if let Some((promise, what)) = broken {
            self.world.fail(promise, what);
        }
    }
}

/// Since when something has held.
fn since(
    known: &mut BTreeMap<SyncName, Instant>,
    sync: &SyncName,
    holds: bool,
    now: Instant,
) -> Option<Instant> {
    if !holds {
        known.remove(sync);
        return None;
    }
    Some(*known.entry(sync.clone()).or_insert(now))
}

/// Why each event that is set aside was.
async fn dead_letters(process: &Process) -> BTreeMap<(SyncName, String), Reason> {
    let (mut all, mut after) = (BTreeMap::new(), 0);
    loop {
        let page = process.queue.dead(&DeadFilter::default(), after, 500).await;
        let page: Vec<DeadLetter> = page.unwrap_or_default();
        let Some(last) = page.last() else {
            return all;
        };
        after = last.id;
        for letter in page {
            if let Some(id) = letter.event_id {
                all.insert((letter.sync, id), letter.reason);
            }
        }
    }
}
