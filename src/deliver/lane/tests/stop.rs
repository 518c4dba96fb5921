//! Stopping.

use super::*;

const GRACE: Duration = Duration::from_secs(10);

/// Takes the first lane out of the rig and stops it, as a task.
fn stop(rig: &mut Rig) -> JoinSet<()> {
    let lane = rig.lanes.remove(0);
    let stop = CancellationToken::new();
    stop.cancel();
    let mut task = JoinSet::new();
    task.spawn(lane.run(stop, GRACE));
    task
}

async fn queued(rig: &Rig) -> (u64, u64) {
    let sync = SyncName::new("web").unwrap();
    rig.queue.tidy().await.unwrap();
    (
        rig.queue.totals()[&sync].queued,
        rig.queue.backlog(&sync).events,
    )
}

#[tokio::test(start_paused = true)]
async fn a_lane_runs_until_it_is_stopped() {
    let mut rig = Rig::with("max_batch_events = 5").await;
    let lane = rig.lanes.remove(0);
    let sync = lane.sync().clone();
    let token = CancellationToken::new();
    let mut task = JoinSet::new();
    task.spawn(lane.run(token.clone(), GRACE));
    for _ in 0..4 {
        rig.push_for(&sync, &["Lead"; 5]).await;
    }
    rig.sandbox.wait_for(20).await;
    token.cancel();
    task.join_next().await.unwrap().unwrap();
    assert_eq!(queued(&rig).await, (0, 0));
    assert_eq!(rig.sandbox.stats().repeats, 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_in_time_is_settled() {
    let mut rig = Rig::one().await;
    rig.faults("latency=5s");
    rig.push_many(5).await;
    rig.fill().await;
    rig.settle_until_in_flight(1).await;
    let mut task = stop(&mut rig);
    rig.pass(Duration::from_secs(5)).await;
    task.join_next().await.unwrap().unwrap();
    assert_eq!(rig.sandbox.stats().accepted, 5);
    assert_eq!(queued(&rig).await, (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_answered_in_time_is_given_back() {
    let mut rig = Rig::one().await;
    rig.faults("hang");
    rig.push_many(5).await;
    rig.fill().await;
    rig.settle_until_in_flight(1).await;
    let mut task = stop(&mut rig);
    while task.try_join_next().is_none() {
        rig.pass(GRACE).await;
    }
    assert_eq!(queued(&rig).await, (5, 5));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_begun_once_it_stops() {
    let mut rig = Rig::one().await;
    rig.push_many(5).await;
    rig.fill().await;
    let mut task = stop(&mut rig);
    task.join_next().await.unwrap().unwrap();
    assert_eq!(rig.sandbox.stats().requests, 0);
    assert_eq!(queued(&rig).await, (5, 5));
}

#[tokio::test(start_paused = true)]
async fn a_standstill_does_not_delay_the_stop() {
    let mut rig = Rig::one().await;
    rig.faults("next:throttle=80004:19m");
    rig.push_many(5).await;
    rig.fill().await;
    rig.settle().await;
    let mut task = stop(&mut rig);
    task.join_next().await.unwrap().unwrap();
    assert_eq!(queued(&rig).await, (5, 5));
}
