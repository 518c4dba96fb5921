//! A store that fails.

use super::*;

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_while_a_settlement_cannot_be_written() {
    let mut rig = Rig::one().await;
    let store = rusqlite::Connection::open(rig.folder.path().join("store/queue.db")).unwrap();
    store
        .execute_batch(
            "CREATE TRIGGER broken BEFORE UPDATE ON delivery
             BEGIN SELECT RAISE(ABORT, 'broken'); END;",
        )
        .unwrap();
    rig.push_many(5).await;
    rig.fill().await;
    let until = rig.settle().await;
    assert_eq!(rig.calls(), 1);
    assert_eq!(rig.queued(), 5);
    assert_eq!(rig.state(), LaneState::backing_off);
    let shown = rig.lanes[0].status().borrow().reason.clone();
    assert_eq!(shown.as_deref(), Some("the store failed"));

    rig.push_many(5).await;
    rig.pass_until(until).await;
    let until = rig.settle().await;
    assert_eq!(rig.calls(), 1, "nothing is leased");

    store.execute_batch("DROP TRIGGER broken;").unwrap();
    rig.pass_until(until).await;
    rig.settle().await;
    rig.fill().await;
    rig.settle().await;
    assert_eq!(rig.ended(Reason::Accepted), 10);
    assert_eq!(rig.state(), LaneState::running);
    let stats = rig.sandbox.stats();
    assert_eq!((stats.requests, stats.repeats), (2, 0));
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_that_could_not_be_noted() {
    let mut rig = Rig::one().await;
    let store = rusqlite::Connection::open(rig.folder.path().join("store/queue.db")).unwrap();
    store
        .execute_batch(
            "CREATE TRIGGER broken BEFORE INSERT ON delivery
             BEGIN SELECT RAISE(ABORT, 'broken'); END;",
        )
        .unwrap();
    rig.push_many(5).await;
    rig.fill().await;
    let until = rig.settle().await;
    assert_eq!(rig.calls(), 0);
    assert_eq!(rig.queued(), 5);
    store.execute_batch("DROP TRIGGER broken;").unwrap();
    rig.pass_until(until).await;
    rig.settle().await;
    assert_eq!(rig.ended(Reason::Accepted), 5);
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_closes_ends_the_lane() {
    let mut rig = Rig::one().await;
    rig.push_many(5).await;
    rig.fill().await;
    rig.queue.clone().close().await.unwrap();
    let lane = rig.lanes.remove(0);
    lane.run(CancellationToken::new(), Duration::from_secs(10))
        .await;
    assert_eq!(rig.sandbox.stats().requests, 0);
}
