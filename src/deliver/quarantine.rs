//! Tells a bad event from a bad day.
//!
//! Pure but for the moments it is handed. An event that is refused alone, while Graph does not say
//! that the event is the cause, is kept, and other events are tried. One of them is accepted: the
//! refused ones are bad. One after the other is refused alike: something else is wrong (a setting of
//! the pixel, a mapping, a version), and the lane pauses. There is no other: the refused ones are tried
//! again, ever more slowly. Nothing is decided by time alone.
//!
//! An event that Graph blames is bad at once. Yet a row of these counts too, so that a mistake in a
//! mapping does not turn a whole backlog into dead letters.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;
use super::verdict::Blame;

/// So many refusals in a row, all for the same reason, pause a lane.
pub const TOO_MANY: usize = 20;
/// From so many on others are tried one by one, although Graph blamed each event.
const PROBE_FROM: usize = 10;
/// So many refused events that no other speaks for pause a lane too, however their reasons differ.
const TOO_MANY_KEPT: usize = 100;
/// Most events that are kept or remembered at once.
const MOST: usize = 1000;

/// Between tries of an event when there is no other that could tell whose fault it is.
const AGAIN: Backoff = Backoff::new(
    Duration::from_millis(500),
    Duration::from_secs(300),
    Duration::from_secs(300),
);

/// A reason to refuse: code and sub-code.
pub type Cause = (Option<i64>, Option<i64>);

/// Events `E` that were refused alone with `R`, known by `K`.
#[derive(Debug)]
pub struct Quarantine<K, E, R> {
    cause: Cause,
    row: usize,
    row_began: Option<Instant>,
    kept: BTreeMap<K, Quarantined<E, R>>,
}

#[derive(Debug)]
struct Quarantined<E, R> {
    event: QuarantinePlace<E>,
    refusal: R,
    blame: Blame,
    since: Instant,
    tries: u32,
    due: Instant,
}

/// Where a refused event is.
#[derive(Debug)]
enum QuarantinePlace<E> {
    /// Kept on lease.
    Held(E),
    /// On its way to Meta once more.
    Retrying,
    /// Queued again, to be recognised when it comes up.
    Queued,
    /// Queued again, and another was accepted since: it is bad.
    Rejected,
}

/// What becomes of an event that was refused alone.
#[derive(Debug, PartialEq, Eq)]
pub enum QuarantineOutcome<E, R> {
    /// It is bad.
    Rejected(E, R),
    /// It is kept, and others are to be tried.
    Held,
    /// It is queued again.
    Queued(E),
    /// Too many in a row: the lane pauses, and these are queued again.
    TooMany(Vec<E>),
}

/// What an acceptance says of the events that were refused before.
#[derive(Debug, PartialEq, Eq)]
pub struct Cleared<E, R> {
    /// They are bad.
    pub rejected: Vec<(E, R)>,
    /// Meta has changed its mind on one of them: these deserve another try.
    pub released: Vec<E>,
}

/// An event that was refused alone.
#[derive(Clone, Copy, Debug)]
pub struct LoneRefusal<K, E, R> {
    /// What it is known by.
    pub key: K,
    /// The event.
    pub event: E,
    /// What Meta said.
    pub refusal: R,
    /// The reason, to tell those that are alike.
    pub cause: Cause,
    /// Whose fault it is.
    pub blame: Blame,
}

impl<K, E, R> Default for Quarantine<K, E, R> {
    fn default() -> Self {
        Self {
            cause: (None, None),
            row: 0,
            row_began: None,
            kept: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Copy, E, R> Quarantine<K, E, R> {
    /// An event was refused alone, by a lane that is paused for such refusals or not. `random` lies
    /// between 0 and 1.
    pub fn on_refusal(
        &mut self,
        refused: LoneRefusal<K, E, R>,
        is_paused: bool,
        now: Instant,
        random: f64,
    ) -> QuarantineOutcome<E, R> {
        let LoneRefusal {
            key,
            event,
            refusal,
            cause,
            blame,
        } = refused;
        let before = self.kept.remove(&key);
        if blame != Blame::Passing && before.is_none() && !is_paused {
            self.count(cause, now);
        }
        let pauses = !is_paused
            && blame != Blame::Passing
            && (self.row >= TOO_MANY || self.undecided().0 >= TOO_MANY_KEPT);
        if blame == Blame::Event && !is_paused && !pauses {
            return QuarantineOutcome::Rejected(event, refusal);
        }
        if self.kept.len() >= MOST {
            // Those that are queued again are found once more, if they are bad.
            self.kept.retain(|_, kept| {
                matches!(
                    kept.event,
                    QuarantinePlace::Held(_) | QuarantinePlace::Retrying
                )
            });
        }
        if self.kept.len() >= MOST {
            return QuarantineOutcome::Queued(event);
        }
        let tries = before.map_or(0, |kept| kept.tries).saturating_add(1);
        let mut kept = Quarantined {
            event: QuarantinePlace::Queued,
            refusal,
            blame,
            since: now,
            tries,
            due: now + AGAIN.wait(tries, random, None),
        };
        if is_paused {
            self.kept.insert(key, kept);
            return QuarantineOutcome::Queued(event);
        }
        kept.event = QuarantinePlace::Held(event);
        if !pauses {
            self.kept.insert(key, kept);
            return QuarantineOutcome::Held;
        }
        // Those of an earlier row are not of this one.
        self.kept
            .retain(|_, kept| matches!(kept.event, QuarantinePlace::Held(_)));
        self.kept.insert(key, kept);
        self.forget_row();
        QuarantineOutcome::TooMany(self.release())
    }

    /// Meta accepted these events, in a request that was begun at `began`.
    pub fn on_acceptance(
        &mut self,
        keys: impl IntoIterator<Item = K>,
        began: Instant,
    ) -> Cleared<E, R> {
        let mut cleared = Cleared {
            rejected: Vec::new(),
            released: Vec::new(),
        };
        if self.row_began.is_none_or(|first| first <= began) {
            self.forget_row();
        }
        let mut absolved = false;
        for key in keys {
            let kept = self.kept.remove(&key);
            absolved |= kept.is_some_and(|kept| kept.blame != Blame::Passing);
        }
        let asked = |kept: &Quarantined<E, R>| {
            kept.blame != Blame::Passing && (absolved || kept.since <= began)
        };
        for (key, mut kept) in std::mem::take(&mut self.kept) {
            let is_asked = asked(&kept);
            match kept.event {
                QuarantinePlace::Held(event) if is_asked && absolved => {
                    cleared.released.push(event);
                }
                QuarantinePlace::Held(event) if is_asked => {
                    cleared.rejected.push((event, kept.refusal));
                }
                _ if is_asked && absolved => {}
                QuarantinePlace::Queued if is_asked => {
                    kept.event = QuarantinePlace::Rejected;
                    self.kept.insert(key, kept);
                }
                _ => {
                    self.kept.insert(key, kept);
                }
            }
        }
        cleared
    }

    /// Whether an event that was queued again is known to be bad. It is told once.
    pub fn take_rejected(&mut self, key: K) -> Option<R> {
        let is_guilty = |kept: &Quarantined<E, R>| matches!(kept.event, QuarantinePlace::Rejected);
        self.kept.get(&key).filter(|kept| is_guilty(kept))?;
        self.kept.remove(&key).map(|kept| kept.refusal)
    }

    /// Whether an event was refused before, as far as that is remembered.
    pub fn contains(&self, key: K) -> bool {
        self.kept.contains_key(&key)
    }

    /// The event whose next try is due, to be sent once more.
    pub fn take_due(&mut self, now: Instant) -> Option<E> {
        let kept = self
            .kept
            .values_mut()
            .filter(|kept| kept.due <= now && matches!(kept.event, QuarantinePlace::Held(_)))
            .min_by_key(|kept| kept.due)?;
        match std::mem::replace(&mut kept.event, QuarantinePlace::Retrying) {
            QuarantinePlace::Held(event) => Some(event),
            _ => None,
        }
    }

    /// When the next try of a kept event is due.
    pub fn next_due(&self) -> Option<Instant> {
        let here = self
            .kept
            .values()
            .filter(|kept| matches!(kept.event, QuarantinePlace::Held(_)));
        here.map(|kept| kept.due).min()
    }

    /// Takes out all that are kept on lease; they are remembered.
    pub fn release(&mut self) -> Vec<E> {
        let places = self.kept.values_mut().map(|kept| &mut kept.event);
        places
            .filter_map(
                |place| match std::mem::replace(place, QuarantinePlace::Queued) {
                    QuarantinePlace::Held(event) => Some(event),
                    other => {
                        *place = other;
                        None
                    }
                },
            )
            .collect()
    }

    /// An event that was to be tried again was given back.
    pub fn mark_queued(&mut self, key: K) {
        if let Some(kept) = self.kept.get_mut(&key)
            && matches!(kept.event, QuarantinePlace::Retrying)
        {
            kept.event = QuarantinePlace::Queued;
        }
    }

    /// Whether an event is on its way to Meta once more.
    pub fn is_retrying(&self, key: K) -> bool {
        let kept = self.kept.get(&key);
        kept.is_some_and(|kept| matches!(kept.event, QuarantinePlace::Retrying))
    }

    /// The events that are kept on lease.
    pub fn held(&self) -> impl Iterator<Item = &E> {
        self.kept.values().filter_map(|kept| match &kept.event {
            QuarantinePlace::Held(event) => Some(event),
            _ => None,
        })
    }

    /// How many refused events wait for the word of another, and what was said of one of them.
    pub fn undecided(&self) -> (usize, Option<&R>) {
        let waiting = || self.kept.values().filter(|kept| kept.is_undecided());
        (
            waiting().count(),
            waiting().next().map(|kept| &kept.refusal),
        )
    }

    /// What was said of the event that was refused last.
    pub fn last_refusal(&self) -> Option<&R> {
        let last = self.kept.values().max_by_key(|kept| kept.since);
        last.map(|kept| &kept.refusal)
    }

    /// How many events are kept that nothing is known against.
    pub fn failing(&self) -> usize {
        let kept = self.kept.values();
        kept.filter(|kept| {
            kept.blame == Blame::Passing && !matches!(kept.event, QuarantinePlace::Queued)
        })
        .count()
    }

    /// Whether other events are to be tried, one by one.
    pub fn is_isolating(&self) -> bool {
        self.row >= PROBE_FROM || self.kept.values().any(Quarantined::is_undecided)
    }

    /// Refusals in a row so far.
    pub fn streak(&self) -> usize {
        self.row
    }

    /// Why the last of the row was refused.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// Whether nothing is known of any event.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    fn count(&mut self, cause: Cause, now: Instant) {
        if cause != self.cause {
            self.forget_row();
        }
        self.cause = cause;
        self.row += 1;
        self.row_began.get_or_insert(now);
    }

    fn forget_row(&mut self) {
        self.row = 0;
        self.row_began = None;
    }
}

impl<E, R> Quarantined<E, R> {
    fn is_undecided(&self) -> bool {
        self.blame != Blame::Passing
            && matches!(
                self.event,
                QuarantinePlace::Held(_) | QuarantinePlace::Retrying
            )
    }
}

#[cfg(test)]
#[path = "quarantine/tests.rs"]
mod tests;
