//! A lane goes on by another configuration.

use super::*;

const SYNC: &str = r#"
    [sync.web]
    pixel_id = "11"
    access_token = "token-1"
    delivery = { requests_per_second = "unlimited" }
"#;

/// Lets the first lane go by the configuration with this change.
async fn configure(fixture: &mut LaneFixture, from: &str, to: &str) {
    let text = text(fixture.address, &SYNC.replace(from, to));
    fixture.config = load::from_toml(&text, &[]).unwrap();
    let clock = Arc::clone(&fixture.corrected);
    let setups = fixture.limits.setups(&fixture.config, &clock).unwrap();
    for (sync, setup) in setups {
        fixture.handles.0[&sync].configure(setup).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_in_flight_is_settled_as_it_was_sent() {
    let mut fixture = LaneFixture::syncs(SYNC).await;
    fixture.faults("latency=5s");
    fixture.push_many(5).await;
    fixture.fill().await;
    fixture.settle_until_in_flight(1).await;
    fixture.faults("");
    configure(&mut fixture, "\"11\"", "\"12\"").await;
    fixture.push_many(3).await;
    fixture.pass(Duration::from_secs(6)).await;
    fixture.settle().await;
    let by_pixel = fixture.sandbox.stats().accepted_by_pixel;
    assert_eq!((by_pixel["11"], by_pixel["12"]), (5, 3));
    assert_eq!(fixture.ended(Reason::Accepted), 8);
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn another_token_ends_a_pause_at_once() {
    let mut fixture = LaneFixture::syncs(&SYNC.replace("token-1", "token-dead")).await;
    fixture.push_many(5).await;
    fixture.fill().await;
    fixture.settle().await;
    assert_eq!(fixture.state(), LaneState::Paused);
    configure(&mut fixture, "token-1", "token-2").await;
    fixture.settle().await;
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::Accepted), 5);
    assert_eq!(fixture.state(), LaneState::Running);
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_cooldown_outlasts_other_rates_of_its_pixel() {
    let mut fixture = LaneFixture::syncs(SYNC).await;
    fixture.push_many(10).await;
    fixture.fill().await;
    fixture.faults("next:throttle=80004:5m");
    fixture.settle().await;
    let slower = "\"unlimited\", events_per_second = 1000";
    configure(&mut fixture, "\"unlimited\"", slower).await;
    fixture.settle().await;
    assert_eq!(
        (fixture.state(), fixture.calls()),
        (LaneState::Throttled, 1)
    );
    fixture.pass(Duration::from_secs(300)).await;
    fixture.settle().await;
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::Accepted), 10);
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_disabled_sync_drains_what_is_queued() {
    let mut fixture = LaneFixture::syncs(SYNC).await;
    fixture.push_many(2).await;
    configure(&mut fixture, "pixel_id", "enabled = false\npixel_id").await;
    fixture.fill().await;
    fixture.settle().await;
    assert_eq!(fixture.state(), LaneState::Draining);
    assert_eq!(fixture.ended(Reason::Accepted), 2);
}

#[tokio::test(start_paused = true)]
async fn the_cooldown_of_a_pixel_that_was_left_holds_nothing_up() {
    let mut fixture = LaneFixture::syncs(SYNC).await;
    fixture.push_many(5).await;
    fixture.fill().await;
    fixture.faults("next:block=50m");
    fixture.settle().await;
    assert_eq!(fixture.state(), LaneState::Blocked);
    configure(&mut fixture, "\"11\"", "\"12\"").await;
    fixture.settle().await;
    assert_eq!(fixture.sandbox.stats().accepted_by_pixel["12"], 5);
    assert_eq!(fixture.state(), LaneState::Running);
    configure(&mut fixture, "\"11\"", "\"11\"").await;
    fixture.settle().await;
    assert_eq!(
        fixture.state(),
        LaneState::Blocked,
        "the pixel is still blocked"
    );
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn what_an_answer_says_of_the_token_before_says_nothing_of_this_one() {
    let mut fixture = LaneFixture::syncs(&SYNC.replace("token-1", "token-dead")).await;
    fixture.faults("latency=5s");
    fixture.push_many(5).await;
    fixture.fill().await;
    fixture.settle_until_in_flight(1).await;
    fixture.faults("");
    configure(&mut fixture, "token-1", "token-2").await;
    fixture.pass(Duration::from_secs(6)).await;
    fixture.settle().await;
    fixture.fill().await;
    fixture.settle().await;
    assert_eq!(fixture.state(), LaneState::Running);
    assert_eq!(fixture.ended(Reason::Accepted), 5);
    fixture.assert_sound();
}
