//! Opens the engine and brings memory into line with it: at the start, and after an error.

use std::sync::Arc;

use super::OpenError;
use super::core::{Core, QueueContext};
use super::engine::Opening;
use super::{dead_letters, settling, window};

/// Opens the engine and reads what is kept in memory.
pub(super) fn open(context: &Arc<QueueContext>, opening: Opening) -> Result<Core, OpenError> {
    let mut engine = context.storage.open(opening)?;
    // What it reads may be another store by now.
    *context.shared.reader() = None;
    if opening == Opening::Start {
        context.shared.view().cooldowns = engine.cooldowns()?;
    }
    let window = window::load(&context.config, context.clock.now(), &mut *engine)?;
    let mut core = Core::new(context, engine, window)?;
    dead_letters::load_samples(&mut core)?;
    core.transact(|core| {
        for sync in &context.syncs {
            core.index_of(sync);
        }
        settling::resolve_open(core, opening)
    })?;
    for counters in core.counters.all() {
        core.leases().of(&counters.name).reset_marks();
    }
    core.publish()?;
    Ok(core)
}
