//! Tells bad events from trouble that has nothing to do with them.
//!
//! Pure: the present moment and random values are arguments. An event that is refused alone, while Graph
//! does not say that the event is the cause, goes into quarantine, and other events are tried. If one of
//! them is accepted, the refused ones are bad. If one after the other is refused alike, something else is
//! wrong (a setting of the pixel, a mapping, a version), and the lane pauses. If there is no other, the
//! refused ones are tried again, ever more slowly. Time alone decides nothing.
//!
//! An event that Graph blames is bad at once. Such refusals still count towards a pause, so that a mistake
//! in a mapping does not turn a whole backlog into dead letters.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;
use super::verdict::Blame;

/// This many refusals in a row, all for the same reason, pause a lane.
pub const TOO_MANY: usize = 20;
/// After this many others are tried one by one, although Graph blamed each event.
const PROBE_FROM: usize = 10;
/// This many undecided events pause a lane too, however their reasons differ.
const TOO_MANY_HELD: usize = 100;
/// Most events that are held or remembered at once.
const MOST: usize = 1000;

/// Between tries of an event while no other shows whose fault it is.
const AGAIN: Backoff = Backoff::new(
    Duration::from_millis(500),
    Duration::from_secs(300),
    Duration::from_secs(300),
);

/// A reason to refuse: code and sub-code.
pub type Cause = (Option<i64>, Option<i64>);

/// What can be recognised when it comes again.
pub trait Keyed {
    type Key: Ord;

    fn key(&self) -> Self::Key;
}

/// Events `E` that were refused alone with `R`.
#[derive(Debug)]
pub struct Quarantine<E: Keyed, R> {
    cause: Cause,
    /// Refusals in a row for this cause.
    streak: usize,
    streak_began: Option<Instant>,
    events: BTreeMap<E::Key, Quarantined<E, R>>,
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
    /// In flight once more.
    Retrying,
    /// Queued again, to be recognised when it is leased.
    Queued,
    /// Queued again, and another was accepted since: it is bad.
    Rejected,
}

/// What becomes of events in quarantine.
#[derive(Debug, PartialEq, Eq)]
pub struct QuarantineUpdate<E, R> {
    /// They are bad.
    pub rejected: Vec<(E, R)>,
    /// They are queued again.
    pub released: Vec<E>,
    /// Too many were refused in a row: the lane pauses.
    pub pauses: bool,
}

/// Why an event was refused alone.
#[derive(Clone, Copy, Debug)]
pub struct LoneRefusal<R> {
    pub refusal: R,
    /// Refusals with the same cause are alike.
    pub cause: Cause,
    pub blame: Blame,
}

impl<E, R> Default for QuarantineUpdate<E, R> {
    fn default() -> Self {
        Self {
            rejected: Vec::new(),
            released: Vec::new(),
            pauses: false,
        }
    }
}

impl<E: Keyed, R> Default for Quarantine<E, R> {
    fn default() -> Self {
        Self {
            cause: (None, None),
            streak: 0,
            streak_began: None,
            events: BTreeMap::new(),
        }
    }
}

impl<E: Keyed, R> Quarantine<E, R> {
    /// An event was refused alone, by a lane that is paused for such refusals or not. `random` lies
    /// between 0 and 1.
    pub fn on_refusal(
        &mut self,
        event: E,
        refused: LoneRefusal<R>,
        is_paused: bool,
        now: Instant,
        random: f64,
    ) -> QuarantineUpdate<E, R> {
        let mut update = QuarantineUpdate::default();
        let (key, blame) = (event.key(), refused.blame);
        let before = self.events.remove(&key);
        if blame != Blame::Passing && before.is_none() && !is_paused {
            self.extend_streak(refused.cause, now);
        }
        update.pauses = !is_paused
            && blame != Blame::Passing
            && (self.streak >= TOO_MANY || self.undecided().0 >= TOO_MANY_HELD);
        if blame == Blame::Event && !is_paused && !update.pauses {
            update.rejected.push((event, refused.refusal));
            return update;
        }
        if self.events.len() >= MOST {
            // Those that are queued again are found once more, if they are bad.
            self.events.retain(|_, other| other.is_on_lease());
        }
        if self.events.len() >= MOST {
            update.released.push(event);
            update.pauses = false;
            return update;
        }
        let tries = before.map_or(0, |before| before.tries).saturating_add(1);
        let mut quarantined = Quarantined {
            event: QuarantinePlace::Queued,
            refusal: refused.refusal,
            blame,
            since: now,
            tries,
            due: now + AGAIN.wait(tries, random, None),
        };
        if is_paused {
            update.released.push(event);
        } else {
            quarantined.event = QuarantinePlace::Held(event);
        }
        if update.pauses {
            // Those of an earlier streak are not of this one.
            self.events.retain(|_, other| other.is_held());
        }
        self.events.insert(key, quarantined);
        if update.pauses {
            self.end_streak();
            update.released = self.release();
        }
        update
    }

    /// Meta accepted these events, in a request that was begun at `began`. If one of them was refused
    /// before, Meta has changed its mind: all that it refused deserve another try.
    pub fn on_acceptance(&mut self, accepted: &[E], began: Instant) -> QuarantineUpdate<E, R> {
        let mut update = QuarantineUpdate::default();
        if self.streak_began.is_none_or(|first| first <= began) {
            self.end_streak();
        }
        if self.events.is_empty() {
            return update;
        }
        let mut reversed = false;
        for event in accepted {
            let before = self.events.remove(&event.key());
            reversed |= before.is_some_and(|before| before.blame != Blame::Passing);
        }
        for (key, mut refused) in std::mem::take(&mut self.events) {
            if refused.blame == Blame::Passing || !reversed && refused.since > began {
                self.events.insert(key, refused);
                continue;
            }
            match refused.event {
                QuarantinePlace::Held(event) if reversed => update.released.push(event),
                QuarantinePlace::Held(event) => update.rejected.push((event, refused.refusal)),
                _ if reversed => {}
                QuarantinePlace::Queued => {
                    refused.event = QuarantinePlace::Rejected;
                    self.events.insert(key, refused);
                }
                QuarantinePlace::Retrying | QuarantinePlace::Rejected => {
                    self.events.insert(key, refused);
                }
            }
        }
        update
    }

    /// Why an event that was queued again is known to be bad, if it is. It is told once.
    pub fn take_rejected(&mut self, event: &E) -> Option<R> {
        let key = event.key();
        let is_rejected = matches!(self.events.get(&key)?.event, QuarantinePlace::Rejected);
        let refused = is_rejected.then(|| self.events.remove(&key)).flatten();
        refused.map(|refused| refused.refusal)
    }

    /// Whether an event was refused before, as far as that is remembered.
    pub fn contains(&self, event: &E) -> bool {
        self.events.contains_key(&event.key())
    }

    /// The event whose next try is due, to be sent once more.
    pub fn take_due(&mut self, now: Instant) -> Option<E> {
        let refused = self.events.values_mut();
        let due = refused.filter(|refused| refused.due <= now && refused.is_held());
        due.min_by_key(|refused| refused.due)?
            .take(QuarantinePlace::Retrying)
    }

    /// When the next try of an event is due.
    pub fn next_due(&self) -> Option<Instant> {
        let held = self.events.values().filter(|refused| refused.is_held());
        held.map(|refused| refused.due).min()
    }

    /// Takes out all events on lease; they are remembered.
    pub fn release(&mut self) -> Vec<E> {
        let refused = self.events.values_mut();
        refused
            .filter_map(|refused| refused.take(QuarantinePlace::Queued))
            .collect()
    }

    /// An event was given back to the queue, perhaps one that was to be tried again.
    pub fn mark_queued(&mut self, event: &E) {
        if self.is_retry(std::slice::from_ref(event))
            && let Some(refused) = self.events.get_mut(&event.key())
        {
            refused.event = QuarantinePlace::Queued;
        }
    }

    /// Whether a request holds one event, and that is being tried again.
    pub fn is_retry(&self, events: &[E]) -> bool {
        let [event] = events else { return false };
        let known = (!self.is_empty()).then(|| self.events.get(&event.key()));
        matches!(known.flatten(), Some(refused) if matches!(refused.event, QuarantinePlace::Retrying))
    }

    /// The events that are held on lease.
    pub fn held(&self) -> impl Iterator<Item = &E> {
        (self.events.values()).filter_map(|refused| match &refused.event {
            QuarantinePlace::Held(event) => Some(event),
            _ => None,
        })
    }

    /// How many refused events wait for what becomes of another, and what was said of one of them.
    pub fn undecided(&self) -> (usize, Option<&R>) {
        let undecided = || {
            self.events
                .values()
                .filter(|refused| refused.is_undecided())
        };
        let refusal = undecided().next().map(|refused| &refused.refusal);
        (undecided().count(), refusal)
    }

    /// What was said of the event that was refused last.
    pub fn last_refusal(&self) -> Option<&R> {
        let last = self.events.values().max_by_key(|refused| refused.since);
        last.map(|refused| &refused.refusal)
    }

    /// How many events fail without anything being known against them.
    pub fn failing(&self) -> usize {
        let is_failing = |refused: &&Quarantined<E, R>| {
            refused.blame == Blame::Passing && !matches!(refused.event, QuarantinePlace::Queued)
        };
        self.events.values().filter(is_failing).count()
    }

    /// Whether other events are to be tried, one by one.
    pub fn is_isolating(&self) -> bool {
        self.streak >= PROBE_FROM || self.events.values().any(Quarantined::is_undecided)
    }

    /// Refusals in a row so far.
    pub fn streak(&self) -> usize {
        self.streak
    }

    /// Why the last of the streak was refused.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// Whether nothing is known of any event.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    fn extend_streak(&mut self, cause: Cause, now: Instant) {
        if cause != self.cause {
            self.end_streak();
        }
        self.cause = cause;
        self.streak += 1;
        self.streak_began.get_or_insert(now);
    }

    fn end_streak(&mut self) {
        self.streak = 0;
        self.streak_began = None;
    }
}

impl<E, R> Quarantined<E, R> {
    fn is_held(&self) -> bool {
        matches!(self.event, QuarantinePlace::Held(_))
    }

    fn is_on_lease(&self) -> bool {
        self.is_held() || matches!(self.event, QuarantinePlace::Retrying)
    }

    fn is_undecided(&self) -> bool {
        self.blame != Blame::Passing && self.is_on_lease()
    }

    /// Takes out the event, if it is held, and notes where it goes.
    fn take(&mut self, to: QuarantinePlace<E>) -> Option<E> {
        let place = self
            .is_held()
            .then(|| std::mem::replace(&mut self.event, to));
        match place {
            Some(QuarantinePlace::Held(event)) => Some(event),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "quarantine/tests.rs"]
mod tests;
