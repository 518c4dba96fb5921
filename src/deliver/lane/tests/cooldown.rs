//! Throttles, blocks and dead tokens.

use super::*;

const PAIR: &str = r#"
    [sync.web]
    pixel_id = "11"
    access_token = "token-1"
    delivery = { requests_per_second = "unlimited" }
    [sync.app]
    pixel_id = "22"
    access_token = "token-2"
    delivery = { requests_per_second = "unlimited" }
"#;

/// Seconds from now to a moment.
fn seconds_to(moment: Option<Instant>) -> u64 {
    let wait = moment.unwrap() - Instant::now();
    wait.as_secs()
}

/// When the cooldown of the first lane's pixel ends.
fn end_of_cooldown(fixture: &LaneFixture) -> Option<Instant> {
    match fixture.lanes[0].setup.limiter().circuit() {
        Circuit::Open(_, until) => Some(until),
        Circuit::Closed | Circuit::HalfOpen(_) => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttle_is_waited_for_as_long_as_meta_says_and_then_probed() {
    for (fault, wait) in [
        ("throttle=80004:19m:minutes", 19 * 60),
        ("throttle=17:100s:reset", 100),
        ("throttle=4:7s:retry_after", 7),
        ("throttle=613:60s:none", 60),
    ] {
        let mut fixture = LaneFixture::one().await;
        fixture.push_many(10).await;
        fixture.fill().await;
        fixture.faults(&format!("next:{fault}"));
        fixture.settle().await;
        assert_eq!(fixture.state(), LaneState::Throttled, "{fault}");
        let end = end_of_cooldown(&fixture);
        assert_eq!(seconds_to(end), wait, "{fault}");
        let shown = fixture.lanes[0].status.borrow().next_try;
        assert_eq!(
            shown,
            Some(fixture.clock.uptime() + Duration::from_secs(wait))
        );

        fixture.pass(Duration::from_secs(wait - 1)).await;
        fixture.settle().await;
        assert_eq!(fixture.calls(), 1, "{fault}");
        assert_eq!(fixture.queued(), 10);

        fixture.pass(Duration::from_secs(1)).await;
        fixture.settle().await;
        fixture.settle().await;
        assert_eq!(fixture.ended(Reason::Accepted), 10, "{fault}");
        let records = fixture.sandbox.records(100, None);
        let probe = records.last().unwrap().request;
        let probed = records.iter().filter(|record| record.request == probe);
        assert_eq!(probed.count(), 1, "{fault}: one event probes");
        assert_eq!(fixture.state(), LaneState::Running);
        fixture.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn a_block_is_waited_out_for_long() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("next:block=50m");
    fixture.push_many(2).await;
    fixture.fill().await;
    fixture.settle().await;
    assert_eq!(fixture.state(), LaneState::Blocked);
    assert_eq!(seconds_to(end_of_cooldown(&fixture)), 3600);
    fixture.pass(Duration::from_secs(3600)).await;
    fixture.settle().await;
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::Accepted), 2);
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn high_usage_holds_the_next_request_back() {
    let mut fixture = LaneFixture::with("max_batch_events = 1, max_in_flight = 1").await;
    fixture.faults("usage_business=96");
    fixture.push_many(2).await;
    fixture.settle().await;
    assert_eq!(fixture.calls(), 1);
    assert_eq!(fixture.state(), LaneState::Throttled);
    fixture.faults("usage_business=20");
    fixture.pass_until(end_of_cooldown(&fixture)).await;
    fixture.settle().await;
    fixture.settle().await;
    assert_eq!(fixture.calls(), 2);
    assert_eq!(fixture.state(), LaneState::Running);
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn what_must_be_put_right_pauses_and_keeps_everything() {
    for (fault, reason) in [
        ("token_dead", "access token"),
        ("token_dead=500", "access token"),
        ("no_permission", "permission"),
        ("pixel_gone", "pixel id"),
        ("error=400:2635", "version"),
        ("error=400:2500", "version"),
        ("status=401:empty", "access token"),
    ] {
        let mut fixture = LaneFixture::one().await;
        fixture.faults(fault);
        fixture.push_many(10).await;
        fixture.fill().await;
        let mut waits = Vec::new();
        for calls in 1..=5 {
            let until = fixture.settle().await;
            assert_eq!(fixture.calls(), calls, "{fault}");
            assert_eq!(fixture.state(), LaneState::Paused, "{fault}");
            assert_eq!(fixture.queued(), 10, "{fault}");
            waits.push(seconds_to(until));
            fixture.pass_until(until).await;
        }
        assert_eq!(waits, [60, 120, 240, 480, 600], "{fault}");
        let shown = fixture.lanes[0].status.borrow().reason.clone().unwrap();
        assert!(shown.contains(reason), "{shown}");
        fixture.faults("");
        fixture.settle().await;
        assert_eq!(fixture.state(), LaneState::Running, "{fault}");
        assert_eq!(fixture.ended(Reason::Accepted), 10, "{fault}");
        assert!(fixture.dead().await.is_empty());
        fixture.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_token_in_its_file_resumes_a_paused_lane() {
    let secrets = tempfile::tempdir().unwrap();
    let file = secrets.path().join("token");
    std::fs::write(&file, "token-dead\n").unwrap();
    let mut fixture = LaneFixture::syncs(&format!(
        r#"
        [sync.web]
        pixel_id = "11"
        access_token_file = "{}"
        delivery = {{ requests_per_second = "unlimited" }}
        "#,
        file.display()
    ))
    .await;
    fixture.push_many(10).await;
    fixture.fill().await;
    fixture.settle().await;
    assert_eq!(fixture.state(), LaneState::Paused);
    assert_eq!(fixture.calls(), 1);
    std::fs::write(&file, "token-2\n").unwrap();
    fixture.pass(Duration::from_secs(5)).await;
    fixture.settle().await;
    assert_eq!(fixture.state(), LaneState::Running);
    assert_eq!(fixture.ended(Reason::Accepted), 10);
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn other_lanes_do_not_notice() {
    for fault in ["throttle=80004:19m", "token_dead", "hang", "status=503"] {
        let mut fixture = LaneFixture::syncs(PAIR).await;
        fixture.faults(&format!("22/{fault}"));
        let (app, web) = (
            fixture.lanes[0].sync().clone(),
            fixture.lanes[1].sync().clone(),
        );
        fixture.push_for(&app, &["Lead"; 5]).await;
        fixture.push_for(&web, &["Lead"; 5]).await;
        fixture.fill().await;
        if fault == "hang" {
            fixture.settle_until_in_flight(1).await;
        } else {
            fixture.settle().await;
        }
        settle(&mut fixture.lanes[1]).await;
        assert_eq!(fixture.lanes[1].status.borrow().state, LaneState::Running);
        assert_eq!(fixture.queue.totals()[&web].queued, 0, "{fault}");
        assert_eq!(fixture.queue.totals()[&app].queued, 5, "{fault}");
        fixture.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn lanes_of_one_pixel_share_a_throttle_but_not_a_dead_token() {
    let same_pixel = PAIR.replace("22", "11");
    let mut fixture = LaneFixture::syncs(&same_pixel).await;
    let (app, web) = (
        fixture.lanes[0].sync().clone(),
        fixture.lanes[1].sync().clone(),
    );
    fixture.faults("next:throttle=80004:1m");
    fixture.push_for(&app, &["Lead"]).await;
    fixture.push_for(&web, &["Lead"]).await;
    fixture.fill().await;
    fixture.settle().await;
    settle(&mut fixture.lanes[1]).await;
    assert_eq!(fixture.calls(), 1);
    assert_eq!(fixture.lanes[1].status.borrow().state, LaneState::Throttled);
    fixture.pass(Duration::from_secs(60)).await;
    fixture.settle().await;
    settle(&mut fixture.lanes[1]).await;
    fixture.settle().await;
    assert_eq!(fixture.queue.totals()[&app].queued, 0);
    assert_eq!(fixture.queue.totals()[&web].queued, 0);

    fixture.faults("next:token_dead");
    fixture.push_for(&app, &["Lead"]).await;
    fixture.push_for(&web, &["Lead"]).await;
    fixture.fill().await;
    fixture.settle().await;
    settle(&mut fixture.lanes[1]).await;
    assert_eq!(fixture.lanes[0].status.borrow().state, LaneState::Paused);
    assert_eq!(fixture.queue.totals()[&web].queued, 0);
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_the_app_holds_every_pixel_of_the_token() {
    let same_token = PAIR.replace("token-2", "token-1");
    for (code, of_token) in [(4, true), (17, true), (80_004, false), (613, false)] {
        for (syncs, of_token) in [(same_token.as_str(), of_token), (PAIR, false)] {
            let mut fixture = LaneFixture::syncs(syncs).await;
            let (app, web) = (
                fixture.lanes[0].sync().clone(),
                fixture.lanes[1].sync().clone(),
            );
            fixture.faults(&format!("22/next:throttle={code}:5m:retry_after"));
            fixture.push_for(&app, &["Lead"]).await;
            fixture.push_for(&web, &["Lead"]).await;
            fixture.fill().await;
            fixture.settle().await;
            settle(&mut fixture.lanes[1]).await;
            let held = fixture.lanes[1].status.borrow().state == LaneState::Throttled;
            assert_eq!(held, of_token, "{code}");
            assert_eq!(
                fixture.queue.totals()[&web].queued,
                u64::from(of_token),
                "{code}"
            );

            // A restart forgets neither.
            fixture.restart().await;
            settle(&mut fixture.lanes[1]).await;
            assert_eq!(
                fixture.queue.totals()[&web].queued,
                u64::from(of_token),
                "{code}"
            );
            fixture.pass(Duration::from_secs(300)).await;
            for lane in [0, 1, 0, 1] {
                settle(&mut fixture.lanes[lane]).await;
            }
            assert_eq!(fixture.queue.totals()[&app].queued, 0, "{code}");
            assert_eq!(fixture.queue.totals()[&web].queued, 0, "{code}");
            fixture.assert_sound();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_that_meta_says_gives_the_token_away() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("token_dead");
    fixture.push_many(1).await;
    fixture.fill().await;
    fixture.settle().await;
    let shown = format!("{:?}", fixture.lanes[0]);
    assert!(!shown.contains("token-1"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn lanes_of_one_token_find_out_and_probe_together() {
    let same_token = PAIR.replace("token-2", "token-1");
    let mut fixture = LaneFixture::syncs(&same_token).await;
    let (app, web) = (
        fixture.lanes[0].sync().clone(),
        fixture.lanes[1].sync().clone(),
    );
    fixture.faults("token_dead");
    fixture.push_for(&app, &["Lead"; 5]).await;
    fixture.push_for(&web, &["Lead"; 5]).await;
    fixture.fill().await;
    fixture.settle().await;
    for minutes in [1, 2, 4] {
        let until = settle(&mut fixture.lanes[1]).await;
        assert_eq!(fixture.lanes[1].status.borrow().state, LaneState::Paused);
        let calls = fixture.calls();
        // Each probe is one call, whichever lane makes it.
        let first = usize::from(minutes == 2);
        fixture.pass_until(until).await;
        settle(&mut fixture.lanes[first]).await;
        settle(&mut fixture.lanes[1 - first]).await;
        assert_eq!(fixture.calls(), calls + 1);
        assert_eq!(
            seconds_to(settle(&mut fixture.lanes[0]).await),
            120 * minutes
        );
    }
    fixture.faults("");
    let until = fixture.settle().await;
    fixture.pass_until(until).await;
    settle(&mut fixture.lanes[1]).await;
    assert_eq!(fixture.queue.totals()[&web].queued, 0);
    fixture.settle().await;
    assert_eq!(fixture.queue.totals()[&app].queued, 0);
    for lane in &fixture.lanes {
        assert_eq!(lane.status.borrow().state, LaneState::Running);
    }
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_permission_that_one_pixel_lacks_does_not_pause_the_other() {
    let same_token = PAIR.replace("token-2", "token-1");
    let mut fixture = LaneFixture::syncs(&same_token).await;
    let web = fixture.lanes[1].sync().clone();
    fixture.faults("22/no_permission");
    fixture.push_many(5).await;
    fixture.push_for(&web, &["Lead"; 5]).await;
    fixture.fill().await;
    fixture.settle().await;
    assert_eq!(fixture.state(), LaneState::Paused);
    settle(&mut fixture.lanes[1]).await;
    assert_eq!(fixture.queue.totals()[&web].queued, 0);
    fixture.assert_sound();
}
