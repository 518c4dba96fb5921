//! How events come in: duplicates are recognised, full syncs refused, the rest joins the next commit.

use std::collections::{BTreeMap, HashSet};

use crate::config::SyncName;
use crate::outcome::{Outcome, Reason};
use crate::payload::{Fingerprint, Payload, Rejected, Submission};

use super::core::Core;
use super::dead_letters::{self, NewDeadLetter};
use super::engine::EngineResult;
use super::totals::Counter;
use super::{Observed, Pushed, clicks, profiles};

/// Whether a known event may be taken once more.
#[derive(Debug)]
pub(super) enum Repeats {
    /// Every repeat is a duplicate.
    Refused,
    /// A repeat takes the place of its dead letter, unless it is queued or was delivered. These events
    /// are repeats too, besides those in the duplicate window.
    ReplaceDead(HashSet<Fingerprint>),
}

impl Repeats {
    /// What is known besides the duplicate window, where dead letters are replaced.
    const fn known(&self) -> Option<&HashSet<Fingerprint>> {
        match self {
            Self::Refused => None,
            Self::ReplaceDead(known) => Some(known),
        }
    }
}

/// How a push ended, the store being well.
#[derive(Debug)]
pub(super) enum PushOutcome {
    Stored(Pushed),
    /// A sync was full; the rest is stored.
    Full {
        /// The first sync that was full.
        sync: SyncName,
        pushed: Pushed,
        /// How many events of each sync were not stored.
        left: BTreeMap<SyncName, u64>,
    },
    /// Nothing is stored: the disk is nearly full.
    DiskLow,
}

/// Takes events in, and learns what they say. That is observed where a sync is full too: its
/// events come again.
pub(super) fn push(
    core: &mut Core,
    taken: Vec<Submission>,
    repeats: &Repeats,
    observed: &Observed,
) -> EngineResult<PushOutcome> {
    if core.quota.is_disk_low() {
        return Ok(PushOutcome::DiskLow);
    }
    profiles::learn(core, &observed.updates)?;
    clicks::store(core, &observed.clicks)?;
    let mut pushed = Pushed::default();
    let mut full = None;
    let mut left = BTreeMap::new();
    for Submission { sync, mapped } in taken {
        let index = core.index_of(&sync);
        match mapped {
            Err(rejected) => push_rejected(core, index, &rejected, repeats, &mut pushed)?,
            Ok(payload) => {
                if !push_mapped(core, index, payload, repeats, &mut pushed)? {
                    *left.entry(sync.clone()).or_insert(0) += 1;
                    full.get_or_insert(sync);
                }
            }
        }
    }
    Ok(match full {
        Some(sync) => PushOutcome::Full { sync, pushed, left },
        None => PushOutcome::Stored(pushed),
    })
}

/// False where the sync is full.
fn push_mapped(
    core: &mut Core,
    index: usize,
    payload: Payload,
    repeats: &Repeats,
    pushed: &mut Pushed,
) -> EngineResult<bool> {
    let known = core.window.contains(payload.fingerprint)
        || repeats
            .known()
            .is_some_and(|known| known.contains(&payload.fingerprint));
    if known && repeats.known().is_none() {
        count_duplicate(core, index, pushed);
        return Ok(true);
    }
    let held = core.held_bytes(index);
    if core.quota.is_full(held) {
        return Ok(false);
    }
    let replaces = repeats.known().is_some()
        && dead_letters::replace_queued(core, index, payload.fingerprint)?;
    if known && !replaces {
        count_duplicate(core, index, pushed);
        return Ok(true);
    }
    if repeats.known().is_some() {
        let name = Some(payload.event_name.as_ref());
        dead_letters::replace_invalid(core, index, payload.fingerprint.id, name)?;
    }
    core.window.insert(payload.fingerprint, core.now);
    core.counters.at(index).add(Counter::Taken, 1);
    pushed.queued += 1;
    core.queue(index, payload);
    Ok(true)
}

fn count_duplicate(core: &mut Core, index: usize, pushed: &mut Pushed) {
    let counters = core.counters.at(index);
    counters.add(Counter::Taken, 1);
    counters.add(Counter::Ended(Reason::SeenBefore), 1);
    pushed.duplicates += 1;
}

fn push_rejected(
    core: &mut Core,
    index: usize,
    rejected: &Rejected,
    repeats: &Repeats,
    pushed: &mut Pushed,
) -> EngineResult<()> {
    let counters = core.counters.at(index);
    counters.add(Counter::Taken, 1);
    counters.add(Counter::Ended(rejected.reason), 1);
    if rejected.reason.outcome() != Outcome::Invalid {
        pushed.filtered += 1;
        return Ok(());
    }
    pushed.invalid += 1;
    if repeats.known().is_some()
        && let Some(id) = &rejected.event_id
    {
        let id_half = Fingerprint::of_id(id);
        dead_letters::replace_invalid(core, index, id_half, rejected.event_name.as_deref())?;
    }
    let letter = NewDeadLetter {
        event_name: rejected.event_name.as_deref(),
        event_id: rejected.event_id.as_deref(),
        json: rejected.json.as_deref(),
        ..NewDeadLetter::new(rejected.reason, core.now)
    };
    dead_letters::file(core, index, &letter)
}
