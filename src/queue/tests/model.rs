//! Random operations, against a plain model in memory.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// Events by number, with deadlines so many hours ahead.
    Push(Vec<(u64, i64)>),
    PushAgain(Vec<(u64, i64)>),
    Filter(u64),
    Lease(usize),
    NewestOfEachName,
    Release(usize),
    /// Open a request for the events on lease.
    Send(usize),
    /// Its answer: how many are delivered, how many rejected; the rest is released.
    Settle {
        delivered: usize,
        rejected: usize,
        lost: bool,
    },
    Retry,
    Forget(u64),
    Hours(u8),
    Tidy,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let events = || prop::collection::vec((0_u64..40, 1_i64..80), 1..12);
    let step = prop_oneof![
        6 => events().prop_map(Step::Push),
        1 => events().prop_map(Step::PushAgain),
        1 => (1_u64..4).prop_map(Step::Filter),
        5 => (1_usize..12).prop_map(Step::Lease),
        1 => Just(Step::NewestOfEachName),
        2 => (0_usize..12).prop_map(Step::Release),
        4 => (1_usize..12).prop_map(Step::Send),
        5 => (0_usize..8, 0_usize..4, any::<bool>()).prop_map(|(delivered, rejected, lost)| {
            Step::Settle { delivered, rejected, lost }
        }),
        1 => Just(Step::Retry),
        1 => (0_u64..40).prop_map(Step::Forget),
        2 => (1_u8..30).prop_map(Step::Hours),
        2 => Just(Step::Tidy),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

/// What a queued event is to the model.
#[derive(Clone, Debug, PartialEq)]
struct Queued {
    deadline: i64,
    doubt: Option<i64>,
    leased: bool,
}

impl Queued {
    fn expiry(&self) -> (i64, Reason) {
        match self.doubt.map(|since| since + 48 * 3600) {
            Some(end) if end < self.deadline => (end, Reason::MaybeDelivered),
            _ => (self.deadline, Reason::WindowClosed),
        }
    }
}

#[derive(Debug, Default)]
struct Model {
    /// By event number; the same event may be queued twice once its window has passed.
    queued: Vec<(u64, Queued)>,
    seen: Vec<(u64, i64)>,
    dead: Vec<(u64, i64)>,
    taken: u64,
    retried: u64,
    ended: BTreeMap<Reason, u64>,
}

impl Model {
    fn end(&mut self, reason: Reason) {
        *self.ended.entry(reason).or_default() += 1;
    }

    fn push(&mut self, number: u64, deadline: i64, now: i64, again: bool) {
        self.taken += 1;
        // A second's worth of ids leaves together, when the last of them could be that old.
        self.seen.retain(|(_, at)| now - at - 1 < 48 * 3600);
        let known = self.seen.iter().any(|(seen, _)| *seen == number);
        if known {
            let dead = self.dead.len();
            if again {
                self.dead.retain(|(dead, _)| *dead != number);
            }
            if self.dead.len() == dead {
                return self.end(Reason::SeenBefore);
            }
        } else {
            self.seen.push((number, now));
        }
        let queued = Queued {
            deadline,
            doubt: None,
            leased: false,
        };
        self.queued.push((number, queued));
    }

    fn tidy(&mut self, now: i64) {
        let (expired, left) = std::mem::take(&mut self.queued)
            .into_iter()
            .partition(|(_, event)| !event.leased && event.expiry().0 <= now);
        self.queued = left;
        let expired: Vec<(u64, Queued)> = expired;
        for (number, event) in expired {
            self.end(event.expiry().1);
            self.dead.push((number, event.deadline));
        }
    }
}

/// What the test holds of the store: events on lease, with their number, in the order of the lease.
struct Held {
    number: u64,
    leased: Leased,
}

struct Run {
    shop: Shop,
    model: Model,
    held: Vec<Held>,
    sent: Option<(DeliveryId, i64, usize)>,
}

impl Run {
    fn now(&self) -> i64 {
        self.shop.clock.now().seconds()
    }

    fn queued(&mut self, number: u64, deadline: i64) -> &mut Queued {
        let (_, queued) = self
            .model
            .queued
            .iter_mut()
            .find(|(other, event)| *other == number && event.deadline == deadline && event.leased)
            .expect("what is held is on lease in the model");
        queued
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Push(events) => self.push(events, false).await,
            Step::PushAgain(events) => self.push(events, true).await,
            Step::Filter(count) => {
                let filtered = (0..count).map(|_| ended(Reason::NotSelected));
                self.shop.push(filtered).await;
                self.model.taken += count;
                (0..count).for_each(|_| self.model.end(Reason::NotSelected));
            }
            Step::Lease(most) => self.lease(most, Order::MostUrgent).await,
            Step::NewestOfEachName => self.lease(10, Order::NewestOfEachName).await,
            Step::Release(count) => {
                let from = self.sent.as_ref().map_or(0, |(_, _, sent)| *sent);
                let to = (from + count).min(self.held.len());
                let released: Vec<Held> = self.held.drain(from..to).collect();
                self.release(released);
            }
            Step::Send(count) if self.sent.is_none() && !self.held.is_empty() => {
                let count = count.min(self.held.len());
                let slots: Vec<Slot> = self.held[..count].iter().map(|h| h.leased.slot).collect();
                let id = self.shop.queue.open_delivery(&web(), &slots).await.unwrap();
                self.sent = Some((id, self.now(), count));
            }
            Step::Settle {
                delivered,
                rejected,
                lost,
            } => self.settle(delivered, rejected, lost).await,
            Step::Retry => {
                let all = DeadFilter::default();
                let retried = self.shop.queue.retry_dead(&all).await.unwrap();
                let now = self.now();
                let dead = std::mem::take(&mut self.model.dead);
                let mut count = 0;
                for (number, deadline) in dead {
                    if deadline <= now {
                        self.model.dead.push((number, deadline));
                        continue;
                    }
                    count += 1;
                    self.model.seen.retain(|(_, at)| now - at - 1 < 48 * 3600);
                    if !self.model.seen.iter().any(|(seen, _)| *seen == number) {
                        self.model.seen.push((number, now));
                    }
                    let queued = Queued {
                        deadline,
                        doubt: None,
                        leased: false,
                    };
                    self.model.queued.push((number, queued));
                }
                self.model.retried += count;
                assert_eq!(retried.queued, count);
            }
            Step::Forget(number) => {
                let person = Person {
                    hashes: Vec::new(),
                    event_ids: vec![format!("id-{number}")],
                };
                let forgotten = self.shop.queue.forget(person).await.unwrap();
                self.model.dead.retain(|(dead, _)| *dead != number);
                // Rows with events on lease are left alone, so the store says how many it found.
                let mut left = forgotten.queued;
                let mut queued = Vec::new();
                for (other, event) in std::mem::take(&mut self.model.queued) {
                    if other == number && !event.leased && left > 0 {
                        left -= 1;
                        self.model.end(Reason::Forgotten);
                    } else {
                        queued.push((other, event));
                    }
                }
                assert_eq!(left, 0);
                self.model.queued = queued;
            }
            Step::Hours(hours) => self.shop.clock.advance(HOUR * u32::from(hours)),
            Step::Tidy => {
                self.shop.queue.tidy().await.unwrap();
                let now = self.now();
                self.model.tidy(now);
            }
            // `Reopen` needs the whole; a `Send` without anything to send is none.
            Step::Reopen | Step::Send(_) => {}
        }
    }

    async fn push(&mut self, events: Vec<(u64, i64)>, again: bool) {
        let now = self.now();
        let taken: Vec<Taken> = events
            .iter()
            .map(|(number, hours)| event_until(*number, now + hours * 3600))
            .collect();
        if again {
            self.shop
                .queue
                .push_again(taken, HashSet::new())
                .await
                .unwrap();
        } else {
            self.shop.queue.push(taken).await.unwrap();
        }
        for (number, hours) in events {
            self.model.push(number, now + hours * 3600, now, again);
        }
    }

    async fn lease(&mut self, most: usize, order: Order) {
        let leased = self.shop.queue.lease(&web(), most, 1 << 20, order).await;
        let leased = leased.unwrap();
        let now = self.now();
        let ready = |(_, event): &&(u64, Queued)| !event.leased && event.expiry().0 > now;
        let expected = match order {
            Order::MostUrgent => self.model.queued.iter().filter(ready).count().min(most),
            // Every event of this test has the same name.
            Order::NewestOfEachName => self.model.queued.iter().filter(ready).count().min(1),
        };
        assert_eq!(leased.len(), expected);
        for leased in leased {
            let text = text(&leased);
            let id = text.rsplit("id-").next().unwrap().trim_end_matches("\"}");
            let number: u64 = id.parse().unwrap();
            let (_, event) = self
                .model
                .queued
                .iter_mut()
                .find(|(other, event)| {
                    *other == number && !event.leased && event.expiry().0 == leased.deadline
                })
                .expect("what is leased is ready in the model");
            event.leased = true;
            self.held.push(Held { number, leased });
        }
    }

    fn release(&mut self, released: Vec<Held>) {
        let slots: Vec<Slot> = released.iter().map(|held| held.leased.slot).collect();
        self.shop.queue.release(&web(), &slots);
        for held in released {
            self.unlease(&held);
        }
    }

    fn unlease(&mut self, held: &Held) {
        let number = held.number;
        let (_, event) = self
            .model
            .queued
            .iter_mut()
            .find(|(other, event)| *other == number && event.leased)
            .expect("what is held is on lease in the model");
        event.leased = false;
    }

    async fn settle(&mut self, delivered: usize, rejected: usize, lost: bool) {
        let Some((delivery, sent_at, count)) = self.sent.take() else {
            return;
        };
        let sent: Vec<Held> = self.held.drain(..count).collect();
        let delivered = delivered.min(count);
        let rejected = rejected.min(count - delivered);
        let ends = sent[..delivered + rejected].iter().enumerate();
        let settlement = Settlement {
            ends: ends
                .map(|(place, held)| {
                    let end = if place < delivered {
                        End::Delivered { short: false }
                    } else {
                        End::Rejected(refusal())
                    };
                    (held.leased.slot, end)
                })
                .collect(),
            release: sent[delivered + rejected..]
                .iter()
                .map(|held| held.leased.slot)
                .collect(),
            answer: Some(answer(lost)),
            sync: web(),
            delivery: Some(delivery),
        };
        self.shop.settle(settlement).await;
        for (place, held) in sent.into_iter().enumerate() {
            if place < delivered + rejected {
                let number = held.number;
                let at = self
                    .model
                    .queued
                    .iter()
                    .position(|(other, event)| *other == number && event.leased)
                    .expect("what is held is on lease in the model");
                let (_, event) = self.model.queued.remove(at);
                if place < delivered {
                    self.model.end(Reason::Accepted);
                } else {
                    self.model.end(Reason::Refused);
                    self.model.dead.push((number, event.deadline));
                }
            } else {
                self.unlease(&held);
                if lost {
                    let number = held.number;
                    let expiry = held.leased.deadline;
                    let event = self
                        .model
                        .queued
                        .iter_mut()
                        .map(|(other, event)| (*other, event))
                        .find(|(other, event)| *other == number && event.expiry().0 == expiry)
                        .map(|(_, event)| event)
                        .expect("it was just released");
                    event.doubt.get_or_insert(sent_at);
                }
            }
        }
    }

    fn check(&self) {
        assert_law(&self.shop.queue);
        let totals = self.shop.totals();
        assert_eq!(totals.taken, self.model.taken);
        assert_eq!(totals.dead_retried, self.model.retried);
        let ready = self.model.queued.iter().filter(|(_, event)| !event.leased);
        // The store may have tidied up by itself, which the model does only when told.
        if totals.ended == self.model.ended {
            assert_eq!(totals.queued, self.model.queued.len() as u64);
            assert_eq!(totals.dead, self.model.dead.len() as u64);
            let backlog = self.shop.queue.backlog(&web());
            assert_eq!(backlog.events, ready.count() as u64);
            assert_eq!(backlog.oldest.is_some(), backlog.events > 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_the_model(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut run = Run {
                shop: Shop::new(),
                model: Model::default(),
                held: Vec::new(),
                sent: None,
            };
            for step in steps {
                if matches!(step, Step::Reopen) {
                    if let Some((_, sent_at, count)) = run.sent.take() {
                        for held in 0..count {
                            let number = run.held[held].number;
                            let expiry = run.held[held].leased.deadline;
                            let event = run.model.queued.iter_mut().find(|(other, event)| {
                                *other == number && event.leased && event.expiry().0 == expiry
                            });
                            event.expect("it is on lease").1.doubt.get_or_insert(sent_at);
                        }
                    }
                    run.held.clear();
                    run.model.queued.iter_mut().for_each(|(_, event)| event.leased = false);
                    run.shop = run.shop.reopened();
                } else {
                    run.step(step).await;
                }
                run.check();
            }
        });
    }
}
