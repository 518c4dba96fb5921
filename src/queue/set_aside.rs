//! Gives up batches that are damaged: their events count as lost, and what is stored of them is set aside.

use std::mem;

use crate::outcome::Reason;

use super::batch::encode_fingerprints;
use super::core::Core;
use super::damage::{DamageKind, Finding};
use super::damaged::{DamagedBatch, DamagedHeader, RawContent};
use super::engine::{self, EngineResult};
use super::state::{BatchState, Soundness};
use super::totals::Counter;
use super::{mend, room};

/// Damaged batches that one pass looks at: their bytes are in memory until the commit.
const PIECE: usize = 64;

/// Counts damaged batches as lost. True if there are more.
pub(super) fn lose_damaged(core: &mut Core) -> EngineResult<bool> {
    let left = core.damaged.len().saturating_sub(PIECE);
    for id in core.damaged.split_off(left) {
        // One that was found twice is gone.
        let Some(state) = core.batch_as_stored(id)? else {
            continue;
        };
        let is_unsound = state.soundness != Soundness::Sound;
        let Some(index) = core.counters.find_by_id(state.sync) else {
            if is_unsound {
                core.remove_batch(&state);
            }
            continue;
        };
        // The last look decides.
        let (_, leased) = core.on_lease(index, id);
        if is_unsound || core.content(&state, leased)?.is_none() {
            lose(core, index, &state)?;
        }
    }
    Ok(left > 0)
}

/// Removes damaged batches behind a number, of one sync or of all; gives their number, and the last one that it
/// looked at, unless there are no more.
pub(super) fn remove_piece(
    core: &mut Core,
    index: Option<usize>,
    after: i64,
) -> EngineResult<(u64, Option<i64>)> {
    let sync = index.map(|index| core.counters.at(index).id);
    let page = core.engine.damaged_headers(after, PIECE)?;
    let mut removed = 0;
    for batch in &page {
        let is_meant = sync.is_none_or(|sync| sync == batch.sync);
        if is_meant && !core.pending.damaged.contains_key(&batch.id) {
            room::remove_damaged(core, batch);
            removed += 1;
        }
    }
    let last = page.last().filter(|_| page.len() == PIECE);
    Ok((removed, last.map(|batch| batch.id)))
}

/// Removes damaged batches that are older than the retention of dead letters. True if there may be more.
pub(super) fn remove_aged(core: &mut Core) -> EngineResult<bool> {
    let ages = core.age_limit(core.settings.config.dead_letter_retention);
    let may_have_aged = |batch: &DamagedHeader| ages.may_have_passed(batch.found_at);
    let mut oldest = |limit| core.engine.damaged_headers(0, limit);
    if !oldest(1)?.first().is_some_and(may_have_aged) {
        return Ok(false);
    }
    let mut aged = oldest(PIECE)?;
    aged.truncate(ages.count(aged.iter().map(|batch| batch.found_at)));
    for batch in &aged {
        if !core.pending.damaged.contains_key(&batch.id) {
            room::remove_damaged(core, batch);
        }
    }
    Ok(aged.len() == PIECE)
}

fn lose(core: &mut Core, index: usize, state: &BatchState) -> EngineResult<()> {
    let content = core.engine.raw_content(state.id)?.unwrap_or_default();
    let lost = core.end_batch(index, state, Reason::DamagedRow);
    tracing::error!(
        sync = %core.counters.at(index).name,
        row = state.id.sequence,
        events = lost,
        "a row of the store is damaged; its events are lost, and what is left of it is set aside. Check the disk"
    );
    set_aside(core, index, state, lost, content);
    room::make_room(core)
}

fn set_aside(core: &mut Core, index: usize, state: &BatchState, lost: u64, content: RawContent) {
    core.last.damaged += 1;
    let id = core.last.damaged;
    let header = DamagedHeader {
        id,
        batch: state.id,
        sync: state.sync,
        taken_at: state.taken_at,
        events: lost,
        why: content.damage(),
        found_at: core.now,
        bytes: content.held_bytes(),
    };
    let counters = core.counters.at(index);
    counters.add(Counter::DeadBytes, header.bytes);
    let settled = (!state.settled.is_empty()).then(|| state.settled.stored(state.events));
    let batch = DamagedBatch {
        header,
        settled,
        content,
    };
    core.pending.damaged.insert(id, Some(batch));
}

/// Stores states of batches as they should be, and loses what is beyond that; gives what was damaged.
pub(super) fn mend_states(core: &mut Core) -> EngineResult<Vec<Finding>> {
    let mut restored = 0;
    for id in mem::take(&mut core.unsound) {
        let Some(stored) = core.engine.batch(id)? else {
            continue;
        };
        if stored.soundness == Soundness::Sound {
            continue;
        }
        match mend::mended(&mut *core.engine, stored)? {
            Some(state) if core.counters.find_by_id(state.sync).is_some() => {
                restored += 1;
                core.restore_batch(state);
            }
            _ => core.damaged.push(id),
        }
    }
    let what = format!("the states of {restored} batches were damaged, and are mended");
    let finding = (restored > 0).then(|| Finding::new(DamageKind::Batch, what));
    Ok(finding.into_iter().collect())
}

/// Restores the fingerprints of batches whose events are there. What can not be restored stays as it is: most of it is
/// right.
pub(super) fn mend_fingerprints(core: &mut Core) -> EngineResult<()> {
    let mut damaged = Vec::new();
    let engine = &mut *core.engine;
    engine::visit_pages(
        None,
        |after, limit| engine.fingerprints(after, limit),
        |seen| seen.batch,
        |seen| damaged.extend((!seen.is_sound).then_some(seen)),
    )?;
    for seen in &mut damaged {
        if let Some(content) = engine.content(seen.batch)? {
            seen.stored = encode_fingerprints(&content.entries);
        }
        let state = engine.batch(seen.batch)?;
        if let Some(state) = state.filter(|state| state.soundness == Soundness::Sound) {
            (seen.sync, seen.taken_at) = (state.sync, state.taken_at);
        }
    }
    core.pending.mended_fingerprints = damaged;
    Ok(())
}
