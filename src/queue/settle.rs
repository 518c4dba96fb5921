//! Settlement: what the answer to a request does to the events that it carried.
//!
//! A request is recorded before it is sent, and the settlement of its answer closes the record. A crash leaves the
//! record open: as with a lost answer, Meta may have taken the events, so they expire 48 hours after the request.

use std::collections::BTreeMap;

use crate::clock::UnixMillis;
use crate::config::SyncName;
use crate::outcome::Reason;

use super::attempt::{AttemptAnswer, AttemptId, AttemptedEvents, OpenAttempt};
use super::batch::BatchId;
use super::bits::Bits;
use super::cooldown::CooldownChange;
use super::core::{Core, Effect};
use super::dead::Refusal;
use super::dead_letters::{self, NewDeadLetter};
use super::engine::{AttemptChange, EngineResult, Opening, StoredAttempt};
use super::lease::Slot;
use super::leases::LeaseChange;
use super::state::{BatchState, DOUBT_SECONDS, in_doubt_since};

/// What the answer to a request changes, in one transaction. If that fails, it may be repeated as it is.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The sync.
    pub sync: SyncName,
    /// The request that was answered; its record is closed.
    pub delivery: Option<AttemptId>,
    /// How it was answered. `None`: it was not sent, and its record is removed.
    pub answer: Option<AttemptAnswer>,
    /// Events that end. One that is not on lease is passed over.
    pub ends: Vec<(Slot, End)>,
    /// Events that become ready again. Those in neither list stay leased.
    pub release: Vec<Slot>,
    /// Cooldowns that the answer begins or ends.
    pub cooldowns: Vec<CooldownChange>,
}

/// How an event on lease ends.
#[derive(Clone, Debug)]
pub enum End {
    /// Meta took it.
    Delivered {
        /// Meta counted fewer events than the request held.
        short: bool,
    },
    /// Meta refused it.
    Rejected(Refusal),
}

impl End {
    /// Why it ends; the reason tells the outcome.
    pub(super) const fn reason(&self) -> Reason {
        match self {
            Self::Delivered { short: false } => Reason::Accepted,
            Self::Delivered { short: true } => Reason::ShortCount,
            Self::Rejected(refusal) => refusal.reason,
        }
    }
}

/// Records a request that is about to be sent.
pub(super) fn open(core: &mut Core, sync: &SyncName, slots: &[Slot]) -> AttemptId {
    let index = core.index_of(sync);
    core.last.attempt += 1;
    let id = AttemptId(core.last.attempt);
    let request = OpenAttempt {
        sent_at: core.now,
        events: AttemptedEvents::of(slots),
    };
    let change = AttemptChange::Open(core.counters.at(index).id, request.clone());
    core.pending.attempts.insert(id, change);
    core.effects.push(Effect::Opened(id, request));
    id
}

/// Applies the answer to a request.
pub(super) fn settle(core: &mut Core, settlement: &Settlement) -> EngineResult<()> {
    core.pending
        .cooldowns
        .extend_from_slice(&settlement.cooldowns);
    let Some(index) = core.counters.find(&settlement.sync) else {
        return Ok(());
    };
    let mut ends: BTreeMap<BatchId, Vec<(usize, &End)>> = BTreeMap::new();
    for (slot, end) in &settlement.ends {
        let of_batch = ends.entry(slot.batch).or_default();
        of_batch.push((slot.position(), end));
    }
    let request = match settlement.delivery {
        Some(id) if settlement.answer.is_some() => under_way(core, id),
        _ => None,
    };
    let sent_at = request.as_ref().map(|request| request.sent_at);
    let mut carried = request.map(|request| request.events.0).unwrap_or_default();
    for batch in ends.keys() {
        carried.entry(*batch).or_default();
    }
    let lost = settlement.answer.as_ref().is_some_and(|answer| answer.lost);
    for (batch, carried) in carried {
        let ends = ends.remove(&batch).unwrap_or_default();
        let attempt = AttemptOfBatch {
            sent_at,
            carried,
            lost,
        };
        settle_batch(core, index, batch, &ends, &attempt)?;
    }
    let ended = settlement.ends.iter().map(|(slot, _)| *slot).collect();
    core.effects
        .push(Effect::Leases(index, LeaseChange::Ended(ended)));
    let released = LeaseChange::Released(settlement.release.clone());
    core.effects.push(Effect::Leases(index, released));
    if let Some(id) = settlement.delivery {
        close(core, id, settlement.answer.clone());
        core.effects.push(Effect::Answered(id));
    }
    Ok(())
}

/// Closes the records of requests without an answer for which nobody waits.
pub(super) fn resolve_open(core: &mut Core, opening: Opening) -> EngineResult<()> {
    for request in core.engine.unanswered()? {
        if under_way(core, request.id).is_some() {
            continue;
        }
        if opening == Opening::AfterFailure {
            // The commit of its record failed, so it was not sent.
            close(core, request.id, None);
            continue;
        }
        cut_off(core, request)?;
    }
    Ok(())
}

/// Gives up what a lane left behind when it failed. As after a crash, its requests under way count as some with a
/// lost answer, and its events on lease are ready again.
pub(super) fn abandon(core: &mut Core, sync: &SyncName) -> EngineResult<()> {
    let Some(index) = core.counters.find(sync) else {
        return Ok(());
    };
    let id = core.counters.all()[index].id;
    for request in core.engine.unanswered()? {
        if request.sync == id {
            core.effects.push(Effect::Answered(request.id));
            cut_off(core, request)?;
        }
    }
    let released = LeaseChange::ReleasedAll;
    core.effects.push(Effect::Leases(index, released));
    Ok(())
}

/// Closes the record of a request whose answer nobody will read.
fn cut_off(core: &mut Core, request: StoredAttempt) -> EngineResult<()> {
    if let Some(index) = core.counters.find_by_id(request.sync) {
        for (batch, carried) in request.events.0 {
            let attempt = AttemptOfBatch {
                sent_at: Some(request.request.sent_at),
                carried,
                lost: true,
            };
            settle_batch(core, index, batch, &[], &attempt)?;
        }
    }
    let answer = AttemptAnswer {
        verdict: "cut_off",
        lost: true,
        ..AttemptAnswer::default()
    };
    close(core, request.id, Some(answer));
    Ok(())
}

fn settle_batch(
    core: &mut Core,
    index: usize,
    id: BatchId,
    ends: &[(usize, &End)],
    attempt: &AttemptOfBatch,
) -> EngineResult<()> {
    let Some(mut state) = core.batch(id)? else {
        return Ok(());
    };
    let (leased, content) = core.on_lease(index, id);
    let mut changed = false;
    for (position, end) in ends {
        let Some(content) = content.as_ref().filter(|_| leased.has(*position)) else {
            continue;
        };
        if state.settled.has(*position) {
            continue;
        }
        core.end_event(index, &mut state, content, *position, end.reason());
        if let End::Rejected(refusal) = end {
            let entry = &content.entries[*position];
            let letter = NewDeadLetter {
                refusal: Some(refusal),
                first_try: state.first_try.or(attempt.sent_at),
                last_try: attempt.sent_at.or(state.last_try),
                ..NewDeadLetter::of(content, entry, refusal.reason, &state)
            };
            dead_letters::file(core, index, &letter)?;
        }
        changed = true;
    }
    changed |= note_attempt(core, index, &mut state, attempt);
    if changed {
        core.save_batch(index, state);
    }
    Ok(())
}

/// Notes in a batch's state that a request left some of its events open; true if it did.
fn note_attempt(
    core: &Core,
    index: usize,
    state: &mut BatchState,
    attempt: &AttemptOfBatch,
) -> bool {
    let remaining = attempt.carried.without(&state.settled);
    let Some(sent_at) = attempt.sent_at.filter(|_| !remaining.is_empty()) else {
        return false;
    };
    state.first_try.get_or_insert(sent_at);
    state.last_try = Some(sent_at);
    if attempt.lost {
        let since = in_doubt_since(sent_at, state.taken_at);
        state.in_doubt.add(&remaining, since);
        let expiry = since.seconds() + DOUBT_SECONDS;
        state.deadline = state.deadline.min(expiry);
        // Need not wait for the commit: a mark that is too low does no harm.
        core.leases_of(index, |leases| {
            leases.lower_deadline(state.id, state.deadline);
        });
    }
    true
}

/// A request, if it is under way.
fn under_way(core: &Core, id: AttemptId) -> Option<OpenAttempt> {
    core.context.shared.requests.lock().get(&id).cloned()
}

fn close(core: &mut Core, id: AttemptId, answer: Option<AttemptAnswer>) {
    let change = match answer {
        Some(answer) => AttemptChange::Answer {
            at: core.now,
            answer,
        },
        None => AttemptChange::Remove,
    };
    core.pending.attempts.insert(id, change);
}

/// What a request means for one batch.
#[derive(Debug)]
struct AttemptOfBatch {
    /// When it was sent, if it was.
    sent_at: Option<UnixMillis>,
    /// The events of the batch that it carried.
    carried: Bits,
    /// Meta may have taken the events, for all we know.
    lost: bool,
}
