//! Random operations, against a plain model in memory.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::payload::Submission;

/// An event's number and the hours until its window closes.
type Numbered = (u64, i64);

#[derive(Clone, Debug)]
enum Step {
    Push(Vec<Numbered>),
    PushAgain(Vec<Numbered>),
    Filter(u64),
    Lease(usize),
    LeaseNewestOfEachName,
    /// Up to this many events on lease that are not being sent.
    Release(usize),
    /// Opens a request for up to this many events on lease, unless one is under way.
    Send(usize),
    /// Answers the request: some are delivered, some rejected, the rest is released.
    Settle {
        delivered: usize,
        rejected: usize,
        lost: bool,
    },
    Retry,
    Forget(u64),
    Wait(u32),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let events = || prop::collection::vec((0_u64..40, 1_i64..80), 1..12);
    let settle = (0_usize..8, 0_usize..4, any::<bool>());
    let step = prop_oneof![
        6 => events().prop_map(Step::Push),
        1 => events().prop_map(Step::PushAgain),
        1 => (1_u64..4).prop_map(Step::Filter),
        5 => (1_usize..12).prop_map(Step::Lease),
        1 => Just(Step::LeaseNewestOfEachName),
        2 => (1_usize..12).prop_map(Step::Release),
        4 => (1_usize..12).prop_map(Step::Send),
        5 => settle.prop_map(|(delivered, rejected, lost)| Step::Settle {
            delivered,
            rejected,
            lost
        }),
        1 => Just(Step::Retry),
        1 => (0_u64..40).prop_map(Step::Forget),
        2 => (1_u32..30).prop_map(Step::Wait),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

/// An event as the model has it. Its body carries a serial number that no other has.
#[derive(Clone, Debug)]
struct Event {
    number: u64,
    deadline: i64,
    doubt: Option<i64>,
    leased: bool,
}

impl Event {
    fn expiry(&self) -> (i64, Reason) {
        match self.doubt.map(|since| since + 48 * 3600) {
            Some(end) if end < self.deadline => (end, Reason::MaybeDelivered),
            _ => (self.deadline, Reason::WindowClosed),
        }
    }
}

#[derive(Debug, Default)]
struct Model {
    /// By serial number.
    queued: BTreeMap<u64, Event>,
    dead: BTreeMap<u64, Event>,
    seen: BTreeMap<u64, i64>,
    taken: u64,
    retried: u64,
    ended: BTreeMap<Reason, u64>,
}

impl Model {
    fn end(&mut self, reason: Reason) {
        *self.ended.entry(reason).or_default() += 1;
    }

    fn push(&mut self, serial: u64, event: Event, now: i64, again: bool) {
        self.taken += 1;
        let dead = self.dead.len();
        self.dead
            .retain(|_, dead| !(again && dead.number == event.number));
        if self.seen.contains_key(&event.number) && self.dead.len() == dead {
            return self.end(Reason::SeenBefore);
        }
        self.seen.insert(event.number, now);
        self.queued.insert(serial, event);
    }

    fn pass_time(&mut self, now: i64) {
        // The ids of a second leave together, when the last of them could be that old.
        self.seen.retain(|_, at| now - *at - 1 < 48 * 3600);
        let due = |event: &Event| !event.leased && event.expiry().0 <= now;
        let (due, left): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.queued)
            .into_iter()
            .partition(|(_, event)| due(event));
        self.queued = left;
        for (serial, event) in due {
            self.end(event.expiry().1);
            self.dead.insert(serial, event);
        }
    }
}

struct Run {
    fixture: QueueFixture,
    model: Model,
    serial: u64,
    /// What is on lease, with its serial number, in the order of the leases.
    held: Vec<(u64, Slot)>,
    /// The request under way, when it was sent, and how much of `held` it carries.
    sent: Option<(AttemptId, i64, usize)>,
}

impl Run {
    fn new(engine: TestEngine) -> Self {
        Self {
            fixture: QueueFixture::new(engine),
            model: Model::default(),
            serial: 0,
            held: Vec::new(),
            sent: None,
        }
    }

    fn now(&self) -> i64 {
        self.fixture.clock.now().seconds()
    }

    async fn step(mut self, step: Step) -> Self {
        match step {
            Step::Push(events) => self.push(events, false).await,
            Step::PushAgain(events) => self.push(events, true).await,
            Step::Filter(count) => {
                let filtered = (0..count).map(|_| ended(Reason::NotSelected));
                self.fixture.push(filtered).await;
                self.model.taken += count;
                (0..count).for_each(|_| self.model.end(Reason::NotSelected));
            }
            Step::Lease(most) => self.lease(most, Order::MostUrgent).await,
            Step::LeaseNewestOfEachName => self.lease(9, Order::NewestOfEachName).await,
            Step::Release(count) => {
                let from = self.sent.map_or(0, |(_, _, carried)| carried);
                let to = self.held.len().min(from + count);
                let released: Vec<(u64, Slot)> = self.held.drain(from..to).collect();
                let slots: Vec<Slot> = released.iter().map(|(_, slot)| *slot).collect();
                self.fixture.queue.release(&web(), &slots);
                for (serial, _) in released {
                    self.queued(serial).leased = false;
                }
            }
            Step::Send(count) => self.send(count).await,
            Step::Settle {
                delivered,
                rejected,
                lost,
            } => self.settle(delivered, rejected, lost).await,
            Step::Retry => self.retry().await,
            Step::Forget(number) => self.forget(number).await,
            Step::Wait(hours) => self.fixture.clock.advance(HOUR * hours),
            Step::Reopen => self = self.reopen(),
        }
        self.check().await;
        self
    }

    async fn push(&mut self, events: Vec<Numbered>, again: bool) {
        let now = self.now();
        let mut taken = Vec::new();
        for (number, hours) in events {
            let deadline = now + hours * 3600;
            self.serial += 1;
            let mut payload = payload(number, "Purchase", deadline);
            payload.json = format!(r#"{{"event_id":"id-{number}","n":{}}}"#, self.serial).into();
            taken.push(Submission {
                sync: web(),
                mapped: Ok(payload),
            });
            let event = Event {
                number,
                deadline,
                doubt: None,
                leased: false,
            };
            self.model.push(self.serial, event, now, again);
        }
        let pushed = if again {
            self.fixture.queue.push_again(taken, HashSet::new()).await
        } else {
            self.fixture.queue.push(taken).await
        };
        pushed.unwrap();
    }

    async fn lease(&mut self, most: usize, order: Order) {
        let now = self.now();
        let ready = self.model.queued.values();
        let ready = ready.filter(|event| !event.leased && event.expiry().0 > now);
        // Every event of this test has the same name.
        let most_of_order = if order == Order::MostUrgent { most } else { 1 };
        let expected = ready.count().min(most_of_order);
        let leased = self.fixture.queue.lease(&web(), most, 1 << 20, order).await;
        let leased = leased.unwrap();
        assert_eq!(leased.len(), expected);
        for leased in leased {
            let text = text(&leased);
            let serial = text.rsplit(':').next().unwrap().trim_end_matches('}');
            let serial = serial.parse().unwrap();
            let event = self.queued(serial);
            assert!(!event.leased);
            assert_eq!(event.expiry().0, leased.deadline);
            event.leased = true;
            self.held.push((serial, leased.slot));
        }
    }

    async fn send(&mut self, count: usize) {
        let count = self.held.len().min(count);
        if count == 0 || self.sent.is_some() {
            return;
        }
        let slots: Vec<Slot> = self.held[..count].iter().map(|(_, slot)| *slot).collect();
        let opened = self.fixture.queue.open_attempt(&web(), &slots).await;
        self.sent = Some((opened.unwrap(), self.now(), count));
    }

    async fn settle(&mut self, delivered: usize, rejected: usize, lost: bool) {
        let Some((delivery, sent_at, count)) = self.sent.take() else {
            return;
        };
        let mut settlement = Settlement {
            answer: Some(answer(lost)),
            ..accepted(delivery, &[])
        };
        for (place, (serial, slot)) in self.held.drain(..count).enumerate() {
            if place >= delivered + rejected {
                settlement.release.push(slot);
                let event = self.model.queued.get_mut(&serial).expect("it is queued");
                event.leased = false;
                if lost {
                    event.doubt.get_or_insert(sent_at);
                }
                continue;
            }
            let event = self.model.queued.remove(&serial).expect("it is queued");
            if place < delivered {
                settlement
                    .ends
                    .push((slot, End::Delivered { short: false }));
                self.model.end(Reason::Accepted);
            } else {
                settlement.ends.push((slot, End::Rejected(refusal())));
                self.model.end(Reason::Refused);
                self.model.dead.insert(serial, event);
            }
        }
        self.fixture.queue.settle(settlement).await.unwrap();
    }

    async fn retry(&mut self) {
        let now = self.now();
        let all = DeadFilter::default();
        let retried = self.fixture.queue.retry_dead(&all).await.unwrap();
        let mut expected = Retried::default();
        for (serial, event) in std::mem::take(&mut self.model.dead) {
            if event.deadline <= now {
                expected.kept += 1;
                self.model.dead.insert(serial, event);
                continue;
            }
            expected.queued += 1;
            self.model.retried += 1;
            self.model.seen.insert(event.number, now);
            let event = Event {
                doubt: None,
                leased: false,
                ..event
            };
            self.model.queued.insert(serial, event);
        }
        assert_eq!(retried, expected);
    }

    async fn forget(&mut self, number: u64) {
        let person = Person {
            hashes: Vec::new(),
            event_ids: vec![format!("id-{number}")],
            ..Person::default()
        };
        // Rows with events on lease are left alone.
        let held: BTreeSet<u64> = self.held.iter().map(|(serial, _)| *serial).collect();
        let waiting: Vec<(u64, Slot)> = std::mem::take(&mut self.held);
        let sent = self.sent.take();
        let slots: Vec<Slot> = waiting.iter().map(|(_, slot)| *slot).collect();
        self.fixture.queue.release(&web(), &slots);
        if let Some((delivery, _, _)) = sent {
            let unsent = Settlement {
                answer: None,
                ..accepted(delivery, &[])
            };
            self.fixture.queue.settle(unsent).await.unwrap();
        }
        for serial in held {
            self.queued(serial).leased = false;
        }
        let now = self.now();
        self.model.pass_time(now);
        self.fixture.queue.expire().await.unwrap();

        let forgotten = self.fixture.queue.forget(person).await.unwrap();
        let (queued, dead) = (self.model.queued.len(), self.model.dead.len());
        self.model.queued.retain(|_, event| event.number != number);
        self.model.dead.retain(|_, event| event.number != number);
        let erased = (queued - self.model.queued.len()) as u64;
        (0..erased).for_each(|_| self.model.end(Reason::Forgotten));
        let expected = Forgotten {
            queued: erased,
            dead: (dead - self.model.dead.len()) as u64,
            in_flight: 0,
            profiles: 0,
            damaged: 0,
        };
        assert_eq!(forgotten, expected);
    }

    fn reopen(mut self) -> Self {
        if let Some((_, sent_at, count)) = self.sent.take() {
            for place in 0..count {
                let (serial, _) = self.held[place];
                self.queued(serial).doubt.get_or_insert(sent_at);
            }
        }
        for (serial, _) in std::mem::take(&mut self.held) {
            self.queued(serial).leased = false;
        }
        let fixture = self.fixture.reopened();
        Self { fixture, ..self }
    }

    fn queued(&mut self, serial: u64) -> &mut Event {
        let queued = self.model.queued.get_mut(&serial);
        queued.expect("what the store has, the model has")
    }

    async fn check(&mut self) {
        self.fixture.queue.expire().await.unwrap();
        self.model.pass_time(self.now());
        assert_law(&self.fixture.queue);
        let totals = self.fixture.totals();
        assert_eq!(totals.ended, self.model.ended);
        assert_eq!(totals.taken, self.model.taken);
        assert_eq!(totals.dead_retried, self.model.retried);
        assert_eq!(totals.queued, self.model.queued.len() as u64);
        assert_eq!(totals.dead, self.model.dead.len() as u64);
        let ready = self.model.queued.values().filter(|event| !event.leased);
        let backlog = self.fixture.queue.backlog(&web());
        assert_eq!(backlog.events, ready.count() as u64);
        assert_eq!(backlog.since.is_some(), backlog.events > 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_the_model(steps in steps()) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().build().unwrap();
        for engine in [TestEngine::Sqlite, TestEngine::Memory] {
            runtime.block_on(async {
                let mut run = Run::new(engine);
                for step in steps.clone() {
                    run = run.step(step).await;
                }
            });
        }
    }
}
