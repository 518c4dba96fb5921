//! Stopping.

use tokio::sync::mpsc as mpsc_of_tokio;

use super::*;
use crate::panics::Panicked;
use crate::queue::memory::EngineCall;

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

#[tokio::test(start_paused = true)]
async fn a_lease_that_hangs_does_not_delay_the_stop() {
    let mut fixture = LaneFixture::one().await;
    fixture.push_many(5).await;
    let (begun, mut begins) = mpsc_of_tokio::channel(1);
    let (_go_on, goes_on) = mpsc::sync_channel::<()>(1);
    fixture.memory.decide_faults(move |call| {
        if call == EngineCall::Read && begun.try_send(()).is_ok() {
            goes_on.recv().ok();
        }
        None
    });
    let lane = fixture.lanes.remove(0);
    let token = CancellationToken::new();
    let mut task = JoinSet::new();
    task.spawn(lane.run(token.clone(), GRACE));
    fixture.fill().await;
    begins.recv().await.unwrap();
    token.cancel();
    // The clock moves far beyond all that a stop waits for.
    let mut ended = None;
    for _ in 0..100 {
        fixture.pass(GRACE).await;
        ended = ended.or(task.try_join_next());
    }
    ended.expect("the lane stops").unwrap().unwrap();
    assert_eq!(fixture.sandbox.stats().requests, 0);
}
