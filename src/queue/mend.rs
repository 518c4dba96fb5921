//! Mends what is damaged in the small records of batches, from what the store holds twice.
//!
//! A batch's index tells its events and their deadlines, its fingerprints tell its sync and its age. A table's
//! index can be built again from the table.

use super::batch::{BatchEntry, BatchId};
use super::engine::{EngineResult, Reader};
use super::state::{BatchState, Soundness};

/// Derives from a batch's events what is damaged of its state; `None` if that is not enough.
pub(super) fn mended(
    reader: &mut dyn Reader,
    mut state: BatchState,
) -> EngineResult<Option<BatchState>> {
    match state.soundness {
        Soundness::Sound => return Ok(Some(state)),
        Soundness::Mendable => {}
        Soundness::Lost => return Ok(None),
    }
    let Some(content) = reader.content(state.id)? else {
        return Ok(None);
    };
    let before = BatchId {
        sequence: state.id.sequence - 1,
        ..state.id
    };
    let next = reader.fingerprints(Some(before), 1)?.pop();
    let Some(seen) = next.filter(|seen| seen.batch == state.id && seen.is_sound) else {
        return Ok(None);
    };
    state.sync = seen.sync;
    state.taken_at = seen.taken_at;
    state.events = content.entries.len();
    let open = state.open();
    let entries = open.positions().map(|position| &content.entries[position]);
    state.bytes = entries.map(BatchEntry::bytes).sum();
    state.held = content.held_bytes();
    state.deadline = state.next_expiry(&content);
    state.soundness = Soundness::Sound;
    Ok(Some(state))
}
