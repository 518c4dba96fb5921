//! What the queue does by itself every second: expires events, and removes what is too old.
//!
//! Each pass is bounded, so that pushes need not wait long for it; if there is more to do, the next pass follows
//! at once.

use std::time::Duration;

use crate::clock::{Deadlines, UnixMillis};

use super::bits::Bits;
use super::copy_bounds::CopyBounds;
use super::core::Core;
use super::dead_letters::{self, NewDeadLetter};
use super::engine::{AttemptChange, BatchFingerprints, BatchOrder, EngineResult, StoredAttempt};
use super::state::BatchState;
use super::totals::Counter;
use super::{clicks, profiles, set_aside};

/// How long requests and fingerprints are kept for `trace`: longer than Meta's window.
const RETENTION: Duration = Duration::from_secs(8 * 24 * 3600);
/// Batches, records and dead letters that one pass looks at.
const BATCHES_A_PASS: usize = 512;
/// How often copies of damaged files are looked at, unless the disk is low.
const BETWEEN_LOOKS_AT_COPIES: Duration = Duration::from_secs(60);
/// Events that one pass expires.
const EVENTS_A_PASS: u64 = 4096;

/// Expires what is due and removes what is too old. True if there is more to do.
pub(super) fn expire(core: &mut Core) -> EngineResult<bool> {
    let mut more = set_aside::lose_damaged(core)?;
    for index in 0..core.counters.all().len() {
        more |= expire_sync(core, index)?;
        more |= profiles::remove_aged(core, index)?;
    }
    more |= dead_letters::remove_aged(core, BATCHES_A_PASS)?;
    more |= remove_aged_attempts(core)?;
    more |= remove_aged_fingerprints(core)?;
    more |= clicks::remove_aged(core)?;
    more |= set_aside::remove_aged(core)?;
    bound_copies(core);
    Ok(more || !core.damaged.is_empty())
}

/// Expires events of a sync that are due and not on lease. True if there may be more.
fn expire_sync(core: &mut Core, index: usize) -> EngineResult<bool> {
    let (now, deadlines) = (core.now.seconds(), core.context.clock.deadlines());
    let mut batches = core.walk(index, BatchOrder::Deadline, None);
    let (mut due, mut ended) = (0, 0);
    while due < BATCHES_A_PASS
        && ended < EVENTS_A_PASS
        && let Some(state) = batches.next(core)?.filter(|state| state.deadline <= now)
    {
        let (leased, _) = core.on_lease(index, state.id);
        if !state.open().without(&leased).is_empty() {
            due += 1;
            if deadlines.has_passed(state.deadline, state.taken_at) {
                ended += expire_batch(core, index, state, deadlines)?;
            }
        }
    }
    let is_cut_off = due == BATCHES_A_PASS || ended >= EVENTS_A_PASS;
    Ok(is_cut_off && ended > 0)
}

fn expire_batch(
    core: &mut Core,
    index: usize,
    mut state: BatchState,
    deadlines: Deadlines,
) -> EngineResult<u64> {
    let (leased, content) = core.on_lease(index, state.id);
    let Some(content) = core.content(&state, content)? else {
        // The next pass gives it up.
        core.damaged.push(state.id);
        return Ok(0);
    };
    let mut expired = Bits::default();
    for position in state.open().without(&leased).positions() {
        let entry = &content.entries[position];
        let (expiry, reason) = state.expiry(position, entry);
        if !deadlines.has_passed(expiry, state.taken_at) {
            continue;
        }
        expired.add(position);
        core.end_event(index, &mut state, &content, position, reason);
        let letter = NewDeadLetter::of(&content, entry, reason, &state);
        dead_letters::file(core, index, &letter)?;
    }
    let next = state.next_expiry(&content);
    if expired.is_empty() && next == state.deadline {
        return Ok(0);
    }
    state.deadline = next;
    let id = state.id;
    core.save_batch(index, state);
    core.ended_unleased(index, id);
    Ok(expired.count())
}

/// Removes copies of damaged files that are as old as dead letters become, since they hold events too, and those
/// that take too much room.
fn bound_copies(core: &mut Core) {
    let now = core.uptime;
    let is_due = |last: Duration| now.saturating_sub(last) >= BETWEEN_LOOKS_AT_COPIES;
    if core.copies_seen_at.is_some_and(|last| !is_due(last)) && !core.quota.is_disk_low() {
        return;
    }
    core.copies_seen_at = Some(now);
    let config = &core.settings.config;
    let may_end = core.context.clock.may_end(config.dead_letter_retention);
    let bounds = CopyBounds {
        now: core.now,
        retention: may_end.then_some(config.dead_letter_retention),
        max_bytes: config.max_bytes.get(),
        min_free: core.quota.min_free(),
    };
    if let Err(error) = core.context.storage.remove_copies(bounds) {
        tracing::warn!(%error, "copies of damaged files could not be removed");
    }
}

fn remove_aged_attempts(core: &mut Core) -> EngineResult<bool> {
    let ages = core.age_limit(RETENTION);
    let may_have_aged = |attempt: &StoredAttempt| ages.may_have_passed(attempt.request.sent_at);
    let mut oldest = |limit| core.engine.attempts(0, UnixMillis(0), limit);
    if !oldest(1)?.first().is_some_and(may_have_aged) {
        return Ok(false);
    }
    let mut removed = 0;
    let page = oldest(BATCHES_A_PASS)?;
    let aged = ages.count(page.iter().map(|attempt| attempt.request.sent_at));
    for attempt in &page[..aged] {
        if attempt.request.answered_at.is_some() {
            let id = attempt.id;
            core.pending.attempts.insert(id, AttemptChange::Remove);
            removed += 1;
        }
    }
    Ok(removed == BATCHES_A_PASS)
}

fn remove_aged_fingerprints(core: &mut Core) -> EngineResult<bool> {
    let config = &core.settings.config;
    let ages = core.age_limit(RETENTION.max(config.duplicate_window));
    let max_bytes = config.max_bytes.get() / 10;
    let held = core.counters.sum(Counter::SeenBytes);
    let mut excess = held.saturating_sub(max_bytes);
    let may_go = |batch: &BatchFingerprints| excess > 0 || ages.may_have_passed(batch.taken_at);
    let mut oldest = |limit| core.engine.fingerprints(None, limit);
    if !oldest(1)?.first().is_some_and(may_go) {
        return Ok(false);
    }
    let page = oldest(BATCHES_A_PASS)?;
    let aged = ages.count(page.iter().map(|batch| batch.taken_at));
    for (index, batch) in page.iter().enumerate() {
        if excess == 0 && index >= aged {
            return Ok(false);
        }
        let bytes = batch.stored.len() as u64;
        let is_new = core.pending.aged_fingerprints.insert(batch.batch);
        if is_new && let Some(index) = core.counters.find_by_id(batch.sync) {
            core.counters.at(index).take(Counter::SeenBytes, bytes);
        }
        excess = excess.saturating_sub(bytes);
    }
    Ok(page.len() == BATCHES_A_PASS)
}
