//! Damaged batches: their events are lost, and what is stored of them is set aside.

use super::*;
use crate::queue::damaged::Damage;

on_every_engine! {
    a_damaged_batch_is_lost_and_what_is_left_of_it_is_set_aside,
    damaged_batches_leave_with_the_oldest_dead_letters,
    damaged_batches_leave_after_the_retention_of_dead_letters,
    forgetting_anyone_removes_all_damaged_batches,
    dropping_a_sync_removes_its_damaged_batches,
}

async fn set_aside(fixture: &QueueFixture) -> Vec<DamagedBatch> {
    fixture.queue.damaged(0, 100).await.unwrap()
}

/// Pushes events, each into a batch of its own, and damages the first of these batches.
async fn push_damaged(fixture: &QueueFixture, events: impl IntoIterator<Item = Submission>) {
    for event in events {
        fixture.push([event]).await;
    }
    fixture.damage(0);
}

async fn find_damage(fixture: &QueueFixture) {
    let leased = fixture.lease(1000).await;
    fixture.queue.release(&web(), &slots(&leased));
    fixture.queue.expire().await.unwrap();
    assert_law(&fixture.queue);
}

async fn a_damaged_batch_is_lost_and_what_is_left_of_it_is_set_aside(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push((0..3).map(event)).await;
    let leased = fixture.lease(1).await;
    let delivery = fixture.open_attempt(&leased).await;
    fixture.settle(accepted(delivery, &leased)).await;
    let batch = leased[0].slot.batch;
    let stored = fixture.read(move |reader| reader.raw_content(batch)).await;
    fixture.damage(0);
    fixture.clock.advance(HOUR);
    find_damage(&fixture).await;
    assert_eq!(fixture.ended(Reason::DamagedRow), 2);

    let fixture = fixture.reopened();
    let [found] = &set_aside(&fixture).await[..] else {
        panic!("one is set aside");
    };
    assert_eq!(found.header.batch, batch);
    assert_eq!(found.header.taken_at, UnixMillis::from_seconds(START));
    assert_eq!(found.header.events, 2);
    assert_eq!(found.header.why, Damage::Checksum);
    let found_at = UnixMillis::from_seconds(START).plus(HOUR);
    assert_eq!(found.header.found_at, found_at);
    assert_eq!(found.settled.as_deref(), Some(&[1][..]));
    let stored = stored.unwrap();
    assert_eq!(found.content.index, stored.index);
    assert_eq!(found.content.body, stored.body);
    // It is no dead letter: nothing retries it.
    let all = DeadFilter::default();
    let retried = fixture.queue.retry_dead(&all).await.unwrap();
    assert_eq!(retried, Retried::default());
    assert_eq!(fixture.totals().queued, 0);
}

async fn damaged_batches_leave_with_the_oldest_dead_letters(engine: TestEngine) {
    let fixture = QueueFixture::with(engine, |config| config.dead_letter_max_bytes = 1000);
    let reject_one = async |number| {
        fixture.clock.advance(HOUR);
        fixture.push([event(number)]).await;
        let leased = fixture.lease(1).await;
        let delivery = fixture.open_attempt(&leased).await;
        fixture.settle(rejected(delivery, &leased)).await;
    };
    reject_one(1).await;
    fixture.clock.advance(HOUR);
    push_damaged(&fixture, [event(2)]).await;
    find_damage(&fixture).await;
    assert_eq!(set_aside(&fixture).await.len(), 1);
    let mut number = 3;
    while fixture.totals().dead_removed.is_empty() {
        reject_one(number).await;
        number += 1;
    }
    assert_eq!(set_aside(&fixture).await.len(), 1, "the letter was older");
    for number in 100..104 {
        reject_one(number).await;
    }
    assert_eq!(set_aside(&fixture).await.len(), 0);
    // Nothing that has left is counted.
    assert_eq!(fixture.totals().dead, 4);
}

async fn damaged_batches_leave_after_the_retention_of_dead_letters(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    push_damaged(&fixture, [event(1)]).await;
    find_damage(&fixture).await;
    fixture.clock.advance(30 * DAY);
    fixture.queue.expire().await.unwrap();
    assert_eq!(set_aside(&fixture).await.len(), 1);
    fixture.clock.advance(Duration::from_secs(1));
    fixture.queue.expire().await.unwrap();
    assert_eq!(set_aside(&fixture).await.len(), 0);
}

async fn forgetting_anyone_removes_all_damaged_batches(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    push_damaged(&fixture, [event(1), event(2)]).await;
    find_damage(&fixture).await;
    // Nobody has found this one yet.
    push_damaged(&fixture, [event(3)]).await;
    let nobody = Person::default();
    let forgotten = fixture.queue.forget(nobody).await.unwrap();
    assert_eq!(forgotten.damaged, 2);
    assert_eq!(set_aside(&fixture).await.len(), 0);
    assert_eq!(fixture.ended(Reason::DamagedRow), 2);
    assert_law(&fixture.queue);
}

async fn dropping_a_sync_removes_its_damaged_batches(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    push_damaged(&fixture, [event(1)]).await;
    find_damage(&fixture).await;
    fixture.queue.drop_sync(&shop()).await.unwrap();
    assert_eq!(set_aside(&fixture).await.len(), 1);
    fixture.queue.drop_sync(&web()).await.unwrap();
    assert_eq!(set_aside(&fixture).await.len(), 0);
}
