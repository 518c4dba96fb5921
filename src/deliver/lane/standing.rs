//! Whether a lane may send now, and how it stands.
//!
//! Pure but for the moments it is handed. What concerns the pixel as a whole (rates, blocks) is not
//! here but in `limit`; here is what concerns one token and one stream of events.

use std::time::Duration;

use tokio::time::Instant;

use crate::deliver::backoff::Backoff;
use crate::deliver::streak::Cause;
use crate::deliver::verdict::Fix;

/// Between probes of a lane that someone must put right.
const PROBES: Backoff = Backoff::new(
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(600),
);

/// What keeps a lane from delivering as usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Requests fail for reasons that pass.
    Failing,
    /// No request can succeed until this is put right.
    Fix(Fix),
    /// Meta refuses one event after the other for the same reason.
    Refusing(Cause),
}

/// How a lane stands.
#[derive(Debug, Default)]
pub struct Standing {
    failing: Option<Waiting>,
    fix: Option<(Fix, Waiting)>,
    refusing: Option<(Cause, Waiting)>,
}

/// Failures in a row, and when the next try is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    failures: u32,
    since: Instant,
    next: Instant,
}

impl Waiting {
    /// The same, with a probe under way: if nothing is heard of it, the next is due after a while.
    #[must_use]
    pub fn probing(self, now: Instant) -> Self {
        Self {
            next: now + PROBES.bound(1),
            ..self
        }
    }
}

impl Standing {
    /// The worst trouble there is.
    pub fn trouble(&self) -> Option<Trouble> {
        self.fix
            .map(|(fix, _)| Trouble::Fix(fix))
            .or(self.refusing.map(|(cause, _)| Trouble::Refusing(cause)))
            .or(self.failing.map(|_| Trouble::Failing))
    }

    /// When the next request may go out; `None`: now.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        let waits = [
            self.failing,
            self.fix.map(|(_, waiting)| waiting),
            self.refusing.map(|(_, waiting)| waiting),
        ];
        waits
            .into_iter()
            .flatten()
            .map(|waiting| waiting.next)
            .max()
            .filter(|next| *next > now)
    }

    /// Failures in a row that pass.
    pub fn failures(&self) -> u32 {
        self.failing.map_or(0, |waiting| waiting.failures)
    }

    /// A request that was begun at `began` failed for a reason that passes. Gives the wait before
    /// the next. Several requests that were under way at once count as one failure.
    pub fn failed(
        &mut self,
        began: Instant,
        now: Instant,
        random: f64,
        hint: Option<Duration>,
    ) -> Duration {
        let before = self.failing.filter(|waiting| began < waiting.since);
        let failures = match before {
            Some(waiting) => waiting.failures,
            None => self.failures().saturating_add(1),
        };
        let wait = Backoff::TRANSIENT.wait(failures, random, hint);
        let next = now + wait;
        self.failing = Some(Waiting {
            failures,
            since: before.map_or(now, |waiting| waiting.since),
            next: before.map_or(next, |waiting| waiting.next.max(next)),
        });
        // A probe that found out nothing is repeated at the pace of probes.
        if let Some((_, waiting)) = &mut self.fix {
            waiting.next = waiting.next.max(next);
        }
        wait
    }

    /// A request that was begun at `began` cannot succeed until something is put right.
    pub fn needs(&mut self, fix: Fix, began: Instant, now: Instant) {
        self.failing = None;
        let before = self.fix.map(|(_, waiting)| waiting);
        self.fix = Some((fix, probe_later(before, began, now)));
    }

    /// Too many events were refused in a row, or another round of probes was refused.
    pub fn refuses(&mut self, cause: Cause, now: Instant) {
        let before = self.refusing.map(|(_, waiting)| waiting);
        self.refusing = Some((cause, probe_later(before, now, now)));
    }

    /// The wait for another access token, if that is what the lane waits for.
    pub fn token(&self) -> Option<Waiting> {
        self.fix
            .filter(|(fix, _)| *fix == Fix::Token)
            .map(|(_, waiting)| waiting)
    }

    /// Takes over what is known of the access token.
    pub fn set_token(&mut self, token: Option<Waiting>) {
        match token {
            Some(waiting) => {
                self.failing = None;
                self.fix = Some((Fix::Token, waiting));
            }
            None if self.token().is_some() => self.fix = None,
            None => {}
        }
    }

    /// Something may have been put right: the next probe is due.
    pub fn hopes(&mut self, now: Instant) {
        if let Some((_, waiting)) = &mut self.fix {
            waiting.next = now;
            waiting.failures = 0;
        }
    }

    /// Meta answered in a way that shows that requests get through. Tells whether there was
    /// trouble.
    pub fn gets_through(&mut self) -> bool {
        let failing = self.failing.take().is_some();
        self.fix.take().is_some() || failing
    }

    /// Meta accepted an event: no trouble is left. Tells whether there was any.
    pub fn accepted(&mut self) -> bool {
        let refusing = self.refusing.take().is_some();
        self.gets_through() || refusing
    }
}

fn probe_later(before: Option<Waiting>, began: Instant, now: Instant) -> Waiting {
    match before {
        // It was under way when the trouble was found.
        Some(waiting) if began < waiting.since => waiting,
        before => {
            let failures = before
                .map_or(0, |waiting| waiting.failures)
                .saturating_add(1);
            Waiting {
                failures,
                since: now,
                next: now + PROBES.bound(failures),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAUSE: Cause = (Some(100), None);

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn failures_in_a_row_lengthen_the_wait() {
        let start = Instant::now();
        let mut standing = Standing::default();
        assert_eq!(standing.next(start), None);
        assert_eq!(
            standing.failed(start, start, 1.0, None),
            Duration::from_millis(500)
        );
        // Began before the failure was known.
        standing.failed(start - seconds(1), start, 1.0, None);
        assert_eq!(standing.failures(), 1);
        let later = start + seconds(1);
        assert_eq!(standing.failed(later, later, 1.0, None), seconds(1));
        assert_eq!(standing.next(later), Some(later + seconds(1)));
        assert_eq!(standing.next(later + seconds(1)), None);
        assert_eq!(standing.trouble(), Some(Trouble::Failing));
        assert!(standing.gets_through());
        assert_eq!(standing.trouble(), None);
        assert!(!standing.accepted());
    }

    #[test]
    fn what_must_be_put_right_is_probed_ever_more_slowly() {
        let start = Instant::now();
        let mut standing = Standing::default();
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..6 {
            standing.needs(Fix::Token, now, now);
            let next = standing.next(now).unwrap();
            waits.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(waits, [60, 120, 240, 480, 600, 600]);
        assert_eq!(standing.trouble(), Some(Trouble::Fix(Fix::Token)));
        standing.needs(Fix::Token, now, now);
        standing.hopes(now);
        assert_eq!(standing.next(now), None);
        standing.needs(Fix::Token, now, now);
        assert_eq!(standing.next(now), Some(now + seconds(60)));
    }

    #[test]
    fn refusals_end_with_an_acceptance_only() {
        let start = Instant::now();
        let mut standing = Standing::default();
        standing.refuses(CAUSE, start);
        assert_eq!(standing.next(start), Some(start + seconds(60)));
        assert!(!standing.gets_through());
        assert_eq!(standing.trouble(), Some(Trouble::Refusing(CAUSE)));
        standing.needs(Fix::Pixel, start, start);
        assert_eq!(standing.trouble(), Some(Trouble::Fix(Fix::Pixel)));
        assert!(standing.gets_through());
        assert!(standing.accepted());
        assert_eq!(standing.trouble(), None);
    }
}
