//! Takes events in: recognises duplicates, refuses events of full syncs, queues the rest.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::config::SyncName;
use crate::outcome::{Outcome, Reason};
use crate::payload::{Fingerprint, Payload, Rejected, Submission};
use crate::profile::clicks::FirstSeen;
use crate::profile::update::ProfileUpdate;

use super::core::Core;
use super::dead_letters::{self, NewDeadLetter};
use super::engine::EngineResult;
use super::totals::Counter;
use super::{StoreError, clicks, profiles};

/// What a push did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// Events that are queued, durably.
    pub queued: u64,
    /// Events that had been taken before.
    pub duplicates: u64,
    /// Events that were not selected.
    pub filtered: u64,
    /// Events that could not be mapped, set aside as dead letters.
    pub invalid: u64,
}

/// What else events tell.
#[derive(Debug, Default)]
pub struct Observed {
    /// About people.
    pub updates: Vec<(SyncName, ProfileUpdate)>,
    /// About clicks.
    pub clicks: Vec<FirstSeen>,
}

/// Why events could not be stored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PushError {
    /// A sync has used up its part of `max_bytes`. Events of other syncs are stored anyway; if all are sent
    /// again, those are `duplicate`s.
    #[error("the queue of sync {sync} is full")]
    Full {
        /// The first sync that was full.
        sync: SyncName,
        /// What was stored anyway.
        pushed: Pushed,
        /// How many events of each sync were not stored.
        left: BTreeMap<SyncName, u64>,
    },
    /// Less disk is free than `min_free_disk`.
    #[error("the disk is nearly full")]
    DiskLow,
    /// The store failed, or was closed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes events in, and learns what they tell, even where a sync is full: its events will come again.
///
/// A repeat is a duplicate. In a push `again`, which names further repeats besides the duplicate window, it
/// replaces its dead letter instead, if there is one.
pub(super) fn push(
    core: &mut Core,
    taken: Vec<Submission>,
    again: Option<&HashSet<Fingerprint>>,
    observed: &Observed,
) -> EngineResult<Result<Pushed, PushError>> {
    if core.quota.is_disk_low() {
        return Ok(Err(PushError::DiskLow));
    }
    profiles::learn(core, &observed.updates)?;
    clicks::store(core, &observed.clicks)?;
    let mut pushed = Pushed::default();
    let mut full = None;
    let mut left = BTreeMap::new();
    for Submission { sync, mapped } in taken {
        let index = core.index_of(&sync);
        match mapped {
            Err(rejected) => push_rejected(core, index, &rejected, again.is_some(), &mut pushed)?,
            Ok(payload) => {
                if !push_mapped(core, index, payload, again, &mut pushed)? {
                    *left.entry(sync.clone()).or_insert(0) += 1;
                    full.get_or_insert(sync);
                }
            }
        }
    }
    Ok(match full {
        Some(sync) => Err(PushError::Full { sync, pushed, left }),
        None => Ok(pushed),
    })
}

/// False where the sync is full.
fn push_mapped(
    core: &mut Core,
    index: usize,
    payload: Payload,
    again: Option<&HashSet<Fingerprint>>,
    pushed: &mut Pushed,
) -> EngineResult<bool> {
    let fingerprint = payload.fingerprint;
    let is_known = core.window.contains(fingerprint)
        || again.is_some_and(|known| known.contains(&fingerprint));
    if is_known && again.is_none() {
        count_duplicate(core, index, pushed);
        return Ok(true);
    }
    let held = core.held_bytes(index);
    if core.quota.is_full(held) {
        return Ok(false);
    }
    if again.is_some() {
        let replaces = dead_letters::replace_queued(core, index, fingerprint)?;
        if is_known && !replaces {
            count_duplicate(core, index, pushed);
            return Ok(true);
        }
        let name = Some(payload.event_name.as_ref());
        let (id, whole) = (fingerprint.id, Some(fingerprint.whole));
        dead_letters::replace_invalid(core, index, id, whole, name)?;
    }
    core.window.insert(fingerprint, core.uptime);
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
    replaces: bool,
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
    if rejected.counted_alone {
        return Ok(());
    }
    let mistimed = rejected.mistimed.as_deref();
    if replaces && let Some(id) = &rejected.event_id {
        let id_half = Fingerprint::of_id(id);
        let whole_half = mistimed.map(|it| it.fingerprint.whole);
        let name = rejected.event_name.as_deref();
        dead_letters::replace_invalid(core, index, id_half, whole_half, name)?;
    }
    // A backfill is full of events that are truly too old.
    let is_old = matches!(rejected.reason, Reason::TooOld | Reason::TooOldForPixel);
    let mistimed = mistimed.filter(|_| !(replaces && is_old));
    let letter = NewDeadLetter {
        reason: rejected.reason,
        taken_at: core.now,
        event_name: rejected.event_name.as_deref(),
        event_id: rejected.event_id.as_deref(),
        queueing: mistimed.map(|it| (it.fingerprint, it.deadline)),
        first_try: None,
        last_try: None,
        refusal: None,
        json: rejected.json.as_deref(),
    };
    dead_letters::file(core, index, &letter)
}
