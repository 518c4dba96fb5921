//! What the queue does by itself, every second: expiry, and what has become too old.
//!
//! Each pass is bounded, so that pushes need not wait long for it; where more is to be done, the
//! writer comes back at once.

use std::mem;
use std::time::Duration;

use crate::outcome::Reason;

use super::batch::BatchId;
use super::bits::Bits;
use super::core::{Core, Effect};
use super::dead_letters::{self, NewDeadLetter};
use super::engine::{AttemptChange, BatchOrder, EngineResult};
use super::state::BatchState;
use super::totals::Counter;
use super::{clicks, profiles};

/// How long requests and fingerprints are kept for `trace`: longer than Meta's window.
const RETENTION: Duration = Duration::from_secs(8 * 24 * 3600);
/// Batches, records and letters that one pass looks at.
const BATCHES_A_PASS: usize = 512;
/// Events that one pass expires.
const EVENTS_A_PASS: u64 = 4096;

/// Expires what is due and removes what is too old. True if there is more to do.
pub(super) fn expire(core: &mut Core) -> EngineResult<bool> {
    lose_damaged(core)?;
    let mut more = false;
    for index in 0..core.counters.all().len() {
        more |= expire_sync(core, index)?;
        more |= profiles::remove_aged(core, index)?;
    }
    more |= dead_letters::remove_aged(core, BATCHES_A_PASS)?;
    more |= remove_aged_attempts(core)?;
    more |= remove_aged_fingerprints(core)?;
    more |= clicks::remove_aged(core)?;
    Ok(more)
}

/// Counts batches as lost that were found damaged.
fn lose_damaged(core: &mut Core) -> EngineResult<()> {
    for id in mem::take(&mut core.damaged) {
        if let Some(state) = core.batch(id)?
            && let Some(index) = core.counters.find_by_id(state.sync)
        {
            lose(core, index, &state);
        }
    }
    Ok(())
}

/// Expires events of a sync that are due and not on lease. True if there may be more.
fn expire_sync(core: &mut Core, index: usize) -> EngineResult<bool> {
    let now = core.now.seconds();
    let mut due = Vec::new();
    let mut batches = core.walk(index, BatchOrder::Deadline, None);
    while due.len() < BATCHES_A_PASS
        && let Some(state) = batches.next(core)?.filter(|state| state.deadline <= now)
    {
        let (leased, _) = core.leases_of(index, |leases| leases.on_lease(state.id));
        if !state.open().without(&leased).is_empty() {
            due.push(state);
        }
    }
    let mut ended = 0;
    let more = due.len() == BATCHES_A_PASS;
    for state in due {
        if ended >= EVENTS_A_PASS {
            return Ok(true);
        }
        ended += expire_batch(core, index, state)?;
    }
    Ok(more && ended > 0)
}

fn expire_batch(core: &mut Core, index: usize, mut state: BatchState) -> EngineResult<u64> {
    let (leased, content) = core.leases_of(index, |leases| leases.on_lease(state.id));
    let Some(content) = core.content(&state, content)? else {
        return Ok(lose(core, index, &state));
    };
    let mut expired = Bits::default();
    for position in state.open().without(&leased).positions() {
        let entry = &content.entries[position];
        let (expiry, reason) = state.expiry(position, entry);
        if expiry > core.now.seconds() {
            continue;
        }
        expired.add(position);
        core.end_event(index, &mut state, &content, position, reason);
        let letter = NewDeadLetter {
            first_try: state.first_try,
            last_try: state.last_try,
            ..NewDeadLetter::of(&content, entry, reason, state.taken_at)
        };
        dead_letters::file(core, index, &letter)?;
    }
    let next = state.next_expiry(&content);
    if expired.is_empty() && next == state.deadline {
        return Ok(0);
    }
    state.deadline = next;
    let id = state.id;
    core.save_batch(index, state);
    core.effects.push(Effect::EndedUnleased { index, id });
    Ok(expired.count())
}

fn lose(core: &mut Core, index: usize, state: &BatchState) -> u64 {
    let lost = core.end_batch(index, state, Reason::DamagedRow);
    tracing::error!(
        sync = %core.counters.at(index).name,
        row = state.id.sequence,
        events = lost,
        "a row of the store is damaged; its events are lost. Check the disk"
    );
    lost
}

fn remove_aged_attempts(core: &mut Core) -> EngineResult<bool> {
    let kept_from = core.now.before(RETENTION);
    let oldest = core.engine.oldest_attempts(BATCHES_A_PASS)?;
    let mut removed = 0;
    for (id, sent_at, is_answered) in oldest {
        if is_answered && sent_at < kept_from {
            core.pending.attempts.insert(id, AttemptChange::Remove);
            removed += 1;
        }
    }
    Ok(removed == BATCHES_A_PASS)
}

fn remove_aged_fingerprints(core: &mut Core) -> EngineResult<bool> {
    let config = &core.context.config;
    let kept_from = core.now.before(RETENTION.max(config.duplicate_window));
    let max_bytes = config.max_bytes.get() / 10;
    let mut excess = core
        .counters
        .sum(Counter::SeenBytes)
        .saturating_sub(max_bytes);
    let mut limit = 1;
    let mut removed = 0;
    let mut after: Option<BatchId> = None;
    loop {
        let oldest = core.engine.fingerprint_counts(after, false, limit)?;
        let is_last = oldest.len() < limit;
        for count in oldest {
            if count.taken_at >= kept_from && excess == 0 {
                return Ok(false);
            }
            let is_new = core.pending.aged_fingerprints.insert(count.batch);
            if is_new && let Some(index) = core.counters.find_by_id(count.sync) {
                core.counters
                    .at(index)
                    .take(Counter::SeenBytes, count.bytes);
            }
            excess = excess.saturating_sub(count.bytes);
            after = Some(count.batch);
            removed += 1;
        }
        if is_last || removed >= BATCHES_A_PASS {
            return Ok(!is_last);
        }
        limit = BATCHES_A_PASS - removed;
    }
}
