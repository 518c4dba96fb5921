//! Hands out ready events for delivery, each once until it is settled or released.

use std::collections::HashSet;
use std::sync::Arc;

use crate::clock::Deadlines;
use crate::config::SyncName;

use super::batch::StoredBatch;
use super::bits::Bits;
use super::core::Core;
use super::engine::{BatchOrder, EngineError, EngineResult};
use super::lease::{Leased, Order, Slot};
use super::leases::SyncLeases;
use super::state::{BatchPlace, BatchState};

/// How many batches a lease by name looks at.
const BATCHES_BY_NAME: usize = 256;
/// How many batches a lease reads that give it nothing. By a wrong clock all may seem to be late, and the writer has
/// other work; what is late leaves a piece at a time.
const MOST_PASSED: usize = 256;

/// Events that no lease finds.
#[derive(Debug, thiserror::Error)]
#[error("{events} events are ready by the counts, but are not found")]
struct NotFound {
    events: u64,
}

/// Hands out ready events.
pub(super) fn lease(
    core: &mut Core,
    sync: &SyncName,
    max_events: usize,
    max_bytes: usize,
    order: Order,
) -> EngineResult<Vec<Leased>> {
    core.now = core.context.clock.now();
    let Some(index) = core.counters.find(sync) else {
        return Ok(Vec::new());
    };
    let mut lease = Lease {
        max_events,
        max_bytes,
        index,
        deadlines: core.context.clock.deadlines(),
        taken: Vec::new(),
        bytes: 0,
        passed: 0,
        full: max_events == 0,
    };
    if let Err(error) = fill(core, &mut lease, order) {
        give_back(core, sync, &lease.taken);
        return Err(error);
    }
    Ok(lease.taken)
}

fn fill(core: &mut Core, lease: &mut Lease, order: Order) -> EngineResult<()> {
    let releases = core.leases_of(lease.index, |leases| leases.releases());
    match order {
        Order::MostUrgent => lease_in_turn(core, lease)?,
        Order::NewestOfEachName => lease_newest_of_each_name(core, lease)?,
    }
    check_rest(core, lease, order, releases)?;
    core.leases_of(lease.index, SyncLeases::recheck_oldest);
    core.refresh_oldest(lease.index)
}

/// Makes events ready again that were leased for nobody.
pub(super) fn give_back(core: &Core, sync: &SyncName, leased: &[Leased]) {
    let slots: Vec<Slot> = leased.iter().map(|event| event.slot).collect();
    core.leases().of(sync).release(&slots);
}

/// Where events are ready by the counts, and time after time no lease finds them, the store is damaged where no
/// checksum tells, as in an index: has it mended. Fails if that was of no use. `releases`: how many there had been when
/// the lease began.
fn check_rest(core: &mut Core, lease: &mut Lease, order: Order, releases: u64) -> EngineResult<()> {
    // What is overdue or damaged leaves, or is mended, with the next pass.
    let is_explained = core.overdue
        || !core.damaged.is_empty()
        || !core.unsound.is_empty()
        || core.suspects_indexes;
    if lease.full || order != Order::MostUrgent || is_explained {
        return Ok(());
    }
    let Some(shortage) = core.leases_of(lease.index, |leases| leases.took_all(releases)) else {
        return Ok(());
    };
    if shortage.is_mended {
        let events = shortage.events;
        return Err(EngineError::Damaged(Arc::new(NotFound { events })));
    }
    // It may be one wrong read.
    core.engine.read_afresh()?;
    core.leases_of(lease.index, |leases| leases.lower_urgent(i64::MIN));
    lease_most_urgent(core, lease)?;
    let is_found = core.leases_of(lease.index, |leases| {
        leases.backlog().events == 0 || leases.releases() != releases
    });
    core.suspects_indexes |= !lease.full && !is_found;
    Ok(())
}

fn lease_in_turn(core: &mut Core, lease: &mut Lease) -> EngineResult<()> {
    for order in core.leases_of(lease.index, |leases| {
        leases.turn(lease.max_events, lease.max_bytes)
    }) {
        match order {
            BatchOrder::Deadline => lease_most_urgent(core, lease)?,
            order => lease_freshest(core, *order, lease)?,
        }
    }
    Ok(())
}

/// Takes the freshest batches first. On the way it passes batches on lease: no more than the requests under
/// way carry.
fn lease_freshest(core: &mut Core, order: BatchOrder, lease: &mut Lease) -> EngineResult<()> {
    let mut batches = core.walk(lease.index, order, None);
    while !lease.full
        && let Some(state) = batches.next(core)?
    {
        lease_batch(core, &state, lease, |_, positions| positions)?;
    }
    Ok(())
}

fn lease_most_urgent(core: &mut Core, lease: &mut Lease) -> EngineResult<()> {
    // Only this thread leases, so events can only become ready between two locks, and a release lowers the
    // mark by itself.
    let from = core.leases_of(lease.index, SyncLeases::take_urgent);
    let mut ready_from = i64::MAX;
    let mut batches = core.walk(
        lease.index,
        BatchOrder::Deadline,
        Some(BatchPlace::before_deadline(from)),
    );
    while let Some(state) = batches.next(core)? {
        if lease.full {
            ready_from = ready_from.min(state.deadline);
            break;
        }
        if lease_batch(core, &state, lease, |_, positions| positions)? {
            ready_from = ready_from.min(state.deadline);
        }
    }
    core.leases_of(lease.index, |leases| leases.lower_urgent(ready_from));
    Ok(())
}

fn lease_newest_of_each_name(core: &mut Core, lease: &mut Lease) -> EngineResult<()> {
    let mut names: HashSet<Arc<str>> = HashSet::new();
    let mut batches = core.walk(lease.index, BatchOrder::Newest, None);
    let mut seen = 0;
    while seen < BATCHES_BY_NAME
        && !lease.full
        && let Some(state) = batches.next(core)?
    {
        seen += 1;
        lease_batch(core, &state, lease, |content, mut positions| {
            positions.reverse();
            positions.retain(|position| {
                names.insert(Arc::clone(content.name(&content.entries[*position])))
            });
            positions
        })?;
    }
    Ok(())
}

/// Takes from a batch the events that `choose` picks; true if ready events are left in it.
fn lease_batch(
    core: &mut Core,
    state: &BatchState,
    lease: &mut Lease,
    choose: impl FnOnce(&StoredBatch, Vec<usize>) -> Vec<usize>,
) -> EngineResult<bool> {
    let (leased, content) = core.on_lease(lease.index, state.id);
    let ready = state.open().without(&leased);
    if ready.is_empty() {
        return Ok(false);
    }
    let Some(content) = core.content(state, content)? else {
        core.damaged.push(state.id);
        return Ok(false);
    };
    let chosen = choose(&content, ready.positions().collect());
    let taken = lease.take(state, &content, chosen, &mut core.overdue);
    if taken.is_empty() {
        lease.passed += 1;
        lease.full |= lease.passed == MOST_PASSED;
    } else {
        core.leases_of(lease.index, |leases| leases.lease(state, &content, &taken));
    }
    Ok(taken != ready)
}

/// A lease while it is filled.
#[derive(Debug)]
struct Lease {
    max_events: usize,
    /// Of JSON; the first event may be larger.
    max_bytes: usize,
    /// Of the sync's counters.
    index: usize,
    deadlines: Deadlines,
    taken: Vec<Leased>,
    bytes: usize,
    /// Batches that were read and gave nothing.
    passed: usize,
    /// The next event did not fit, or enough was read.
    full: bool,
}

impl Lease {
    /// Takes what fits and has not expired.
    fn take(
        &mut self,
        state: &BatchState,
        content: &StoredBatch,
        chosen: Vec<usize>,
        overdue: &mut bool,
    ) -> Bits {
        let mut taken = Bits::default();
        for position in chosen {
            let entry = &content.entries[position];
            let (deadline, _) = state.expiry(position, entry);
            if self.deadlines.holds_back(deadline, state.taken_at) {
                *overdue = true;
                continue;
            }
            let body = content.body(entry);
            let bytes = self.bytes + body.as_ref().len();
            self.full = self.taken.len() == self.max_events
                || (bytes > self.max_bytes && !self.taken.is_empty());
            if self.full {
                break;
            }
            self.bytes = bytes;
            taken.add(position);
            self.taken.push(Leased {
                slot: Slot::new(state.id, position),
                body,
                event_name: Arc::clone(content.name(entry)),
                deadline,
                taken_at: state.taken_at,
            });
        }
        self.full |= self.taken.len() == self.max_events;
        taken
    }
}
