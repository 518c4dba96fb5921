//! Where one event is.

use super::*;
use crate::queue::trace::{Trace, TracedPlace};

async fn trace(shop: &Shop, number: u64) -> Vec<Trace> {
    shop.queue.trace(&format!("id-{number}")).await.unwrap()
}

#[tokio::test]
async fn follows_an_event_from_the_door_to_its_end() {
    let shop = Shop::new();
    shop.push((0..3).map(event)).await;
    let traced = trace(&shop, 1).await.remove(0);
    assert_eq!((traced.sync, traced.requests.len()), (web(), 0));
    assert_eq!(traced.taken_at, UnixMillis::from_seconds(START));
    let until = UnixMillis::from_seconds(START + 7 * 24 * 3600);
    assert_eq!(traced.place, TracedPlace::Waiting { until });

    let held = shop.lease(3).await;
    let delivery = shop.open_delivery(&held[1..]).await;
    let traced = trace(&shop, 1).await.remove(0);
    assert_eq!(traced.place, TracedPlace::InFlight { until });
    assert_eq!(traced.requests[0].answered_at, None);
    shop.settle(Settlement {
        release: slots(&held),
        ..accepted(delivery, &[])
    })
    .await;

    shop.clock.advance(HOUR);
    shop.deliver_all().await;
    let traced = trace(&shop, 1).await.remove(0);
    let at = UnixMillis::from_seconds(START).plus(HOUR);
    assert_eq!(traced.place, TracedPlace::Delivered { at });
    assert_eq!(traced.requests.len(), 2);
    let last = &traced.requests[1];
    assert_eq!(last.sent_at, UnixMillis::from_seconds(START).plus(HOUR));
    assert_eq!(last.verdict.as_deref(), Some("delivered"));
    assert_eq!(last.status, Some(200));
    assert_eq!(last.trace_id.as_deref(), Some("trace-1"));
    assert_eq!(trace(&shop, 0).await[0].requests.len(), 1);
    assert!(trace(&shop, 9).await.is_empty());
}

#[tokio::test]
async fn finds_dead_letters_also_of_events_that_were_never_queued() {
    let shop = Shop::new();
    shop.push([event(1), ended(Reason::InFuture)]).await;
    let leased = shop.lease(1).await;
    let delivery = shop.open_delivery(&leased).await;
    shop.settle(rejected(delivery, &leased)).await;
    let reason = Reason::Refused;
    assert_eq!(
        trace(&shop, 1).await[0].place,
        TracedPlace::Dead { id: 2, reason }
    );
    let traced = shop.queue.trace("ended-1").await.unwrap();
    let reason = Reason::InFuture;
    assert_eq!(traced[0].place, TracedPlace::Dead { id: 1, reason });

    shop.clock.advance(HOUR);
    shop.queue.retry_dead(&DeadFilter::default()).await.unwrap();
    let places: Vec<TracedPlace> = trace(&shop, 1).await.into_iter().map(|t| t.place).collect();
    assert!(matches!(
        places[..],
        [TracedPlace::Gone, TracedPlace::Waiting { .. }]
    ));
}

#[tokio::test]
async fn forgets_after_eight_days() {
    let shop = Shop::new();
    shop.push([event(1)]).await;
    shop.deliver_all().await;
    shop.clock.advance(8 * DAY);
    shop.queue.tidy().await.unwrap();
    assert_eq!(trace(&shop, 1).await.len(), 1);
    shop.clock.advance(Duration::from_secs(1));
    shop.queue.tidy().await.unwrap();
    assert!(trace(&shop, 1).await.is_empty());
    let left: i64 = shop
        .sqlite()
        .query_row("SELECT count(*) FROM delivery", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
}
