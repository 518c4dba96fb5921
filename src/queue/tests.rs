//! The queue as its users see it. The law of conservation is asserted wherever a store is left.

use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::clock::{CorrectedClock, TestClock, UnixMillis};
use crate::outcome::Reason;
use crate::payload::{Fingerprint, Payload, Rejected, Submission};
use crate::profile::update::ProfileUpdate;

use attempt::AttemptAnswer;
use batch::BatchId;
use dead::Refusal;
use erase::{Forgotten, Person};
use memory::{MemoryEngine, StoreFault};
use settle::End;
use totals::SyncTotals;

mod pushing;
mod leasing;
mod settling;
mod cooldowns;
mod dead_letters;
mod mistimed;
mod tracing;
pub(in crate::queue) mod erasing;
pub(in crate::queue) mod remembering;
mod clicks;
pub(in crate::queue) mod bounds;
mod settings;
mod recovery;
mod unknown_outcome;
mod damage;
mod model;
mod engines;

pub(in crate::queue) const HOUR: Duration = Duration::from_secs(3600);
pub(in crate::queue) const DAY: Duration = Duration::from_secs(24 * 3600);
/// When the tests begin.
pub(in crate::queue) const START: i64 = 1_700_000_000;

/// An engine that the tests run against.
#[derive(Clone, Copy, Debug)]
pub(in crate::queue) enum TestEngine {
    Sqlite,
    Memory,
}

/// A store of one of the engines.
#[derive(Clone, Debug)]
pub(in crate::queue) enum TestStore {
    Sqlite,
    Memory(MemoryEngine),
}

/// Runs each of these tests against every engine.
macro_rules! on_every_engine {
    ($($test:ident,)+) => {
        on_every_engine!(@on_sqlite Sqlite $($test)+);
        on_every_engine!(@on_memory Memory $($test)+);
    };
    (@$module:ident $engine:ident $($test:ident)+) => {
        mod $module {$(
            #[tokio::test]
            async fn $test() {
                super::$test(super::TestEngine::$engine).await;
            }
        )+}
    };
}
use on_every_engine;

/// A queue with a store of its own, and a clock that the test moves.
pub(in crate::queue) struct QueueFixture {
    pub(in crate::queue) folder: TempDir,
    pub(in crate::queue) config: QueueConfig,
    pub(in crate::queue) clock: Arc<TestClock>,
    pub(in crate::queue) queue: Queue,
    pub(in crate::queue) store: TestStore,
}

impl QueueFixture {
    pub(in crate::queue) fn new(engine: TestEngine) -> Self {
        Self::with(engine, |_| {})
    }

    pub(in crate::queue) fn with(
        engine: TestEngine,
        change: impl FnOnce(&mut QueueConfig),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = QueueConfig {
            path: folder.path().to_owned(),
            max_bytes: NonZeroU64::new(1 << 30).unwrap(),
            min_free_disk: Some(0),
            duplicate_window: 48 * HOUR,
            duplicate_ids: NonZeroUsize::new(10_000).unwrap(),
            dead_letter_retention: 30 * DAY,
            dead_letter_max_bytes: 1 << 20,
        };
        change(&mut config);
        let store = match engine {
            TestEngine::Sqlite => TestStore::Sqlite,
            TestEngine::Memory => TestStore::Memory(MemoryEngine::default()),
        };
        let clock = Arc::new(TestClock::at(UnixMillis::from_seconds(START)));
        let queue = open(&config, &clock, &store).unwrap();
        Self {
            folder,
            config,
            clock,
            queue,
            store,
        }
    }

    /// Changes the settings while the queue is open.
    fn configure(&self, change: impl FnOnce(&mut QueueSettings)) {
        let mut settings = QueueSettings {
            config: self.config.clone(),
            syncs: vec![shop(), web()],
            memories: None,
        };
        change(&mut settings);
        self.queue.configure(settings);
    }

    /// Drops the queue without closing it, and opens the store again.
    pub(in crate::queue) fn reopened(self) -> Self {
        let Self {
            folder,
            config,
            clock,
            queue,
            store,
        } = self;
        drop(queue);
        let queue = open(&config, &clock, &store).unwrap();
        Self {
            folder,
            config,
            clock,
            queue,
            store,
        }
    }

    /// Makes commits fail that add or remove batches, as a full disk does, until it is taken back.
    fn set_failing(&self, fails: bool) {
        match &self.store {
            TestStore::Memory(memory) => {
                memory.set_fault(fails.then_some(StoreFault::Unavailable));
            }
            TestStore::Sqlite => sqlite::tests::set_failing(self, fails),
        }
    }

    /// Damages the events of a batch, by its place among all.
    fn damage(&self, place: usize) {
        match &self.store {
            TestStore::Memory(memory) => memory.damage(place),
            TestStore::Sqlite => sqlite::tests::damage(self, place),
        }
    }

    /// Reads the store beside the writer.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut dyn Reader) -> EngineResult<T> + Send + 'static,
    ) -> T {
        self.queue.read(read).await.unwrap()
    }

    pub(in crate::queue) async fn push(
        &self,
        taken: impl IntoIterator<Item = Submission>,
    ) -> Pushed {
        let pushed = self.queue.push(taken.into_iter().collect()).await.unwrap();
        assert_law(&self.queue);
        pushed
    }

    pub(in crate::queue) async fn lease(&self, most: usize) -> Vec<Leased> {
        let order = Order::MostUrgent;
        let leased = self.queue.lease(&web(), most, 1 << 20, order).await;
        leased.unwrap()
    }

    pub(in crate::queue) async fn open_attempt(&self, leased: &[Leased]) -> AttemptId {
        let opened = self.queue.open_attempt(&web(), &slots(leased)).await;
        opened.unwrap()
    }

    pub(in crate::queue) async fn settle(&self, settlement: Settlement) {
        self.queue.settle(settlement).await.unwrap();
        assert_law(&self.queue);
    }

    /// Delivers everything that is ready, the most urgent first, and gives the bodies.
    pub(in crate::queue) async fn deliver_all(&self) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            let leased = self.lease(1000).await;
            if leased.is_empty() {
                return bodies;
            }
            bodies.extend(leased.iter().map(text));
            let delivery = self.open_attempt(&leased).await;
            self.settle(accepted(delivery, &leased)).await;
        }
    }

    pub(in crate::queue) fn totals(&self) -> SyncTotals {
        self.queue.totals()[&web()].clone()
    }

    pub(in crate::queue) fn ended(&self, reason: Reason) -> u64 {
        let ended = self.totals().ended;
        ended.get(&reason).copied().unwrap_or(0)
    }
}

pub(in crate::queue) fn open(
    config: &QueueConfig,
    clock: &Arc<TestClock>,
    store: &TestStore,
) -> Result<Queue, OpenError> {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as _;
    let syncs = [web(), shop()];
    match store {
        TestStore::Memory(memory) => {
            Queue::open_in_memory(memory, config, &syncs, clock).and_then(Queue::on_thread)
        }
        TestStore::Sqlite => Queue::open(config, &syncs, clock),
    }
}

pub(in crate::queue) fn web() -> SyncName {
    SyncName::new("web").unwrap()
}

pub(in crate::queue) fn shop() -> SyncName {
    SyncName::new("shop").unwrap()
}

/// An event with its window's end a week after the start.
pub(in crate::queue) fn event(number: u64) -> Submission {
    event_until(number, START + 7 * 24 * 3600)
}

pub(in crate::queue) fn event_until(number: u64, deadline: i64) -> Submission {
    Submission {
        sync: web(),
        mapped: Ok(payload(number, "Purchase", deadline)),
    }
}

pub(in crate::queue) fn payload(number: u64, event_name: &str, deadline: i64) -> Payload {
    let id = format!("id-{number}");
    Payload {
        json: format!(r#"{{"event_name":"{event_name}","event_id":"{id}"}}"#).into(),
        event_name: event_name.into(),
        fingerprint: Fingerprint::new(&id, "web", event_name, ""),
        deadline,
    }
}

/// What events say of people.
pub(in crate::queue) fn observed(updates: Vec<(SyncName, ProfileUpdate)>) -> Observed {
    Observed {
        updates,
        clicks: Vec::new(),
    }
}

/// Text that takes as many bytes when it is compressed.
pub(in crate::queue) fn noise(seed: u64, length: usize) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.alphanumeric())
        .take(length)
        .collect()
}

pub(in crate::queue) fn ended(reason: Reason) -> Submission {
    Submission {
        sync: web(),
        mapped: Err(Rejected {
            reason,
            event_name: Some("Sign Up".into()),
            event_id: Some("ended-1".into()),
            ..Rejected::unmapped(reason)
        }),
    }
}

pub(in crate::queue) fn text(leased: &Leased) -> String {
    String::from_utf8(leased.body.as_ref().to_vec()).unwrap()
}

pub(in crate::queue) fn slots(leased: &[Leased]) -> Vec<Slot> {
    leased.iter().map(|leased| leased.slot).collect()
}

pub(in crate::queue) fn answer(lost: bool) -> AttemptAnswer {
    AttemptAnswer {
        verdict: if lost { "transient" } else { "delivered" },
        status: (!lost).then_some(200),
        code: None,
        sub_code: None,
        trace_id: Some("trace-1".to_owned()),
        lost,
    }
}

pub(in crate::queue) fn refusal() -> Refusal {
    Refusal {
        reason: Reason::Refused,
        code: Some(100),
        sub_code: Some(2_804_050),
        trace_id: Some("trace-2".to_owned()),
        message: Some("missing".to_owned()),
    }
}

pub(in crate::queue) fn accepted(delivery: AttemptId, leased: &[Leased]) -> Settlement {
    Settlement {
        sync: web(),
        delivery: Some(delivery),
        answer: Some(answer(false)),
        ends: slots(leased)
            .into_iter()
            .map(|slot| (slot, End::Delivered { short: false }))
            .collect(),
        release: Vec::new(),
        cooldowns: Vec::new(),
    }
}

pub(in crate::queue) fn rejected(delivery: AttemptId, leased: &[Leased]) -> Settlement {
    Settlement {
        ends: slots(leased)
            .into_iter()
            .map(|slot| (slot, End::Rejected(refusal())))
            .collect(),
        answer: Some(AttemptAnswer {
            verdict: "refused",
            ..answer(false)
        }),
        ..accepted(delivery, &[])
    }
}

/// A request whose answer was lost; its events wait for another try.
pub(in crate::queue) fn lost(delivery: AttemptId, leased: &[Leased]) -> Settlement {
    Settlement {
        answer: Some(answer(true)),
        release: slots(leased),
        ..accepted(delivery, &[])
    }
}

/// Events taken and dead letters retried are the events that ended and those that are queued; and the
/// dead letters are those that were filed and have not been removed.
pub(in crate::queue) fn assert_law(queue: &Queue) {
    for (sync, totals) in queue.totals() {
        let ended: u64 = totals.ended.values().sum();
        assert_eq!(
            totals.taken + totals.dead_retried,
            ended + totals.queued,
            "{sync}: {totals:?}"
        );
    }
}
