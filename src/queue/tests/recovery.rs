//! Failed commits, damaged rows, restarts.

use super::*;
use crate::queue::quota::CapacityProblem;

on_every_engine! {
    a_failed_commit_acknowledges_nothing_and_takes_its_ids_back,
    a_settlement_that_failed_can_be_repeated,
    a_damaged_batch_is_counted_as_lost_and_the_rest_goes_on,
    a_damaged_batch_that_expires_is_lost_too,
    batches_of_a_removed_sync_are_kept,
}

async fn a_failed_commit_acknowledges_nothing_and_takes_its_ids_back(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push([event(1)]).await;
    fixture.set_failing(true);
    for _ in 0..2 {
        let failed = fixture
            .queue
            .push(vec![event(1), event(2)])
            .await
            .unwrap_err();
        assert!(matches!(failed, PushError::Store(StoreError::Storage(_))));
        let trouble = fixture.queue.health().trouble;
        assert!(
            matches!(trouble, Some(CapacityProblem::Failing(_))),
            "{trouble:?}"
        );
        assert_law(&fixture.queue);
    }
    fixture.set_failing(false);
    let pushed = fixture.push([event(1), event(2)]).await;
    assert_eq!((pushed.queued, pushed.duplicates), (1, 1));
    assert_eq!(fixture.queue.health(), StoreHealth::default());
    assert_eq!(fixture.deliver_all().await.len(), 2);
}

async fn a_settlement_that_failed_can_be_repeated(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push((0..5).map(event)).await;
    let leased = fixture.lease(5).await;
    let delivery = fixture.open_attempt(&leased).await;
    fixture.set_failing(true);
    let settlement = accepted(delivery, &leased);
    for _ in 0..2 {
        let failed = fixture.queue.settle(settlement.clone()).await.unwrap_err();
        assert!(matches!(failed, StoreError::Storage(_)));
    }
    fixture.set_failing(false);
    assert!(fixture.lease(5).await.is_empty(), "they are still on lease");
    fixture.settle(settlement).await;
    assert_eq!(fixture.ended(Reason::Accepted), 5);
    assert_eq!(fixture.queue.backlog(&web()), Backlog::default());
    // Its record was kept through all of this, and closed.
    let traced = fixture.queue.trace("id-1").await.unwrap();
    assert_eq!(traced[0].requests[0].verdict.as_deref(), Some("delivered"));
}

async fn a_damaged_batch_is_counted_as_lost_and_the_rest_goes_on(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    for number in 0..3 {
        fixture
            .push([event(number * 2), event(number * 2 + 1)])
            .await;
    }
    fixture.damage(1);
    assert_eq!(fixture.deliver_all().await.len(), 4);
    fixture.queue.expire().await.unwrap();
    assert_eq!(fixture.ended(Reason::DamagedRow), 2);
    assert_eq!(fixture.totals().queued, 0);
    assert_law(&fixture.queue);
    assert_eq!(fixture.queue.backlog(&web()), Backlog::default());
}

async fn a_damaged_batch_that_expires_is_lost_too(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push([event_until(1, START + 5)]).await;
    fixture.damage(0);
    fixture.clock.advance(HOUR);
    fixture.queue.expire().await.unwrap();
    assert_eq!(fixture.ended(Reason::DamagedRow), 1);
    assert_law(&fixture.queue);
}

async fn batches_of_a_removed_sync_are_kept(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    let old = SyncName::new("old").unwrap();
    let mut taken = event(1);
    taken.sync = old.clone();
    fixture.push([taken]).await;
    let fixture = fixture.reopened();
    assert_eq!(fixture.queue.totals()[&old].queued, 1);
    assert_eq!(fixture.queue.backlog(&old).events, 1);
}
