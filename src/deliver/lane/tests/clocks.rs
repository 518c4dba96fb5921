//! What is ready is sent in time, however the time of day is set.

use super::*;
use crate::deliver::SkewWatch;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

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
    fixture.set_clock(-2 * HOUR);
    for minute in 1..=3 {
        fixture.pass(Duration::from_secs(60)).await;
        for _ in 0..3 {
            watch.step().await;
            assert_eq!(fixture.head_requests(), 3 + minute);
        }
    }
    fixture.set_clock(0);
    fixture.pass(Duration::from_secs(600)).await;
    watch.step().await;
    assert_eq!(fixture.head_requests(), 6);
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
