//! A store that fails.

use super::*;

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_while_a_settlement_cannot_be_written() {
    let mut fixture = LaneFixture::one().await;
    fixture.memory.set_fault(Some(StoreFault::NoAnswers));
    fixture.push_many(5).await;
    fixture.fill().await;
    let until = fixture.settle().await;
    assert_eq!(fixture.calls(), 1);
    assert_eq!(fixture.queued(), 5);
    assert_eq!(fixture.state(), LaneState::BackingOff);
    let shown = fixture.lanes[0].status.borrow().reason.clone();
    assert_eq!(shown.as_deref(), Some("the store failed"));

    fixture.push_many(5).await;
    fixture.pass_until(until).await;
    let until = fixture.settle().await;
    assert_eq!(fixture.calls(), 1, "nothing is leased");

    fixture.memory.set_fault(None);
    fixture.pass_until(until).await;
    fixture.settle().await;
    fixture.fill().await;
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::Accepted), 10);
    assert_eq!(fixture.state(), LaneState::Running);
    let stats = fixture.sandbox.stats();
    assert_eq!((stats.requests, stats.repeats), (2, 0));
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_that_could_not_be_noted() {
    let mut fixture = LaneFixture::one().await;
    fixture.memory.set_fault(Some(StoreFault::NoAttempts));
    fixture.push_many(5).await;
    fixture.fill().await;
    let until = fixture.settle().await;
    assert_eq!(fixture.calls(), 0);
    assert_eq!(fixture.queued(), 5);
    fixture.memory.set_fault(None);
    fixture.pass_until(until).await;
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::Accepted), 5);
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_closes_ends_the_lane() {
    let mut fixture = LaneFixture::one().await;
    fixture.push_many(5).await;
    fixture.fill().await;
    fixture.queue.clone().close().await.unwrap();
    let lane = fixture.lanes.remove(0);
    lane.run(CancellationToken::new(), Duration::from_secs(10))
        .await
        .unwrap();
    assert_eq!(fixture.sandbox.stats().requests, 0);
}
