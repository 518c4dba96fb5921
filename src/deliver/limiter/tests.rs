//! Only the waits themselves move the time, so that each is exact.

use tokio::time::timeout;

use super::*;

fn rate(per_second: f64) -> Option<Rate> {
    Rate::new(per_second)
}

fn pixel(requests: Option<Rate>, events: Option<Rate>) -> Arc<PixelLimiter> {
    PixelLimiter::new("11", Rates { requests, events })
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// Milliseconds from `start` at which a permit is given.
async fn permit_at(pixel: &Arc<PixelLimiter>, start: Instant) -> (Permit, u128) {
    let permit = pixel.permit().await;
    (permit, start.elapsed().as_millis())
}

#[test]
fn the_stricter_of_two_settings_counts() {
    let cases = [
        (None, None, None),
        (rate(2.0), None, rate(2.0)),
        (None, rate(2.0), rate(2.0)),
        (rate(2.0), rate(0.5), rate(0.5)),
        (rate(0.5), rate(2.0), rate(0.5)),
    ];
    for (one, other, expected) in cases {
        let stricter = Rates {
            requests: one,
            events: other,
        }
        .stricter(Rates {
            requests: other,
            events: one,
        });
        assert_eq!(stricter.requests, expected);
        assert_eq!(stricter.events, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_spread_evenly_at_any_rate() {
    let cases = [
        (rate(10.0), [0, 100, 200, 300]),
        (rate(0.5), [0, 2000, 4000, 6000]),
        (rate(4.0), [0, 250, 500, 750]),
        (None, [0, 0, 0, 0]),
        (rate(1e12), [0, 0, 0, 0]),
    ];
    for (rate, expected) in cases {
        let pixel = pixel(rate, None);
        let start = Instant::now();
        for millis in expected {
            let (permit, at) = permit_at(&pixel, start).await;
            assert_eq!(at, millis, "{rate:?}");
            assert!(permit.is_valid());
            assert!(!permit.is_probe());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn events_of_a_second_fill_one_request() {
    let cases = [
        (rate(500.0), 500, [0, 1000, 2000]),
        (rate(0.5), 1, [0, 2000, 4000]),
        (rate(5000.0), 1000, [0, 200, 400]),
        (None, 1000, [0, 0, 0]),
    ];
    for (rate, most, expected) in cases {
        let pixel = pixel(None, rate);
        assert_eq!(pixel.most_events(), most, "{rate:?}");
        let start = Instant::now();
        for millis in expected {
            pixel.wait_for_events(most).await;
            assert_eq!(start.elapsed().as_millis(), millis, "{rate:?}");
        }
        pixel.wait_for_events(0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn lanes_of_one_pixel_take_turns() {
    let pixel = pixel(rate(1.0), None);
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..3 {
        let pixel = Arc::clone(&pixel);
        tasks.spawn(async move {
            let mut at = Vec::new();
            let start = Instant::now();
            for _ in 0..2 {
                let (_ticket, millis) = permit_at(&pixel, start).await;
                at.push(millis);
                // The others come to wait.
                tokio::task::yield_now().await;
            }
            (lane, at)
        });
    }
    let mut given = tasks.join_all().await;
    given.sort_unstable();
    assert_eq!(
        given,
        [
            (0, vec![0, 3000]),
            (1, vec![1000, 4000]),
            (2, vec![2000, 5000])
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_out_during_a_cooldown_and_then_one_probes() {
    let pixel = pixel(None, None);
    let early = pixel.permit().await;
    let start = Instant::now();
    pixel.open(CooldownReason::Throttled, Some(seconds(1140)));
    assert!(!early.is_valid());
    early.confirm();

    let (probe, at) = permit_at(&pixel, start).await;
    assert_eq!(at, 1_140_000);
    assert!(probe.is_probe() && probe.is_valid());

    // Others wait for what the probe finds.
    let mut others = Box::pin(pixel.permit());
    let none_yet = timeout(seconds(3600), &mut others).await.is_err();
    assert!(none_yet);
    probe.confirm();
    let permit = others.await;
    assert!(!permit.is_probe() && permit.is_valid());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_learns_nothing_is_repeated() {
    let pixel = pixel(None, None);
    pixel.open(CooldownReason::Blocked, None);
    let probe = pixel.permit().await;
    assert!(probe.is_probe());
    drop(probe);
    let again = pixel.permit().await;
    assert!(again.is_probe() && again.is_valid());
    pixel.open(CooldownReason::Throttled, Some(seconds(9)));
    assert!(!again.is_valid(), "a cooldown began");
}

#[tokio::test(start_paused = true)]
async fn cooldowns_have_bounds_and_the_longest_counts() {
    type Case<'a> = (&'a [(CooldownReason, Option<u64>)], u64, CooldownReason);
    let cases: [Case<'_>; 9] = [
        (
            &[(CooldownReason::Throttled, None)],
            60,
            CooldownReason::Throttled,
        ),
        (
            &[(CooldownReason::Throttled, Some(0))],
            1,
            CooldownReason::Throttled,
        ),
        (
            &[(CooldownReason::Throttled, Some(u64::MAX / 2))],
            86_400,
            CooldownReason::Throttled,
        ),
        (&[(CooldownReason::Usage, None)], 60, CooldownReason::Usage),
        (
            &[
                (CooldownReason::Throttled, Some(300)),
                (CooldownReason::Usage, Some(30)),
            ],
            300,
            CooldownReason::Throttled,
        ),
        (
            &[
                (CooldownReason::Throttled, Some(30)),
                (CooldownReason::Usage, Some(300)),
            ],
            300,
            CooldownReason::Throttled,
        ),
        (
            &[(CooldownReason::Blocked, None)],
            3600,
            CooldownReason::Blocked,
        ),
        (
            &[
                (CooldownReason::Blocked, None),
                (CooldownReason::Blocked, None),
            ],
            7200,
            CooldownReason::Blocked,
        ),
        (
            &[(CooldownReason::Blocked, Some(40_000))],
            40_000,
            CooldownReason::Blocked,
        ),
    ];
    for (holds, expected, worst) in cases {
        let pixel = pixel(None, None);
        let start = Instant::now();
        for (why, wait) in holds {
            pixel.open(*why, wait.map(seconds));
        }
        assert_eq!(
            pixel.circuit(),
            Circuit::Open(worst, start + seconds(expected)),
            "{holds:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn high_usage_slows_and_very_high_usage_stops() {
    let cases = [
        // usage, milliseconds to the next permit
        (0.0, 0),
        (75.0, 0),
        (80.0, 1250),
        (85.0, 2500),
        (94.9, 4975),
        (95.0, 60_000),
        (250.0, 60_000),
    ];
    for (percent, millis) in cases {
        let pixel = pixel(None, None);
        let start = Instant::now();
        drop(pixel.permit().await);
        pixel.on_usage(percent, None);
        let (permit, at) = permit_at(&pixel, start).await;
        assert_eq!(at, millis, "{percent} %");
        assert!(!permit.is_probe());
        pixel.on_usage(10.0, None);
        let before = Instant::now();
        drop(pixel.permit().await);
        assert_eq!(before.elapsed(), Duration::ZERO, "after {percent} %");
    }
}
