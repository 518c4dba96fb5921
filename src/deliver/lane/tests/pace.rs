//! Batches, limits and tries.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_batch_goes_when_it_is_full_or_old() {
    let mut fixture = LaneFixture::with("max_batch_events = 10").await;
    fixture.push_many(3).await;
    let until = fixture.settle().await;
    assert_eq!(fixture.calls(), 0);
    assert_eq!(until, Some(Instant::now() + Duration::from_secs(1)));
    fixture.push_many(7).await;
    fixture.settle().await;
    assert_eq!(fixture.calls(), 1, "full");
    fixture.push_many(1).await;
    let until = fixture.settle().await;
    assert_eq!(fixture.calls(), 1);
    fixture.pass_until(until).await;
    fixture.settle().await;
    assert_eq!(fixture.calls(), 2, "old");
    assert_eq!(fixture.ended(Reason::Accepted), 11);
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn no_request_is_larger_than_configured() {
    let mut fixture = LaneFixture::with("max_batch_events = 70, max_batch_bytes = \"4KiB\"").await;
    fixture.push_many(500).await;
    fixture.settle().await;
    fixture.fill().await;
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::Accepted), 500);
    let stats = fixture.sandbox.stats();
    assert!(stats.largest_batch <= 70);
    assert!(stats.largest_body <= 4096, "{} bytes", stats.largest_body);
    assert!(stats.largest_body > 3500, "and hardly smaller");
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn several_requests_are_under_way_but_not_more_than_allowed() {
    let mut fixture = LaneFixture::with("max_batch_events = 1, max_in_flight = 3").await;
    fixture.push_many(20).await;
    fixture.settle().await;
    fixture.faults("hang");
    fixture.push_many(10).await;
    fixture.settle_until_in_flight(3).await;
    assert_eq!(fixture.sandbox.stats().in_flight, 3);
    assert_eq!(fixture.lanes[0].status.borrow().in_flight, 3);
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn requests_per_second_hold() {
    let mut fixture = LaneFixture::syncs(
        r#"
        [sync.web]
        pixel_id = "11"
        access_token = "token-1"
        delivery = { requests_per_second = 0.5, max_batch_events = 1 }
        "#,
    )
    .await;
    fixture.push_many(3).await;
    fixture.faults("hang");
    fixture.settle_until_in_flight(1).await;
    fixture.faults("");
    fixture.pass(Duration::from_secs(15)).await;
    assert_eq!(fixture.calls(), 1);
    fixture.assert_sound();
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
        let mut fixture = LaneFixture::one().await;
        fixture.faults(fault);
        fixture.push_many(5).await;
        fixture.fill().await;
        for tries in 1..=4 {
            let until = fixture.settle().await;
            assert_eq!(fixture.calls(), tries, "{fault}");
            assert_eq!(fixture.state(), LaneState::BackingOff, "{fault}");
            assert_eq!(fixture.queued(), 5, "{fault}");
            fixture.pass_until(until).await;
        }
        fixture.faults("");
        while fixture.queued() > 0 {
            let until = fixture.settle().await;
            if fixture.queued() > 0 {
                fixture.pass_until(until).await;
            }
        }
        assert_eq!(fixture.ended(Reason::Accepted), 5, "{fault}");
        assert_eq!(fixture.state(), LaneState::Running, "{fault}");
        assert_eq!(fixture.sandbox.stats().repeats, 0, "{fault}");
        fixture.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_followed_by_the_same_events() {
    for fault in ["reset_after", "partial"] {
        let mut fixture = LaneFixture::one().await;
        fixture.faults(&format!("next:{fault}"));
        fixture.push_many(5).await;
        fixture.fill().await;
        let until = fixture.settle().await;
        assert_eq!(fixture.queued(), 5, "{fault}");
        fixture.pass_until(until).await;
        fixture.settle().await;
        assert_eq!(fixture.ended(Reason::Accepted), 5, "{fault}");
        let stats = fixture.sandbox.stats();
        assert_eq!((stats.accepted, stats.repeats), (10, 5), "{fault}");
        fixture.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_not_followed_after_two_days() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("next:hang_after");
    fixture.push_many(5).await;
    fixture.fill().await;
    fixture.settle_until_in_flight(1).await;
    fixture.pass(Duration::from_secs(15)).await;
    fixture.faults("error=401:190");
    let until = fixture.settle().await;
    assert_eq!(fixture.queued(), 5);
    fixture.pass_until(until).await;
    fixture.settle().await;
    fixture.pass(Duration::from_secs(48 * 3600)).await;
    fixture.queue.expire().await.unwrap();
    assert_eq!(fixture.ended(Reason::MaybeDelivered), 5);
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_cannot_be_reached_takes_nothing() {
    let mut fixture = LaneFixture::one().await;
    fixture.server.shutdown().await;
    fixture.push_many(5).await;
    fixture.fill().await;
    fixture.settle().await;
    assert_eq!(fixture.state(), LaneState::BackingOff);
    // Nothing was sent, so Meta cannot have taken anything: the events stay for their whole window.
    fixture.pass(Duration::from_secs(50 * 3600)).await;
    fixture.queue.expire().await.unwrap();
    assert_eq!(fixture.queued(), 5);
    assert_eq!(fixture.ended(Reason::MaybeDelivered), 0);
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_window_closes_is_not_sent() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("status=503");
    fixture.push_many(5).await;
    fixture.fill().await;
    fixture.settle().await;
    fixture.faults("");
    let calls = fixture.calls();
    fixture.pass(Duration::from_secs(WEEK.unsigned_abs())).await;
    fixture.settle().await;
    fixture.queue.expire().await.unwrap();
    assert_eq!(fixture.calls(), calls);
    assert_eq!(fixture.ended(Reason::WindowClosed), 5);
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_disabled_sync_drains() {
    let mut fixture = LaneFixture::syncs(
        r#"
        [sync.web]
        enabled = false
        pixel_id = "11"
        access_token = "token-1"
        "#,
    )
    .await;
    fixture.push_many(5).await;
    fixture.fill().await;
    fixture.settle().await;
    assert_eq!(fixture.state(), LaneState::Draining);
    assert_eq!(fixture.ended(Reason::Accepted), 5);
    fixture.assert_sound();
}
