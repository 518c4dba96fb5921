//! A refusal that does not tell of an event is not laid to its charge, unless others show that it is.

use super::*;

fn reason(rig: &Rig) -> String {
    let status = rig.lanes[0].status().borrow().clone();
    status.reason.unwrap_or_default()
}

/// Lets the lane go on until everything that it began is over, and the moments that it waits for.
async fn go_on(rig: &mut Rig, moments: usize) {
    for _ in 0..moments {
        let until = rig.settle().await;
        if rig.queued() == 0 || until.is_none() {
            break;
        }
        rig.pass_until(until).await;
    }
    rig.settle().await;
}

#[tokio::test(start_paused = true)]
async fn one_alone_is_tried_again_and_never_rejected() {
    let mut rig = Rig::one().await;
    rig.faults("error=400:123456");
    rig.push(&["Lead"]).await;
    rig.fill().await;
    for tries in 1..=10 {
        let until = rig.settle().await;
        assert_eq!(rig.calls(), tries);
        assert_eq!((rig.queued(), rig.ended(Reason::Refused)), (1, 0));
        assert_eq!(rig.state(), LaneState::backing_off);
        let shown = reason(&rig);
        assert!(shown.contains("code 123456, sub-code none"), "{shown}");
        assert!(shown.contains("others are tried"), "{shown}");
        rig.pass_until(until).await;
    }
    rig.faults("");
    rig.settle().await;
    assert_eq!(rig.ended(Reason::Accepted), 1);
    assert_eq!(rig.state(), LaneState::running);
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn one_alone_expires_when_its_window_closes() {
    let mut rig = Rig::one().await;
    rig.faults("error=400:123456");
    rig.push(&["Lead"]).await;
    rig.fill().await;
    rig.settle().await;
    rig.pass(Duration::from_secs(WEEK.cast_unsigned())).await;
    let calls = rig.calls();
    rig.settle().await;
    rig.queue.tidy().await.unwrap();
    assert_eq!(rig.calls(), calls);
    assert_eq!(rig.ended(Reason::WindowClosed), 1);
    assert_eq!(rig.queued(), 0);
    rig.settle().await;
    assert_eq!(rig.state(), LaneState::running);
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn another_that_is_taken_shows_whose_fault_it_is() {
    for other in ["Lead", "Bad"] {
        let mut rig = Rig::one().await;
        rig.faults("next:error=400:123456:7");
        rig.push(&["Bad"]).await;
        rig.fill().await;
        rig.settle().await;
        assert_eq!(rig.queued(), 1);
        // However soon it comes: it does not wait for a batch to fill, nor for the next try.
        rig.push(&[other]).await;
        rig.settle().await;
        assert_eq!(rig.calls(), 2, "{other}");
        assert_eq!(rig.ended(Reason::Accepted), 1, "{other}");
        assert_eq!(rig.ended(Reason::Refused), 1, "{other}");
        assert_eq!(rig.dead().await[0].code, Some(123_456));
        assert_eq!(rig.state(), LaneState::running);
        rig.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_probe_is_of_another_name_if_there_is_one() {
    let mut rig = Rig::with("max_batch_events = 1, max_in_flight = 1").await;
    rig.faults("refuse=77:Bad");
    let mut names = vec!["Bad"; 30];
    names[4] = "Lead";
    rig.push(&names).await;
    // Each refused event is followed by an event of another name while there is one.
    let mut calls = 0;
    while rig.ended(Reason::Accepted) == 0 {
        rig.lanes[0].step().await;
        calls = rig.calls();
        assert!(calls < 8, "the good one is found late");
        tokio::task::yield_now().await;
    }
    assert!(calls <= 2, "{calls} calls");
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn bad_ones_among_many_are_found_and_the_others_go_out() {
    for faults in ["refuse=100:Bad", "refuse=100:Bad,take_good"] {
        let mut rig = Rig::one().await;
        rig.faults(faults);
        let mut names = vec!["Lead"; 1000];
        for bad in [0, 1, 499, 700, 999] {
            names[bad] = "Bad";
        }
        rig.push(&names).await;
        go_on(&mut rig, 1).await;
        assert_eq!(rig.ended(Reason::Accepted), 995, "{faults}");
        // Nothing was left that could speak against the last.
        assert!(rig.queued() <= 1, "{faults}");
        rig.push(&["Lead"]).await;
        rig.settle().await;
        assert_eq!(rig.ended(Reason::Accepted), 996, "{faults}");
        assert_eq!(rig.ended(Reason::Refused), 5, "{faults}");
        assert_eq!(rig.queued(), 0);
        assert!(rig.calls() <= 1 + 5 * 14, "{} calls", rig.calls());
        rig.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn twenty_alike_pause_the_lane_and_cost_nothing() {
    let mut rig = Rig::one().await;
    rig.faults("error=400:100");
    let names: Vec<String> = (0..300)
        .map(|number| format!("Name {}", number % 7))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    rig.push(&names).await;
    rig.fill().await;
    rig.settle().await;
    assert_eq!(rig.state(), LaneState::paused);
    assert_eq!(rig.queued(), 300);
    // A search for the first, a row, a round of probes.
    assert!(rig.calls() <= 40 + 24, "{} calls", rig.calls());
    let shown = reason(&rig);
    assert!(
        shown.contains("code 100, sub-code none: (#100) Simulated error"),
        "{shown}"
    );
    assert!(rig.dead().await.is_empty());
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_paused_lane_tries_what_comes_in_within_seconds() {
    let mut rig = Rig::one().await;
    rig.faults("refuse=100:Bad");
    rig.push(&["Bad"; 25]).await;
    rig.fill().await;
    rig.settle().await;
    assert_eq!(rig.state(), LaneState::paused);
    let calls = rig.calls();
    rig.push(&["Lead"]).await;
    rig.pass(Duration::from_secs(5)).await;
    rig.settle().await;
    assert_eq!(rig.ended(Reason::Accepted), 1);
    assert!(rig.calls() <= calls + 12, "{} calls", rig.calls() - calls);
    go_on(&mut rig, 20).await;
    // The twenty are known to be bad; the few that are left wait for the next good one.
    assert!(rig.ended(Reason::Refused) >= 20);
    assert_eq!(rig.ended(Reason::Accepted), 1);
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn strangers_who_send_bad_events_hold_up_no_good_one_for_long() {
    for (fault, bad) in [
        ("refuse=100:Bad", 200),
        ("poison=Bad", 200),
        ("page=403:Bad", 5),
    ] {
        let mut rig = Rig::one().await;
        rig.faults(fault);
        rig.push(&vec!["Bad"; bad]).await;
        rig.fill().await;
        rig.settle().await;
        let mut good = 0;
        for _ in 0..10 {
            rig.push(&["Lead", "Bad", "Bad", "Bad"]).await;
            good += 1;
            let pushed = Instant::now();
            while rig.ended(Reason::Accepted) < good {
                let until = rig.settle().await;
                if rig.ended(Reason::Accepted) < good {
                    rig.pass_until(until).await;
                }
            }
            let waited = pushed.elapsed();
            assert!(waited < Duration::from_secs(70), "{fault}: {waited:?}");
        }
        rig.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_under_the_name_of_good_events_holds_them_up_for_minutes_at_most() {
    for fault in ["refuse=100:bad*", "poison=bad*", "page=403:bad*"] {
        for (good_in, minutes) in [(2, 2), (40, 15)] {
            let mut rig = Rig::one().await;
            rig.faults(fault);
            let marks: Vec<&str> = (0..160)
                .map(|place| if place % good_in == 1 { "" } else { "bad" })
                .collect();
            let sync = rig.lanes[0].sync().clone();
            rig.push_with(&sync, marks.iter().map(|mark| ("Lead", *mark)))
                .await;
            let good = marks.iter().filter(|mark| mark.is_empty()).count() as u64;
            let pushed = Instant::now();
            loop {
                let until = rig.settle().await;
                if rig.ended(Reason::Accepted) == good {
                    break;
                }
                rig.pass_until(until).await;
            }
            let waited = pushed.elapsed();
            assert!(
                waited < Duration::from_secs(60 * minutes),
                "{fault}, one in {good_in}: {waited:?}"
            );
            rig.assert_sound();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_is_queued_again_after_a_restart() {
    let mut rig = Rig::one().await;
    rig.faults("error=400:100");
    rig.push(&["Bad", "Worse", "Lead"]).await;
    rig.fill().await;
    rig.settle().await;
    assert_eq!(rig.queued(), 3);
    rig.faults("");
    rig.restart().await;
    rig.fill().await;
    rig.settle().await;
    assert_eq!(rig.ended(Reason::Accepted), 3);
    rig.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn events_that_were_refused_together_are_not_repeated_after_two_days() {
    for take_good in ["", ",take_good"] {
        let mut rig = Rig::one().await;
        rig.faults(&format!("next:error=400:100{take_good}"));
        rig.push_many(5).await;
        rig.fill().await;
        // Refused whole, and nothing can be learnt afterwards.
        rig.faults(&format!("next:error=400:100,reset_before{take_good}"));
        rig.settle().await;
        rig.pass(Duration::from_secs(48 * 3600)).await;
        let calls = rig.calls();
        rig.settle().await;
        rig.queue.tidy().await.unwrap();
        rig.settle().await;
        assert_eq!(rig.calls(), calls);
        assert_eq!(rig.ended(Reason::MaybeDelivered), 5);
        rig.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_refused_for_one_event_costs_no_other_whatever_meta_does() {
    for fault in ["poison=Bad", "poison=Bad,take_good"] {
        let mut rig = Rig::one().await;
        rig.faults(fault);
        rig.push(&["Lead", "Bad", "Lead", "Lead"]).await;
        rig.fill().await;
        rig.settle().await;
        assert_eq!(rig.ended(Reason::Accepted), 3, "{fault}");
        assert_eq!(rig.ended(Reason::Refused), 1, "{fault}");
        for (id, name) in ["Lead", "Bad", "Lead", "Lead"].into_iter().enumerate() {
            let times = rig
                .sandbox
                .times_accepted("11", name, &(id + 1).to_string());
            assert_eq!(times > 0, name == "Lead", "{fault}");
        }
        rig.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_page_is_waited_out() {
    for status in [400, 401, 403, 404, 405, 451] {
        let mut rig = Rig::one().await;
        let page = format!("next:status={status}:html");
        rig.faults(&[page.as_str(); 3].join(","));
        rig.push(&["Lead", "Contact"]).await;
        rig.fill().await;
        let until = rig.settle().await;
        assert_eq!(rig.state(), LaneState::backing_off, "{status}");
        let shown = reason(&rig);
        assert!(
            shown.contains(&format!("not Meta's Graph API (status {status})")),
            "{shown}"
        );
        rig.pass_until(until).await;
        go_on(&mut rig, 10).await;
        assert_eq!(rig.ended(Reason::Accepted), 2, "{status}");
        assert_eq!(rig.ended(Reason::Refused), 0, "{status}");
        rig.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_a_proxy_stops_costs_no_other_and_is_never_rejected() {
    let mut rig = Rig::one().await;
    rig.faults("page=403:Bad");
    let mut names = vec!["Lead"; 200];
    names[77] = "Bad";
    rig.push(&names).await;
    go_on(&mut rig, 12).await;
    assert_eq!(rig.ended(Reason::Accepted), 199);
    assert_eq!((rig.queued(), rig.ended(Reason::Refused)), (1, 0));
    let shown = reason(&rig);
    assert!(shown.contains("1 events fail again and again"), "{shown}");
    assert_eq!(rig.state(), LaneState::backing_off);
    rig.faults("");
    go_on(&mut rig, 3).await;
    assert_eq!(rig.ended(Reason::Accepted), 200);
    assert_eq!(rig.state(), LaneState::running);
    rig.assert_sound();
}
