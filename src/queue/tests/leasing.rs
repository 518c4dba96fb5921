//! What is handed out, and in which order.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;

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
    assert_eq!(order(shop.lease(2).await), [100, 300]);
    shop.push([event_until(5, START + 50)]).await;
    assert_eq!(order(shop.lease(2).await), [50, 500]);
    assert_eq!(order(shop.lease(2).await), [900]);
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
        shop.push([Taken {
            sync: web(),
            fate: Fate::Mapped(payload(number, name, START + 1000)),
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
        shop.push([event(number)]).await;
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
