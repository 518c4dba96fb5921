//! Batches, limits and tries.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_batch_goes_when_it_is_full_or_old() {
    let mut rig = Rig::with("max_batch_events = 10").await;
    rig.push_many(3).await;
    let until = rig.settle().await;
    assert_eq!(rig.calls(), 0);
    assert_eq!(until, Some(Instant::now() + Duration::from_secs(1)));
    rig.push_many(7).await;
    rig.settle().await;
    assert_eq!(rig.calls(), 1, "full");
    rig.push_many(1).await;
    let until = rig.settle().await;
    assert_eq!(rig.calls(), 1);
    rig.pass_until(until).await;
    rig.settle().await;
    assert_eq!(rig.calls(), 2, "old");
    assert_eq!(rig.ended(Reason::Accepted), 11);
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn no_request_is_larger_than_configured() {
    let mut rig = Rig::with("max_batch_events = 70, max_batch_bytes = \"4KiB\"").await;
    rig.push_many(500).await;
    rig.settle().await;
    rig.fill().await;
    rig.settle().await;
    assert_eq!(rig.ended(Reason::Accepted), 500);
    let stats = rig.sandbox.stats();
    assert!(stats.largest_batch <= 70);
    assert!(stats.largest_body <= 4096, "{} bytes", stats.largest_body);
    assert!(stats.largest_body > 3500, "and hardly smaller");
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn several_requests_are_under_way_but_not_more_than_allowed() {
    let mut rig = Rig::with("max_batch_events = 1, max_in_flight = 3").await;
    rig.push_many(20).await;
    rig.settle().await;
    rig.faults("hang");
    rig.push_many(10).await;
    rig.settle_until_in_flight(3).await;
    assert_eq!(rig.sandbox.stats().in_flight, 3);
    assert_eq!(rig.lanes[0].status().borrow().in_flight, 3);
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn requests_per_second_hold() {
    let mut rig = Rig::syncs(
        r#"
        [sync.web]
        pixel_id = "11"
        access_token = "token-1"
        delivery = { requests_per_second = 0.5, max_batch_events = 1 }
        "#,
    )
    .await;
    rig.push_many(3).await;
    rig.faults("hang");
    rig.settle_until_in_flight(1).await;
    rig.faults("");
    rig.pass(Duration::from_secs(15)).await;
    assert_eq!(rig.calls(), 1);
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_passing_fault_is_tried_again_with_the_same_ids_and_ever_later() {
    for fault in [
        "status=503",
        "status=500:bare",
        "html",
        "empty",
        "status=502:html",
        "zero_count",
        "reset_before",
        "error=400:2:1:transient",
    ] {
        let mut rig = Rig::one().await;
        rig.faults(fault);
        rig.push_many(5).await;
        rig.fill().await;
        for tries in 1..=4 {
            let until = rig.settle().await;
            assert_eq!(rig.calls(), tries, "{fault}");
            assert_eq!(rig.state(), LaneState::backing_off, "{fault}");
            assert_eq!(rig.queued(), 5, "{fault}");
            rig.pass_until(until).await;
        }
        rig.faults("");
        while rig.queued() > 0 {
            let until = rig.settle().await;
            if rig.queued() > 0 {
                rig.pass_until(until).await;
            }
        }
        assert_eq!(rig.ended(Reason::Accepted), 5, "{fault}");
        assert_eq!(rig.state(), LaneState::running, "{fault}");
        assert_eq!(rig.sandbox.stats().repeats, 0, "{fault}");
        rig.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_followed_by_the_same_events() {
    for fault in ["reset_after", "partial"] {
        let mut rig = Rig::one().await;
        rig.faults(&format!("next:{fault}"));
        rig.push_many(5).await;
        rig.fill().await;
        let until = rig.settle().await;
        assert_eq!(rig.queued(), 5, "{fault}");
        rig.pass_until(until).await;
        rig.settle().await;
        assert_eq!(rig.ended(Reason::Accepted), 5, "{fault}");
        let stats = rig.sandbox.stats();
        assert_eq!((stats.accepted, stats.repeats), (10, 5), "{fault}");
        rig.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_not_followed_after_two_days() {
    let mut rig = Rig::one().await;
    rig.faults("next:hang_after");
    rig.push_many(5).await;
    rig.fill().await;
    rig.settle_until_in_flight(1).await;
    rig.pass(Duration::from_secs(15)).await;
    rig.faults("error=401:190");
    let until = rig.settle().await;
    assert_eq!(rig.queued(), 5);
    rig.pass_until(until).await;
    rig.settle().await;
    rig.pass(Duration::from_secs(48 * 3600)).await;
    rig.queue.tidy().await.unwrap();
    assert_eq!(rig.ended(Reason::MaybeDelivered), 5);
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_cannot_be_reached_takes_nothing() {
    let mut rig = Rig::one().await;
    rig.server.shutdown().await;
    rig.push_many(5).await;
    rig.fill().await;
    rig.settle().await;
    assert_eq!(rig.state(), LaneState::backing_off);
    // Nothing was sent, so that nothing can have been taken: the events stay for their whole
    // window.
    rig.pass(Duration::from_secs(50 * 3600)).await;
    rig.queue.tidy().await.unwrap();
    assert_eq!(rig.queued(), 5);
    assert_eq!(rig.ended(Reason::MaybeDelivered), 0);
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_window_closes_is_not_sent() {
    let mut rig = Rig::one().await;
    rig.faults("status=503");
    rig.push_many(5).await;
    rig.fill().await;
    rig.settle().await;
    rig.faults("");
    let calls = rig.calls();
    rig.pass(Duration::from_secs(WEEK.unsigned_abs())).await;
    rig.settle().await;
    rig.queue.tidy().await.unwrap();
    assert_eq!(rig.calls(), calls);
    assert_eq!(rig.ended(Reason::WindowClosed), 5);
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_disabled_sync_drains() {
    let mut rig = Rig::syncs(
        r#"
        [sync.web]
        enabled = false
        pixel_id = "11"
        access_token = "token-1"
        "#,
    )
    .await;
    rig.push_many(5).await;
    rig.fill().await;
    rig.settle().await;
    assert_eq!(rig.state(), LaneState::draining);
    assert_eq!(rig.ended(Reason::Accepted), 5);
    rig.assert_sound();
}
