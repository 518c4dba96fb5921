//! Opens the store and mends it: what the writer does before it can serve, and where something is damaged.

use std::sync::Arc;

use super::core::{Core, QueueContext};
use super::damage::{DamageKind, Finding};
use super::engine::{self, EngineError, EngineResult, Opening};
use super::error::with_causes;
use super::quota::CapacityProblem;
use super::state::Soundness;
use super::totals::Counters;
use super::{OpenError, dead_letters, profiles, room, set_aside, settle, totals};

/// What a start says that it does.
const OPENING: &str = "its files are being opened";
const COUNTING: &str = "its counters are being counted anew";
const READING: &str = "what is kept in memory is being read";
pub(super) const SALVAGING: &str = "it is damaged, and what is readable is being copied";

/// Opens the engine and reads what is kept in memory.
pub(super) fn open(context: &Arc<QueueContext>, opening: Opening) -> Result<Core, OpenError> {
    // After a failure that is what counts.
    let doing = |what| {
        if opening == Opening::Start {
            context.set_trouble(CapacityProblem::Busy(what));
        }
    };
    doing(OPENING);
    let mut engine = context.storage.open(opening)?;
    // It may have another file open than the engine.
    context.shared.reader.close();
    if opening == Opening::Start {
        context.shared.view.lock().cooldowns = engine.cooldowns()?;
    }
    let found = context.storage.take_findings();
    // Behind a damaged log, the file may be of several moments.
    let is_mixed = found.iter().any(|it| it.kind == DamageKind::Log);
    note(context, found);
    let is_recounted = is_mixed || !totals::are_sound(&mut *engine)?;
    if is_recounted {
        doing(COUNTING);
        let lost = totals::recount(&mut *engine)?;
        let what = format!("counters were damaged, and were counted anew; {lost} events are lost");
        tracing::error!("{what}. Check the disk");
        note(context, vec![Finding::new(DamageKind::Counters, what)]);
    }
    doing(READING);
    let mut core = Core::new(context, engine)?;
    core.suspects_indexes = is_recounted;
    dead_letters::load_samples(&mut core)?;
    core.transact(|core| {
        for sync in &Arc::clone(&core.settings).syncs {
            core.index_of(sync);
        }
        // A salvage sets aside all that it finds.
        room::make_room(core)?;
        settle::resolve_open(core, opening)
    })?;
    for counters in core.counters.all() {
        core.leases().of(&counters.name).reset_marks(core.uptime);
    }
    core.publish()?;
    if opening == Opening::AfterFailure {
        // A commit of unknown outcome may have added events, and nothing else says so.
        for counters in core.counters.all() {
            core.leases().of(&counters.name).wake.notify_one();
        }
    }
    Ok(core)
}

/// Mends indexes and batches, and counts anew when what cannot be mended has left.
pub(super) fn mend(core: &mut Core) -> EngineResult<()> {
    tracing::error!("records of the store are damaged; they are being mended. Check the disk");
    core.suspects_indexes = false;
    core.engine.rebuild_indexes()?;
    let engine = &mut *core.engine;
    engine::visit_pages(
        None,
        |after, limit| engine.all_batches(after, limit),
        |state| state.id,
        |state| {
            if state.soundness != Soundness::Sound {
                core.unsound.insert(state.id);
            }
        },
    )?;
    let findings = core.transact(set_aside::mend_states)?;
    note(&core.context, findings);
    core.transact(set_aside::mend_fingerprints)?;
    core.transact(profiles::lose_damaged)?;
    note(&core.context, core.context.storage.take_findings());
    for counters in core.counters.all() {
        core.leases()
            .of(&counters.name)
            .reset_marks(core.context.clock.uptime());
    }
    while core.transact(set_aside::lose_damaged)? {}
    recount(core)
}

pub(super) fn recount(core: &mut Core) -> EngineResult<()> {
    core.needs_recount = false;
    totals::recount(&mut *core.engine)?;
    core.counters = Counters::load(&mut *core.engine)?;
    core.publish()
}

/// Saves what is readable, and opens the copy.
pub(super) fn salvage(context: &Arc<QueueContext>) -> EngineResult<Core> {
    let now = context.clock.now();
    let salvaged = context.storage.salvage(now, totals::recount);
    // Whatever kept it from being saved, it is as damaged as before, and must not be used.
    salvaged.map_err(still_damaged)?;
    open(context, Opening::AfterFailure).map_err(|error| match error {
        OpenError::Engine(error) => error,
        error => still_damaged(error),
    })
}

fn still_damaged(error: OpenError) -> EngineError {
    match error {
        OpenError::Engine(error @ EngineError::Damaged(_)) => error,
        error => {
            tracing::error!(
                error = with_causes(&error),
                "the store could not be salvaged"
            );
            EngineError::Damaged(Arc::new(error))
        }
    }
}

/// Shows damage that was met on `/health`.
pub(super) fn note(context: &QueueContext, findings: Vec<Finding>) {
    if findings.is_empty() {
        return;
    }
    let now = context.clock.now();
    let mut view = context.shared.view.lock();
    for finding in findings {
        view.stats.damage.add(now, finding);
    }
}
