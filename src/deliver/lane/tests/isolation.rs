//! One bad event never costs a good one.

use super::*;

#[tokio::test(start_paused = true)]
async fn bad_events_are_found_and_good_ones_go_out_in_the_same_pass() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("poison=Bad");
    let mut names = vec!["Lead"; 1000];
    for bad in [0, 1, 499, 700, 999] {
        names[bad] = "Bad";
    }
    fixture.push(&names).await;
    fixture.settle().await;
    assert_eq!(fixture.sandbox.stats().accepted, 995);
    assert_eq!(fixture.sandbox.stats().repeats, 0);
    // Per bad event: log2(1000), the event alone, what was put back, a wrong hint and a scout.
    assert!(fixture.calls() <= 1 + 5 * 14, "{} calls", fixture.calls());
    assert_eq!(fixture.ended(Reason::Accepted), 995);
    assert_eq!(fixture.ended(Reason::Refused), 5);
    assert_eq!(fixture.queued(), 0);
    for dead in fixture.dead().await {
        assert_eq!(dead.event_name.as_deref(), Some("Bad"));
        assert_eq!(dead.code, Some(100));
        assert!(dead.sub_code.is_some());
        assert!(dead.trace_id.is_some());
        assert!(dead.message.is_some());
    }
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_lone_event_that_meta_blames_is_rejected_at_once() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("poison=Bad");
    fixture.push(&["Bad"]).await;
    fixture.fill().await;
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::Refused), 1);
    assert_eq!((fixture.calls(), fixture.queued()), (1, 0));
    assert_eq!(fixture.state(), LaneState::Running);
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn twenty_refusals_in_a_row_pause_the_lane_and_keep_the_rest() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("poison=Bad");
    fixture.push(&["Bad"; 300]).await;
    fixture.fill().await;
    let until = fixture.settle().await;
    assert_eq!(fixture.state(), LaneState::Paused);
    assert_eq!(fixture.ended(Reason::Refused), 19);
    assert_eq!(fixture.queued(), 281);
    // A search for the first, then one after the other, then some as probes.
    assert!(fixture.calls() <= 40 + 24, "{} calls", fixture.calls());

    // Then it tries the others, some at a time.
    let before = fixture.calls();
    fixture.pass_until(until).await;
    let until = fixture.settle().await;
    assert_eq!(fixture.calls(), before + 24);
    assert_eq!(fixture.state(), LaneState::Paused);
    assert_eq!(fixture.queued(), 281);

    // A good event comes: it is probed first, and its acceptance ends the pause.
    fixture.push(&["Lead"]).await;
    fixture.pass_until(until).await;
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::Accepted), 1);
    // Those that were refused, and those that are refused now that the lane goes on.
    assert!(
        fixture.ended(Reason::Refused) > 19 + 20,
        "{}",
        fixture.ended(Reason::Refused)
    );
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_was_refused_goes_on_once_meta_accepts() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("error=400:100");
    fixture.push_many(50).await;
    fixture.fill().await;
    let until = fixture.settle().await;
    assert_eq!(fixture.state(), LaneState::Paused);
    assert_eq!(fixture.queued(), 50);
    fixture.pass_until(until).await;
    fixture.faults("");
    fixture.pass(Duration::from_secs(60)).await;
    fixture.settle().await;
    fixture.settle().await;
    assert_eq!(fixture.state(), LaneState::Running);
    assert_eq!(fixture.queued(), 0);
    assert_eq!(
        fixture.ended(Reason::Accepted) + fixture.ended(Reason::Refused),
        50
    );
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_halved_and_smaller_batches_follow() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("reduce=300");
    fixture.push_many(1000).await;
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::Accepted), 1000);
    let before = fixture.calls();
    fixture.push_many(1000).await;
    fixture.settle().await;
    fixture.fill().await;
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::Accepted), 2000);
    assert_eq!(fixture.calls() - before, 5, "no batch is refused");
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_too_large_alone_is_set_aside() {
    // Graph says so.
    let mut fixture = LaneFixture::one().await;
    fixture.faults("reduce=0");
    fixture.push_many(3).await;
    fixture.fill().await;
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::TooLarge), 3);
    fixture.assert_sound();

    // A proxy says so, which alone decides nothing.
    let mut fixture = LaneFixture::one().await;
    fixture.faults("page=413:Big");
    fixture.push(&["Big"]).await;
    fixture.fill().await;
    fixture.settle().await;
    assert_eq!(fixture.queued(), 1);
    fixture.push(&["Lead"]).await;
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::TooLarge), 1);
    assert_eq!(fixture.ended(Reason::Accepted), 1);
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_search_survives_a_passing_fault() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("poison=Bad");
    let mut names = vec!["Lead"; 64];
    names[63] = "Bad";
    fixture.push(&names).await;
    fixture.fill().await;
    fixture.faults("poison=Bad,next:ok,next:status=503,next:reset_before,next:ok");
    let until = fixture.settle().await;
    fixture.pass_until(until).await;
    let until = fixture.settle().await;
    fixture.pass_until(until).await;
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::Accepted), 63);
    assert_eq!(fixture.ended(Reason::Refused), 1);
    assert!(fixture.calls() <= 12, "{} calls", fixture.calls());
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_success_that_does_not_count_is_not_repeated() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("uncounted");
    fixture.push_many(2).await;
    fixture.fill().await;
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::ShortCount), 2);
    assert_eq!((fixture.calls(), fixture.queued()), (1, 0));
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_short_count_is_delivered_and_told() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("next:short_count");
    fixture.push_many(2).await;
    fixture.fill().await;
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::ShortCount), 2);
    fixture.assert_sound();
}
