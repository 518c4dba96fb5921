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

/// When the standstill of the first lane's pixel ends.
fn end_of_standstill(rig: &Rig) -> Option<Instant> {
    match rig.lanes[0].limiter.circuit() {
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
        let mut rig = Rig::one().await;
        rig.push_many(10).await;
        rig.fill().await;
        rig.faults(&format!("next:{fault}"));
        rig.settle().await;
        assert_eq!(rig.state(), LaneState::throttled, "{fault}");
        let end = end_of_standstill(&rig);
        assert_eq!(seconds_to(end), wait, "{fault}");
        let shown = rig.lanes[0].status().borrow().next_try;
        assert_eq!(shown, Some(rig.clock.now().plus(Duration::from_secs(wait))));

        rig.pass(Duration::from_secs(wait - 1)).await;
        rig.settle().await;
        assert_eq!(rig.calls(), 1, "{fault}");
        assert_eq!(rig.queued(), 10);

        rig.pass(Duration::from_secs(1)).await;
        rig.settle().await;
        rig.settle().await;
        assert_eq!(rig.ended(Reason::Accepted), 10, "{fault}");
        let records = rig.sandbox.records(100, None);
        let probe = records.last().unwrap().request;
        let probed = records.iter().filter(|record| record.request == probe);
        assert_eq!(probed.count(), 1, "{fault}: one event probes");
        assert_eq!(rig.state(), LaneState::running);
        rig.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn a_block_is_waited_out_for_long() {
    let mut rig = Rig::one().await;
    rig.faults("next:block=50m");
    rig.push_many(2).await;
    rig.fill().await;
    rig.settle().await;
    assert_eq!(rig.state(), LaneState::blocked);
    assert_eq!(seconds_to(end_of_standstill(&rig)), 3600);
    rig.pass(Duration::from_secs(3600)).await;
    rig.settle().await;
    rig.settle().await;
    assert_eq!(rig.ended(Reason::Accepted), 2);
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn high_usage_holds_the_next_request_back() {
    let mut rig = Rig::with("max_batch_events = 1, max_in_flight = 1").await;
    rig.faults("usage_business=96");
    rig.push_many(2).await;
    rig.settle().await;
    assert_eq!(rig.calls(), 1);
    assert_eq!(rig.state(), LaneState::throttled);
    rig.faults("usage_business=20");
    rig.pass_until(end_of_standstill(&rig)).await;
    rig.settle().await;
    rig.settle().await;
    assert_eq!(rig.calls(), 2);
    assert_eq!(rig.state(), LaneState::running);
    rig.assert_sound();
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
        let mut rig = Rig::one().await;
        rig.faults(fault);
        rig.push_many(10).await;
        rig.fill().await;
        let mut waits = Vec::new();
        for calls in 1..=5 {
            let until = rig.settle().await;
            assert_eq!(rig.calls(), calls, "{fault}");
            assert_eq!(rig.state(), LaneState::paused, "{fault}");
            assert_eq!(rig.queued(), 10, "{fault}");
            waits.push(seconds_to(until));
            rig.pass_until(until).await;
        }
        assert_eq!(waits, [60, 120, 240, 480, 600], "{fault}");
        let shown = rig.lanes[0].status().borrow().reason.clone().unwrap();
        assert!(shown.contains(reason), "{shown}");
        rig.faults("");
        rig.settle().await;
        assert_eq!(rig.state(), LaneState::running, "{fault}");
        assert_eq!(rig.ended(Reason::Accepted), 10, "{fault}");
        assert!(rig.dead().await.is_empty());
        rig.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_token_in_its_file_resumes_a_paused_lane() {
    let secrets = tempfile::tempdir().unwrap();
    let file = secrets.path().join("token");
    std::fs::write(&file, "token-dead\n").unwrap();
    let mut rig = Rig::syncs(&format!(
        r#"
        [sync.web]
        pixel_id = "11"
        access_token_file = "{}"
        delivery = {{ requests_per_second = "unlimited" }}
        "#,
        file.display()
    ))
    .await;
    rig.push_many(10).await;
    rig.fill().await;
    rig.settle().await;
    assert_eq!(rig.state(), LaneState::paused);
    assert_eq!(rig.calls(), 1);
    std::fs::write(&file, "token-2\n").unwrap();
    rig.pass(Duration::from_secs(5)).await;
    rig.settle().await;
    assert_eq!(rig.state(), LaneState::running);
    assert_eq!(rig.ended(Reason::Accepted), 10);
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn other_lanes_do_not_notice() {
    for fault in ["throttle=80004:19m", "token_dead", "hang", "status=503"] {
        let mut rig = Rig::syncs(PAIR).await;
        rig.faults(&format!("22/{fault}"));
        let (app, web) = (rig.lanes[0].sync().clone(), rig.lanes[1].sync().clone());
        rig.push_for(&app, &["Lead"; 5]).await;
        rig.push_for(&web, &["Lead"; 5]).await;
        rig.fill().await;
        if fault == "hang" {
            rig.settle_until_in_flight(1).await;
        } else {
            rig.settle().await;
        }
        settle(&mut rig.lanes[1]).await;
        assert_eq!(rig.lanes[1].status().borrow().state, LaneState::running);
        assert_eq!(rig.queue.totals()[&web].queued, 0, "{fault}");
        assert_eq!(rig.queue.totals()[&app].queued, 5, "{fault}");
        rig.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn lanes_of_one_pixel_share_a_throttle_but_not_a_dead_token() {
    let same_pixel = PAIR.replace("22", "11");
    let mut rig = Rig::syncs(&same_pixel).await;
    let (app, web) = (rig.lanes[0].sync().clone(), rig.lanes[1].sync().clone());
    rig.faults("next:throttle=80004:1m");
    rig.push_for(&app, &["Lead"]).await;
    rig.push_for(&web, &["Lead"]).await;
    rig.fill().await;
    rig.settle().await;
    settle(&mut rig.lanes[1]).await;
    assert_eq!(rig.calls(), 1);
    assert_eq!(rig.lanes[1].status().borrow().state, LaneState::throttled);
    rig.pass(Duration::from_secs(60)).await;
    rig.settle().await;
    settle(&mut rig.lanes[1]).await;
    rig.settle().await;
    assert_eq!(rig.queue.totals()[&app].queued, 0);
    assert_eq!(rig.queue.totals()[&web].queued, 0);

    rig.faults("next:token_dead");
    rig.push_for(&app, &["Lead"]).await;
    rig.push_for(&web, &["Lead"]).await;
    rig.fill().await;
    rig.settle().await;
    settle(&mut rig.lanes[1]).await;
    assert_eq!(rig.lanes[0].status().borrow().state, LaneState::paused);
    assert_eq!(rig.queue.totals()[&web].queued, 0);
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_the_app_holds_every_pixel_of_the_token() {
    let same_token = PAIR.replace("token-2", "token-1");
    for (code, of_token) in [(4, true), (17, true), (80_004, false), (613, false)] {
        for (syncs, of_token) in [(same_token.as_str(), of_token), (PAIR, false)] {
            let mut rig = Rig::syncs(syncs).await;
            let (app, web) = (rig.lanes[0].sync().clone(), rig.lanes[1].sync().clone());
            rig.faults(&format!("22/next:throttle={code}:5m:retry_after"));
            rig.push_for(&app, &["Lead"]).await;
            rig.push_for(&web, &["Lead"]).await;
            rig.fill().await;
            rig.settle().await;
            settle(&mut rig.lanes[1]).await;
            let held = rig.lanes[1].status().borrow().state == LaneState::throttled;
            assert_eq!(held, of_token, "{code}");
            assert_eq!(
                rig.queue.totals()[&web].queued,
                u64::from(of_token),
                "{code}"
            );

            // A restart forgets neither.
            rig.restart().await;
            settle(&mut rig.lanes[1]).await;
            assert_eq!(
                rig.queue.totals()[&web].queued,
                u64::from(of_token),
                "{code}"
            );
            rig.pass(Duration::from_secs(300)).await;
            for lane in [0, 1, 0, 1] {
                settle(&mut rig.lanes[lane]).await;
            }
            assert_eq!(rig.queue.totals()[&app].queued, 0, "{code}");
            assert_eq!(rig.queue.totals()[&web].queued, 0, "{code}");
            rig.assert_sound();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_that_meta_says_gives_the_token_away() {
    let mut rig = Rig::one().await;
    rig.faults("token_dead");
    rig.push_many(1).await;
    rig.fill().await;
    rig.settle().await;
    let shown = format!("{:?}", rig.lanes[0]);
    assert!(!shown.contains("token-1"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn lanes_of_one_token_find_out_and_probe_together() {
    let same_token = PAIR.replace("token-2", "token-1");
    let mut rig = Rig::syncs(&same_token).await;
    let (app, web) = (rig.lanes[0].sync().clone(), rig.lanes[1].sync().clone());
    rig.faults("token_dead");
    rig.push_for(&app, &["Lead"; 5]).await;
    rig.push_for(&web, &["Lead"; 5]).await;
    rig.fill().await;
    rig.settle().await;
    for minutes in [1, 2, 4] {
        let until = settle(&mut rig.lanes[1]).await;
        assert_eq!(rig.lanes[1].status().borrow().state, LaneState::paused);
        let calls = rig.calls();
        // Each probe is one call, whichever lane makes it.
        let first = usize::from(minutes == 2);
        rig.pass_until(until).await;
        settle(&mut rig.lanes[first]).await;
        settle(&mut rig.lanes[1 - first]).await;
        assert_eq!(rig.calls(), calls + 1);
        assert_eq!(seconds_to(settle(&mut rig.lanes[0]).await), 120 * minutes);
    }
    rig.faults("");
    let until = rig.settle().await;
    rig.pass_until(until).await;
    settle(&mut rig.lanes[1]).await;
    assert_eq!(rig.queue.totals()[&web].queued, 0);
    rig.settle().await;
    assert_eq!(rig.queue.totals()[&app].queued, 0);
    for lane in &rig.lanes {
        assert_eq!(lane.status().borrow().state, LaneState::running);
    }
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_permission_that_one_pixel_lacks_does_not_pause_the_other() {
    let same_token = PAIR.replace("token-2", "token-1");
    let mut rig = Rig::syncs(&same_token).await;
    let web = rig.lanes[1].sync().clone();
    rig.faults("22/no_permission");
    rig.push_many(5).await;
    rig.push_for(&web, &["Lead"; 5]).await;
    rig.fill().await;
    rig.settle().await;
    assert_eq!(rig.state(), LaneState::paused);
    settle(&mut rig.lanes[1]).await;
    assert_eq!(rig.queue.totals()[&web].queued, 0);
    rig.assert_sound();
}
