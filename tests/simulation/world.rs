//! What outlives the simulated process: the truth, the store's memory, Graph, and the account of what happened.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use fastrand::Rng;
use pixel_relay::queue::memory::{EngineCall, MemoryEngine, StoreFault};
use pixel_relay::sandbox::{Sandbox, SandboxConfig};
use tokio::time::Instant;

use crate::account::Account;
use crate::plan::{GraphMood, Plan};
use crate::time::{MachineClock, TrueClock};

/// Milliseconds: nearly the duplicate window.
pub const FAR_BEHIND: i64 = -47 * 3_600_000;
/// So long ago a request may have been made up.
const UNDER_WAY: Duration = Duration::from_secs(10);
/// So long what may be late is held back after a start.
const HELD_BACK: Duration = Duration::from_secs(4);

/// Clones share everything.
#[derive(Clone, Debug)]
pub struct World(Arc<WorldParts>);

#[derive(Debug)]
pub struct WorldParts {
    pub truth: Arc<TrueClock>,
    pub machine: Arc<MachineClock>,
    pub memory: MemoryEngine,
    pub sandbox: Sandbox,
    /// Its endpoint.
    pub graph: Router,
    state: Mutex<WorldState>,
    disk: Mutex<DiskState>,
}

#[derive(Debug)]
pub struct WorldState {
    /// Draws what the network does.
    pub random: Rng,
    pub mood: GraphMood,
    pub account: Account,
    /// Counts processes: what an earlier one began does not happen any more.
    pub generation: u64,
    pub trace: Vec<String>,
    /// The first promise that was broken.
    pub failure: Option<Failure>,
    /// The machine's clock has been right all the time.
    pub clock_is_right: bool,
    /// The clock was so far behind that the ids of that time seem to have left the duplicate window.
    pub was_far_behind: bool,
    /// When this process began, and since when its clock is confirmed.
    pub started_at: Instant,
    pub confirmed_at: Option<Instant>,
    /// The worst that was done to the store.
    pub damage: Damage,
}

impl WorldState {
    pub fn suffer(&mut self, damage: Damage) {
        self.damage = self.damage.max(damage);
    }
}

/// What was done to the store, from the least to the worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Damage {
    None,
    /// The engine said so, or an index lost an entry: nothing that counts is gone.
    Mendable,
    /// A batch cannot be read.
    Batch,
}

/// What is the matter with the store.
#[derive(Debug, Default)]
pub struct DiskState {
    /// The process has been killed: nothing that it does reaches the store.
    pub is_dead: bool,
    pub down_until: Option<Instant>,
    pub no_attempts_until: Option<Instant>,
    pub no_answers_until: Option<Instant>,
    pub stalled_until: Option<Instant>,
    /// For the next commit.
    pub next_commit: Option<StoreFault>,
    /// The next read reports damage.
    pub reports_damage: bool,
    /// When anything was wrong last.
    pub wrong_at: Option<Instant>,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its short name.
    pub promise: &'static str,
    pub what: String,
}

impl World {
    /// Begins a run. Time must be virtual.
    pub fn begin(plan: &Plan) -> Self {
        let truth = Arc::new(TrueClock::begin());
        let machine = Arc::new(MachineClock::new(Arc::clone(&truth), plan.clock_error));
        let sandbox = Sandbox::new(SandboxConfig {
            tokens: ["token-1", "token-2", "token-3"]
                .map(str::to_owned)
                .to_vec(),
            clock: Arc::clone(&truth) as _,
            seed: plan.seed,
            keep_events: 1 << 16,
            ..SandboxConfig::default()
        });
        let graph = sandbox.router();
        let world = Self(Arc::new(WorldParts {
            graph,
            truth,
            machine,
            memory: MemoryEngine::default(),
            sandbox,
            state: Mutex::new(WorldState {
                random: Rng::with_seed(plan.seed ^ 0x6e65_7477_6f72_6b00),
                mood: GraphMood::Well,
                account: Account::default(),
                generation: 0,
                trace: Vec::new(),
                failure: None,
                clock_is_right: plan.clock_error == 0,
                was_far_behind: plan.clock_error < FAR_BEHIND,
                started_at: Instant::now(),
                confirmed_at: None,
                damage: Damage::None,
            }),
            disk: Mutex::default(),
        }));
        let disk = Arc::downgrade(&world.0);
        world
            .memory
            .decide_faults(move |call| disk.upgrade()?.disk().fault(call));
        world
    }

    pub fn note(&self, line: fmt::Arguments<'_>) {
        let line = format!("{:9.3}  {line}", self.truth.elapsed().as_secs_f64());
        self.state().trace.push(line);
    }

    /// Whether the process can tell that a deadline is over. Before its clock is confirmed it waits for a moment, and then
    /// leaves it to Graph.
    pub fn can_tell_deadlines(&self) -> bool {
        let state = self.state();
        let is_confirmed = state
            .confirmed_at
            .is_some_and(|at| at.elapsed() > UNDER_WAY);
        state.clock_is_right && (is_confirmed || state.started_at.elapsed() < HELD_BACK)
    }

    /// Notes that a promise was broken, if it is the first.
    pub fn fail(&self, promise: &'static str, what: String) {
        self.note(format_args!("BROKEN: {promise}: {what}"));
        let mut state = self.state();
        state.failure.get_or_insert(Failure { promise, what });
    }

    pub fn has_failed(&self) -> bool {
        self.state().failure.is_some()
    }
}

impl std::ops::Deref for World {
    type Target = WorldParts;

    fn deref(&self) -> &WorldParts {
        &self.0
    }
}

impl WorldParts {
    pub fn state(&self) -> MutexGuard<'_, WorldState> {
        self.state.lock().unwrap()
    }

    pub fn disk(&self) -> MutexGuard<'_, DiskState> {
        self.disk.lock().unwrap()
    }
}

impl DiskState {
    /// Notes that something is wrong from now until then.
    pub fn wrong_until(&mut self, until: Instant) -> Instant {
        self.wrong_at = self.wrong_at.max(Some(until));
        until
    }

    /// Lets nothing be wrong any more.
    pub fn heal(&mut self) {
        *self = Self {
            is_dead: self.is_dead,
            wrong_at: self.wrong_at,
            ..Self::default()
        };
    }

    /// Whether anything is wrong, or was until a moment ago.
    pub fn is_unwell(&self) -> bool {
        let recently = |at: &Instant| at.elapsed() < Duration::from_secs(2);
        self.is_dead || self.is_wrong() || self.wrong_at.as_ref().is_some_and(recently)
    }

    fn is_wrong(&self) -> bool {
        let lasts = |until: Option<Instant>| until.is_some_and(|until| until > Instant::now());
        lasts(self.down_until)
            || lasts(self.no_attempts_until)
            || lasts(self.no_answers_until)
            || lasts(self.stalled_until)
    }

    fn fault(&mut self, call: EngineCall) -> Option<StoreFault> {
        if self.is_dead {
            return Some(StoreFault::Unavailable);
        }
        let lasts = |until: Option<Instant>| until.is_some_and(|until| until > Instant::now());
        match call {
            EngineCall::Open | EngineCall::Commit if lasts(self.down_until) => {
                Some(StoreFault::Unavailable)
            }
            EngineCall::Commit if self.next_commit.is_some() => {
                self.wrong_at = self.wrong_at.max(Some(Instant::now()));
                self.next_commit.take()
            }
            EngineCall::Commit if lasts(self.no_attempts_until) => Some(StoreFault::NoAttempts),
            EngineCall::Commit if lasts(self.no_answers_until) => Some(StoreFault::NoAnswers),
            EngineCall::Read if self.reports_damage => {
                self.reports_damage = false;
                self.wrong_at = self.wrong_at.max(Some(Instant::now()));
                Some(StoreFault::Damaged)
            }
            _ => None,
        }
    }
}
