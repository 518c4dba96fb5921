//! One bad event never costs a good one.

use super::*;

#[tokio::test(start_paused = true)]
async fn bad_events_are_found_and_good_ones_go_out_in_the_same_pass() {
    let mut rig = Rig::one().await;
    rig.faults("poison=Bad");
    let mut names = vec!["Lead"; 1000];
    for bad in [0, 1, 499, 700, 999] {
        names[bad] = "Bad";
    }
    rig.push(&names).await;
    rig.settle().await;
    assert_eq!(rig.sandbox.stats().accepted, 995);
    assert_eq!(rig.sandbox.stats().repeats, 0);
    // Per bad event: log2(1000), the event alone, what was put back, a wrong hint and a scout.
    assert!(rig.calls() <= 1 + 5 * 14, "{} calls", rig.calls());
    assert_eq!(rig.ended(Reason::Accepted), 995);
    assert_eq!(rig.ended(Reason::Refused), 5);
    assert_eq!(rig.queued(), 0);
    for letter in rig.dead().await {
        assert_eq!(letter.event_name.as_deref(), Some("Bad"));
        assert_eq!(letter.code, Some(100));
        assert!(letter.sub_code.is_some());
        assert!(letter.trace_id.is_some());
        assert!(letter.message.is_some());
    }
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_lone_event_that_meta_blames_is_rejected_at_once() {
    let mut rig = Rig::one().await;
    rig.faults("poison=Bad");
    rig.push(&["Bad"]).await;
    rig.fill().await;
    rig.settle().await;
    assert_eq!(rig.ended(Reason::Refused), 1);
    assert_eq!((rig.calls(), rig.queued()), (1, 0));
    assert_eq!(rig.state(), LaneState::running);
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn twenty_refusals_in_a_row_pause_the_lane_and_keep_the_rest() {
    let mut rig = Rig::one().await;
    rig.faults("poison=Bad");
    rig.push(&["Bad"; 300]).await;
    rig.fill().await;
    let until = rig.settle().await;
    assert_eq!(rig.state(), LaneState::paused);
    assert_eq!(rig.ended(Reason::Refused), 19);
    assert_eq!(rig.queued(), 281);
    // A search for the first, then one after the other, then some as probes.
    assert!(rig.calls() <= 40 + 24, "{} calls", rig.calls());

    // Those that were not tried yet are, some at a time.
    let before = rig.calls();
    rig.pass_until(until).await;
    let until = rig.settle().await;
    assert_eq!(rig.calls(), before + 24);
    assert_eq!(rig.state(), LaneState::paused);
    assert_eq!(rig.queued(), 281);

    // A good event comes: it is probed first, accepted, and speaks for the lane.
    rig.push(&["Lead"]).await;
    rig.pass_until(until).await;
    rig.settle().await;
    assert_eq!(rig.ended(Reason::Accepted), 1);
    // Those that were refused, and those that are refused now that the lane goes on.
    assert!(
        rig.ended(Reason::Refused) > 19 + 20,
        "{}",
        rig.ended(Reason::Refused)
    );
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_was_refused_goes_on_once_meta_accepts() {
    let mut rig = Rig::one().await;
    rig.faults("error=400:100");
    rig.push_many(50).await;
    rig.fill().await;
    let until = rig.settle().await;
    assert_eq!(rig.state(), LaneState::paused);
    assert_eq!(rig.queued(), 50);
    rig.pass_until(until).await;
    rig.faults("");
    rig.pass(Duration::from_secs(60)).await;
    rig.settle().await;
    rig.settle().await;
    assert_eq!(rig.state(), LaneState::running);
    assert_eq!(rig.queued(), 0);
    assert_eq!(rig.ended(Reason::Accepted) + rig.ended(Reason::Refused), 50);
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_halved_and_smaller_batches_follow() {
    let mut rig = Rig::one().await;
    rig.faults("reduce=300");
    rig.push_many(1000).await;
    rig.settle().await;
    assert_eq!(rig.ended(Reason::Accepted), 1000);
    let before = rig.calls();
    rig.push_many(1000).await;
    rig.settle().await;
    rig.fill().await;
    rig.settle().await;
    assert_eq!(rig.ended(Reason::Accepted), 2000);
    assert_eq!(rig.calls() - before, 5, "no batch is refused");
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_too_large_alone_is_set_aside() {
    // By Graph's own word.
    let mut rig = Rig::one().await;
    rig.faults("reduce=0");
    rig.push_many(3).await;
    rig.fill().await;
    rig.settle().await;
    assert_eq!(rig.ended(Reason::TooLarge), 3);
    rig.assert_sound();

    // By that of a proxy, which alone says nothing.
    let mut rig = Rig::one().await;
    rig.faults("page=413:Big");
    rig.push(&["Big"]).await;
    rig.fill().await;
    rig.settle().await;
    assert_eq!(rig.queued(), 1);
    rig.push(&["Lead"]).await;
    rig.settle().await;
    assert_eq!(rig.ended(Reason::TooLarge), 1);
    assert_eq!(rig.ended(Reason::Accepted), 1);
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_search_survives_a_passing_fault() {
    let mut rig = Rig::one().await;
    rig.faults("poison=Bad");
    let mut names = vec!["Lead"; 64];
    names[63] = "Bad";
    rig.push(&names).await;
    rig.fill().await;
    rig.faults("poison=Bad,next:ok,next:status=503,next:reset_before,next:ok");
    let until = rig.settle().await;
    rig.pass_until(until).await;
    let until = rig.settle().await;
    rig.pass_until(until).await;
    rig.settle().await;
    assert_eq!(rig.ended(Reason::Accepted), 63);
    assert_eq!(rig.ended(Reason::Refused), 1);
    assert!(rig.calls() <= 12, "{} calls", rig.calls());
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_success_that_does_not_count_is_not_repeated() {
    let mut rig = Rig::one().await;
    rig.faults("uncounted");
    rig.push_many(2).await;
    rig.fill().await;
    rig.settle().await;
    assert_eq!(rig.ended(Reason::ShortCount), 2);
    assert_eq!((rig.calls(), rig.queued()), (1, 0));
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_short_count_is_delivered_and_told() {
    let mut rig = Rig::one().await;
    rig.faults("next:short_count");
    rig.push_many(2).await;
    rig.fill().await;
    rig.settle().await;
    assert_eq!(rig.ended(Reason::ShortCount), 2);
    rig.assert_sound();
}
