//! Keeps dead letters and damaged batches within their bytes: the oldest leave.
//!
//! Events that were refused for their time alone have a quarter of their own: others do not crowd them out, and
//! beyond it they leave no dead letter.

use crate::clock::UnixMillis;

use super::core::Core;
use super::damaged::{DamagedBatch, DamagedHeader};
use super::engine::{DeadHeader, EngineResult};
use super::totals::{Counter, Removal};

/// Dead letters that are read at once.
const PAGE: usize = 16;

/// Removes the oldest dead letters and damaged batches while they take more bytes than they may.
pub(super) fn make_room(core: &mut Core) -> EngineResult<()> {
    while excess(core) {
        let page = core.engine.dead_headers(core.passed.dead_letter, PAGE)?;
        if page.is_empty() {
            // All others came in this transaction.
            let behind = core.passed.dead_letter + 1;
            let mut pending = core.pending.dead_letters.range(behind..);
            let first = pending.find_map(|(_, letter)| {
                let header = letter.as_ref()?.header();
                (!is_exempt(core, &header)).then_some(header)
            });
            let filed_at = first
                .as_ref()
                .map_or(UnixMillis(i64::MAX), |it| it.filed_at);
            remove_damaged_before(core, filed_at)?;
            match first {
                Some(letter) if excess(core) => remove_letter(core, &letter, Removal::Crowded),
                _ => return Ok(()),
            }
            continue;
        }
        for letter in page {
            remove_damaged_before(core, letter.filed_at)?;
            if !excess(core) {
                break;
            }
            if !core.pending.dead_letters.contains_key(&letter.id) && !is_exempt(core, &letter) {
                remove_letter(core, &letter, Removal::Crowded);
            }
            core.passed.dead_letter = letter.id;
        }
    }
    Ok(())
}

/// Removes a dead letter.
pub(super) fn remove_letter(core: &mut Core, letter: &DeadHeader, why: Removal) {
    // One of this transaction was never stored.
    if core.pending.dead_letters.remove(&letter.id).is_none() {
        core.pending.dead_letters.insert(letter.id, None);
    }
    let is_mistimed = letter.is_mistimed();
    if !is_mistimed
        && let Some(reason) = letter.reason
        && let Some(samples) = core.samples.get_mut(&(letter.sync, reason))
    {
        *samples = samples.saturating_sub(1);
    }
    if let Some(index) = core.counters.find_by_id(letter.sync) {
        let counters = core.counters.at(index);
        counters.take(Counter::Dead, 1);
        counters.take(Counter::DeadBytes, letter.bytes);
        if is_mistimed {
            counters.take(Counter::MistimedBytes, letter.bytes);
        }
        counters.add(Counter::DeadRemoved(why), 1);
    }
}

/// Removes a damaged batch.
pub(super) fn remove_damaged(core: &mut Core, batch: &DamagedHeader) {
    if core.pending.damaged.remove(&batch.id).is_none() {
        core.pending.damaged.insert(batch.id, None);
    }
    if let Some(index) = core.counters.find_by_id(batch.sync) {
        core.counters
            .at(index)
            .take(Counter::DeadBytes, batch.bytes);
    }
}

/// Whether a dead letter of this size fits into the quarter of those that were refused for their time alone.
pub(super) fn takes_mistimed(core: &Core, bytes: u64) -> bool {
    core.counters.sum(Counter::MistimedBytes) + bytes <= max_bytes(core) / 4
}

/// Whether a dead letter stays where others leave.
fn is_exempt(core: &Core, letter: &DeadHeader) -> bool {
    letter.is_mistimed() && takes_mistimed(core, 0)
}

fn excess(core: &Core) -> bool {
    core.counters.sum(Counter::DeadBytes) > max_bytes(core)
}

fn max_bytes(core: &Core) -> u64 {
    let config = &core.settings.config;
    // Dead letters may not take what the queue needs, whatever their own limit says.
    config.dead_letter_max_bytes.min(config.max_bytes.get() / 2)
}

/// Removes the damaged batches that were found before a moment, while there is too little room.
fn remove_damaged_before(core: &mut Core, moment: UnixMillis) -> EngineResult<()> {
    while excess(core)
        && let Some(oldest) = oldest_damaged(core)?
        && oldest.found_at < moment
    {
        remove_damaged(core, &oldest);
    }
    Ok(())
}

/// The damaged batch that was found first, as the present transaction leaves them.
fn oldest_damaged(core: &mut Core) -> EngineResult<Option<DamagedHeader>> {
    loop {
        let next = core.engine.damaged_headers(core.passed.damaged, 1)?.pop();
        let Some(next) = next else {
            let mut pending = core.pending.damaged.values();
            let first: Option<&DamagedBatch> = pending.find_map(Option::as_ref);
            return Ok(first.map(|batch| batch.header.clone()));
        };
        if !core.pending.damaged.contains_key(&next.id) {
            return Ok(Some(next));
        }
        core.passed.damaged = next.id;
    }
}
