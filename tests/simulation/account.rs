//! The account: what was acknowledged, what was sent, what Graph took, and how often that may have been repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pixel_relay::clock::{Clock, UnixMillis};
use pixel_relay::config::SyncName;
use pixel_relay::sandbox::record::EarlyCall;
use tokio::time::Instant;

use crate::events::SentEvent;
use crate::world::World;

/// A settlement is on the disk this long after its answer, if the store is well.
const SETTLED: Duration = Duration::from_secs(3);
/// A store that was unwell has taken all settlements after this time.
const CAUGHT_UP: Duration = Duration::from_secs(90);
/// A call may have been under way when a pause was announced.
const UNDER_WAY: i64 = 1_000;

#[derive(Debug, Default)]
pub struct Account {
    /// By event id.
    pub events: BTreeMap<String, SentEvent>,
    pub deliveries: BTreeMap<(SyncName, String), Delivery>,
    /// Acknowledged, and not sent yet.
    pub waiting: BTreeMap<(SyncName, String), Instant>,
    /// When each sync sent last.
    pub last_sent: BTreeMap<SyncName, Instant>,
    /// The answers with a pause that came back to this process.
    learnt: BTreeMap<String, UnixMillis>,
    early_seen: usize,
    pub acknowledged: BTreeSet<String>,
}

/// What became of an event in a sync.
#[derive(Debug, Default)]
pub struct Delivery {
    /// How often Graph took it.
    pub taken: u32,
    /// How often its answer may not have come back, or not have been kept.
    pub excuses: u32,
    /// When Graph's acceptance came back last.
    answered: Option<Instant>,
}

/// A request to Graph under way. Where it ends without an acceptance, what Graph took of it may come again.
#[derive(Debug)]
pub struct Post {
    world: World,
    sync: SyncName,
    taken: Vec<String>,
    is_accepted: bool,
}

impl Post {
    pub fn begin(world: &World, sync: &SyncName) -> Self {
        Self {
            world: world.clone(),
            sync: sync.clone(),
            taken: Vec::new(),
            is_accepted: false,
        }
    }

    /// Graph takes these events.
    pub fn taken(&mut self, ids: Vec<String>) {
        let mut state = self.world.state();
        let may_repeat = state.was_far_behind;
        let mut repeated = None;
        for id in &ids {
            let key = (self.sync.clone(), id.clone());
            let delivery = state.account.deliveries.entry(key).or_default();
            delivery.taken += 1;
            if delivery.taken > 1 + delivery.excuses && !may_repeat {
                repeated = Some(format!(
                    "{} has {id} for the {}. time, with {} lost answers",
                    self.sync, delivery.taken, delivery.excuses
                ));
            }
        }
        drop(state);
        self.taken = ids;
        if let Some(repeated) = repeated {
            self.world.fail("repeat", repeated);
        }
    }

    pub fn end(&mut self, is_accepted: bool) {
        self.is_accepted = is_accepted;
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        let mut state = self.world.state();
        for id in &self.taken {
            let key = (self.sync.clone(), id.clone());
            let delivery = state.account.deliveries.entry(key).or_default();
            if self.is_accepted {
                delivery.answered = Some(Instant::now());
            } else {
                delivery.excuses += 1;
            }
        }
    }
}

impl Account {
    /// Events were acknowledged.
    pub fn acknowledge(&mut self, ids: &[String], syncs: &[SyncName]) {
        for id in ids {
            if !self.acknowledged.insert(id.clone()) {
                continue;
            }
            let is_good = self
                .events
                .get(id)
                .is_some_and(|event| event.kind.is_good());
            for sync in syncs.iter().filter(|_| is_good) {
                let key = (sync.clone(), id.clone());
                if !self.deliveries.contains_key(&key) {
                    self.waiting.insert(key, Instant::now());
                }
            }
        }
    }

    /// Events are sent. Gives one whose deadline is over.
    pub fn sent(&mut self, sync: &SyncName, ids: &[&str], truth: &dyn Clock) -> Option<String> {
        let now = truth.now();
        self.last_sent.insert(sync.clone(), Instant::now());
        for id in ids {
            let key = (sync.clone(), (*id).to_owned());
            self.waiting.remove(&key);
            self.deliveries.entry(key).or_default();
        }
        let is_late = |id: &&&str| {
            self.events
                .get(**id)
                .is_some_and(|event| event.deadline < now)
        };
        ids.iter().find(is_late).map(|id| (*id).to_owned())
    }

    /// An answer that told of a pause came back.
    pub fn learnt(&mut self, trace_id: String, truth: &dyn Clock) {
        self.learnt.insert(trace_id, truth.now());
    }

    /// Gives a call that came in a pause although its sender knew.
    pub fn early(&mut self, calls: &[EarlyCall]) -> Option<String> {
        let new = calls.iter().skip(self.early_seen);
        let knew = |call: &&EarlyCall| {
            let mut known = call
                .announced_by
                .iter()
                .filter_map(|id| self.learnt.get(id));
            known.any(|learnt| learnt.0 + UNDER_WAY < call.arrived.0)
        };
        let broken = { new }.find(knew).map(|call| {
            format!(
                "a call for pixel {} came in a pause that Graph asked for",
                call.pixel_id
            )
        });
        self.early_seen = calls.len();
        broken
    }

    /// The process ends. What was not settled may come again.
    pub fn process_ended(&mut self, store_wrong_at: Option<Instant>) {
        let was_wrong = store_wrong_at.is_some_and(|at| at.elapsed() < CAUGHT_UP);
        for delivery in self.deliveries.values_mut() {
            let Some(answered) = delivery.answered else {
                continue;
            };
            let age = answered.elapsed();
            if age < SETTLED || was_wrong && age < 2 * CAUGHT_UP {
                delivery.excuses += 1;
            }
        }
        self.learnt.clear();
    }
}
