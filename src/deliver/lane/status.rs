//! What a lane tells the operator of itself.

use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::UnixMillis;
use crate::config::SyncName;
use crate::deliver::limiter::{Circuit, CooldownReason};
use crate::deliver::quarantine::Cause;
use crate::queue::settle::Refusal;
use crate::telemetry::metrics::LaneState;

use super::breaker::{Breaker, LaneTrouble};
use super::leased::RefusedEvents;
use super::settle::StoreRetry;

/// How a lane stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    pub state: LaneState,
    pub since: UnixMillis,
    /// Why, where it is not running: one sentence, without any secret.
    pub reason: Option<String>,
    /// When the next request may go out, where it waits.
    pub next_try: Option<UnixMillis>,
    pub in_flight: usize,
    /// Requests that may be in flight at present.
    pub concurrency: usize,
}

/// How all lanes stand.
#[derive(Clone, Debug, Default)]
pub struct LaneStatuses {
    lanes: Vec<(SyncName, watch::Receiver<LaneStatus>)>,
}

impl LaneStatus {
    /// A lane that has nothing to say.
    pub fn idle(state: LaneState, since: UnixMillis) -> Self {
        Self {
            state,
            since,
            reason: None,
            next_try: None,
            in_flight: 0,
            concurrency: 1,
        }
    }

    /// Shows it from now on. Tells whether it differs from what was shown.
    pub(super) fn publish(mut self, shown: &watch::Sender<Self>) -> bool {
        shown.send_if_modified(|shown| {
            if shown.state == self.state {
                self.since = shown.since;
            }
            let differs = *shown != self;
            *shown = self;
            differs
        })
    }

    /// Whether someone should look at it.
    pub fn is_in_trouble(&self) -> bool {
        !matches!(self.state, LaneState::running | LaneState::draining)
    }
}

impl LaneStatuses {
    pub fn new(lanes: Vec<(SyncName, watch::Receiver<LaneStatus>)>) -> Self {
        Self { lanes }
    }

    /// How each lane stands now.
    pub fn statuses(&self) -> Vec<(SyncName, LaneStatus)> {
        self.lanes
            .iter()
            .map(|(sync, status)| (sync.clone(), status.borrow().clone()))
            .collect()
    }
}

/// Says how a lane stands, but for its requests; `normal`: when there is nothing to say.
pub(super) fn describe(
    normal: LaneState,
    breaker: &Breaker,
    circuit: Circuit,
    store: &StoreRetry,
    quarantine: &RefusedEvents,
    now: UnixMillis,
) -> LaneStatus {
    let retry = breaker.wait_until(Instant::now());
    let (state, reason, next_try) = match (breaker.trouble(), circuit) {
        (Some(LaneTrouble::Fix(fix)), _) => (LaneState::paused, fix.in_words().to_owned(), retry),
        (Some(LaneTrouble::Refusing(cause)), _) => {
            let reason = format!(
                "Meta refuses one event after the other ({}); single events are tried now and then",
                said(cause, quarantine.last_refusal())
            );
            (LaneState::paused, reason, retry)
        }
        (_, Circuit::Open(why, until)) => cooldown(why, Some(until)),
        (_, Circuit::HalfOpen(why)) => cooldown(why, None),
        (_, Circuit::Closed) => {
            let (reason, next_try) = if store.is_failing() {
                ("the store failed".to_owned(), store.next())
            } else if let Some(failure) = breaker.failure() {
                (failure.in_words(), retry)
            } else if let Some(reason) = describe_quarantine(quarantine) {
                (reason, quarantine.next_due())
            } else {
                return LaneStatus::idle(normal, now);
            };
            (LaneState::backing_off, reason, next_try)
        }
    };
    let wait = |next: Instant| next.saturating_duration_since(Instant::now());
    LaneStatus {
        reason: Some(reason),
        next_try: next_try.map(|next| now.plus(wait(next))),
        ..LaneStatus::idle(state, now)
    }
}

fn cooldown(
    reason: CooldownReason,
    until: Option<Instant>,
) -> (LaneState, String, Option<Instant>) {
    let (state, words) = match reason {
        CooldownReason::Blocked => (
            LaneState::blocked,
            "Meta has blocked the account for a while",
        ),
        CooldownReason::Throttled => (LaneState::throttled, "Meta's rate limit is reached"),
        CooldownReason::Usage => (
            LaneState::throttled,
            "nearly all of Meta's rate limit is used up",
        ),
    };
    (state, words.to_owned(), until)
}

/// Says which events are held because they were refused or failed alone.
fn describe_quarantine(quarantine: &RefusedEvents) -> Option<String> {
    let (refused, refusal) = quarantine.undecided();
    if let Some(refusal) = refusal {
        return Some(format!(
            "Meta refused {refused} events alone ({}); others are tried, to learn whether it is the \
             events' fault",
            said((refusal.code, refusal.sub_code), Some(refusal))
        ));
    }
    let failing = quarantine.failing();
    (failing > 0).then(|| {
        format!("{failing} events fail again and again though others are taken; they are tried now and then")
    })
}

/// Meta's codes and words; the words were redacted before they were kept.
fn said((code, sub_code): Cause, refusal: Option<&Refusal>) -> String {
    let number =
        |code: Option<i64>| code.map_or_else(|| "none".to_owned(), |code| code.to_string());
    let message = refusal.and_then(|refusal| refusal.message.as_deref());
    let message = message.map_or_else(String::new, |message| format!(": {message}"));
    format!(
        "code {}, sub-code {}{message}",
        number(code),
        number(sub_code)
    )
}
