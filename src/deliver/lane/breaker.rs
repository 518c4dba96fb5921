//! Whether a lane may send now, and what keeps it from sending.
//!
//! Pure: moments are arguments. Knows one token and one stream of events; what concerns the pixel as a
//! whole (rates, blocks) is in `limiter`.

use std::time::Duration;

use tokio::time::Instant;

use crate::deliver::backoff::Backoff;
use crate::deliver::quarantine::Cause;
use crate::deliver::verdict::Fix;

/// After this many failures in a row, what fails may be the batch.
pub const SUSPECT_FROM: u32 = 3;

/// Between probes of a lane that someone must fix.
const PROBES: Backoff = Backoff::new(
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(600),
);

/// Between probes of a lane that refusals paused, with events that were not tried yet.
const UNTRIED_PROBES: Backoff = Backoff::new(
    Duration::from_secs(5),
    Duration::from_secs(60),
    Duration::from_secs(60),
);

/// What keeps a lane from delivering as usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneTrouble {
    /// Requests fail for reasons that pass.
    Failing,
    /// No request can succeed until this is fixed.
    Fix(Fix),
    /// Meta refuses one event after the other for the same reason.
    Refusing(Cause),
}

/// What is wrong with a lane, and when it tries again.
#[derive(Debug, Default)]
pub struct Breaker {
    failing: Option<(TransientFailure, RetrySchedule)>,
    fix: Option<(Fix, RetrySchedule)>,
    refusing: Option<Refusing>,
}

/// How a request failed for a reason that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransientFailure {
    /// There was no connection.
    Unreachable,
    /// There was no whole answer.
    Lost,
    /// Graph, or what stands before it, fails with this status.
    Fault(u16),
    /// What answered with this status is not Graph.
    Foreign(u16),
}

/// A pause after refusals, and when it is probed.
#[derive(Clone, Copy, Debug)]
struct Refusing {
    cause: Cause,
    /// With events that were refused before too.
    full_round: RetrySchedule,
    /// With events that were not tried yet.
    untried: RetrySchedule,
}

/// Failures in a row, and when the next try is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetrySchedule {
    failures: u32,
    since: Instant,
    next: Instant,
}

impl RetrySchedule {
    /// The same while a probe is in flight: if it brings nothing, the next is due after a while.
    #[must_use]
    pub fn probing(self, now: Instant) -> Self {
        Self {
            next: now + PROBES.bound(1),
            ..self
        }
    }
}

impl TransientFailure {
    /// Whether there was an answer: the same request may get it again and again.
    pub const fn is_answer(self) -> bool {
        matches!(self, Self::Fault(_) | Self::Foreign(_))
    }

    /// What happens, in words.
    pub fn in_words(self) -> String {
        match self {
            Self::Unreachable => "Meta cannot be reached".to_owned(),
            Self::Lost => "Meta's answers are lost".to_owned(),
            Self::Fault(status) => format!("Meta fails (status {status})"),
            Self::Foreign(status) => format!(
                "what answers is not Meta's Graph API (status {status}): look for a proxy or a \
                 firewall in between, and at meta.url"
            ),
        }
    }
}

impl Breaker {
    /// The worst trouble there is.
    pub fn trouble(&self) -> Option<LaneTrouble> {
        self.fix
            .map(|(fix, _)| LaneTrouble::Fix(fix))
            .or(self
                .refusing
                .map(|refusing| LaneTrouble::Refusing(refusing.cause)))
            .or(self.failing.map(|_| LaneTrouble::Failing))
    }

    /// What someone must fix before a request can succeed.
    pub fn fix(&self) -> Option<Fix> {
        self.fix.map(|(fix, _)| fix)
    }

    /// Whether refusals pause the lane, beside whatever else does.
    pub fn is_refusing(&self) -> bool {
        self.refusing.is_some()
    }

    /// When the next request may go out; `None`: now.
    pub fn wait_until(&self, now: Instant) -> Option<Instant> {
        let waits = [
            self.failing.map(|(_, retry)| retry.next),
            self.fix.map(|(_, retry)| retry.next),
            self.refusing
                .map(|refusing| refusing.full_round.next.min(refusing.untried.next)),
        ];
        waits.into_iter().flatten().max().filter(|next| *next > now)
    }

    /// Failures in a row that pass.
    pub fn failures(&self) -> u32 {
        self.failing.map_or(0, |(_, retry)| retry.failures)
    }

    /// Failures in a row, if a request that was begun at `began` has failed too. Several that were in
    /// flight at once count as one.
    pub fn failures_after(&self, began: Instant) -> u32 {
        match self.failing {
            Some((_, retry)) if began < retry.since => retry.failures,
            _ => self.failures().saturating_add(1),
        }
    }

    /// Whether failures may be the fault of the batch that fails.
    pub fn suspects_batch(&self) -> bool {
        self.failures() >= SUSPECT_FROM && self.failure().is_some_and(TransientFailure::is_answer)
    }

    /// How the last request failed, if they fail.
    pub fn failure(&self) -> Option<TransientFailure> {
        self.failing.map(|(failure, _)| failure)
    }

    /// A request that was begun at `began` failed for a reason that passes. Gives the wait before
    /// the next.
    pub fn on_failure(
        &mut self,
        failure: TransientFailure,
        began: Instant,
        now: Instant,
        random: f64,
        hint: Option<Duration>,
    ) -> Duration {
        let before = self.failing.map(|(_, retry)| retry);
        let before = before.filter(|retry| began < retry.since);
        let failures = self.failures_after(began);
        let wait = Backoff::TRANSIENT.wait(failures, random, hint);
        let next = now + wait;
        let retry = RetrySchedule {
            failures,
            since: before.map_or(now, |retry| retry.since),
            next: before.map_or(next, |retry| retry.next.max(next)),
        };
        self.failing = Some((failure, retry));
        // A probe that learnt nothing is repeated at the pace of probes.
        if let Some((_, retry)) = &mut self.fix {
            retry.next = retry.next.max(next);
        }
        wait
    }

    /// A request that was begun at `began` cannot succeed until something is fixed.
    pub fn pause(&mut self, fix: Fix, began: Instant, now: Instant) {
        self.failing = None;
        let before = self.fix.map(|(_, retry)| retry);
        self.fix = Some((fix, probe_later(PROBES, before, began, now)));
    }

    /// Too many events were refused in a row: the first round of probes is due at once.
    pub fn trip(&mut self, cause: Cause, now: Instant) {
        let retry = RetrySchedule {
            failures: 0,
            since: now,
            next: now,
        };
        self.refusing = Some(Refusing {
            cause,
            full_round: retry,
            untried: retry,
        });
    }

    /// A round of probes was refused; `is_full`: one that may hold events that were refused before.
    pub fn on_round_refused(&mut self, cause: Cause, is_full: bool, now: Instant) {
        let Some(refusing) = &mut self.refusing else {
            return;
        };
        refusing.cause = cause;
        if is_full {
            refusing.full_round = probe_later(PROBES, Some(refusing.full_round), now, now);
        }
        refusing.untried = probe_later(UNTRIED_PROBES, Some(refusing.untried), now, now);
    }

    /// Whether the next round of probes is a full one.
    pub fn is_full_round_due(&self, now: Instant) -> bool {
        self.refusing
            .is_some_and(|refusing| refusing.full_round.next <= now)
    }

    /// All events were tried.
    pub fn on_all_tried(&mut self, now: Instant) {
        if let Some(refusing) = &mut self.refusing {
            refusing.untried.next = now + UNTRIED_PROBES.bound(refusing.untried.failures);
        }
    }

    /// The wait for another access token, if that is what the lane waits for.
    pub fn token_retry(&self) -> Option<RetrySchedule> {
        self.fix
            .filter(|(fix, _)| *fix == Fix::Token)
            .map(|(_, retry)| retry)
    }

    /// Takes over what is known of the access token.
    pub fn set_token_retry(&mut self, token: Option<RetrySchedule>) {
        match token {
            Some(retry) => {
                self.failing = None;
                self.fix = Some((Fix::Token, retry));
            }
            None if self.token_retry().is_some() => self.fix = None,
            None => {}
        }
    }

    /// Something may have been fixed: the next probe is due.
    pub fn retry_now(&mut self, now: Instant) {
        if let Some((_, retry)) = &mut self.fix {
            retry.next = now;
            retry.failures = 0;
        }
    }

    /// Meta answered in a way that shows that requests get through. Tells whether there was
    /// trouble.
    pub fn on_answer(&mut self) -> bool {
        let failing = self.failing.take().is_some();
        self.fix.take().is_some() || failing
    }

    /// Meta accepted an event: no trouble is left. Tells whether there was any.
    pub fn on_acceptance(&mut self) -> bool {
        let refusing = self.refusing.take().is_some();
        self.on_answer() || refusing
    }
}

fn probe_later(
    backoff: Backoff,
    before: Option<RetrySchedule>,
    began: Instant,
    now: Instant,
) -> RetrySchedule {
    match before {
        // It was in flight when the trouble was found.
        Some(retry) if began < retry.since => retry,
        before => {
            let failures = before.map_or(0, |retry| retry.failures).saturating_add(1);
            RetrySchedule {
                failures,
                since: now,
                next: now + backoff.bound(failures),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAUSE: Cause = (Some(100), None);
    const FAULT: TransientFailure = TransientFailure::Fault(503);

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn failures_in_a_row_lengthen_the_wait() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        assert_eq!(breaker.wait_until(start), None);
        assert_eq!(
            breaker.on_failure(FAULT, start, start, 1.0, None),
            Duration::from_millis(500)
        );
        // Began before the failure was known.
        breaker.on_failure(FAULT, start - seconds(1), start, 1.0, None);
        assert_eq!(breaker.failures(), 1);
        let later = start + seconds(1);
        assert_eq!(
            breaker.on_failure(FAULT, later, later, 1.0, None),
            seconds(1)
        );
        assert_eq!(breaker.wait_until(later), Some(later + seconds(1)));
        assert_eq!(breaker.wait_until(later + seconds(1)), None);
        assert_eq!(breaker.trouble(), Some(LaneTrouble::Failing));
        assert!(breaker.on_answer());
        assert_eq!(breaker.trouble(), None);
        assert!(!breaker.on_acceptance());
    }

    #[test]
    fn what_must_be_put_right_is_probed_ever_more_slowly() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..6 {
            breaker.pause(Fix::Token, now, now);
            let next = breaker.wait_until(now).unwrap();
            waits.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(waits, [60, 120, 240, 480, 600, 600]);
        assert_eq!(breaker.trouble(), Some(LaneTrouble::Fix(Fix::Token)));
        breaker.pause(Fix::Token, now, now);
        breaker.retry_now(now);
        assert_eq!(breaker.wait_until(now), None);
        breaker.pause(Fix::Token, now, now);
        assert_eq!(breaker.wait_until(now), Some(now + seconds(60)));
    }

    #[test]
    fn refusals_end_with_an_acceptance_only() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        breaker.trip(CAUSE, start);
        assert_eq!(breaker.wait_until(start), None);
        breaker.on_round_refused(CAUSE, true, start);
        assert_eq!(breaker.wait_until(start), Some(start + seconds(5)));
        assert!(!breaker.on_answer());
        assert_eq!(breaker.trouble(), Some(LaneTrouble::Refusing(CAUSE)));
        breaker.pause(Fix::Pixel, start, start);
        assert_eq!(breaker.trouble(), Some(LaneTrouble::Fix(Fix::Pixel)));
        assert!(breaker.on_answer());
        assert!(breaker.on_acceptance());
        assert_eq!(breaker.trouble(), None);
    }

    #[test]
    fn a_pause_after_refusals_is_probed_sooner_with_what_was_not_tried() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        breaker.trip(CAUSE, start);
        breaker.on_round_refused(CAUSE, true, start);
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..7 {
            let next = breaker.wait_until(now).unwrap();
            waits.push((next - now).as_secs());
            now = next;
            breaker.on_round_refused(CAUSE, breaker.is_full_round_due(now), now);
        }
        assert_eq!(waits, [5, 10, 20, 25, 60, 60, 60], "whole after 60 s");
        breaker.on_all_tried(now);
        assert_eq!(breaker.wait_until(now), Some(now + seconds(60)));
    }
}
