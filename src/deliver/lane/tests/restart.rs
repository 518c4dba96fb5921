//! What Meta asked for outlasts the process.

use super::*;

fn hour(hours: u64) -> Duration {
    Duration::from_secs(3600 * hours)
}

#[tokio::test(start_paused = true)]
async fn a_cooldown_goes_on_after_a_restart_to_its_last_moment() {
    for (fault, state, wait) in [
        (
            "next:throttle=80004:19m:minutes",
            LaneState::Throttled,
            19 * 60,
        ),
        ("next:throttle=613:60s:none", LaneState::Throttled, 60),
        ("next:block=50m", LaneState::Blocked, 3600),
        (
            "usage_business=96,next:status=503",
            LaneState::Throttled,
            60,
        ),
    ] {
        let mut fixture = LaneFixture::one().await;
        fixture.push_many(10).await;
        fixture.fill().await;
        fixture.faults(fault);
        fixture.settle().await;
        assert_eq!(fixture.state(), state, "{fault}");

        fixture.restart().await;
        fixture.settle().await;
        assert_eq!(fixture.state(), state, "{fault}");
        fixture.pass(Duration::from_secs(wait - 1)).await;
        fixture.restart().await;
        fixture.settle().await;
        assert_eq!((fixture.calls(), fixture.queued()), (1, 10), "{fault}");

        fixture.faults("");
        fixture.pass(Duration::from_secs(1)).await;
        fixture.settle().await;
        fixture.settle().await;
        assert_eq!(fixture.state(), LaneState::Running, "{fault}");
        assert_eq!(fixture.ended(Reason::Accepted), 10, "{fault}");

        // It is over for good.
        fixture.restart().await;
        let calls = fixture.calls();
        fixture.push_many(10).await;
        fixture.fill().await;
        fixture.settle().await;
        assert_eq!(
            fixture.calls(),
            calls + 1,
            "{fault}: nothing is left to probe"
        );
        fixture.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn a_cooldown_that_ended_meanwhile_is_probed_with_one_event() {
    let mut fixture = LaneFixture::one().await;
    fixture.push_many(10).await;
    fixture.fill().await;
    fixture.faults("next:throttle=80004:5m");
    fixture.settle().await;
    fixture.pass(hour(3)).await;
    fixture.restart().await;
    fixture.fill().await;
    fixture.settle().await;
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::Accepted), 10);
    let probe = fixture.sandbox.records(10, None)[9].request;
    let records = fixture.sandbox.records(10, None);
    let probed = records.iter().filter(|record| record.request == probe);
    assert_eq!(probed.count(), 1);
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_block_after_a_block_lasts_longer_across_a_restart_too() {
    let mut fixture = LaneFixture::one().await;
    fixture.push_many(2).await;
    fixture.fill().await;
    fixture.faults("error=400:368");
    for hours in [1, 2, 4, 6, 6] {
        fixture.settle().await;
        fixture.restart().await;
        fixture.settle().await;
        let Circuit::Open(_, until) = fixture.lanes[0].setup.limiter().circuit() else {
            panic!("the circuit is not open");
        };
        assert_eq!(until - Instant::now(), hour(hours));
        fixture.pass(hour(hours)).await;
    }
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_back_holds_no_lane_longer_than_it_was_to_be_held() {
    let mut fixture = LaneFixture::one().await;
    fixture.push_many(2).await;
    fixture.fill().await;
    fixture.faults("next:throttle=80004:5m");
    fixture.settle().await;
    fixture.clock = Arc::new(TestClock::at(UnixMillis::from_seconds(NOW - 24 * 3600)));
    fixture.restart().await;
    fixture.settle().await;
    let Circuit::Open(_, until) = fixture.lanes[0].setup.limiter().circuit() else {
        panic!("the circuit is not open");
    };
    assert_eq!(until - Instant::now(), Duration::from_secs(300));
}

#[tokio::test(start_paused = true)]
async fn a_paused_lane_is_paused_after_a_restart_and_probes_once() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("no_permission");
    fixture.push_many(10).await;
    fixture.fill().await;
    fixture.settle().await;
    fixture.restart().await;
    let until = fixture.settle().await;
    assert_eq!(fixture.state(), LaneState::Paused);
    assert_eq!((fixture.calls(), fixture.queued()), (2, 10));
    fixture.settle().await;
    assert_eq!(fixture.calls(), 2);

    fixture.faults("");
    fixture.pass_until(until).await;
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::Accepted), 10);
    fixture.restart().await;
    fixture.settle().await;
    assert_eq!(fixture.state(), LaneState::Running, "it is mended for good");
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_restart_may_be_what_mends_a_pause() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("token_dead");
    fixture.push_many(10).await;
    fixture.fill().await;
    fixture.settle().await;
    fixture.faults("");
    fixture.restart().await;
    fixture.fill().await;
    fixture.settle().await;
    assert_eq!(fixture.state(), LaneState::Running);
    assert_eq!(fixture.ended(Reason::Accepted), 10);
    let first = fixture.sandbox.records(10, None)[9].request;
    assert_eq!(first, 2);
    let of_first = fixture.sandbox.records(10, None);
    let of_first = of_first.iter().filter(|record| record.request == first);
    assert_eq!(of_first.count(), 1, "one event probes");
    fixture.assert_sound();
}
