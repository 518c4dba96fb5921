//! Clicks: when each was first seen, kept beside the events.
//!
//! A push stores the clicks of its events in its transaction. Until then all requests get the same moment from
//! memory. The oldest clicks are removed first, by age and by number. `forget` passes them over: a hash names
//! nobody, and no click id can be made of it.

use crate::profile::clicks::{FirstSeen, KEPT};

use super::core::{Core, Effect};
use super::engine::EngineResult;

/// About what a click takes in the store, its index entry included.
const CLICK_BYTES: u64 = 100;
/// The part of `max_bytes` that clicks may take.
const PART: u64 = 50;
/// Clicks that are removed in one go.
const PIECE: usize = 512;

/// Stores when clicks were first seen. A click that is stored already keeps its moment.
pub(super) fn store(core: &mut Core, clicks: &[FirstSeen]) -> EngineResult<()> {
    for new in clicks {
        // A click that was about to be removed stays.
        let pending = core.pending.clicks.remove(&new.click).flatten();
        let stored = match pending {
            Some(_) => None,
            None => core.engine.click(new.click)?,
        };
        let seen = stored.or(pending).unwrap_or(new.seen);
        if stored.is_none() {
            core.pending.clicks.insert(new.click, Some(seen));
        }
        core.effects
            .push(Effect::Clicked(FirstSeen { seen, ..*new }));
    }
    Ok(())
}

/// Removes clicks that are too old or too many. True if there may be more.
pub(super) fn remove_aged(core: &mut Core) -> EngineResult<bool> {
    let max = core.settings.config.max_bytes.get() / PART / CLICK_BYTES;
    let mut excess = core.engine.click_count()?.saturating_sub(max);
    let oldest = core.engine.oldest_clicks(PIECE)?;
    let aged = (core.age_limit(KEPT)).count(oldest.iter().map(|click| click.seen));
    let mut removed = 0;
    for (index, click) in oldest.iter().enumerate() {
        if excess > 0 || index < aged {
            core.pending.clicks.insert(click.click, None);
            removed += 1;
        }
        excess = excess.saturating_sub(1);
    }
    Ok(removed == PIECE)
}
