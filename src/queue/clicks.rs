//! Clicks: when each was first seen, kept beside the events.
//!
//! What an event tells is stored in the transaction of its push. Until then, whoever asks for the click is
//! given the same from memory, so that two requests at the same moment agree. The oldest leave first, by age
//! and by number. `forget` does not look here: nobody is named, and no click can be made of its hash.

use crate::profile::clicks::{FirstSeen, KEPT};

use super::core::{Core, Effect};
use super::engine::EngineResult;

/// What the store takes for a click, about, with its place in the index.
const CLICK_BYTES: u64 = 100;
/// The part of `max_bytes` that clicks may take.
const PART: u64 = 50;
/// Clicks that are removed in one go.
const PIECE: usize = 512;
/// Stores when clicks were first seen. What is stored already stays.
pub(super) fn store(core: &mut Core, clicks: &[FirstSeen]) -> EngineResult<()> {
    for new in clicks {
        // One that was about to go stays.
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
    let max = core.context.config.max_bytes.get() / PART / CLICK_BYTES;
    let mut excess = core.engine.click_count()?.saturating_sub(max);
    let kept_from = core.now.before(KEPT);
    let mut removed = 0;
    for click in core.engine.oldest_clicks(PIECE)? {
        if excess > 0 || click.seen < kept_from {
            core.pending.clicks.insert(click.click, None);
            removed += 1;
        }
        excess = excess.saturating_sub(1);
    }
    Ok(removed == PIECE)
}
