//! What is ready is sent in time, however the time of day is set.

use super::*;
use crate::deliver::SkewWatch;
use crate::queue::memory::EngineCall;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;
const HOUR_LONG: Duration = Duration::from_secs(3600);

impl LaneFixture {
    /// Sets the time of day, this many milliseconds further than the time that has passed since the start.
    fn set_clock(&self, ahead: i64) {
        let passed = self.clock.uptime().checked_sub(self.started).unwrap();
        let now = UnixMillis::from_seconds(NOW).plus(passed);
        self.clock.set(UnixMillis(now.0 + ahead));
    }

    fn skew_watch(&self) -> SkewWatch {
        let watch = self.limits.skew_watch(&self.lanes, &self.corrected);
        watch.expect("there is a lane")
    }

    fn head_requests(&self) -> u64 {
        self.sandbox.stats().head_requests
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_holds_nothing_up() {
    for step in [1_000, -1_000, HOUR, -HOUR, -2 * HOUR, -YEAR, -NOW * 1000] {
        let mut fixture = LaneFixture::one().await;
        // The time is right, then wrong, then right again.
        for (batch, ahead) in [(1, step), (2, step / 2), (3, 0)] {
            fixture.push_many(3).await;
            fixture.settle().await;
            fixture.set_clock(ahead);
            let until = fixture.settle().await;
            assert_eq!(
                until,
                Some(Instant::now() + Duration::from_secs(1)),
                "{step}"
            );
            fixture.pass_until(until).await;
            fixture.settle().await;
            assert_eq!(fixture.ended(Reason::Accepted), 3 * batch, "{step}");
        }
        fixture.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_goes_back_again_and_again_extends_no_wait() {
    let mut fixture = LaneFixture::one().await;
    fixture.push_many(3).await;
    let until = fixture.settle().await;
    for step in 1..=9 {
        fixture.pass(Duration::from_millis(100)).await;
        fixture.set_clock(-HOUR * step);
        assert_eq!(fixture.settle().await, until);
        assert_eq!(fixture.calls(), 0, "no batch goes early either");
    }
    fixture.pass_until(until).await;
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::Accepted), 3);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_between_stop_and_start_holds_nothing_up() {
    for step in [-HOUR, -YEAR, -NOW * 1000, HOUR] {
        let mut fixture = LaneFixture::one().await;
        fixture.push_many(3).await;
        fixture.set_clock(step);
        fixture.restart().await;
        let until = fixture.settle().await;
        assert_eq!(
            until,
            Some(Instant::now() + Duration::from_secs(1)),
            "{step}"
        );
        fixture.pass_until(until).await;
        fixture.settle().await;
        assert_eq!(fixture.ended(Reason::Accepted), 3, "{step}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_in_time_though_the_clock_went_back() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("next:status=503");
    fixture.push_many(3).await;
    fixture.fill().await;
    let until = fixture.settle().await;
    fixture.set_clock(-YEAR);
    fixture.pass_until(until).await;
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::Accepted), 3);
}

/// The clocks go on while the machine sleeps; that of timers does not.
#[tokio::test(start_paused = true)]
async fn what_waits_while_the_machine_sleeps_is_sent_when_it_wakes() {
    for hours in [1, 8, 48] {
        let mut fixture = LaneFixture::one().await;
        fixture.push_many(3).await;
        fixture.settle().await;
        for clock in [&fixture.clock, &fixture.meta] {
            clock.advance(Duration::from_secs(hours * 3600));
        }
        fixture.fill().await;
        fixture.settle().await;
        assert_eq!(fixture.ended(Reason::Accepted), 3, "{hours} h");
        assert_eq!(fixture.state(), LaneState::Running);
        fixture.assert_sound();
    }
}

/// By a clock that stands in 1970, or in another year, no certificate of Meta's is valid.
#[tokio::test(start_paused = true)]
async fn when_the_clock_is_set_meta_is_tried_at_once() {
    for wrong in [-NOW * 1000 + HOUR, -5 * YEAR, 2 * DAY] {
        let mut fixture = LaneFixture::one().await;
        fixture.set_clock(wrong);
        fixture.server.shutdown().await;
        fixture.push_many(3).await;
        for _ in 0..200 {
            let until = fixture.settle().await;
            fixture.pass_until(until).await;
        }
        let status = fixture.handles.0.values().next().unwrap().status();
        assert_eq!(status.state, LaneState::BackingOff, "{wrong}");
        let listener = TcpListener::bind(fixture.address).await.unwrap();
        let sandbox = fixture.sandbox.clone();
        (fixture.server).spawn(sandbox::serve(listener, sandbox, CancellationToken::new()));
        fixture.set_clock(0);
        fixture.pass(Duration::from_secs(1)).await;
        fixture.settle().await;
        assert_eq!(fixture.ended(Reason::Accepted), 3, "{wrong}");
        fixture.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_lane_shows_of_its_waits_is_true_whatever_the_clock_says() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("next:throttle=613:60s:none");
    fixture.push_many(3).await;
    fixture.fill().await;
    fixture.settle().await;
    fixture.set_clock(-YEAR);
    fixture.pass(Duration::from_secs(20)).await;
    fixture.settle().await;
    let status = fixture.handles.0.values().next().unwrap().status();
    let now = fixture.clock.uptime();
    assert_eq!(now.checked_sub(status.since), Some(Duration::from_secs(20)));
    assert_eq!(status.next_try, Some(now + Duration::from_secs(40)));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_far_ahead_expires_nothing() {
    for ahead in [2 * HOUR, 8 * DAY, 10 * YEAR] {
        let mut fixture = LaneFixture::one().await;
        fixture.push_many(3).await;
        fixture.set_clock(ahead);
        fixture.restart().await;
        fixture.queue.expire().await.unwrap();
        assert_eq!(fixture.queued(), 3, "{ahead}");
        let mut watch = fixture.skew_watch();
        for _ in 0..3 {
            watch.step().await;
            fixture.fill().await;
        }
        fixture.queue.expire().await.unwrap();
        fixture.settle().await;
        assert_eq!(fixture.ended(Reason::Accepted), 3, "{ahead}");
        // From now on the time of day may be anything.
        fixture.set_clock(20 * YEAR);
        fixture.queue.expire().await.unwrap();
        fixture.push_many(3).await;
        fixture.queue.expire().await.unwrap();
        fixture.fill().await;
        fixture.settle().await;
        assert_eq!(fixture.ended(Reason::Accepted), 6, "{ahead}");
        fixture.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn while_nothing_tells_the_time_what_seems_late_is_sent_all_the_same() {
    for ahead in [8 * DAY, 10 * YEAR] {
        let mut fixture = LaneFixture::one().await;
        fixture.push_many(3).await;
        fixture.set_clock(ahead);
        fixture.restart().await;
        fixture.pass(Duration::from_secs(3)).await;
        fixture.settle().await;
        assert_eq!(fixture.calls(), 0, "an answer may tell the time");
        fixture.pass(Duration::from_secs(1)).await;
        fixture.settle().await;
        assert_eq!(fixture.ended(Reason::Accepted), 3, "{ahead}");
        fixture.pass(Duration::from_secs(600)).await;
        fixture.queue.expire().await.unwrap();
        assert_eq!(fixture.queued(), 0);
        fixture.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_took_long_has_waited_for_no_answer() {
    let mut fixture = LaneFixture::one().await;
    fixture.push_many(3).await;
    fixture.set_clock(8 * DAY);
    fixture.restart_after(Duration::from_secs(60)).await;
    fixture.pass(Duration::from_secs(3)).await;
    fixture.settle().await;
    assert_eq!(fixture.calls(), 0, "an answer may tell the time");
    fixture.pass(Duration::from_secs(1)).await;
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::Accepted), 3);
}

/// What is known of the time is wrong: the machine was halted with its uptime, and then its clock was set right.
#[tokio::test(start_paused = true)]
async fn a_machine_that_was_halted_knows_the_time_again_within_seconds() {
    let fixture = LaneFixture::one().await;
    let mut watch = fixture.skew_watch();
    for _ in 0..3 {
        watch.step().await;
        fixture.pass(Duration::from_secs(1)).await;
    }
    fixture.meta.advance(Duration::from_secs(8 * 24 * 3600));
    fixture.set_clock(8 * DAY);
    let off = || (fixture.corrected.now().0 - fixture.meta.now().0).abs();
    assert!(off() > DAY, "nobody can know yet");
    for _ in 0..3 {
        watch.step().await;
        fixture.pass(Duration::from_millis(250)).await;
    }
    assert!(off() < 2_000, "{} ms off", off());
}

/// A request was sent, and its answer was lost, while the clock was slow by more than Meta's memory.
#[tokio::test(start_paused = true)]
async fn a_slow_clock_makes_no_doubt_that_is_over_before_the_event_was_taken() {
    for behind in [-DAY - 23 * HOUR, -3 * DAY, -YEAR] {
        let mut fixture = LaneFixture::one().await;
        fixture.faults("next:reset_after");
        fixture.push_many(3).await;
        fixture.set_clock(behind);
        fixture.fill().await;
        let until = fixture.settle().await;
        fixture.set_clock(0);
        fixture.restart().await;
        let mut watch = fixture.skew_watch();
        for _ in 0..3 {
            watch.step().await;
            fixture.fill().await;
        }
        fixture.pass(Duration::from_secs(6 * 3600)).await;
        fixture.queue.expire().await.unwrap();
        fixture.pass_until(until).await;
        fixture.settle().await;
        assert_eq!(fixture.ended(Reason::Accepted), 3, "{behind}");
    }
}

/// Between the lease and the request an event's deadline passes, as while the disk is slow.
#[tokio::test(start_paused = true)]
async fn what_becomes_too_late_on_the_way_to_its_request_is_not_sent() {
    let mut fixture = LaneFixture::one().await;
    let mut watch = fixture.skew_watch();
    for _ in 0..3 {
        watch.step().await;
        fixture.pass(Duration::from_secs(1)).await;
    }
    fixture.push_many(3).await;
    let (clocks, mut is_noted) = ([fixture.clock.clone(), fixture.meta.clone()], false);
    fixture.memory.decide_faults(move |call| {
        // The request is noted for eight days.
        if call == EngineCall::Commit && !is_noted {
            is_noted = true;
            for clock in &clocks {
                clock.advance(8 * 24 * HOUR_LONG);
            }
        }
        None
    });
    fixture.fill().await;
    fixture.settle().await;
    fixture.queue.expire().await.unwrap();
    assert_eq!(fixture.calls(), 0);
    assert_eq!(fixture.ended(Reason::WindowClosed), 3);
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn the_answers_to_events_tell_the_time_too() {
    let mut fixture = LaneFixture::one().await;
    fixture.set_clock(-2 * HOUR);
    for _ in 0..3 {
        assert_eq!(fixture.corrected.skew(), None);
        fixture.push_many(1).await;
        fixture.fill().await;
        fixture.settle().await;
    }
    let skew = fixture.corrected.skew().unwrap();
    assert!((skew.0 + 2 * HOUR).abs() < 2_000, "{skew:?}");
    // Nothing is left to ask for.
    fixture.set_clock(0);
    let mut watch = fixture.skew_watch();
    watch.step().await;
    assert_eq!(fixture.head_requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_time_is_asked_for_at_the_start_and_while_the_clock_is_wrong() {
    let fixture = LaneFixture::one().await;
    let mut watch = fixture.skew_watch();
    for asked in [1, 2, 3, 3, 3] {
        watch.step().await;
        assert_eq!(fixture.head_requests(), asked);
        fixture.pass(Duration::from_secs(1)).await;
    }
    // Whenever the clock is wrong in another way, it is asked for at once, and then every minute.
    for (step, before) in [(-2 * HOUR, 3), (8 * DAY, 9)] {
        fixture.set_clock(step);
        for asked in [1, 2, 3, 3, 3] {
            watch.step().await;
            assert_eq!(fixture.head_requests(), before + asked);
        }
        for minute in 1..=3 {
            fixture.pass(Duration::from_secs(60)).await;
            for _ in 0..3 {
                watch.step().await;
                assert_eq!(fixture.head_requests(), before + 3 + minute);
            }
        }
    }
    fixture.set_clock(0);
    fixture.pass(Duration::from_secs(600)).await;
    watch.step().await;
    assert_eq!(fixture.head_requests(), 15);
    // They are no deliveries.
    assert_eq!(fixture.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_for_while_meta_asks_to_wait() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("next:throttle=613:60s:none");
    fixture.push_many(3).await;
    fixture.fill().await;
    fixture.settle().await;
    let mut watch = fixture.skew_watch();
    for _ in 0..59 {
        watch.step().await;
        fixture.pass(Duration::from_secs(1)).await;
    }
    assert_eq!(fixture.head_requests(), 0);
    assert_eq!(fixture.corrected.skew(), None);
    fixture.assert_sound();
}
