//! Every verdict, and every way in which the lane decides by how it stands.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const GIVEN_UP: OnEvents = OnEvents::Retry(Some(Duration::MAX));

type ViewOf = fn(OutcomeFacts) -> OutcomeFacts;

const BATCH: ViewOf = |view| view;
const SINGLE: ViewOf = |view| OutcomeFacts { events: 1, ..view };
const PART: ViewOf = |view| OutcomeFacts {
    is_search: true,
    ..view
};
const RETRY: ViewOf = |view| OutcomeFacts {
    is_retry: true,
    ..SINGLE(view)
};
/// A batch of a lane that is well.
const WELL: OutcomeFacts = OutcomeFacts {
    events: 100,
    is_search: false,
    is_retry: false,
    is_well: true,
    suspects_batch: false,
    failures_after: 1,
    is_isolating: false,
    split_budget: 0,
};
const FAILING: OutcomeFacts = OutcomeFacts {
    is_well: false,
    failures_after: 2,
    ..WELL
};
/// It has failed so often that the batch may be the cause.
const SUSPICIOUS: OutcomeFacts = OutcomeFacts {
    suspects_batch: true,
    failures_after: 4,
    ..FAILING
};

fn judged(verdict: Verdict) -> Judgement {
    Judgement {
        verdict,
        status: Some(500),
        ..Judgement::default()
    }
}

fn budget(split_budget: u32, view: OutcomeFacts) -> OutcomeFacts {
    OutcomeFacts {
        split_budget,
        ..view
    }
}

#[test]
fn every_verdict_leads_to_an_action() {
    let (keep, confirm, token) = (OnPixel::Keep, OnPixel::Confirm, LimitOf::Token);
    let throttled = OnPixel::CoolDown(CooldownReason::Throttled, token, Some(MINUTE));
    let blocked = OnPixel::CoolDown(CooldownReason::Blocked, LimitOf::Pixel, None);
    let fault = OnLane::Failed(TransientFailure::Fault(500), Some(MINUTE));
    let lost = OnLane::Failed(TransientFailure::Lost, None);
    let unreachable = OnLane::Failed(TransientFailure::Unreachable, None);
    let retry = OnEvents::Retry(None);
    for (verdict, pixel, lane, events) in [
        (
            Verdict::Delivered,
            confirm,
            OnLane::Accepted,
            OnEvents::Accept { short: false },
        ),
        (
            Verdict::ShortCount { received: 7 },
            confirm,
            OnLane::Accepted,
            OnEvents::Accept { short: true },
        ),
        (
            Verdict::Uncounted,
            confirm,
            OnLane::Accepted,
            OnEvents::Accept { short: true },
        ),
        (
            Verdict::Transient { wait: Some(MINUTE) },
            keep,
            fault,
            retry,
        ),
        (Verdict::Unanswered { is_lost: true }, keep, lost, retry),
        (
            Verdict::Unanswered { is_lost: false },
            keep,
            unreachable,
            retry,
        ),
        (
            Verdict::Throttled {
                wait: MINUTE,
                limit: token,
            },
            throttled,
            OnLane::StartOver,
            OnEvents::Retry(Some(MINUTE)),
        ),
        (
            Verdict::Blocked { wait: None },
            blocked,
            OnLane::StartOver,
            GIVEN_UP,
        ),
        (
            Verdict::Paused(Fix::Pixel),
            confirm,
            OnLane::Pause(Fix::Pixel),
            GIVEN_UP,
        ),
        (
            Verdict::TooLarge,
            confirm,
            OnLane::Answered,
            OnEvents::Halve,
        ),
        (
            Verdict::Invalid { hint: Some(3) },
            confirm,
            OnLane::Answered,
            OnEvents::Split(Some(3)),
        ),
        (
            Verdict::Refused,
            confirm,
            OnLane::Answered,
            OnEvents::Split(None),
        ),
    ] {
        let expected = Action {
            pixel,
            lane,
            events,
            split_budget: 0,
        };
        assert_eq!(decide(&judged(verdict), &WELL), expected, "{verdict:?}");
    }
}

#[test]
fn what_a_proxy_refuses_says_nothing_of_the_lane() {
    let judgement = Judgement {
        is_foreign: true,
        ..judged(Verdict::TooLarge)
    };
    let action = decide(&judgement, &WELL);
    assert_eq!(
        (action.lane, action.events),
        (OnLane::Keep, OnEvents::Halve)
    );
}

#[test]
fn a_fault_is_the_lanes_or_the_batchs() {
    let fault = OnLane::Failed(TransientFailure::Fault(500), None);
    let (retry, split) = (OnEvents::Retry(None), OnEvents::Split(None));
    let paused = OutcomeFacts {
        is_well: false,
        failures_after: 1,
        ..WELL
    };
    let isolating = OutcomeFacts {
        is_isolating: true,
        ..SUSPICIOUS
    };
    let many = OutcomeFacts {
        failures_after: 5,
        ..SUSPICIOUS
    };
    for (name, attempt, view, lane, events, left) in [
        ("the first", BATCH, WELL, fault, retry, 0),
        ("one of several", BATCH, FAILING, fault, retry, 0),
        (
            "a well lane's batch",
            BATCH,
            budget(3, WELL),
            OnLane::Keep,
            split,
            2,
        ),
        (
            "a well lane's event",
            SINGLE,
            budget(1, WELL),
            OnLane::Keep,
            split,
            0,
        ),
        (
            "a retry in a well lane",
            RETRY,
            WELL,
            OnLane::Keep,
            split,
            0,
        ),
        (
            "no more than once",
            RETRY,
            budget(3, WELL),
            OnLane::Keep,
            split,
            3,
        ),
        ("a retry in trouble", RETRY, FAILING, fault, retry, 0),
        (
            "trouble spends no budget",
            BATCH,
            budget(3, FAILING),
            fault,
            retry,
            3,
        ),
        (
            "nor does a pause",
            SINGLE,
            budget(3, paused),
            fault,
            retry,
            3,
        ),
        (
            "a batch under suspicion",
            BATCH,
            budget(3, SUSPICIOUS),
            fault,
            retry,
            3,
        ),
        (
            "an event under suspicion",
            SINGLE,
            budget(3, SUSPICIOUS),
            OnLane::Keep,
            split,
            2,
        ),
        ("another is tried next", SINGLE, SUSPICIOUS, fault, split, 0),
        ("but not while probing", SINGLE, isolating, fault, retry, 0),
        ("a search goes on", PART, SUSPICIOUS, fault, retry, 0),
        ("and is given up", PART, many, fault, GIVEN_UP, 0),
    ] {
        let expected = Action {
            pixel: OnPixel::Keep,
            lane,
            events,
            split_budget: left,
        };
        let judgement = judged(Verdict::Transient { wait: None });
        assert_eq!(decide(&judgement, &attempt(view)), expected, "{name}");
    }
}

#[test]
fn a_filter_that_stops_an_event_lets_several_be_tried() {
    let judgement = Judgement {
        is_foreign: true,
        ..judged(Verdict::Transient { wait: None })
    };
    let expected = Action {
        pixel: OnPixel::Keep,
        lane: OnLane::Failed(TransientFailure::Foreign(500), None),
        events: OnEvents::Split(None),
        split_budget: SPLIT_BUDGET,
    };
    assert_eq!(decide(&judgement, &SINGLE(SUSPICIOUS)), expected);
}

#[test]
fn an_acceptance_says_whether_batches_that_fail_are_to_blame() {
    for (name, attempt, view, left) in [
        ("nothing is suspected", BATCH, WELL, 0),
        ("nor by a single event", SINGLE, WELL, 0),
        ("others are accepted", SINGLE, SUSPICIOUS, SPLIT_BUDGET),
        ("a whole batch says nothing", BATCH, SUSPICIOUS, 0),
        ("a search gets on", PART, budget(3, WELL), SPLIT_BUDGET),
        ("event by event", SINGLE, budget(3, WELL), SPLIT_BUDGET),
        ("it is over", BATCH, budget(3, WELL), 0),
    ] {
        let action = decide(&judged(Verdict::Delivered), &attempt(view));
        assert_eq!(action.split_budget, left, "{name}");
    }
}
