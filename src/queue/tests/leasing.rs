//! What is handed out, and in which order.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::payload::Submission;
use crate::queue::engine::BatchOrder;
use crate::queue::memory::EngineCall;

on_every_engine! {
    an_event_is_handed_out_once_until_it_is_released,
    releasing_twice_changes_nothing,
    the_most_urgent_rows_come_first_whenever_they_came,
    after_an_outage_the_fresh_go_first_purchases_before_the_rest,
    what_does_not_fill_its_turn_leaves_the_rest_to_others,
    what_comes_back_has_its_place_again,
    an_old_event_among_fresh_ones_holds_none_of_them_back,
    what_comes_in_starves_neither_the_old_nor_the_rest,
    neither_purchases_alone_nor_the_rest_alone_starve_the_other,
    batches_hold_events_that_are_equally_urgent,
    a_lease_keeps_to_its_bytes_but_takes_one_event_at_least,
    the_newest_of_each_name,
    the_backlog_tells_bytes_and_the_oldest_of_what_is_ready,
    one_sync_knows_nothing_of_another,
    change_is_told_even_if_it_came_before_the_wait,
    an_expired_event_is_not_handed_out_but_filed,
}

async fn an_event_is_handed_out_once_until_it_is_released(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push((0..10).map(event)).await;
    let first = fixture.lease(4).await;
    let second = fixture.lease(100).await;
    assert_eq!((first.len(), second.len()), (4, 6));
    assert!(fixture.lease(1).await.is_empty());
    assert_eq!(fixture.queue.backlog(&web()).events, 0);

    fixture.queue.release(&web(), &slots(&first)[1..3]);
    assert_eq!(fixture.queue.backlog(&web()).events, 2);
    let again: Vec<String> = fixture.lease(100).await.iter().map(text).collect();
    let released: Vec<String> = first[1..3].iter().map(text).collect();
    assert_eq!(again, released);
}

async fn releasing_twice_changes_nothing(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push((0..3).map(event)).await;
    let leased = fixture.lease(2).await;
    fixture.queue.release(&web(), &slots(&leased));
    fixture.queue.release(&web(), &slots(&leased));
    assert_eq!(fixture.queue.backlog(&web()).events, 3);
}

async fn the_most_urgent_rows_come_first_whenever_they_came(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    for (number, deadline) in [(1, 500), (2, 100), (3, 900), (4, 300)] {
        fixture.push([event_until(number, START + deadline)]).await;
    }
    let order = |leased: Vec<Leased>| -> Vec<i64> {
        leased.iter().map(|event| event.deadline - START).collect()
    };
    assert_eq!(order(fixture.lease(4).await), [100, 300, 500, 900]);
    for (number, deadline) in [(5, 50), (6, 20)] {
        fixture.push([event_until(number, START + deadline)]).await;
    }
    assert_eq!(order(fixture.lease(2).await), [20, 50]);
}

/// An event that happens now.
fn fresh(fixture: &QueueFixture, number: u64, name: &str) -> Submission {
    let deadline = fixture.clock.now().seconds() + 7 * 24 * 3600;
    Submission {
        sync: web(),
        mapped: Ok(payload(number, name, deadline)),
    }
}

/// Leases this many events, one by one, and returns their numbers.
async fn one_by_one(fixture: &QueueFixture, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.extend(fixture.lease(1).await.iter().map(number));
    }
    numbers
}

fn number(leased: &Leased) -> u64 {
    let text = text(leased);
    let (_, id) = text.split_once("id-").unwrap();
    id.trim_end_matches("\"}").parse().unwrap()
}

/// Views and Purchases of five hours, a view and the Purchase with the hundred-and-first number in each.
async fn an_outage(engine: TestEngine) -> QueueFixture {
    let fixture = QueueFixture::new(engine);
    for hour in 1..=5 {
        let both = [(hour, "ViewContent"), (100 + hour, "Purchase")];
        fixture
            .push(both.map(|(number, name)| fresh(&fixture, number, name)))
            .await;
        fixture.clock.advance(HOUR);
    }
    fixture
}

async fn after_an_outage_the_fresh_go_first_purchases_before_the_rest(engine: TestEngine) {
    let fixture = an_outage(engine).await;
    let order = one_by_one(&fixture, 10).await;
    // In turn: a Purchase, the freshest, a Purchase, the oldest.
    assert_eq!(order, [105, 5, 104, 101, 103, 4, 102, 1, 3, 2]);
}

async fn what_does_not_fill_its_turn_leaves_the_rest_to_others(engine: TestEngine) {
    let fixture = an_outage(engine).await;
    // Five Purchases, and the freshest with them.
    let leased: Vec<u64> = fixture.lease(7).await.iter().map(number).collect();
    assert_eq!(leased, [105, 104, 103, 102, 101, 5, 4]);
}

async fn what_comes_back_has_its_place_again(engine: TestEngine) {
    let fixture = an_outage(engine).await;
    let first = fixture.lease(1).await;
    assert_eq!(one_by_one(&fixture, 1).await, [5]);
    fixture.queue.release(&web(), &slots(&first));
    assert_eq!(one_by_one(&fixture, 1).await, [105]);
    // Meta may have taken it: what it lacks goes before.
    let delivery = fixture.open_attempt(&first).await;
    fixture.settle(lost(delivery, &first)).await;
    assert_eq!(one_by_one(&fixture, 3).await, [105, 104, 4]);
}

async fn an_old_event_among_fresh_ones_holds_none_of_them_back(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    let purchase = |number, age: i64| {
        let deadline = START + 7 * 24 * 3600 - age;
        event_until(number, deadline)
    };
    fixture.push([purchase(1, 3600), purchase(2, 3600)]).await;
    // They come together, from a phone that was offline and from others, and from an export.
    let both =
        (10..20).flat_map(|number| [purchase(number, 0), purchase(100 + number, 5 * 86_400)]);
    fixture.push(both).await;
    let leased: Vec<u64> = fixture.lease(12).await.iter().map(number).collect();
    assert_eq!(leased, (10..20).chain(1..3).collect::<Vec<_>>());
}

/// More comes in than goes out, for hours; `came` gives what comes every second.
async fn overload(
    engine: TestEngine,
    came: impl Fn(&QueueFixture, u64) -> Vec<Submission>,
) -> Vec<u64> {
    let fixture = QueueFixture::new(engine);
    fixture.push((1..=100).map(event)).await;
    fixture.clock.advance(HOUR);
    let mut delivered = Vec::new();
    for second in 1..=200 {
        fixture.clock.advance(Duration::from_secs(1));
        fixture.push(came(&fixture, second * 1000)).await;
        for _ in 0..4 {
            let leased = fixture.lease(2).await;
            delivered.extend(leased.iter().map(number));
            let delivery = fixture.open_attempt(&leased).await;
            fixture.settle(accepted(delivery, &leased)).await;
        }
    }
    delivered
}

async fn what_comes_in_starves_neither_the_old_nor_the_rest(engine: TestEngine) {
    let delivered = overload(engine, |fixture, number| {
        let name = |place| if place < 8 { "Purchase" } else { "ViewContent" };
        (0..16)
            .map(|place| fresh(fixture, number + place, name(place)))
            .collect()
    })
    .await;
    // A quarter of all requests goes to the old ones, in their order, as if nothing else came.
    let (old, new): (Vec<u64>, Vec<u64>) = delivered.iter().partition(|number| **number <= 100);
    assert_eq!(old, (1..=100).collect::<Vec<_>>());
    let (purchases, views): (Vec<u64>, Vec<u64>) =
        new.iter().partition(|number| **number % 1000 < 8);
    let counts = (purchases.len(), views.len());
    assert!(counts.0 >= 800 && counts.1 >= 400, "{counts:?}");
    // To the end, what has just come is sent at once.
    let latest = delivered.iter().filter(|number| **number >= 200_000);
    assert_eq!(latest.count(), 6);
}

async fn neither_purchases_alone_nor_the_rest_alone_starve_the_other(engine: TestEngine) {
    for (flood, other) in [("Purchase", "ViewContent"), ("ViewContent", "Purchase")] {
        let delivered = overload(engine, |fixture, number| {
            let flood = (0..16).map(|place| fresh(fixture, number + place, flood));
            let other = (number == 5000).then(|| fresh(fixture, 5999, other));
            flood.chain(other).collect()
        })
        .await;
        assert!(delivered.contains(&5999), "{other}");
    }
}

async fn batches_hold_events_that_are_equally_urgent(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    let old = START + 6 * 86_400;
    let events = [
        fresh(&fixture, 1, "Purchase"),
        fresh(&fixture, 2, "Lead"),
        fresh(&fixture, 3, "ViewContent"),
        fresh(&fixture, 4, "Purchase"),
        event_until(5, old),
        event_until(6, old - 9),
    ];
    fixture.push(events).await;
    let batches = fixture.read(|reader| {
        let (sync, _) = reader.syncs()?[0];
        reader.batches(sync, BatchOrder::Oldest, None, 10)
    });
    let batches = batches.await;
    let all: Vec<(usize, i64)> = batches.iter().map(|it| (it.events, it.deadline)).collect();
    let purchases = fixture.read(|reader| {
        let (sync, _) = reader.syncs()?[0];
        reader.batches(sync, BatchOrder::FreshestPurchases, None, 10)
    });
    let purchases: Vec<BatchId> = purchases.await.iter().map(|it| it.id).collect();
    let week = START + 7 * 86_400;
    assert_eq!(all, [(2, week), (2, old - 9), (2, week)]);
    assert_eq!(purchases, [batches[0].id, batches[1].id]);
}

async fn a_lease_keeps_to_its_bytes_but_takes_one_event_at_least(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push((0..10).map(event)).await;
    let one = 43;
    for (max_bytes, expected) in [(1, 1), (one * 3, 3), (one * 4 - 1, 3)] {
        let leased = fixture
            .queue
            .lease(&web(), 100, max_bytes, Order::MostUrgent)
            .await
            .unwrap();
        let bytes: usize = leased.iter().map(|event| event.body.as_ref().len()).sum();
        assert_eq!((leased.len(), bytes), (expected, expected * 43));
    }
}

async fn the_newest_of_each_name(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    for (number, name) in [(1, "A"), (2, "B"), (3, "A"), (4, "C"), (5, "A"), (6, "B")] {
        fixture
            .push([Submission {
                sync: web(),
                mapped: Ok(payload(number, name, START + 1000)),
            }])
            .await;
    }
    let leased = fixture
        .queue
        .lease(&web(), 10, 1 << 20, Order::NewestOfEachName)
        .await
        .unwrap();
    let bodies: Vec<String> = leased.iter().map(text).collect();
    let expected = [(6, "B"), (5, "A"), (4, "C")]
        .map(|(number, name)| String::from_utf8(payload(number, name, 0).json.into()).unwrap());
    assert_eq!(bodies, expected);
    assert_eq!(&*leased[0].event_name, "B");
    assert_eq!(fixture.lease(10).await.len(), 3);
}

async fn the_backlog_tells_bytes_and_the_oldest_of_what_is_ready(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    let mut times = Vec::new();
    for number in 1..=3 {
        // The first to come is the freshest.
        let deadline = START + 7 * 24 * 3600 - i64::try_from(number).unwrap();
        fixture.push([event_until(number, deadline)]).await;
        times.push((fixture.clock.now(), fixture.clock.uptime()));
        fixture.clock.advance(HOUR);
    }
    let backlog = |events: u64, since: Option<(UnixMillis, Duration)>| Backlog {
        events,
        bytes: events * 43,
        since: since.map(|(_, uptime)| uptime),
    };
    assert_eq!(fixture.queue.backlog(&web()), backlog(3, Some(times[0])));
    let first = fixture.lease(1).await;
    assert_eq!(fixture.queue.backlog(&web()), backlog(2, Some(times[1])));
    let second = fixture.lease(1).await;
    fixture.queue.release(&web(), &slots(&first));
    assert_eq!(fixture.queue.backlog(&web()), backlog(2, Some(times[0])));
    let first = fixture.lease(1).await;
    let third = fixture.lease(1).await;
    assert_eq!(fixture.queue.backlog(&web()), backlog(0, None));
    fixture.queue.release(&web(), &slots(&second));
    assert_eq!(fixture.queue.backlog(&web()), backlog(1, Some(times[1])));

    let delivery = fixture.open_attempt(&first).await;
    fixture.settle(accepted(delivery, &first)).await;
    assert_eq!(fixture.queue.stats().oldest[&web()], times[1].0);
    fixture.queue.release(&web(), &slots(&third));
    let fixture = fixture.reopened();
    // What the store holds is ready since it was opened.
    let opened = (fixture.clock.now(), fixture.clock.uptime());
    assert_eq!(fixture.queue.backlog(&web()), backlog(2, Some(opened)));
}

async fn one_sync_knows_nothing_of_another(engine: TestEngine) {
    let queue = QueueFixture::new(engine);
    let mut elsewhere = event(1);
    elsewhere.sync = shop();
    queue.push([elsewhere, event(2)]).await;
    assert_eq!(queue.queue.backlog(&shop()).events, 1);
    assert_eq!(queue.lease(10).await.len(), 1);
    assert_eq!(queue.queue.backlog(&shop()).events, 1);
    let nobody = SyncName::new("nobody").unwrap();
    let leased = queue.queue.lease(&nobody, 1, 1, Order::MostUrgent).await;
    assert!(leased.unwrap().is_empty());
}

async fn change_is_told_even_if_it_came_before_the_wait(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    let sync = web();
    let ready = |queue: &Queue| {
        let changed = pin!(queue.changed(&sync));
        let mut context = Context::from_waker(Waker::noop());
        matches!(changed.poll(&mut context), Poll::Ready(()))
    };
    assert!(!ready(&fixture.queue));
    fixture.push([event(1)]).await;
    assert!(ready(&fixture.queue));
    assert!(!ready(&fixture.queue));
    let leased = fixture.lease(1).await;
    assert!(!ready(&fixture.queue));
    fixture.queue.release(&web(), &slots(&leased));
    assert!(ready(&fixture.queue));
}

#[tokio::test(start_paused = true)]
async fn events_that_no_index_names_are_found_by_the_third_lease() {
    let (engine, most) = (TestEngine::Memory, 10);
    let fixture = QueueFixture::new(engine);
    let TestStore::Memory(memory) = &fixture.store else {
        unreachable!("it is in memory");
    };
    for number in 1..=3 {
        fixture.push([event(number)]).await;
    }
    let released = fixture.lease(1).await;
    assert!(memory.lose_index_entry(0) && memory.lose_index_entry(1));
    assert_eq!(fixture.lease(most).await.len(), 0);
    // A release explains why something is ready, but not that nothing is found.
    fixture.queue.release(&web(), &slots(&released));
    assert_eq!(fixture.lease(most).await.len(), 1);
    fixture.queue.mended().await.ok();
    let found = fixture.lease(most).await;
    assert_eq!(found.len(), 2, "the indexes are new");
    assert_eq!(memory.rebuilt(), 1);
    assert!(fixture.queue.health().trouble.is_none());
    // Nothing is found missing without a reason.
    for _ in 0..20 {
        assert_eq!(fixture.lease(most).await.len(), 0);
    }
    assert_eq!(memory.rebuilt(), 1);
}

async fn an_expired_event_is_not_handed_out_but_filed(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture
        .push([event_until(1, START + 10), event_until(2, START + 20)])
        .await;
    fixture.clock.advance(Duration::from_secs(10));
    let leased = fixture.lease(10).await;
    assert_eq!(leased.len(), 1);
    assert_eq!(leased[0].deadline, START + 20);
    fixture.queue.expire().await.unwrap();
    assert_eq!(fixture.ended(Reason::WindowClosed), 1);
    assert_eq!(fixture.totals().dead, 1);

    // One on lease is left alone, and leaves when it comes back.
    fixture.clock.advance(Duration::from_secs(10));
    fixture.queue.expire().await.unwrap();
    assert_eq!(fixture.totals().queued, 1);
    fixture.queue.release(&web(), &slots(&leased));
    fixture.queue.expire().await.unwrap();
    assert_eq!(fixture.ended(Reason::WindowClosed), 2);
    assert_law(&fixture.queue);
    assert_eq!(fixture.queue.backlog(&web()), Backlog::default());
}

/// Any of the reads of a lease meets damage: what was on the way to the caller is ready again.
#[tokio::test]
async fn a_lease_that_meets_damage_keeps_nothing() {
    for nth in 0..12 {
        let fixture = QueueFixture::new(TestEngine::Memory);
        fixture.push((0..3).map(event)).await;
        let TestStore::Memory(memory) = &fixture.store else {
            panic!("it is in memory");
        };
        let mut reads = 0;
        memory.decide_faults(move |call| {
            reads += u32::from(call == EngineCall::Read);
            let is_struck = call == EngineCall::Read && reads == nth;
            is_struck.then_some(StoreFault::Damaged)
        });
        let order = Order::MostUrgent;
        let first = fixture.queue.lease(&web(), 2, 1 << 20, order).await;
        let first = first.unwrap_or_default().len();
        fixture.queue.mended().await.ok();
        let mut rest = 0;
        for _ in 0..3 {
            let leased = fixture.queue.lease(&web(), 9, 1 << 20, order).await;
            rest += leased.unwrap_or_default().len();
            fixture.queue.mended().await.ok();
        }
        assert_eq!(first + rest, 3, "read {nth}");
    }
}

/// A queue on the engine in memory, with a batch for each of so many events.
async fn in_memory(events: u64) -> (QueueFixture, MemoryEngine) {
    let fixture = QueueFixture::new(TestEngine::Memory);
    for number in 1..=events {
        fixture.push([event(number)]).await;
    }
    let TestStore::Memory(memory) = &fixture.store else {
        panic!("the store is in memory");
    };
    let memory = memory.clone();
    (fixture, memory)
}

/// Each read of the store in turn hangs until others have looked at what is shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_hangs_holds_up_nobody_who_looks() {
    let (fixture, memory) = in_memory(2).await;
    let (begun, begins) = mpsc::sync_channel(1);
    let (go_on, goes_on) = mpsc::sync_channel::<()>(1);
    memory.decide_faults(move |call| {
        if call == EngineCall::Read && begun.send(()).is_ok() {
            goes_on.recv().ok();
        }
        None
    });
    let queue = fixture.queue.clone();
    let looking = std::thread::spawn(move || {
        let mut hung = 0;
        while begins.recv().is_ok() {
            let (queue, (done, is_done)) = (queue.clone(), mpsc::sync_channel(1));
            std::thread::spawn(move || {
                queue.backlog(&web());
                queue.health();
                queue.stats();
                queue.totals();
                done.send(()).unwrap();
            });
            hung += usize::from(is_done.recv_timeout(Duration::from_secs(10)).is_err());
            go_on.send(()).unwrap();
        }
        hung
    });
    let leased = fixture.lease(1).await;
    let attempt = fixture.open_attempt(&leased).await;
    fixture.settle(accepted(attempt, &leased)).await;
    memory.decide_faults(|_| None);
    assert_eq!(looking.join().unwrap(), 0);
    assert_eq!(fixture.queue.backlog(&web()).events, 1);
    assert!(fixture.queue.backlog(&web()).since.is_some());
}

#[tokio::test]
async fn what_is_released_while_the_oldest_is_looked_for_is_not_missed() {
    for nth in 1..=8 {
        // More than the first page of a search.
        let (fixture, memory) = in_memory(20).await;
        let leased = fixture.lease(19).await;
        let (queue, first, mut reads) = (fixture.queue.clone(), slots(&leased[..1]), 0);
        memory.decide_faults(move |call| {
            reads += usize::from(call == EngineCall::Read);
            if reads == nth {
                queue.release(&web(), &first);
            }
            None
        });
        fixture.lease(1).await;
        memory.decide_faults(|_| None);
        let backlog = fixture.queue.backlog(&web());
        assert_eq!(backlog.since.is_some(), backlog.events > 0, "{nth}");
        assert_eq!(fixture.lease(2).await.len() as u64, backlog.events);
    }
}

#[tokio::test]
async fn a_lease_reads_a_piece_of_what_seems_to_be_late() {
    const LATE: u64 = 2000;
    let (fixture, memory) = in_memory(LATE).await;
    fixture.clock.advance(Duration::from_secs(30 * 24 * 3600));
    let fresh = START + 60 * 24 * 3600;
    fixture.push([event_until(LATE + 1, fresh)]).await;
    let (counted, count) = mpsc::sync_channel(100_000);
    memory.decide_faults(move |call| {
        if call == EngineCall::Read {
            // The queue outlives who counts.
            counted.send(()).ok();
        }
        None
    });
    assert_eq!(fixture.lease(10).await.len(), 1, "the fresh one goes first");
    assert!(fixture.lease(10).await.is_empty());
    let reads = u64::try_from(count.try_iter().count()).unwrap();
    assert!(reads < LATE, "{reads} reads");
    fixture.queue.expire().await.unwrap();
    assert_eq!(fixture.ended(Reason::WindowClosed), LATE);
    assert!(fixture.queue.health().trouble.is_none());
}
