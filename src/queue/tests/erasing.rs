//! Erasure of a person, and of a sync.

use super::*;
use crate::payload::Submission;
use crate::queue::bits::Bits;

on_every_engine! {
    two_people_of_one_batch_are_erased_at_once,
    what_is_erased_stays_so_whatever_else_its_transaction_does,
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

/// The JSON of the events in the first batch.
async fn texts(fixture: &QueueFixture) -> Vec<String> {
    let content = fixture.read(|reader| {
        let ids = reader.batch_ids(None, 1)?;
        reader.content(ids[0])
    });
    let content = content.await.unwrap();
    let text = |entry| String::from_utf8(content.json(entry).to_vec()).unwrap();
    content.entries.iter().map(text).collect()
}

fn only(position: usize) -> Vec<(BatchId, Bits)> {
    let mut bits = Bits::default();
    bits.add(position);
    vec![(BatchId::embedded(1), bits)]
}

async fn two_people_of_one_batch_are_erased_at_once(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture
        .push([event_of(1, 'a'), event_of(2, 'b'), event_of(3, 'c')])
        .await;
    let erased = fixture.queue.change(|core| {
        let mut forgotten = Forgotten::default();
        erase::erase(core, &only(0), &mut forgotten)?;
        erase::erase(core, &only(1), &mut forgotten)?;
        Ok(forgotten.queued)
    });
    assert_eq!(erased.await.unwrap(), 2);
    let texts = texts(&fixture).await;
    assert!(texts[0].trim().is_empty() && texts[1].trim().is_empty());
    assert!(texts[2].contains(&hash('c')));
    assert_law(&fixture.queue);
    assert_eq!(fixture.deliver_all().await.len(), 1);
}

async fn what_is_erased_stays_so_whatever_else_its_transaction_does(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push([event_of(1, 'a'), event_of(2, 'b')]).await;
    let leased = fixture.lease(2).await;
    let delivery = fixture.open_attempt(&leased).await;
    fixture.queue.release(&web(), &slots(&leased));
    let settlement = lost(delivery, &leased);
    let erased = fixture.queue.change(move |core| {
        let mut forgotten = Forgotten::default();
        erase::erase(core, &only(0), &mut forgotten)?;
        crate::queue::settle::settle(core, &settlement)?;
        Ok(forgotten.queued)
    });
    assert_eq!(erased.await.unwrap(), 1);
    let texts = texts(&fixture).await;
    assert!(texts[0].trim().is_empty(), "{texts:?}");
    assert!(texts[1].contains(&hash('b')));
    assert_law(&fixture.queue);
}
