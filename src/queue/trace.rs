//! What became of one event, from the fingerprints and the records of requests.
//!
//! A trace reads all fingerprints beside the writer: it costs the hot path nothing, and takes seconds where there
//! are many.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::UnixMillis;
use crate::config::SyncName;
use crate::outcome::{self, Reason};
use crate::payload::Fingerprint;

use super::attempt::TracedRequest;
use super::batch::{SyncId, fingerprints};
use super::engine::{self, DeadHeader, EngineResult, Reader};
use super::lease::Slot;

/// One taking of an event, for one sync.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trace {
    /// The sync.
    pub sync: SyncName,
    /// When it was taken, or queued again.
    pub taken_at: UnixMillis,
    /// Where it is now.
    pub place: TracedPlace,
    /// The requests that carried it, oldest first.
    pub requests: Vec<TracedRequest>,
}

/// Where a traced event is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TracedPlace {
    /// In the queue; expires at `until`.
    Waiting { until: UnixMillis },
    /// In the queue, and out on lease; expires at `until`.
    InFlight { until: UnixMillis },
    /// Taken by Meta, which answered at this moment.
    Delivered { at: UnixMillis },
    /// Among the dead letters, under this number.
    Dead {
        id: i64,
        #[serde(flatten, with = "outcome::with_outcome")]
        reason: Reason,
    },
    /// No longer in the store, and not delivered: erased, dropped, or a dead letter that was removed.
    Gone,
}

/// Traces an event; `is_leased` tells whether it is on lease.
pub(super) fn trace(
    reader: &mut dyn Reader,
    event_id: &str,
    is_leased: impl Fn(&SyncName, Slot) -> bool,
) -> EngineResult<Vec<Trace>> {
    let id_half = Fingerprint::of_id(event_id);
    let syncs: BTreeMap<SyncId, SyncName> = reader.syncs()?.into_iter().collect();
    let takings = takings(reader, id_half)?;
    let mut requests = requests(reader, &takings)?;
    let dead = reader.dead_of_event(id_half)?.into_iter();
    let mut dead: Vec<(DeadHeader, TracedPlace)> = dead
        .filter_map(|letter| {
            let (id, reason) = (letter.id, letter.reason?);
            Some((letter, TracedPlace::Dead { id, reason }))
        })
        .collect();
    let mut traces = Vec::new();
    for taking in takings {
        let Some(sync) = syncs.get(&taking.sync) else {
            continue;
        };
        let requests = requests.remove(&taking.slot).unwrap_or_default();
        let letter = dead.iter().position(|(letter, _)| taking.is_of(letter));
        let place = match (queued(reader, &taking)?, letter) {
            (Some(until), _) if is_leased(sync, taking.slot) => TracedPlace::InFlight { until },
            (Some(until), _) => TracedPlace::Waiting { until },
            (None, Some(letter)) => dead.remove(letter).1,
            (None, None) => place_after(&requests),
        };
        traces.push(Trace {
            sync: sync.clone(),
            taken_at: taking.taken_at,
            place,
            requests,
        });
    }
    // An event that was never queued has no fingerprint, only its dead letter.
    for (letter, place) in dead {
        if let Some(sync) = syncs.get(&letter.sync) {
            traces.push(Trace {
                sync: sync.clone(),
                taken_at: letter.taken_at,
                place,
                requests: Vec::new(),
            });
        }
    }
    Ok(traces)
}

/// Where an event is that has left the store: its last request tells.
fn place_after(requests: &[TracedRequest]) -> TracedPlace {
    match requests.last() {
        Some(sent) if matches!(sent.verdict.as_deref(), Some("delivered" | "short_count")) => {
            TracedPlace::Delivered {
                at: sent.answered_at.unwrap_or(sent.sent_at),
            }
        }
        _ => TracedPlace::Gone,
    }
}

/// One taking of the event, as its fingerprint tells.
#[derive(Debug)]
struct Taking {
    slot: Slot,
    sync: SyncId,
    taken_at: UnixMillis,
    whole_half: u64,
}

impl Taking {
    fn is_of(&self, letter: &DeadHeader) -> bool {
        letter.sync == self.sync
            && letter.whole_half == Some(self.whole_half)
            && letter.taken_at == self.taken_at
    }
}

fn takings(reader: &mut dyn Reader, id_half: u64) -> EngineResult<Vec<Taking>> {
    let mut takings = Vec::new();
    engine::visit_pages(
        None,
        |after, limit| reader.fingerprints(after, limit),
        |batch| batch.batch,
        |batch| {
            for (position, fingerprint) in fingerprints(&batch.stored).enumerate() {
                if fingerprint.id == id_half {
                    takings.push(Taking {
                        slot: Slot::new(batch.batch, position),
                        sync: batch.sync,
                        taken_at: batch.taken_at,
                        whole_half: fingerprint.whole,
                    });
                }
            }
        },
    )?;
    Ok(takings)
}

fn requests(
    reader: &mut dyn Reader,
    takings: &[Taking],
) -> EngineResult<BTreeMap<Slot, Vec<TracedRequest>>> {
    let mut requests: BTreeMap<Slot, Vec<TracedRequest>> = BTreeMap::new();
    let Some(since) = takings.iter().map(|taking| taking.taken_at).min() else {
        return Ok(requests);
    };
    engine::visit_pages(
        None,
        |after, limit| reader.attempts(after.unwrap_or(0), since, limit),
        |attempt| attempt.id.0,
        |attempt| {
            for taking in takings {
                if attempt.events.contain(taking.slot) {
                    let of_event = requests.entry(taking.slot).or_default();
                    of_event.push(attempt.request.clone());
                }
            }
        },
    )?;
    Ok(requests)
}

/// When the event expires, if it is in the queue.
fn queued(reader: &mut dyn Reader, taking: &Taking) -> EngineResult<Option<UnixMillis>> {
    let position = taking.slot.position();
    let Some(state) = reader.batch(taking.slot.batch)? else {
        return Ok(None);
    };
    if !state.open().has(position) {
        return Ok(None);
    }
    let content = reader.content(taking.slot.batch)?;
    let entry = content
        .as_ref()
        .and_then(|content| content.entries.get(position));
    let deadline = entry.map_or(state.deadline, |entry| state.expiry(position, entry).0);
    Ok(Some(UnixMillis::from_seconds(deadline)))
}
