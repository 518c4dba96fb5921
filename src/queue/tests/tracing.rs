//! Where one event is.

use super::*;
use crate::queue::trace::{Trace, TracedPlace};

on_every_engine! {
    follows_an_event_from_the_door_to_its_end,
    finds_dead_letters_also_of_events_that_were_never_queued,
    forgets_after_eight_days,
}

async fn trace(fixture: &QueueFixture, number: u64) -> Vec<Trace> {
    fixture.queue.trace(&format!("id-{number}")).await.unwrap()
}

async fn follows_an_event_from_the_door_to_its_end(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push((0..3).map(event)).await;
    let traced = trace(&fixture, 1).await.remove(0);
    assert_eq!((traced.sync, traced.requests.len()), (web(), 0));
    assert_eq!(traced.taken_at, UnixMillis::from_seconds(START));
    let until = UnixMillis::from_seconds(START + 7 * 24 * 3600);
    assert_eq!(traced.place, TracedPlace::Waiting { until });

    let held = fixture.lease(3).await;
    let delivery = fixture.open_attempt(&held[1..]).await;
    let traced = trace(&fixture, 1).await.remove(0);
    assert_eq!(traced.place, TracedPlace::InFlight { until });
    assert_eq!(traced.requests[0].answered_at, None);
    fixture
        .settle(Settlement {
            release: slots(&held),
            ..accepted(delivery, &[])
        })
        .await;

    fixture.clock.advance(HOUR);
    fixture.deliver_all().await;
    let traced = trace(&fixture, 1).await.remove(0);
    let at = UnixMillis::from_seconds(START).plus(HOUR);
    assert_eq!(traced.place, TracedPlace::Delivered { at });
    assert_eq!(traced.requests.len(), 2);
    let last = &traced.requests[1];
    assert_eq!(last.sent_at, UnixMillis::from_seconds(START).plus(HOUR));
    assert_eq!(last.verdict.as_deref(), Some("delivered"));
    assert_eq!(last.status, Some(200));
    assert_eq!(last.trace_id.as_deref(), Some("trace-1"));
    assert_eq!(trace(&fixture, 0).await[0].requests.len(), 1);
    assert!(trace(&fixture, 9).await.is_empty());
}

async fn finds_dead_letters_also_of_events_that_were_never_queued(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push([event(1), ended(Reason::InFuture)]).await;
    let leased = fixture.lease(1).await;
    let delivery = fixture.open_attempt(&leased).await;
    fixture.settle(rejected(delivery, &leased)).await;
    let reason = Reason::Refused;
    assert_eq!(
        trace(&fixture, 1).await[0].place,
        TracedPlace::Dead { id: 2, reason }
    );
    let traced = fixture.queue.trace("ended-1").await.unwrap();
    let reason = Reason::InFuture;
    assert_eq!(traced[0].place, TracedPlace::Dead { id: 1, reason });

    fixture.clock.advance(HOUR);
    fixture
        .queue
        .retry_dead(&DeadFilter::default())
        .await
        .unwrap();
    let places: Vec<TracedPlace> = trace(&fixture, 1)
        .await
        .into_iter()
        .map(|t| t.place)
        .collect();
    assert!(matches!(
        places[..],
        [TracedPlace::Gone, TracedPlace::Waiting { .. }]
    ));
}

async fn forgets_after_eight_days(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push([event(1)]).await;
    fixture.deliver_all().await;
    fixture.clock.advance(8 * DAY);
    fixture.queue.expire().await.unwrap();
    assert_eq!(trace(&fixture, 1).await.len(), 1);
    fixture.clock.advance(Duration::from_secs(1));
    fixture.queue.expire().await.unwrap();
    assert!(trace(&fixture, 1).await.is_empty());
    let left = fixture
        .read(|reader| reader.attempts(0, UnixMillis(0), 1))
        .await;
    assert!(left.is_empty());
}
