//! Erasure of a person, and of a sync.

use super::*;
use crate::payload::Submission;

on_every_engine! {
    by_event_id,
    what_is_on_lease_is_left_and_said,
    a_sync_can_be_emptied,
}

pub(in crate::queue) fn hash(digit: char) -> String {
    let mut random = fastrand::Rng::with_seed(digit.into());
    std::iter::repeat_with(|| random.digit(16))
        .take(64)
        .collect()
}

pub(in crate::queue) fn event_of(number: u64, digit: char) -> Submission {
    let mut payload = payload(number, "Purchase", START + 100_000);
    let hash = hash(digit);
    payload.json = format!(r#"{{"event_id":"id-{number}","em":["{hash}"]}}"#).into();
    Submission {
        sync: web(),
        mapped: Ok(payload),
    }
}

pub(in crate::queue) fn person(digit: char) -> Person {
    Person {
        hashes: vec![hash(digit)],
        ..Person::default()
    }
}

async fn by_event_id(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push((0..3).map(event)).await;
    let person = Person {
        hashes: vec![String::new(), "purchase".to_owned()],
        event_ids: vec!["id-1".to_owned()],
        ..Person::default()
    };
    let forgotten = fixture.queue.forget(person).await.unwrap();
    assert_eq!(forgotten.queued, 1);
    assert_eq!(fixture.deliver_all().await.len(), 2);
}

async fn what_is_on_lease_is_left_and_said(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push([event_of(1, 'a'), event_of(2, 'b')]).await;
    let leased = fixture.lease(1).await;
    let forgotten = fixture.queue.forget(person('a')).await.unwrap();
    assert_eq!((forgotten.queued, forgotten.in_flight), (0, 1));
    fixture.queue.release(&web(), &slots(&leased));
    let forgotten = fixture.queue.forget(person('a')).await.unwrap();
    assert_eq!((forgotten.queued, forgotten.in_flight), (1, 0));
    assert_eq!(fixture.queue.backlog(&web()).events, 1);
}

async fn a_sync_can_be_emptied(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push((0..700).map(event)).await;
    // Of the last of three rows.
    let leased = fixture.lease(1).await;
    assert_eq!(fixture.queue.drop_sync(&web()).await.unwrap(), 700 - 188);
    fixture.queue.release(&web(), &slots(&leased));
    assert_eq!(fixture.queue.drop_sync(&web()).await.unwrap(), 188);
    assert_eq!(fixture.ended(Reason::Dropped), 700);
    assert_law(&fixture.queue);
    assert_eq!(fixture.queue.backlog(&web()), Backlog::default());
    assert!(fixture.lease(1).await.is_empty());
}
