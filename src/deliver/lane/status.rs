//! What a lane tells the operator about itself.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::config::SyncName;
use crate::deliver::limiter::{Circuit, CooldownReason};
use crate::deliver::quarantine::{Cause, Quarantine};
use crate::queue::dead::Refusal;
use crate::telemetry::metrics::LaneState;

use super::breaker::Breaker;
use super::settle::StoreRetry;
use super::setup::LaneSetup;

/// How a lane stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    pub state: LaneState,
    /// Since which uptime.
    pub since: Duration,
    /// Why, where it is not running: one sentence, without any secret.
    pub reason: Option<String>,
    /// At which uptime the next request may go out, where it waits.
    pub next_try: Option<Duration>,
    pub in_flight: usize,
    /// Requests that may be in flight at present.
    pub concurrency: usize,
    /// How often it was begun anew, if it was.
    pub restarts: Option<LaneRestarts>,
}

/// How often a fault of this program made a lane begin anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneRestarts {
    pub count: u32,
    /// At which uptime.
    pub last: Duration,
    /// What is known of the last fault, without any value.
    pub cause: String,
}

/// A lane as others see it.
#[derive(Clone, Debug)]
pub struct LaneHandle {
    pub(super) status: watch::Receiver<LaneStatus>,
    pub(super) setups: mpsc::Sender<LaneSetup>,
}

/// All lanes as others see them.
#[derive(Clone, Debug, Default)]
pub struct LaneHandles(pub BTreeMap<SyncName, LaneHandle>);

impl LaneStatus {
    /// A lane with nothing to report.
    pub fn idle(state: LaneState, since: Duration) -> Self {
        Self {
            state,
            since,
            reason: None,
            next_try: None,
            in_flight: 0,
            concurrency: 1,
            restarts: None,
        }
    }

    /// Shows it from now on. Tells whether that changes what is shown.
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
        !matches!(self.state, LaneState::Running | LaneState::Draining)
    }
}

impl LaneHandle {
    /// How the lane stands now.
    pub fn status(&self) -> LaneStatus {
        self.status.borrow().clone()
    }

    /// Lets the lane go by another setup, from its next request on. A lane that stops takes none.
    pub async fn configure(&self, setup: LaneSetup) {
        drop(self.setups.send(setup).await);
    }
}

/// Says how a lane stands, except for its requests. `normal` is its state without trouble.
pub(super) fn describe(
    normal: LaneState,
    breaker: &Breaker,
    circuit: Circuit,
    store: &StoreRetry,
    quarantine: &Quarantine,
    uptime: Duration,
) -> LaneStatus {
    let retry = breaker.wait_until(Instant::now());
    let (state, reason, next_try) = if let Some(fix) = breaker.fix() {
        (LaneState::Paused, fix.in_words().to_owned(), retry)
    } else if breaker.is_refusing() {
        let reason = format!(
            "Meta refuses one event after the other ({}); single events are tried now and then",
            in_words(quarantine.cause(), quarantine.last_refusal())
        );
        (LaneState::Paused, reason, retry)
    } else if let Some(cooldown) = describe_cooldown(circuit) {
        cooldown
    } else if store.is_failing() {
        let reason = "the store failed".to_owned();
        (LaneState::BackingOff, reason, store.next)
    } else if let Some(failure) = breaker.failure() {
        (LaneState::BackingOff, failure.in_words(), retry)
    } else if let Some(reason) = describe_quarantine(quarantine) {
        (LaneState::BackingOff, reason, quarantine.next_due())
    } else {
        return LaneStatus::idle(normal, uptime);
    };
    let wait = |next: Instant| next.saturating_duration_since(Instant::now());
    LaneStatus {
        reason: Some(reason),
        next_try: next_try.map(|next| uptime + wait(next)),
        ..LaneStatus::idle(state, uptime)
    }
}

/// Says which cooldown of the pixel holds the lane up, and until when.
fn describe_cooldown(circuit: Circuit) -> Option<(LaneState, String, Option<Instant>)> {
    let (reason, until) = match circuit {
        Circuit::Closed => return None,
        Circuit::Open(reason, until) => (reason, Some(until)),
        Circuit::HalfOpen(reason) => (reason, None),
    };
    let state = match reason {
        CooldownReason::Blocked => LaneState::Blocked,
        CooldownReason::Throttled | CooldownReason::Usage => LaneState::Throttled,
    };
    Some((state, reason.in_words().to_owned(), until))
}

/// Says which events are held because they were refused or failed alone.
fn describe_quarantine(quarantine: &Quarantine) -> Option<String> {
    let (refused, refusal) = quarantine.undecided();
    if let Some(refusal) = refusal {
        return Some(format!(
            "Meta refused {refused} events alone ({}); others are tried, to learn whether it is the \
             events' fault",
            in_words((refusal.code, refusal.sub_code), Some(refusal))
        ));
    }
    let failing = quarantine.failing();
    (failing > 0).then(|| {
        format!("{failing} events fail again and again though others are taken; they are tried now and then")
    })
}

/// Meta's codes and words; the words were redacted before they were kept.
fn in_words((code, sub_code): Cause, refusal: Option<&Refusal>) -> String {
    let number =
        |code: Option<i64>| code.map_or_else(|| "none".to_owned(), |code| code.to_string());
    let mut words = format!("code {}, sub-code {}", number(code), number(sub_code));
    if let Some(message) = refusal.and_then(|refusal| refusal.message.as_deref()) {
        words.extend([": ", message]);
    }
    words
}
