//! What became of one event, from the fingerprints and the records of requests.
//!
//! This reads through everything that the store remembers, beside the writer: it costs the hot path
//! nothing, and takes seconds where much is remembered.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use crate::clock::UnixMillis;
use crate::config::SyncName;
use crate::outcome::{self, Reason};
use crate::payload::Fingerprint;

use super::lease::Slot;
use super::row::fingerprints;
use super::rows::{self, BatchState};
use super::slices::AttemptedEvents;

/// Records read in one go, so that the log is not held up for long.
const PIECE: i64 = 4096;

/// One taking of an event, for one sync.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trace {
    /// The sync.
    pub sync: SyncName,
    /// When it was taken, or queued anew.
    pub taken_at: UnixMillis,
    /// Where it is now.
    pub place: TracedPlace,
    /// The requests that carried it, oldest first.
    pub requests: Vec<TracedRequest>,
}

/// A request that carried a traced event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TracedRequest {
    /// When it was sent.
    pub sent_at: UnixMillis,
    /// When it was answered; `None`: not yet, or never.
    pub answered_at: Option<UnixMillis>,
    /// The verdict's name.
    pub verdict: Option<String>,
    /// The HTTP status.
    pub status: Option<u16>,
    /// Meta's code.
    pub code: Option<i64>,
    /// Meta's sub-code.
    pub sub_code: Option<i64>,
    /// Meta's trace id.
    pub trace_id: Option<String>,
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
    /// No longer in the store, and not delivered: erased, dropped, or a dead letter that has left.
    Gone,
}

/// Traces an event; `is_leased` tells whether it is on lease.
pub(super) fn trace(
    connection: &Connection,
    event_id: &str,
    is_leased: impl Fn(&SyncName, Slot) -> bool,
) -> rusqlite::Result<Vec<Trace>> {
    let id_half = Fingerprint::of_id(event_id);
    let syncs = syncs(connection)?;
    let sightings = sightings(connection, id_half)?;
    let mut requests = requests(connection, &sightings)?;
    let mut dead = dead(connection, id_half)?;
    let mut traces = Vec::new();
    for sighting in sightings {
        let Some(sync) = syncs.get(&sighting.sync) else {
            continue;
        };
        let requests = requests.remove(&sighting.slot).unwrap_or_default();
        let place = if let Some(until) = queued(connection, &sighting)? {
            if is_leased(sync, sighting.slot) {
                TracedPlace::InFlight { until }
            } else {
                TracedPlace::Waiting { until }
            }
        } else if let Some(found) = dead.iter().position(|letter| letter.is_of(&sighting)) {
            let letter = dead.remove(found);
            let (id, reason) = (letter.id, letter.reason);
            TracedPlace::Dead { id, reason }
        } else {
            place_after(&requests)
        };
        traces.push(Trace {
            sync: sync.clone(),
            taken_at: sighting.taken_at,
            place,
            requests,
        });
    }
    // What never was queued has no fingerprint, only its letter.
    for letter in dead {
        if let Some(sync) = syncs.get(&letter.sync) {
            traces.push(Trace {
                sync: sync.clone(),
                taken_at: letter.taken_at,
                place: TracedPlace::Dead {
                    id: letter.id,
                    reason: letter.reason,
                },
                requests: Vec::new(),
            });
        }
    }
    Ok(traces)
}

/// Where an event is that is no longer in the store: its last request tells.
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

/// A fingerprint of the event, and whose it is.
#[derive(Debug)]
struct KnownFingerprint {
    slot: Slot,
    sync: i64,
    taken_at: UnixMillis,
    whole_half: u64,
}

#[derive(Debug)]
struct TracedDeadLetter {
    id: i64,
    sync: i64,
    reason: Reason,
    taken_at: UnixMillis,
    whole_half: Option<u64>,
}

impl TracedDeadLetter {
    fn is_of(&self, sighting: &KnownFingerprint) -> bool {
        self.sync == sighting.sync
            && self.whole_half == Some(sighting.whole_half)
            && self.taken_at == sighting.taken_at
    }
}

fn syncs(connection: &Connection) -> rusqlite::Result<BTreeMap<i64, SyncName>> {
    let named = connection
        .prepare("SELECT id, name FROM sync")?
        .query_map([], |row| {
            Ok((row.get(0)?, SyncName::new(row.get_ref(1)?.as_str()?)))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(named
        .into_iter()
        .filter_map(|(id, name)| Some((id, name?)))
        .collect())
}

fn sightings(connection: &Connection, id_half: u64) -> rusqlite::Result<Vec<KnownFingerprint>> {
    let mut statement = connection.prepare(
        "SELECT row, sync, taken_at, fingerprints FROM seen WHERE row > ?1 ORDER BY row LIMIT ?2",
    )?;
    let mut sightings = Vec::new();
    let mut last = Some(0);
    while let Some(after) = last.take() {
        let mut seen = statement.query([after, PIECE])?;
        while let Some(seen) = seen.next()? {
            let row = seen.get(0)?;
            last = Some(row);
            let stored = seen.get_ref(3)?.as_blob()?;
            for (position, fingerprint) in fingerprints(stored).enumerate() {
                if fingerprint.id == id_half {
                    sightings.push(KnownFingerprint {
                        slot: Slot::new(row, position),
                        sync: seen.get(1)?,
                        taken_at: UnixMillis(seen.get(2)?),
                        whole_half: fingerprint.whole,
                    });
                }
            }
        }
    }
    Ok(sightings)
}

fn requests(
    connection: &Connection,
    sightings: &[KnownFingerprint],
) -> rusqlite::Result<BTreeMap<Slot, Vec<TracedRequest>>> {
    let mut requests: BTreeMap<Slot, Vec<TracedRequest>> = BTreeMap::new();
    let Some(from) = sightings.iter().map(|sighting| sighting.taken_at.0).min() else {
        return Ok(requests);
    };
    let mut statement = connection.prepare(
        "SELECT id, sent_at, slices, answered_at, verdict, status, code, sub_code, trace_id
         FROM delivery WHERE id > ?1 AND sent_at >= ?2 ORDER BY id LIMIT ?3",
    )?;
    let mut last = Some(0);
    while let Some(after) = last.take() {
        let mut deliveries = statement.query(params![after, from, PIECE])?;
        while let Some(delivery) = deliveries.next()? {
            last = Some(delivery.get(0)?);
            let slices = AttemptedEvents::from_stored(delivery.get_ref(2)?.as_blob()?);
            for sighting in sightings {
                if slices.hold(sighting.slot) {
                    requests
                        .entry(sighting.slot)
                        .or_default()
                        .push(TracedRequest {
                            sent_at: UnixMillis(delivery.get(1)?),
                            answered_at: delivery.get::<_, Option<i64>>(3)?.map(UnixMillis),
                            verdict: delivery.get(4)?,
                            status: delivery.get(5)?,
                            code: delivery.get(6)?,
                            sub_code: delivery.get(7)?,
                            trace_id: delivery.get(8)?,
                        });
                }
            }
        }
    }
    Ok(requests)
}

/// When the event expires, if it is in the queue.
fn queued(
    connection: &Connection,
    sighting: &KnownFingerprint,
) -> rusqlite::Result<Option<UnixMillis>> {
    let position = sighting.slot.position();
    let Some(standing) = BatchState::load(connection, sighting.slot.row)? else {
        return Ok(None);
    };
    if !standing.open().has(position) {
        return Ok(None);
    }
    let content = rows::content(connection, sighting.slot.row)?;
    let entry = content
        .as_ref()
        .and_then(|content| content.entries.get(position));
    let deadline = entry.map_or(standing.deadline, |entry| {
        standing.expiry(position, entry).0
    });
    Ok(Some(UnixMillis::from_seconds(deadline)))
}

fn dead(connection: &Connection, id_half: u64) -> rusqlite::Result<Vec<TracedDeadLetter>> {
    let letters = connection
        .prepare("SELECT id, sync, reason, taken_at, whole_half FROM dead WHERE id_half = ?1")?
        .query_map([id_half.cast_signed()], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                Reason::parse(row.get_ref(2)?.as_str()?),
                UnixMillis(row.get(3)?),
                row.get::<_, Option<i64>>(4)?.map(i64::cast_unsigned),
            ))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(letters
        .into_iter()
        .filter_map(|(id, sync, reason, taken_at, whole_half)| {
            Some(TracedDeadLetter {
                id,
                sync,
                reason: reason?,
                taken_at,
                whole_half,
            })
        })
        .collect())
}
