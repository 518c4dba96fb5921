//! Stopping.

use super::*;
use crate::panics::Panicked;

const GRACE: Duration = Duration::from_secs(10);

/// Takes the first lane out of the fixture and stops it, as a task.
fn stop(fixture: &mut LaneFixture) -> JoinSet<Result<(), Panicked>> {
    let lane = fixture.lanes.remove(0);
    let stop = CancellationToken::new();
    stop.cancel();
    let mut task = JoinSet::new();
    task.spawn(lane.run(stop, GRACE));
    task
}

async fn queued(fixture: &LaneFixture) -> (u64, u64) {
    let sync = SyncName::new("web").unwrap();
    fixture.queue.expire().await.unwrap();
    (
        fixture.queue.totals()[&sync].queued,
        fixture.queue.backlog(&sync).events,
    )
}

#[tokio::test(start_paused = true)]
async fn a_lane_runs_until_it_is_stopped() {
    let mut fixture = LaneFixture::with("max_batch_events = 5").await;
    let lane = fixture.lanes.remove(0);
    let sync = lane.sync().clone();
    let token = CancellationToken::new();
    let mut task = JoinSet::new();
    task.spawn(lane.run(token.clone(), GRACE));
    for _ in 0..4 {
        fixture.push_for(&sync, &["Lead"; 5]).await;
    }
    fixture.sandbox.wait_for(20).await;
    token.cancel();
    task.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(queued(&fixture).await, (0, 0));
    assert_eq!(fixture.sandbox.stats().repeats, 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_in_time_is_settled() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("latency=5s");
    fixture.push_many(5).await;
    fixture.fill().await;
    fixture.settle_until_in_flight(1).await;
    let mut task = stop(&mut fixture);
    fixture.pass(Duration::from_secs(5)).await;
    task.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(fixture.sandbox.stats().accepted, 5);
    assert_eq!(queued(&fixture).await, (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_answered_in_time_is_given_back() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("hang");
    fixture.push_many(5).await;
    fixture.fill().await;
    fixture.settle_until_in_flight(1).await;
    let mut task = stop(&mut fixture);
    while task.try_join_next().is_none() {
        fixture.pass(GRACE).await;
    }
    assert_eq!(queued(&fixture).await, (5, 5));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_begun_once_it_stops() {
    let mut fixture = LaneFixture::one().await;
    fixture.push_many(5).await;
    fixture.fill().await;
    let mut task = stop(&mut fixture);
    task.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(fixture.sandbox.stats().requests, 0);
    assert_eq!(queued(&fixture).await, (5, 5));
}

#[tokio::test(start_paused = true)]
async fn a_cooldown_does_not_delay_the_stop() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("next:throttle=80004:19m");
    fixture.push_many(5).await;
    fixture.fill().await;
    fixture.settle().await;
    let mut task = stop(&mut fixture);
    task.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(queued(&fixture).await, (5, 5));
}
