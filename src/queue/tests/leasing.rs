//! What is handed out, and in which order.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::payload::Submission;

#[tokio::test]
async fn an_event_is_handed_out_once_until_it_is_released() {
    let shop = Shop::new();
    shop.push((0..10).map(event)).await;
    let first = shop.lease(4).await;
    let second = shop.lease(100).await;
    assert_eq!((first.len(), second.len()), (4, 6));
    assert!(shop.lease(1).await.is_empty());
    assert_eq!(shop.queue.backlog(&web()).events, 0);

    shop.queue.release(&web(), &slots(&first)[1..3]);
    assert_eq!(shop.queue.backlog(&web()).events, 2);
    let again: Vec<String> = shop.lease(100).await.iter().map(text).collect();
    let released: Vec<String> = first[1..3].iter().map(text).collect();
    assert_eq!(again, released);
}

#[tokio::test]
async fn releasing_twice_changes_nothing() {
    let shop = Shop::new();
    shop.push((0..3).map(event)).await;
    let leased = shop.lease(2).await;
    shop.queue.release(&web(), &slots(&leased));
    shop.queue.release(&web(), &slots(&leased));
    assert_eq!(shop.queue.backlog(&web()).events, 3);
}

#[tokio::test]
async fn the_most_urgent_rows_come_first_whenever_they_came() {
    let shop = Shop::new();
    for (number, deadline) in [(1, 500), (2, 100), (3, 900), (4, 300)] {
        shop.push([event_until(number, START + deadline)]).await;
    }
    let order = |leased: Vec<Leased>| -> Vec<i64> {
        leased.iter().map(|event| event.deadline - START).collect()
    };
    assert_eq!(order(shop.lease(4).await), [100, 300, 500, 900]);
    for (number, deadline) in [(5, 50), (6, 20)] {
        shop.push([event_until(number, START + deadline)]).await;
    }
    assert_eq!(order(shop.lease(2).await), [20, 50]);
}

/// An event that happens now.
fn fresh(shop: &Shop, number: u64, name: &str) -> Submission {
    let deadline = shop.clock.now().seconds() + 7 * 24 * 3600;
    Submission {
        sync: web(),
        mapped: Ok(payload(number, name, deadline)),
    }
}

/// Leases so many events, one by one, and gives their numbers.
async fn one_by_one(shop: &Shop, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.extend(shop.lease(1).await.iter().map(number));
    }
    numbers
}

fn number(leased: &Leased) -> u64 {
    let text = text(leased);
    let (_, id) = text.split_once("id-").unwrap();
    id.trim_end_matches("\"}").parse().unwrap()
}

/// Views and Purchases of five hours, a view and the Purchase with the hundred-and-first number in each.
async fn an_outage() -> Shop {
    let shop = Shop::new();
    for hour in 1..=5 {
        let both = [(hour, "ViewContent"), (100 + hour, "Purchase")];
        shop.push(both.map(|(number, name)| fresh(&shop, number, name)))
            .await;
        shop.clock.advance(HOUR);
    }
    shop
}

#[tokio::test]
async fn after_an_outage_the_fresh_go_first_purchases_before_the_rest() {
    let shop = an_outage().await;
    let order = one_by_one(&shop, 10).await;
    // In turn: a Purchase, the freshest, a Purchase, the oldest.
    assert_eq!(order, [105, 5, 104, 101, 103, 4, 102, 1, 3, 2]);
}

#[tokio::test]
async fn what_does_not_fill_its_turn_leaves_the_rest_to_others() {
    let shop = an_outage().await;
    // Five Purchases, and the freshest with them.
    let leased: Vec<u64> = shop.lease(7).await.iter().map(number).collect();
    assert_eq!(leased, [105, 104, 103, 102, 101, 5, 4]);
}

#[tokio::test]
async fn what_comes_back_has_its_place_again() {
    let shop = an_outage().await;
    let first = shop.lease(1).await;
    assert_eq!(one_by_one(&shop, 1).await, [5]);
    shop.queue.release(&web(), &slots(&first));
    assert_eq!(one_by_one(&shop, 1).await, [105]);
    // Meta may have taken it: what it lacks goes before.
    let delivery = shop.open_delivery(&first).await;
    shop.settle(lost(delivery, &first)).await;
    assert_eq!(one_by_one(&shop, 3).await, [105, 104, 4]);
}

#[tokio::test]
async fn an_old_event_among_fresh_ones_holds_none_of_them_back() {
    let shop = Shop::new();
    let purchase = |number, age: i64| {
        let deadline = START + 7 * 24 * 3600 - age;
        event_until(number, deadline)
    };
    shop.push([purchase(1, 3600), purchase(2, 3600)]).await;
    // They come together, from a phone that was offline and from others, and from an export.
    let both =
        (10..20).flat_map(|number| [purchase(number, 0), purchase(100 + number, 5 * 86_400)]);
    shop.push(both).await;
    let leased: Vec<u64> = shop.lease(12).await.iter().map(number).collect();
    assert_eq!(leased, (10..20).chain(1..3).collect::<Vec<_>>());
}

/// More comes in than goes out, for hours; `came` gives what comes every second.
async fn overload(came: impl Fn(&Shop, u64) -> Vec<Submission>) -> Vec<u64> {
    let shop = Shop::new();
    shop.push((1..=100).map(event)).await;
    shop.clock.advance(HOUR);
    let mut delivered = Vec::new();
    for second in 1..=200 {
        shop.clock.advance(Duration::from_secs(1));
        shop.push(came(&shop, second * 1000)).await;
        for _ in 0..4 {
            let leased = shop.lease(2).await;
            delivered.extend(leased.iter().map(number));
            let delivery = shop.open_delivery(&leased).await;
            shop.settle(accepted(delivery, &leased)).await;
        }
    }
    delivered
}

#[tokio::test]
async fn what_comes_in_starves_neither_the_old_nor_the_rest() {
    let delivered = overload(|shop, number| {
        let name = |place| if place < 8 { "Purchase" } else { "ViewContent" };
        (0..16)
            .map(|place| fresh(shop, number + place, name(place)))
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

#[tokio::test]
async fn neither_purchases_alone_nor_the_rest_alone_starve_the_other() {
    for (flood, other) in [("Purchase", "ViewContent"), ("ViewContent", "Purchase")] {
        let delivered = overload(|shop, number| {
            let flood = (0..16).map(|place| fresh(shop, number + place, flood));
            let other = (number == 5000).then(|| fresh(shop, 5999, other));
            flood.chain(other).collect()
        })
        .await;
        assert!(delivered.contains(&5999), "{other}");
    }
}

#[tokio::test]
async fn rows_hold_events_that_are_equally_urgent() {
    let shop = Shop::new();
    let old = START + 6 * 86_400;
    let events = [
        fresh(&shop, 1, "Purchase"),
        fresh(&shop, 2, "Lead"),
        fresh(&shop, 3, "ViewContent"),
        fresh(&shop, 4, "Purchase"),
        event_until(5, old),
        event_until(6, old - 9),
    ];
    shop.push(events).await;
    let store = shop.sqlite();
    let mut rows = store
        .prepare("SELECT events, purchase, deadline FROM row ORDER BY id")
        .unwrap();
    let rows: Vec<(i64, bool, i64)> = rows
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    let week = START + 7 * 86_400;
    assert_eq!(
        rows,
        [(2, true, week), (2, true, old - 9), (2, false, week)]
    );
}

#[tokio::test]
async fn a_lease_keeps_to_its_bytes_but_takes_one_event_at_least() {
    let shop = Shop::new();
    shop.push((0..10).map(event)).await;
    let one = 43;
    for (max_bytes, expected) in [(1, 1), (one * 3, 3), (one * 4 - 1, 3)] {
        let leased = shop
            .queue
            .lease(&web(), 100, max_bytes, Order::MostUrgent)
            .await
            .unwrap();
        let bytes: usize = leased.iter().map(|event| event.body.as_ref().len()).sum();
        assert_eq!((leased.len(), bytes), (expected, expected * 43));
    }
}

#[tokio::test]
async fn the_newest_of_each_name() {
    let shop = Shop::new();
    for (number, name) in [(1, "A"), (2, "B"), (3, "A"), (4, "C"), (5, "A"), (6, "B")] {
        shop.push([Submission {
            sync: web(),
            mapped: Ok(payload(number, name, START + 1000)),
        }])
        .await;
    }
    let leased = shop
        .queue
        .lease(&web(), 10, 1 << 20, Order::NewestOfEachName)
        .await
        .unwrap();
    let bodies: Vec<String> = leased.iter().map(text).collect();
    let expected = [(6, "B"), (5, "A"), (4, "C")]
        .map(|(number, name)| String::from_utf8(payload(number, name, 0).json.into()).unwrap());
    assert_eq!(bodies, expected);
    assert_eq!(&*leased[0].event_name, "B");
    assert_eq!(shop.lease(10).await.len(), 3);
}

#[tokio::test]
async fn the_backlog_tells_bytes_and_the_oldest_of_what_is_ready() {
    let shop = Shop::new();
    let mut times = Vec::new();
    for number in 1..=3 {
        // The first to come is the freshest.
        let deadline = START + 7 * 24 * 3600 - i64::try_from(number).unwrap();
        shop.push([event_until(number, deadline)]).await;
        times.push(shop.clock.now());
        shop.clock.advance(HOUR);
    }
    let backlog = |events: u64, oldest: Option<UnixMillis>| Backlog {
        events,
        bytes: events * 43,
        oldest,
    };
    assert_eq!(shop.queue.backlog(&web()), backlog(3, Some(times[0])));
    let first = shop.lease(1).await;
    assert_eq!(shop.queue.backlog(&web()), backlog(2, Some(times[1])));
    let second = shop.lease(1).await;
    shop.queue.release(&web(), &slots(&first));
    assert_eq!(shop.queue.backlog(&web()), backlog(2, Some(times[0])));
    let first = shop.lease(1).await;
    let third = shop.lease(1).await;
    assert_eq!(shop.queue.backlog(&web()), backlog(0, None));
    shop.queue.release(&web(), &slots(&second));
    assert_eq!(shop.queue.backlog(&web()), backlog(1, Some(times[1])));

    let delivery = shop.open_delivery(&first).await;
    shop.settle(accepted(delivery, &first)).await;
    assert_eq!(shop.queue.stats().oldest[&web()], times[1]);
    shop.queue.release(&web(), &slots(&third));
    let shop = shop.reopened();
    assert_eq!(shop.queue.backlog(&web()), backlog(2, Some(times[1])));
}

#[tokio::test]
async fn one_sync_knows_nothing_of_another() {
    let queue = Shop::new();
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

#[tokio::test]
async fn change_is_told_even_if_it_came_before_the_wait() {
    let shop = Shop::new();
    let sync = web();
    let ready = |queue: &Queue| {
        let changed = pin!(queue.changed(&sync));
        let mut context = Context::from_waker(Waker::noop());
        matches!(changed.poll(&mut context), Poll::Ready(()))
    };
    assert!(!ready(&shop.queue));
    shop.push([event(1)]).await;
    assert!(ready(&shop.queue));
    assert!(!ready(&shop.queue));
    let leased = shop.lease(1).await;
    assert!(!ready(&shop.queue));
    shop.queue.release(&web(), &slots(&leased));
    assert!(ready(&shop.queue));
}

#[tokio::test]
async fn an_expired_event_is_not_handed_out_but_filed() {
    let shop = Shop::new();
    shop.push([event_until(1, START + 10), event_until(2, START + 20)])
        .await;
    shop.clock.advance(Duration::from_secs(10));
    let leased = shop.lease(10).await;
    assert_eq!(leased.len(), 1);
    assert_eq!(leased[0].deadline, START + 20);
    shop.queue.tidy().await.unwrap();
    assert_eq!(shop.ended(Reason::WindowClosed), 1);
    assert_eq!(shop.totals().dead, 1);

    // One on lease is left alone, and leaves when it comes back.
    shop.clock.advance(Duration::from_secs(10));
    shop.queue.tidy().await.unwrap();
    assert_eq!(shop.totals().queued, 1);
    shop.queue.release(&web(), &slots(&leased));
    shop.queue.tidy().await.unwrap();
    assert_eq!(shop.ended(Reason::WindowClosed), 2);
    assert_law(&shop.queue);
    assert_eq!(shop.queue.backlog(&web()), Backlog::default());
}
