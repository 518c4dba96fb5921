//! What Meta asked for outlasts the process.

use super::*;

fn hour(hours: u64) -> Duration {
    Duration::from_secs(3600 * hours)
}

#[tokio::test(start_paused = true)]
async fn a_standstill_goes_on_after_a_restart_to_its_last_moment() {
    for (fault, state, wait) in [
        (
            "next:throttle=80004:19m:minutes",
            LaneState::throttled,
            19 * 60,
        ),
        ("next:throttle=613:60s:none", LaneState::throttled, 60),
        ("next:block=50m", LaneState::blocked, 3600),
        (
            "usage_business=96,next:status=503",
            LaneState::throttled,
            60,
        ),
    ] {
        let mut rig = Rig::one().await;
        rig.push_many(10).await;
        rig.fill().await;
        rig.faults(fault);
        rig.settle().await;
        assert_eq!(rig.state(), state, "{fault}");

        rig.restart().await;
        rig.settle().await;
        assert_eq!(rig.state(), state, "{fault}");
        rig.pass(Duration::from_secs(wait - 1)).await;
        rig.restart().await;
        rig.settle().await;
        assert_eq!((rig.calls(), rig.queued()), (1, 10), "{fault}");

        rig.faults("");
        rig.pass(Duration::from_secs(1)).await;
        rig.settle().await;
        rig.settle().await;
        assert_eq!(rig.state(), LaneState::running, "{fault}");
        assert_eq!(rig.ended(Reason::Accepted), 10, "{fault}");

        // It is over for good.
        rig.restart().await;
        let calls = rig.calls();
        rig.push_many(10).await;
        rig.fill().await;
        rig.settle().await;
        assert_eq!(rig.calls(), calls + 1, "{fault}: nothing is left to probe");
        rig.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn a_standstill_that_ended_meanwhile_is_probed_with_one_event() {
    let mut rig = Rig::one().await;
    rig.push_many(10).await;
    rig.fill().await;
    rig.faults("next:throttle=80004:5m");
    rig.settle().await;
    rig.pass(hour(3)).await;
    rig.restart().await;
    rig.settle().await;
    rig.settle().await;
    assert_eq!(rig.ended(Reason::Accepted), 10);
    let probe = rig.sandbox.records(10, None)[9].request;
    let records = rig.sandbox.records(10, None);
    let probed = records.iter().filter(|record| record.request == probe);
    assert_eq!(probed.count(), 1);
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_block_after_a_block_lasts_longer_across_a_restart_too() {
    let mut rig = Rig::one().await;
    rig.push_many(2).await;
    rig.fill().await;
    rig.faults("error=400:368");
    for hours in [1, 2, 4, 6, 6] {
        rig.settle().await;
        rig.restart().await;
        rig.settle().await;
        let Circuit::Open(_, until) = rig.lanes[0].limiter.circuit() else {
            panic!("the gate is not held");
        };
        assert_eq!(until - Instant::now(), hour(hours));
        rig.pass(hour(hours)).await;
    }
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_back_holds_no_lane_longer_than_it_was_to_be_held() {
    let mut rig = Rig::one().await;
    rig.push_many(2).await;
    rig.fill().await;
    rig.faults("next:throttle=80004:5m");
    rig.settle().await;
    rig.clock = Arc::new(TestClock::at(UnixMillis::from_seconds(NOW - 24 * 3600)));
    rig.restart().await;
    rig.settle().await;
    let Circuit::Open(_, until) = rig.lanes[0].limiter.circuit() else {
        panic!("the gate is not held");
    };
    assert_eq!(until - Instant::now(), Duration::from_secs(300));
}

#[tokio::test(start_paused = true)]
async fn a_paused_lane_is_paused_after_a_restart_and_probes_once() {
    let mut rig = Rig::one().await;
    rig.faults("no_permission");
    rig.push_many(10).await;
    rig.fill().await;
    rig.settle().await;
    rig.restart().await;
    let until = rig.settle().await;
    assert_eq!(rig.state(), LaneState::paused);
    assert_eq!((rig.calls(), rig.queued()), (2, 10));
    rig.settle().await;
    assert_eq!(rig.calls(), 2);

    rig.faults("");
    rig.pass_until(until).await;
    rig.settle().await;
    assert_eq!(rig.ended(Reason::Accepted), 10);
    rig.restart().await;
    rig.settle().await;
    assert_eq!(rig.state(), LaneState::running, "it is mended for good");
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_restart_may_be_what_mends_a_pause() {
    let mut rig = Rig::one().await;
    rig.faults("token_dead");
    rig.push_many(10).await;
    rig.fill().await;
    rig.settle().await;
    rig.faults("");
    rig.restart().await;
    rig.settle().await;
    assert_eq!(rig.state(), LaneState::running);
    assert_eq!(rig.ended(Reason::Accepted), 10);
    let first = rig.sandbox.records(10, None)[9].request;
    assert_eq!(first, 2);
    let of_first = rig.sandbox.records(10, None);
    let of_first = of_first.iter().filter(|record| record.request == first);
    assert_eq!(of_first.count(), 1, "one event probes");
    rig.assert_sound();
}
