//! How a lane describes itself to the operator.

use tokio::time::Instant;

use crate::clock::UnixMillis;
use crate::deliver::limiter::{Circuit, CooldownReason};
use crate::queue::settle::Refusal;
use crate::telemetry::metrics::LaneState;

use super::Lane;
use super::breaker::LaneTrouble;
use super::status::LaneStatus;

impl Lane {
    /// Shows how the lane stands.
    pub(super) fn show(&self) {
        let (state, reason, next) = self.describe();
        let next_try = next.map(|next| self.on_the_clock(next));
        let changed = self.status.send_if_modified(|status| {
            let changed = status.state != state;
            let next = LaneStatus {
                state,
                since: if changed {
                    self.clock.now()
                } else {
                    status.since
                },
                reason,
                next_try,
                in_flight: self.requests,
                concurrency: self.allowed(),
            };
            let differs = *status != next;
            *status = next;
            // Whoever waits for a change sees each; what is told twice is told once.
            differs
        });
        if changed {
            self.metrics.lane_state(&self.sync, state);
        }
    }

    fn describe(&self) -> (LaneState, Option<String>, Option<Instant>) {
        let next = self.standing.wait_until(Instant::now());
        match self.standing.trouble() {
            Some(LaneTrouble::Fix(fix)) => {
                return (LaneState::paused, Some(fix.as_str().to_owned()), next);
            }
            Some(LaneTrouble::Refusing((code, sub_code))) => {
                let reason = format!(
                    "Meta refuses one event after the other (code {}, sub-code {}{}); single events \
                     are tried now and then",
                    number(code),
                    number(sub_code),
                    said(self.quarantine.last_refusal())
                );
                return (LaneState::paused, Some(reason), next);
            }
            Some(LaneTrouble::Failing) | None => {}
        }
        let held = match *self.pixel.circuit().borrow() {
            Circuit::Open(why, until) => Some((why, Some(until))),
            Circuit::HalfOpen(why) => Some((why, None)),
            Circuit::Closed => None,
        };
        if let Some((why, until)) = held {
            let (state, reason) = match why {
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
            return (state, Some(reason.to_owned()), until);
        }
        if self.store_failures > 0 {
            let reason = "the store failed".to_owned();
            return (LaneState::backing_off, Some(reason), self.store_next);
        }
        if let Some(failure) = self.standing.failure() {
            return (LaneState::backing_off, Some(failure.in_words()), next);
        }
        if let Some(reason) = self.describe_refusals() {
            return (
                LaneState::backing_off,
                Some(reason),
                self.quarantine.next_due(),
            );
        }
        let state = if self.enabled {
            LaneState::running
        } else {
            LaneState::draining
        };
        (state, None, None)
    }

    /// Says which events are kept because they were refused or failed alone.
    fn describe_refusals(&self) -> Option<String> {
        let (refused, refusal) = self.quarantine.undecided();
        if let Some(refusal) = refusal {
            return Some(format!(
                "Meta refused {refused} events alone (code {}, sub-code {}{}); others are tried, to \
                 learn whether it is the events' fault",
                number(refusal.code),
                number(refusal.sub_code),
                said(Some(refusal))
            ));
        }
        let failing = self.quarantine.failing();
        (failing > 0).then(|| {
            format!("{failing} events fail again and again though others are taken; they are tried now and then")
        })
    }

    fn on_the_clock(&self, moment: Instant) -> UnixMillis {
        let wait = moment.saturating_duration_since(Instant::now());
        self.clock.now().plus(wait)
    }
}

/// Meta's words, redacted before they were kept.
fn said(refusal: Option<&Refusal>) -> String {
    let message = refusal.and_then(|refusal| refusal.message.as_deref());
    message.map_or_else(String::new, |message| format!(": {message}"))
}

fn number(code: Option<i64>) -> String {
    code.map_or_else(|| "none".to_owned(), |code| code.to_string())
}
