//! The queue as its users see it. The law of conservation is asserted wherever a store is left.

use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::clock::{TestClock, UnixMillis};
use crate::outcome::Reason;
use crate::payload::{Fingerprint, Payload, Rejected, Submission};

use erase::{Forgotten, Person};
use settle::{AttemptAnswer, End, Refusal};
use totals::SyncTotals;

mod pushing;
mod leasing;
mod settling;
mod standing;
mod upgrade;
mod letters;
mod tracing;
mod erasing;
mod remembering;
mod clicks;
mod bounds;
mod crashes;
mod recovery;
mod model;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// When the tests begin.
const START: i64 = 1_700_000_000;

/// A store in a folder of its own, with a clock that the test moves.
struct Shop {
    folder: TempDir,
    config: QueueConfig,
    clock: Arc<TestClock>,
    queue: Queue,
}

impl Shop {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut QueueConfig)) -> Self {
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
        let clock = Arc::new(TestClock::at(UnixMillis::from_seconds(START)));
        let queue = open(&config, &clock).unwrap();
        Self {
            folder,
            config,
            clock,
            queue,
        }
    }

    /// Drops the queue without closing it, and opens the store again.
    fn reopened(self) -> Self {
        let Self {
            folder,
            config,
            clock,
            queue,
        } = self;
        drop(queue);
        let queue = open(&config, &clock).unwrap();
        Self {
            folder,
            config,
            clock,
            queue,
        }
    }

    /// A second connection, as an operator or a fault would have it.
    fn sqlite(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.folder.path().join("queue.db")).unwrap()
    }

    async fn push(&self, taken: impl IntoIterator<Item = Submission>) -> Pushed {
        let pushed = self.queue.push(taken.into_iter().collect()).await.unwrap();
        assert_law(&self.queue);
        pushed
    }

    async fn lease(&self, most: usize) -> Vec<Leased> {
        let order = Order::MostUrgent;
        let leased = self.queue.lease(&web(), most, 1 << 20, order).await;
        leased.unwrap()
    }

    async fn open_delivery(&self, leased: &[Leased]) -> DeliveryId {
        let opened = self.queue.open_delivery(&web(), &slots(leased)).await;
        opened.unwrap()
    }

    async fn settle(&self, settlement: Settlement) {
        self.queue.settle(settlement).await.unwrap();
        assert_law(&self.queue);
    }

    /// Delivers everything that is ready, the most urgent first, and gives the bodies.
    async fn deliver_all(&self) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            let leased = self.lease(1000).await;
            if leased.is_empty() {
                return bodies;
            }
            bodies.extend(leased.iter().map(text));
            let delivery = self.open_delivery(&leased).await;
            self.settle(accepted(delivery, &leased)).await;
        }
    }

    fn totals(&self) -> SyncTotals {
        self.queue.totals()[&web()].clone()
    }

    fn ended(&self, reason: Reason) -> u64 {
        let ended = self.totals().ended;
        ended.get(&reason).copied().unwrap_or(0)
    }
}

fn open(config: &QueueConfig, clock: &Arc<TestClock>) -> Result<Queue, OpenError> {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as _;
    Queue::open(config, &[web(), shop()], clock)
}

fn web() -> SyncName {
    SyncName::new("web").unwrap()
}

fn shop() -> SyncName {
    SyncName::new("shop").unwrap()
}

/// An event with its window's end a week after the start.
fn event(number: u64) -> Submission {
    event_until(number, START + 7 * 24 * 3600)
}

fn event_until(number: u64, deadline: i64) -> Submission {
    Submission {
        sync: web(),
        mapped: Ok(payload(number, "Purchase", deadline)),
    }
}

fn payload(number: u64, event_name: &str, deadline: i64) -> Payload {
    let id = format!("id-{number}");
    Payload {
        json: format!(r#"{{"event_name":"{event_name}","event_id":"{id}"}}"#).into(),
        event_name: event_name.into(),
        fingerprint: Fingerprint::new(&id, "web", event_name, ""),
        deadline,
    }
}

/// What events say of people.
fn learnt(lessons: Vec<(SyncName, ProfileUpdate)>) -> Learnt {
    Learnt {
        lessons,
        clicks: Vec::new(),
    }
}

/// Text that takes as many bytes when it is compressed.
fn noise(seed: u64, length: usize) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.alphanumeric())
        .take(length)
        .collect()
}

fn ended(reason: Reason) -> Submission {
    Submission {
        sync: web(),
        mapped: Err(Rejected {
            reason,
            event_name: Some("Sign Up".into()),
            event_id: Some("ended-1".into()),
            json: None,
        }),
    }
}

fn text(leased: &Leased) -> String {
    String::from_utf8(leased.body.as_ref().to_vec()).unwrap()
}

fn slots(leased: &[Leased]) -> Vec<Slot> {
    leased.iter().map(|leased| leased.slot).collect()
}

fn answer(lost: bool) -> AttemptAnswer {
    AttemptAnswer {
        verdict: if lost { "transient" } else { "delivered" },
        status: (!lost).then_some(200),
        code: None,
        sub_code: None,
        trace_id: Some("trace-1".to_owned()),
        lost,
    }
}

fn refusal() -> Refusal {
    Refusal {
        reason: Reason::Refused,
        code: Some(100),
        sub_code: Some(2_804_050),
        trace_id: Some("trace-2".to_owned()),
        message: Some("missing".to_owned()),
    }
}

fn accepted(delivery: DeliveryId, leased: &[Leased]) -> Settlement {
    Settlement {
        sync: web(),
        delivery: Some(delivery),
        answer: Some(answer(false)),
        ends: slots(leased)
            .into_iter()
            .map(|slot| (slot, End::Delivered { short: false }))
            .collect(),
        release: Vec::new(),
        standstills: Vec::new(),
    }
}

fn rejected(delivery: DeliveryId, leased: &[Leased]) -> Settlement {
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
fn lost(delivery: DeliveryId, leased: &[Leased]) -> Settlement {
    Settlement {
        answer: Some(answer(true)),
        release: slots(leased),
        ..accepted(delivery, &[])
    }
}

/// Events taken and dead letters retried are the events that ended and those that are queued; and the
/// dead letters are those that were filed and have not been removed.
fn assert_law(queue: &Queue) {
    for (sync, totals) in queue.totals() {
        let ended: u64 = totals.ended.values().sum();
        assert_eq!(
            totals.taken + totals.dead_retried,
            ended + totals.queued,
            "{sync}: {totals:?}"
        );
    }
}
