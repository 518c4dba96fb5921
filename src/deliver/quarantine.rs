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
use std::collections::btree_map::Entry;
use std::mem;
use std::time::Duration;

use tokio::time::Instant;

use crate::outcome::Reason;
use crate::queue::dead::Refusal;
use crate::queue::lease::{Leased, Slot};

use super::backoff::Backoff;
use super::verdict::{Blame, Judgement, Verdict};

/// This many refusals in a row, all for the same reason, pause a lane.
const TOO_MANY: usize = 20;
/// After this many, others are tried one by one, although Graph blamed each event.
const PROBE_FROM: usize = 10;
/// This many undecided events pause a lane too, even if their reasons differ.
const TOO_MANY_HELD: usize = 100;
/// Most events that are known at once.
const MOST: usize = 1000;

/// Between tries of an event while no other shows whose fault it is.
const AGAIN: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(300));

/// Why events are refused: code and sub-code.
pub type Cause = (Option<i64>, Option<i64>);

/// Recognises an event, even if another took its place in the store.
type EventKey = (Slot, u32, i64);

/// Events that were refused alone, while it is not known whether that is their fault.
#[derive(Debug, Default)]
pub struct Quarantine {
    cause: Cause,
    /// Refusals in a row for this cause.
    streak: usize,
    streak_began: Option<Instant>,
    events: BTreeMap<EventKey, Quarantined>,
}

#[derive(Debug)]
struct Quarantined {
    place: QuarantinePlace,
    refusal: Refusal,
    blame: Blame,
    since: Instant,
    tries: u32,
    due: Instant,
}

/// Where a refused event is.
#[derive(Debug)]
enum QuarantinePlace {
    /// Kept on lease.
    Held(Leased),
    /// In flight once more.
    Retrying,
    /// Queued again, to be recognised when it is leased.
    Queued,
    /// Queued again, and another was accepted since: it is bad.
    Rejected,
}

/// What becomes of events in quarantine.
#[derive(Debug, Default)]
pub struct QuarantineUpdate {
    /// They are bad.
    pub rejected: Vec<(Leased, Refusal)>,
    /// They are queued again.
    pub released: Vec<Leased>,
    /// Too many were refused in a row: the lane pauses.
    pub pauses: bool,
}

/// Why an event was refused alone.
#[derive(Clone, Debug)]
pub struct LoneRefusal {
    pub refusal: Refusal,
    pub blame: Blame,
}

impl LoneRefusal {
    pub fn of(judgement: &Judgement) -> Self {
        let refusal = Refusal {
            reason: match judgement.verdict {
                Verdict::TooLarge => Reason::TooLarge,
                _ => Reason::Refused,
            },
            code: judgement.code,
            sub_code: judgement.sub_code,
            trace_id: judgement.trace_id.clone(),
            message: judgement.text.clone(),
        };
        let blame = judgement.blame();
        Self { refusal, blame }
    }
}

impl Quarantine {
    /// An event was refused alone. `is_paused`: such refusals have paused the lane. `random` lies
    /// between 0 and 1.
    pub fn on_refusal(
        &mut self,
        event: Leased,
        LoneRefusal { refusal, blame }: LoneRefusal,
        is_paused: bool,
        now: Instant,
        random: f64,
    ) -> QuarantineUpdate {
        let mut update = QuarantineUpdate::default();
        let key = key(&event);
        let cause = (refusal.code, refusal.sub_code);
        let before = self.events.remove(&key);
        let counts = blame != Blame::Passing && !is_paused;
        if counts && before.is_none() {
            self.extend_streak(cause, now);
        }
        update.pauses = counts && (self.streak >= TOO_MANY || self.undecided().0 >= TOO_MANY_HELD);
        if blame == Blame::Event && counts && !update.pauses {
            update.rejected.push((event, refusal));
            return update;
        }
        if self.events.len() >= MOST {
            // Events that are queued again are refused again, if they are bad.
            self.events.retain(|_, other| other.is_on_lease());
        }
        if self.events.len() >= MOST {
            update.released.push(event);
            update.pauses = false;
            return update;
        }
        let tries = before.map_or(0, |before| before.tries).saturating_add(1);
        let place = if is_paused {
            update.released.push(event);
            QuarantinePlace::Queued
        } else {
            QuarantinePlace::Held(event)
        };
        if update.pauses {
            // Forgets those of an earlier streak.
            self.events.retain(|_, other| other.is_held());
        }
        let quarantined = Quarantined {
            place,
            refusal,
            blame,
            since: now,
            tries,
            due: now + AGAIN.wait(tries, random),
        };
        self.events.insert(key, quarantined);
        if update.pauses {
            self.end_streak();
            self.cause = cause;
            update.released = self.release();
        }
        update
    }

    /// Meta accepted these events, in a request that was begun at `began`. If it had refused one of them
    /// before, it judges differently now: all that it refused deserve another try.
    pub fn on_acceptance(&mut self, accepted: &[Leased], began: Instant) -> QuarantineUpdate {
        let mut update = QuarantineUpdate::default();
        if self.streak_began.is_none_or(|first| first <= began) {
            self.end_streak();
        }
        if self.events.is_empty() {
            return update;
        }
        let mut reversed = false;
        for event in accepted {
            let before = self.events.remove(&key(event));
            reversed |= before.is_some_and(|before| before.blame != Blame::Passing);
        }
        for (key, refused) in mem::take(&mut self.events) {
            let is_decided =
                refused.blame != Blame::Passing && (reversed || refused.since <= began);
            match refused.place {
                QuarantinePlace::Held(event) if is_decided && reversed => {
                    update.released.push(event);
                }
                QuarantinePlace::Held(event) if is_decided => {
                    update.rejected.push((event, refused.refusal));
                }
                _ if is_decided && reversed => {}
                QuarantinePlace::Queued if is_decided => {
                    let place = QuarantinePlace::Rejected;
                    self.events.insert(key, Quarantined { place, ..refused });
                }
                _ => {
                    self.events.insert(key, refused);
                }
            }
        }
        update
    }

    /// Why an event that was queued again is known to be bad, if it is; then it is forgotten.
    pub fn take_rejected(&mut self, event: &Leased) -> Option<Refusal> {
        match self.events.entry(key(event)) {
            Entry::Occupied(refused)
                if matches!(refused.get().place, QuarantinePlace::Rejected) =>
            {
                Some(refused.remove().refusal)
            }
            _ => None,
        }
    }

    /// Whether an event was refused before, as far as that is remembered.
    pub fn contains(&self, event: &Leased) -> bool {
        self.events.contains_key(&key(event))
    }

    /// The event whose next try is due, to be sent once more.
    pub fn take_due(&mut self, now: Instant) -> Option<Leased> {
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

    /// Takes out all events that are held, and remembers them.
    pub fn release(&mut self) -> Vec<Leased> {
        let refused = self.events.values_mut();
        refused
            .filter_map(|refused| refused.take(QuarantinePlace::Queued))
            .collect()
    }

    /// An event was given back to the queue, perhaps one that was to be tried again.
    pub fn mark_queued(&mut self, event: &Leased) {
        if let Some(refused) = self.events.get_mut(&key(event))
            && refused.is_retrying()
        {
            refused.place = QuarantinePlace::Queued;
        }
    }

    /// Whether these are one event, which is being tried again.
    pub fn is_retry(&self, events: &[Leased]) -> bool {
        let [event] = events else { return false };
        (self.events.get(&key(event))).is_some_and(Quarantined::is_retrying)
    }

    /// The events that are held on lease.
    pub fn held(&self) -> impl Iterator<Item = &Leased> {
        (self.events.values()).filter_map(|refused| match &refused.place {
            QuarantinePlace::Held(event) => Some(event),
            _ => None,
        })
    }

    /// How many refused events wait for the outcome of another, and why one of them was refused.
    pub fn undecided(&self) -> (usize, Option<&Refusal>) {
        let undecided = || {
            self.events
                .values()
                .filter(|refused| refused.is_undecided())
        };
        let refusal = undecided().next().map(|refused| &refused.refusal);
        (undecided().count(), refusal)
    }

    /// Why the last event was refused.
    pub fn last_refusal(&self) -> Option<&Refusal> {
        let last = self.events.values().max_by_key(|refused| refused.since);
        last.map(|refused| &refused.refusal)
    }

    /// How many events fail although nothing shows that it is their fault.
    pub fn failing(&self) -> usize {
        let is_failing = |refused: &&Quarantined| {
            refused.blame == Blame::Passing && !matches!(refused.place, QuarantinePlace::Queued)
        };
        self.events.values().filter(is_failing).count()
    }

    /// Whether the lane tries other events, one by one.
    pub fn is_isolating(&self) -> bool {
        self.streak >= PROBE_FROM || self.events.values().any(Quarantined::is_undecided)
    }

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

impl Quarantined {
    fn is_held(&self) -> bool {
        matches!(self.place, QuarantinePlace::Held(_))
    }

    fn is_on_lease(&self) -> bool {
        self.is_held() || self.is_retrying()
    }

    fn is_retrying(&self) -> bool {
        matches!(self.place, QuarantinePlace::Retrying)
    }

    fn is_undecided(&self) -> bool {
        self.blame != Blame::Passing && self.is_on_lease()
    }

    /// Takes out the event, if it is held, and notes where it goes.
    fn take(&mut self, to: QuarantinePlace) -> Option<Leased> {
        match mem::replace(&mut self.place, to) {
            QuarantinePlace::Held(event) => Some(event),
            other => {
                self.place = other;
                None
            }
        }
    }
}

fn key(event: &Leased) -> EventKey {
    let checksum = crc32fast::hash(event.body.as_ref());
    (event.slot, checksum, event.taken_at.0)
}

#[cfg(test)]
#[path = "quarantine/tests.rs"]
mod tests;
