//! A refusal that does not name an event counts against it only if others show that it is bad.

use super::*;

fn reason(fixture: &LaneFixture) -> String {
    let status = fixture.lanes[0].status.borrow().clone();
    status.reason.unwrap_or_default()
}

/// Lets the lane go on, through this many of the moments that it waits for.
async fn go_on(fixture: &mut LaneFixture, moments: usize) {
    for _ in 0..moments {
        let until = fixture.settle().await;
        if fixture.queued() == 0 || until.is_none() {
            break;
        }
        fixture.pass_until(until).await;
    }
    fixture.settle().await;
}

#[tokio::test(start_paused = true)]
async fn one_alone_is_tried_again_and_never_rejected() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("error=400:123456");
    fixture.push(&["Lead"]).await;
    fixture.fill().await;
    for tries in 1..=10 {
        let until = fixture.settle().await;
        assert_eq!(fixture.calls(), tries);
        assert_eq!((fixture.queued(), fixture.ended(Reason::Refused)), (1, 0));
        assert_eq!(fixture.state(), LaneState::BackingOff);
        let shown = reason(&fixture);
        assert!(shown.contains("code 123456, sub-code none"), "{shown}");
        assert!(shown.contains("others are tried"), "{shown}");
        fixture.pass_until(until).await;
    }
    fixture.faults("");
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::Accepted), 1);
    assert_eq!(fixture.state(), LaneState::Running);
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn one_alone_expires_when_its_window_closes() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("error=400:123456");
    fixture.push(&["Lead"]).await;
    fixture.fill().await;
    fixture.settle().await;
    fixture
        .pass(Duration::from_secs(WEEK.cast_unsigned()))
        .await;
    let calls = fixture.calls();
    fixture.settle().await;
    fixture.queue.expire().await.unwrap();
    assert_eq!(fixture.calls(), calls);
    assert_eq!(fixture.ended(Reason::WindowClosed), 1);
    assert_eq!(fixture.queued(), 0);
    fixture.settle().await;
    assert_eq!(fixture.state(), LaneState::Running);
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn another_that_is_taken_shows_whose_fault_it_is() {
    for other in ["Lead", "Bad"] {
        let mut fixture = LaneFixture::one().await;
        fixture.faults("next:error=400:123456:7");
        fixture.push(&["Bad"]).await;
        fixture.fill().await;
        fixture.settle().await;
        assert_eq!(fixture.queued(), 1);
        // At once: it waits neither for a batch to fill nor for the next try.
        fixture.push(&[other]).await;
        fixture.settle().await;
        assert_eq!(fixture.calls(), 2, "{other}");
        assert_eq!(fixture.ended(Reason::Accepted), 1, "{other}");
        assert_eq!(fixture.ended(Reason::Refused), 1, "{other}");
        assert_eq!(fixture.dead().await[0].code, Some(123_456));
        assert_eq!(fixture.state(), LaneState::Running);
        fixture.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_probe_is_of_another_name_if_there_is_one() {
    let mut fixture = LaneFixture::with("max_batch_events = 1, max_in_flight = 1").await;
    fixture.faults("refuse=77:Bad");
    let mut names = vec!["Bad"; 30];
    names[4] = "Lead";
    fixture.push(&names).await;
    // Each refused event is followed by an event of another name while there is one.
    let mut calls = 0;
    while fixture.ended(Reason::Accepted) == 0 {
        fixture.lanes[0].step().await;
        calls = fixture.calls();
        assert!(calls < 8, "the good one is found late");
        tokio::task::yield_now().await;
    }
    assert!(calls <= 2, "{calls} calls");
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn bad_ones_among_many_are_found_and_the_others_go_out() {
    for faults in ["refuse=100:Bad", "refuse=100:Bad,take_good"] {
        let mut fixture = LaneFixture::one().await;
        fixture.faults(faults);
        let mut names = vec!["Lead"; 1000];
        for bad in [0, 1, 499, 700, 999] {
            names[bad] = "Bad";
        }
        fixture.push(&names).await;
        go_on(&mut fixture, 1).await;
        assert_eq!(fixture.ended(Reason::Accepted), 995, "{faults}");
        // Nothing is left whose acceptance could decide about the last.
        assert!(fixture.queued() <= 1, "{faults}");
        fixture.push(&["Lead"]).await;
        fixture.settle().await;
        assert_eq!(fixture.ended(Reason::Accepted), 996, "{faults}");
        assert_eq!(fixture.ended(Reason::Refused), 5, "{faults}");
        assert_eq!(fixture.queued(), 0);
        assert!(fixture.calls() <= 1 + 5 * 14, "{} calls", fixture.calls());
        fixture.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn twenty_alike_pause_the_lane_and_cost_nothing() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("error=400:100");
    let names: Vec<String> = (0..300)
        .map(|number| format!("Name {}", number % 7))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    fixture.push(&names).await;
    fixture.fill().await;
    fixture.settle().await;
    assert_eq!(fixture.state(), LaneState::Paused);
    assert_eq!(fixture.queued(), 300);
    // A search for the first, a row, a round of probes.
    assert!(fixture.calls() <= 40 + 24, "{} calls", fixture.calls());
    let shown = reason(&fixture);
    assert!(
        shown.contains("code 100, sub-code none: (#100) Simulated error"),
        "{shown}"
    );
    assert!(fixture.dead().await.is_empty());
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_paused_lane_tries_what_comes_in_within_seconds() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("refuse=100:Bad");
    fixture.push(&["Bad"; 25]).await;
    fixture.fill().await;
    fixture.settle().await;
    assert_eq!(fixture.state(), LaneState::Paused);
    let calls = fixture.calls();
    fixture.push(&["Lead"]).await;
    fixture.pass(Duration::from_secs(5)).await;
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::Accepted), 1);
    assert!(
        fixture.calls() <= calls + 12,
        "{} calls",
        fixture.calls() - calls
    );
    go_on(&mut fixture, 20).await;
    // The twenty are known to be bad; the few that are left wait for the next good one.
    assert!(fixture.ended(Reason::Refused) >= 20);
    assert_eq!(fixture.ended(Reason::Accepted), 1);
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn strangers_who_send_bad_events_hold_up_no_good_one_for_long() {
    for (fault, bad) in [
        ("refuse=100:Bad", 200),
        ("poison=Bad", 200),
        ("page=403:Bad", 5),
    ] {
        let mut fixture = LaneFixture::one().await;
        fixture.faults(fault);
        fixture.push(&vec!["Bad"; bad]).await;
        fixture.fill().await;
        fixture.settle().await;
        let mut good = 0;
        for _ in 0..10 {
            fixture.push(&["Lead", "Bad", "Bad", "Bad"]).await;
            good += 1;
            let pushed = Instant::now();
            while fixture.ended(Reason::Accepted) < good {
                let until = fixture.settle().await;
                if fixture.ended(Reason::Accepted) < good {
                    fixture.pass_until(until).await;
                }
            }
            let waited = pushed.elapsed();
            assert!(waited < Duration::from_secs(70), "{fault}: {waited:?}");
        }
        fixture.assert_sound();
    }
}

impl LaneFixture {
    /// Lets the lane do what it does, until this moment.
    async fn settle_until(&mut self, end: Instant) {
        loop {
            let until = self.settle().await;
            let Some(moment) = until.filter(|moment| *moment < end) else {
                break;
            };
            self.pass_until(Some(moment)).await;
        }
        self.pass(end.saturating_duration_since(Instant::now()))
            .await;
    }
}

/// Events that only Meta can refuse, under the name of good ones, then good ones. Bad ones go on to come meanwhile.
#[tokio::test(start_paused = true)]
async fn forty_bad_events_hold_up_good_ones_for_seconds() {
    for fault in ["poison=bad*", "refuse=100:bad*"] {
        for (seconds, every) in [(0, 1), (10, 10), (90, 90), (120, 5), (300, 20), (900, 60)] {
            let mut fixture = LaneFixture::one().await;
            fixture.faults(fault);
            let sync = fixture.lanes[0].sync().clone();
            let forty = (0..40).map(|_| ("Lead", "bad"));
            fixture.push_with(&sync, forty).await;
            for _ in 0..seconds / every {
                let next = Instant::now() + Duration::from_secs(every);
                fixture.settle_until(next).await;
                fixture
                    .push_with(&sync, [("Lead", "bad")].into_iter())
                    .await;
            }
            let (pushed, calls) = (Instant::now(), fixture.calls());
            let ten = (0..10).map(|_| ("Lead", ""));
            fixture.push_with(&sync, ten).await;
            while fixture.ended(Reason::Accepted) < 10 {
                let until = fixture.settle().await;
                if fixture.ended(Reason::Accepted) < 10 {
                    fixture.pass_until(until).await;
                }
            }
            let (waited, more) = (pushed.elapsed(), fixture.calls() - calls);
            let case = format!(
                "{fault}, one more in {every} s for {seconds} s: {calls} requests before, {more} more, \
                 {waited:?}"
            );
            assert!(waited < Duration::from_secs(5), "{case}");
            assert!(calls < 200 && more < 200, "{case}");
            fixture.assert_sound();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_under_the_name_of_good_events_holds_them_up_for_minutes_at_most() {
    for fault in ["refuse=100:bad*", "poison=bad*", "page=403:bad*"] {
        for (good_in, minutes) in [(2, 2), (40, 15)] {
            let mut fixture = LaneFixture::one().await;
            fixture.faults(fault);
            let marks: Vec<&str> = (0..160)
                .map(|place| if place % good_in == 1 { "" } else { "bad" })
                .collect();
            let sync = fixture.lanes[0].sync().clone();
            fixture
                .push_with(&sync, marks.iter().map(|mark| ("Lead", *mark)))
                .await;
            let good = marks.iter().filter(|mark| mark.is_empty()).count() as u64;
            let pushed = Instant::now();
            loop {
                let until = fixture.settle().await;
                if fixture.ended(Reason::Accepted) == good {
                    break;
                }
                fixture.pass_until(until).await;
            }
            let waited = pushed.elapsed();
            assert!(
                waited < Duration::from_secs(60 * minutes),
                "{fault}, one in {good_in}: {waited:?}"
            );
            fixture.assert_sound();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_is_queued_again_after_a_restart() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("error=400:100");
    fixture.push(&["Bad", "Worse", "Lead"]).await;
    fixture.fill().await;
    fixture.settle().await;
    assert_eq!(fixture.queued(), 3);
    fixture.faults("");
    fixture.restart().await;
    fixture.fill().await;
    fixture.settle().await;
    assert_eq!(fixture.ended(Reason::Accepted), 3);
    fixture.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn events_that_were_refused_together_are_not_repeated_after_two_days() {
    for take_good in ["", ",take_good"] {
        let mut fixture = LaneFixture::one().await;
        fixture.faults(&format!("next:error=400:100{take_good}"));
        fixture.push_many(5).await;
        fixture.fill().await;
        // Refused whole, and nothing can be learnt afterwards.
        fixture.faults(&format!("next:error=400:100,reset_before{take_good}"));
        fixture.settle().await;
        fixture.pass(Duration::from_secs(48 * 3600)).await;
        let calls = fixture.calls();
        fixture.settle().await;
        fixture.queue.expire().await.unwrap();
        fixture.settle().await;
        assert_eq!(fixture.calls(), calls);
        assert_eq!(fixture.ended(Reason::MaybeDelivered), 5);
        fixture.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_refused_for_one_event_costs_no_other_whatever_meta_does() {
    for fault in ["poison=Bad", "poison=Bad,take_good"] {
        let mut fixture = LaneFixture::one().await;
        fixture.faults(fault);
        fixture.push(&["Lead", "Bad", "Lead", "Lead"]).await;
        fixture.fill().await;
        fixture.settle().await;
        assert_eq!(fixture.ended(Reason::Accepted), 3, "{fault}");
        assert_eq!(fixture.ended(Reason::Refused), 1, "{fault}");
        for (id, name) in ["Lead", "Bad", "Lead", "Lead"].into_iter().enumerate() {
            let times = fixture
                .sandbox
                .times_accepted("11", name, &(id + 1).to_string());
            assert_eq!(times > 0, name == "Lead", "{fault}");
        }
        fixture.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_page_is_waited_out() {
    for status in [400, 401, 403, 404, 405, 451] {
        let mut fixture = LaneFixture::one().await;
        let page = format!("next:status={status}:html");
        fixture.faults(&[page.as_str(); 3].join(","));
        fixture.push(&["Lead", "Contact"]).await;
        fixture.fill().await;
        let until = fixture.settle().await;
        assert_eq!(fixture.state(), LaneState::BackingOff, "{status}");
        let shown = reason(&fixture);
        assert!(
            shown.contains(&format!("not Meta's Graph API (status {status})")),
            "{shown}"
        );
        fixture.pass_until(until).await;
        go_on(&mut fixture, 10).await;
        assert_eq!(fixture.ended(Reason::Accepted), 2, "{status}");
        assert_eq!(fixture.ended(Reason::Refused), 0, "{status}");
        fixture.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_a_proxy_stops_costs_no_other_and_is_never_rejected() {
    let mut fixture = LaneFixture::one().await;
    fixture.faults("page=403:Bad");
    let mut names = vec!["Lead"; 200];
    names[77] = "Bad";
    fixture.push(&names).await;
    go_on(&mut fixture, 12).await;
    assert_eq!(fixture.ended(Reason::Accepted), 199);
    assert_eq!((fixture.queued(), fixture.ended(Reason::Refused)), (1, 0));
    let shown = reason(&fixture);
    assert!(shown.contains("1 events fail again and again"), "{shown}");
    assert_eq!(fixture.state(), LaneState::BackingOff);
    fixture.faults("");
    go_on(&mut fixture, 3).await;
    assert_eq!(fixture.ended(Reason::Accepted), 200);
    assert_eq!(fixture.state(), LaneState::Running);
    fixture.assert_sound();
}
