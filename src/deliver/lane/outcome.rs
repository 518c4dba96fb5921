//! What a lane does about the outcome of a request.
//!
//! Pure: the verdict, the request and how the lane stands lead to an [`Action`], which the lane
//! applies. Its parts concern the pixel, whose limits all its lanes share, the lane, and the events that
//! were sent; none depends on how the others are applied.

use std::time::Duration;

use crate::deliver::limiter::CooldownReason;
use crate::deliver::verdict::{Fix, Judgement, LimitOf, Verdict};

use super::breaker::{SUSPECT_FROM, TransientFailure};

/// Failing batches that are split before the lane itself is suspected again: enough to find one event
/// among a thousand.
pub(super) const SPLIT_BUDGET: u32 = 15;
/// After more failures in a row than this the search for bad events is given up.
const SEARCH_FAILURES: u32 = 4;

/// A request, and how the lane stands when its outcome is known.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own that the decision looks at"
)]
pub(super) struct OutcomeFacts {
    pub(super) events: usize,
    /// It was part of a batch that failed before.
    pub(super) is_search: bool,
    /// Its only event comes out of the quarantine.
    pub(super) is_retry: bool,
    /// Nothing keeps the lane from delivering as usual.
    pub(super) is_well: bool,
    /// Failures so far may be the fault of what was sent.
    pub(super) suspects_batch: bool,
    /// Failures in a row, if this one counts too.
    pub(super) failures_after: u32,
    /// Single events are sent, to learn whether others are refused too.
    pub(super) is_isolating: bool,
    /// Failing batches that may still be split.
    pub(super) split_budget: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Action {
    pub(super) pixel: OnPixel,
    pub(super) lane: OnLane,
    pub(super) events: OnEvents,
    pub(super) split_budget: u32,
}

impl Action {
    /// The request was sent with other credentials: what it says of them says nothing of the present ones.
    pub(super) fn forget_credentials(&mut self) {
        if let OnPixel::CoolDown(_, limit, _) = &mut self.pixel {
            *limit = LimitOf::Pixel;
        }
        if matches!(
            self.lane,
            OnLane::Accepted | OnLane::Answered | OnLane::Pause(_)
        ) {
            self.lane = OnLane::Keep;
        }
    }
}

/// What an outcome says of the pixel's rate limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum OnPixel {
    /// Nothing: a probe is repeated.
    Keep,
    /// They allow requests: a probe has passed.
    Confirm,
    /// They forbid requests for a while.
    CoolDown(CooldownReason, LimitOf, Option<Duration>),
}

/// What an outcome says of the lane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum OnLane {
    Keep,
    /// Meta accepts events.
    Accepted,
    /// Requests get through to Meta.
    Answered,
    /// They fail for a reason that passes; Meta may ask for a wait.
    Failed(TransientFailure, Option<Duration>),
    /// After the pixel's cooldown they start over, one at a time.
    StartOver,
    /// None succeeds until someone fixes this.
    Pause(Fix),
}

/// What becomes of the events that were sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum OnEvents {
    Accept {
        /// Meta did not count them all.
        short: bool,
    },
    /// They are sent in smaller parts, first the event at this index; an event that was sent alone is refused.
    Split(Option<usize>),
    /// They are too large together and are sent in halves; an event that was sent alone is refused.
    Halve,
    /// They are sent again after this wait; `None`: after the lane's own.
    Retry(Option<Duration>),
}

/// Decides what follows an answer, or the lack of one.
pub(super) fn decide(judgement: &Judgement, view: &OutcomeFacts) -> Action {
    let status = judgement.status.unwrap_or_default();
    let (pixel, lane, events) = match judgement.verdict {
        Verdict::Delivered => return on_acceptance(false, view),
        Verdict::ShortCount { .. } | Verdict::Uncounted => return on_acceptance(true, view),
        Verdict::Transient { wait } if judgement.is_foreign => {
            return on_fault(TransientFailure::Foreign(status), wait, view);
        }
        Verdict::Transient { wait } => {
            return on_fault(TransientFailure::Fault(status), wait, view);
        }
        Verdict::Unanswered { is_lost: true } => {
            return back_off(TransientFailure::Lost, None, view);
        }
        Verdict::Unanswered { is_lost: false } => {
            return back_off(TransientFailure::Unreachable, None, view);
        }
        Verdict::Throttled { wait, limit } => (
            OnPixel::CoolDown(CooldownReason::Throttled, limit, Some(wait)),
            OnLane::StartOver,
            OnEvents::Retry(Some(wait)),
        ),
        Verdict::Blocked { wait } => (
            OnPixel::CoolDown(CooldownReason::Blocked, LimitOf::Pixel, wait),
            OnLane::StartOver,
            OnEvents::Retry(Some(Duration::MAX)),
        ),
        Verdict::Paused(fix) => (
            OnPixel::Confirm,
            OnLane::Pause(fix),
            OnEvents::Retry(Some(Duration::MAX)),
        ),
        // A proxy has refused it: Meta may be out of reach.
        Verdict::TooLarge if judgement.is_foreign => {
            (OnPixel::Confirm, OnLane::Keep, OnEvents::Halve)
        }
        Verdict::TooLarge => (OnPixel::Confirm, OnLane::Answered, OnEvents::Halve),
        Verdict::Invalid { hint } => (OnPixel::Confirm, OnLane::Answered, OnEvents::Split(hint)),
        Verdict::Refused => (OnPixel::Confirm, OnLane::Answered, OnEvents::Split(None)),
    };
    Action {
        pixel,
        lane,
        events,
        split_budget: view.split_budget,
    }
}

/// Decides what follows a failure that says nothing about the events.
fn back_off(failure: TransientFailure, wait: Option<Duration>, view: &OutcomeFacts) -> Action {
    let gives_up = view.failures_after > SEARCH_FAILURES;
    Action {
        pixel: OnPixel::Keep,
        lane: OnLane::Failed(failure, wait),
        events: OnEvents::Retry(gives_up.then_some(Duration::MAX)),
        split_budget: view.split_budget,
    }
}

/// While events are accepted, a batch that fails is to blame, not the lane.
fn on_acceptance(short: bool, view: &OutcomeFacts) -> Action {
    let is_alone = view.events == 1;
    let is_search = view.split_budget > 0 && (view.is_search || is_alone);
    let goes_on = is_search || view.suspects_batch && is_alone;
    Action {
        pixel: OnPixel::Confirm,
        lane: OnLane::Accepted,
        events: OnEvents::Accept { short },
        split_budget: if goes_on { SPLIT_BUDGET } else { 0 },
    }
}

/// Decides whether a fault is the lane's or the batch's. While other events are accepted it is the batch's,
/// as far as the budget goes. Else the lane backs off, and if one event alone keeps failing, another is tried
/// next.
fn on_fault(failure: TransientFailure, wait: Option<Duration>, view: &OutcomeFacts) -> Action {
    let is_alone = view.events == 1;
    let mut action = back_off(failure, wait, view);
    if view.is_well && view.is_retry {
        action.lane = OnLane::Keep;
    } else if view.split_budget > 0 && (view.is_well || is_alone && view.suspects_batch) {
        action.lane = OnLane::Keep;
        action.split_budget -= 1;
    } else if !is_alone || view.failures_after < SUSPECT_FROM || view.is_isolating {
        return action;
    } else if matches!(failure, TransientFailure::Foreign(_)) {
        // A filter may stop what strangers send: after the wait several are tried in a row.
        action.split_budget = SPLIT_BUDGET;
    }
    action.events = OnEvents::Split(None);
    action
}

#[cfg(test)]
#[path = "outcome/tests.rs"]
mod tests;
