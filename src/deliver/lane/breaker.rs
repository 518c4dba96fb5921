//! Whether a lane may send now, and what keeps it from sending.
//!
//! Pure: moments are arguments. Knows one token and one stream of events; what concerns the pixel as a
//! whole (rates, blocks) is in `limiter`.

use std::time::Duration;

use tokio::time::Instant;

use crate::deliver::backoff::Backoff;
use crate::deliver::verdict::Fix;

/// After this many failures in a row, what fails may be the batch.
pub const SUSPECT_FROM: u32 = 3;

/// Between requests that fail for a reason that passes.
const FAILURES: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(300));
/// The longest wait that an answer may ask for when it tells of such a reason.
const LONGEST_HINT: Duration = Duration::from_secs(3600);
/// Between probes of a lane that someone must fix.
const PROBES: Backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(600));
/// Between probes of a lane that refusals paused, with events that were not tried yet.
const UNTRIED_PROBES: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(60));

/// What is wrong with a lane, and when it tries again.
#[derive(Debug, Default)]
pub struct Breaker {
    /// Requests fail for reasons that pass.
    failing: Option<(TransientFailure, RetrySchedule)>,
    /// No request can succeed until this is fixed.
    fix: Option<(Fix, RetrySchedule)>,
    /// Meta refuses one event after the other.
    refusing: Option<ProbeSchedule>,
}

/// How a request failed for a reason that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransientFailure {
    /// There was no connection.
    Unreachable,
    /// There was no complete answer.
    Lost,
    /// Graph, or what stands before it, fails with this status.
    Fault(u16),
    /// What answered with this status is not Graph.
    Foreign(u16),
}

/// When a pause after refusals is probed.
#[derive(Clone, Copy, Debug)]
struct ProbeSchedule {
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
    /// The schedule while a probe is in flight: if that learns nothing, the next is due after a while.
    #[must_use]
    pub fn probing(self, now: Instant) -> Self {
        Self {
            next: now + PROBES.bound(1),
            ..self
        }
    }

    /// After another failure, of a request that was begun at `began`.
    fn after(before: Option<Self>, backoff: Backoff, began: Instant, now: Instant) -> Self {
        match before {
            // The request was in flight when the trouble was found.
            Some(retry) if began < retry.since => retry,
            before => {
                let failures = before.map_or(0, |retry| retry.failures).saturating_add(1);
                Self {
                    failures,
                    since: now,
                    next: now + backoff.bound(failures),
                }
            }
        }
    }
}

impl TransientFailure {
    /// Whether there was an answer: the same request may get it again and again.
    const fn is_answer(self) -> bool {
        matches!(self, Self::Fault(_) | Self::Foreign(_))
    }

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
    /// Whether nothing keeps the lane from delivering as usual.
    pub fn is_closed(&self) -> bool {
        self.fix.is_none() && self.refusing.is_none() && self.failing.is_none()
    }

    /// What someone must fix before a request can succeed.
    pub fn fix(&self) -> Option<Fix> {
        self.fix.map(|(fix, _)| fix)
    }

    /// Whether refusals pause the lane; something else may pause it too.
    pub fn is_refusing(&self) -> bool {
        self.refusing.is_some()
    }

    /// When the next request may go out; `None`: now.
    pub fn wait_until(&self, now: Instant) -> Option<Instant> {
        let waits = [
            self.failing.map(|(_, retry)| retry.next),
            self.fix.map(|(_, retry)| retry.next),
            self.refusing
                .map(|probes| probes.full_round.next.min(probes.untried.next)),
        ];
        waits.into_iter().flatten().max().filter(|next| *next > now)
    }

    /// Failures in a row, if a request that was begun at `began` has failed too. Several that were in
    /// flight at once count as one.
    pub fn failures_after(&self, began: Instant) -> u32 {
        match self.failing {
            Some((_, retry)) if began < retry.since => retry.failures,
            Some((_, retry)) => retry.failures.saturating_add(1),
            None => 1,
        }
    }

    /// Whether failures may be the fault of the batch that fails.
    pub fn suspects_batch(&self) -> bool {
        self.failing
            .is_some_and(|(failure, retry)| retry.failures >= SUSPECT_FROM && failure.is_answer())
    }

    /// How the last request failed, if they fail.
    pub fn failure(&self) -> Option<TransientFailure> {
        self.failing.map(|(failure, _)| failure)
    }

    /// A request that was begun at `began` failed for a reason that passes. `hint` is the shortest
    /// wait that Meta asks for. Gives the wait before the next request.
    pub fn on_failure(
        &mut self,
        failure: TransientFailure,
        began: Instant,
        now: Instant,
        random: f64,
        hint: Option<Duration>,
    ) -> Duration {
        let failures = self.failures_after(began);
        let hint = hint.unwrap_or_default().min(LONGEST_HINT);
        let wait = FAILURES.wait(failures, random).max(hint);
        let next = now + wait;
        let retry = match self.failing {
            Some((_, retry)) if began < retry.since => RetrySchedule {
                next: retry.next.max(next),
                ..retry
            },
            _ => RetrySchedule {
                failures,
                since: now,
                next,
            },
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
        self.fix = Some((fix, RetrySchedule::after(before, PROBES, began, now)));
    }

    /// Too many events were refused in a row: the first round of probes is due at once.
    pub fn trip(&mut self, now: Instant) {
        let retry = RetrySchedule {
            failures: 0,
            since: now,
            next: now,
        };
        self.refusing = Some(ProbeSchedule {
            full_round: retry,
            untried: retry,
        });
    }

    /// A round of probes was refused. `is_full`: it may have held events that were refused before.
    pub fn on_round_refused(&mut self, is_full: bool, now: Instant) {
        let Some(probes) = &mut self.refusing else {
            return;
        };
        let after = |before, backoff| RetrySchedule::after(Some(before), backoff, now, now);
        if is_full {
            probes.full_round = after(probes.full_round, PROBES);
        }
        probes.untried = after(probes.untried, UNTRIED_PROBES);
    }

    /// Whether the next round of probes is a full one.
    pub fn is_full_round_due(&self, now: Instant) -> bool {
        self.refusing
            .is_some_and(|probes| probes.full_round.next <= now)
    }

    /// All events were tried.
    pub fn on_all_tried(&mut self, now: Instant) {
        if let Some(probes) = &mut self.refusing {
            probes.untried.next = now + UNTRIED_PROBES.bound(probes.untried.failures);
        }
    }

    /// The wait for another access token, if that is what the lane waits for.
    pub fn token_retry(&self) -> Option<RetrySchedule> {
        match self.fix {
            Some((Fix::Token, retry)) => Some(retry),
            _ => None,
        }
    }

    /// Takes over what is known of the access token.
    pub fn set_token_retry(&mut self, token: Option<RetrySchedule>) {
        if let Some(retry) = token {
            self.failing = None;
            self.fix = Some((Fix::Token, retry));
        } else if self.token_retry().is_some() {
            self.fix = None;
        }
    }

    /// Something may have been fixed: the next probe is due.
    pub fn retry_now(&mut self, now: Instant) {
        if let Some((_, retry)) = &mut self.fix {
            retry.next = now;
            retry.failures = 0;
        }
        self.failing = None;
    }

    /// An answer shows that requests get through. Tells whether there was trouble.
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

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(breaker.failures_after(start), 2);
        let later = start + seconds(1);
        assert_eq!(
            breaker.on_failure(FAULT, later, later, 1.0, None),
            seconds(1)
        );
        assert_eq!(breaker.wait_until(later), Some(later + seconds(1)));
        assert_eq!(breaker.wait_until(later + seconds(1)), None);
        assert_eq!(breaker.failure(), Some(FAULT));
        assert!(breaker.on_answer());
        assert!(breaker.is_closed());
        assert!(!breaker.on_acceptance());
    }

    #[test]
    fn a_wait_that_meta_asks_for_is_the_shortest_up_to_an_hour() {
        let start = Instant::now();
        for (hint, wait) in [(0, 0), (30, 30), (u64::MAX, 3600)] {
            let mut breaker = Breaker::default();
            let wait_after = breaker.on_failure(FAULT, start, start, 0.0, Some(seconds(hint)));
            assert_eq!(wait_after, seconds(wait));
        }
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
        assert_eq!(breaker.fix(), Some(Fix::Token));
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
        breaker.trip(start);
        assert_eq!(breaker.wait_until(start), None);
        breaker.on_round_refused(true, start);
        assert_eq!(breaker.wait_until(start), Some(start + seconds(5)));
        assert!(!breaker.on_answer());
        assert!(breaker.is_refusing());
        breaker.pause(Fix::Pixel, start, start);
        assert_eq!(breaker.fix(), Some(Fix::Pixel));
        assert!(breaker.on_answer());
        assert!(breaker.on_acceptance());
        assert!(breaker.is_closed());
    }

    #[test]
    fn a_pause_after_refusals_is_probed_sooner_with_what_was_not_tried() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        breaker.trip(start);
        breaker.on_round_refused(true, start);
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..7 {
            let next = breaker.wait_until(now).unwrap();
            waits.push((next - now).as_secs());
            now = next;
            breaker.on_round_refused(breaker.is_full_round_due(now), now);
        }
        assert_eq!(waits, [5, 10, 20, 25, 60, 60, 60], "whole after 60 s");
        breaker.on_all_tried(now);
        assert_eq!(breaker.wait_until(now), Some(now + seconds(60)));
    }
}
