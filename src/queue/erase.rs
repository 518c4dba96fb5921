//! Erasure: of a person, and of a sync that is no more.
//!
//! A person is looked for beside the writer, so that events go on being taken; what is found is
//! handed to the writer in pieces. Erased bytes are overwritten, and so is all that was
//! freed before (`Engine::scrub`): it may hold what had been delivered. Fingerprints stay, since they say nothing about
//! a person and keep an erased event from being taken again.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::SyncName;
use crate::outcome::Reason;
use crate::payload::Fingerprint;
use crate::profile::ProfileKey;

use super::batch::{BatchId, StoredBatch};
use super::bits::Bits;
use super::core::{Core, Effect};
use super::dead_letters;
use super::engine::{
    BatchChange, BatchOrder, DeadContent, EngineResult, Reader, RewrittenBody, ScrubStep,
};
use super::profiles;
use super::state::BatchPlace;
use super::totals::Removal;
use super::writer::{Ask, WriterCommand};
use super::{Queue, StoreError};

/// Batches, letters or profiles that are searched, or removed, in one go.
const PIECE: usize = 256;
/// Bytes of letters that are searched in one go; one more may come on top.
const MAX_BYTES: usize = 1 << 20;

/// Whom `forget` erases. An event matches where it holds any of these.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Person {
    /// Hashed values as they stand in `user_data`: 64 lower-case hex digits each. Others match nothing.
    pub hashes: Vec<String>,
    /// Event ids.
    pub event_ids: Vec<String>,
    /// Users and devices of whom something may be remembered.
    pub profiles: HashSet<ProfileKey>,
}

/// What `forget` did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// Queued events, now `erased`.
    pub queued: u64,
    /// Dead letters removed.
    pub dead: u64,
    /// Events in batches that are on lease: a request may be carrying them. Repeat to reach what is left.
    pub in_flight: u64,
    /// Profiles erased: of the person, and of devices that belonged to the person.
    pub profiles: u64,
}

/// Erases a person's events from the queue, the dead letters and the bytes on disk.
pub(super) async fn forget(queue: &Queue, person: Person) -> Result<Forgotten, StoreError> {
    let search = Arc::new(Search::new(person));
    let mut forgotten = Forgotten::default();
    let mut after = None;
    loop {
        let search = Arc::clone(&search);
        let piece = queue.read(move |reader| search.batches(reader, after));
        let Some((found, last)) = piece.await? else {
            break;
        };
        after = Some(last);
        if !found.is_empty() {
            let piece = queue.change(move |core| erase(core, &found)).await?;
            forgotten.queued += piece.queued;
            forgotten.in_flight += piece.in_flight;
        }
    }
    let mut after = 0;
    loop {
        let search = Arc::clone(&search);
        let piece = queue.read(move |reader| search.dead_letters(reader, after));
        let Some((found, last)) = piece.await? else {
            break;
        };
        after = last;
        if !found.is_empty() {
            forgotten.dead += queue
                .change(move |core| {
                    core.pending.erases = true;
                    dead_letters::remove(core, &found, Removal::Forgotten)
                })
                .await?;
        }
    }
    forgotten.profiles = forget_profiles(queue, search).await?;
    scrub(queue).await?;
    Ok(forgotten)
}

/// Erases the profiles that a search finds, and those of the devices that belong to them; gives their
/// number.
async fn forget_profiles(queue: &Queue, search: Arc<Search>) -> Result<u64, StoreError> {
    let mut people: HashSet<ProfileKey> = search.profiles.clone();
    let mut after = 0;
    loop {
        let search = Arc::clone(&search);
        let piece = queue.read(move |reader| {
            profiles::search(reader, after, PIECE, |_, body| search.holds_hash(body))
        });
        let Some((found, last)) = piece.await? else {
            break;
        };
        after = last;
        people.extend(found);
    }
    if people.is_empty() {
        return Ok(0);
    }
    let people = Arc::new(people);
    let mut erased = 0;
    after = 0;
    loop {
        let owners = Arc::clone(&people);
        let piece = queue.read(move |reader| {
            profiles::search(reader, after, PIECE, |key, body| {
                owners.contains(&key) || profiles::belongs_to(body, &owners)
            })
        });
        let Some((found, last)) = piece.await? else {
            return Ok(erased);
        };
        after = last;
        if !found.is_empty() {
            erased += queue
                .change(move |core| {
                    core.pending.erases = true;
                    profiles::remove(core, &found)
                })
                .await?;
        }
    }
}

/// Makes everything unreadable that was deleted, a piece at a time.
async fn scrub(queue: &Queue) -> Result<(), StoreError> {
    let mut step = Some(ScrubStep::default());
    while let Some(now) = step {
        let (piece, scrubbed) =
            Ask::boxed(move |core: &mut Core| core.engine.scrub(now, core.context.clock.now()));
        queue.send(WriterCommand::Outside(piece)).await?;
        step = scrubbed.await.unwrap_or(Err(StoreError::Closed))?;
    }
    Ok(())
}

/// Removes queued events of a sync, batches with events on lease excepted; gives their number, and
/// the last batch that was looked at, unless there are no more.
pub(super) fn drop_batches(
    core: &mut Core,
    sync: &SyncName,
    after: Option<BatchId>,
) -> EngineResult<(u64, Option<BatchId>)> {
    let Some(index) = core.counters.find(sync) else {
        return Ok((0, None));
    };
    let after = after.map(|id| BatchPlace { deadline: 0, id });
    let mut batches = core.walk(index, BatchOrder::Oldest, after);
    let mut dropped = 0;
    let mut last = None;
    for _ in 0..PIECE {
        let Some(state) = batches.next(core)? else {
            return Ok((dropped, None));
        };
        last = Some(state.id);
        let (leased, _) = core.leases_of(index, |leases| leases.on_lease(state.id));
        if leased.is_empty() {
            dropped += core.end_batch(index, &state, Reason::Dropped);
        }
    }
    Ok((dropped, last))
}

/// Erases events that a search found.
pub(super) fn erase(core: &mut Core, found: &MatchingBatches) -> EngineResult<Forgotten> {
    core.pending.erases = true;
    let mut forgotten = Forgotten::default();
    for (id, matching) in found {
        erase_from_batch(core, *id, matching, &mut forgotten)?;
    }
    Ok(forgotten)
}

fn erase_from_batch(
    core: &mut Core,
    id: BatchId,
    matching: &Bits,
    forgotten: &mut Forgotten,
) -> EngineResult<()> {
    let Some(mut state) = core.batch(id)? else {
        return Ok(());
    };
    let Some(index) = core.counters.find_by_id(state.sync) else {
        return Ok(());
    };
    let (leased, _) = core.leases_of(index, |leases| leases.on_lease(id));
    if !leased.is_empty() {
        // A blanked event that is on lease would be sent as blanks.
        forgotten.in_flight += matching.count();
        return Ok(());
    }
    let Some(content) = core.engine.content(id)? else {
        return Ok(());
    };
    let open = matching.without(&state.settled);
    for position in open.positions() {
        core.end_event(index, &mut state, &content, position, Reason::Forgotten);
    }
    forgotten.queued += open.count();
    // What else has ended is not needed either; it may have been erased by this transaction.
    let blanked = matching.or(&state.settled);
    core.save_batch(index, state);
    if let Some(BatchChange::Save(state) | BatchChange::Rewrite(state, _)) =
        core.pending.batches.get(&id)
    {
        let (checksum, stored) = content.without(id, &blanked, &mut core.compressor);
        let body = RewrittenBody { checksum, stored };
        let rewritten = BatchChange::Rewrite(state.clone(), body);
        core.pending.batches.insert(id, rewritten);
    }
    core.effects.push(Effect::EndedUnleased { index, id });
    Ok(())
}

/// Finds a person's events.
#[derive(Debug)]
struct Search {
    hashes: Vec<String>,
    event_ids: Vec<String>,
    id_halves: Vec<u64>,
    profiles: HashSet<ProfileKey>,
}

/// Batches with a person's events.
pub(super) type MatchingBatches = Vec<(BatchId, Bits)>;

impl Search {
    fn new(person: Person) -> Self {
        let is_hash =
            |text: &String| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        Self {
            hashes: person.hashes.into_iter().filter(is_hash).collect(),
            id_halves: person
                .event_ids
                .iter()
                .map(|id| Fingerprint::of_id(id))
                .collect(),
            event_ids: person.event_ids,
            profiles: person.profiles,
        }
    }

    /// Looks through batches behind this one; gives those with matches, and the last that was looked at.
    fn batches(
        &self,
        reader: &mut dyn Reader,
        after: Option<BatchId>,
    ) -> EngineResult<Option<(MatchingBatches, BatchId)>> {
        let ids = reader.batch_ids(after, PIECE)?;
        let Some(last) = ids.last().copied() else {
            return Ok(None);
        };
        let mut found = Vec::new();
        for id in ids {
            // A damaged batch is found out, and counted, where it is to be delivered.
            let Some(content) = reader.content(id)? else {
                continue;
            };
            let matching = self.matching(&content);
            if !matching.is_empty() {
                found.push((id, matching));
            }
        }
        Ok(Some((found, last)))
    }

    /// Looks through dead letters behind this one; as `batches`.
    fn dead_letters(
        &self,
        reader: &mut dyn Reader,
        after: i64,
    ) -> EngineResult<Option<(Vec<i64>, i64)>> {
        let letters = reader.dead_contents(after, PIECE, MAX_BYTES)?;
        let Some(last) = letters.last().map(|letter| letter.id) else {
            return Ok(None);
        };
        let is_wanted = |letter: &DeadContent| {
            let id = letter.event_id.as_ref();
            self.holds_hash(&letter.json) || id.is_some_and(|id| self.event_ids.contains(id))
        };
        let found = letters.iter().filter(|letter| is_wanted(letter));
        Ok(Some((found.map(|letter| letter.id).collect(), last)))
    }

    fn matching(&self, content: &StoredBatch) -> Bits {
        let mut matching = Bits::default();
        for (position, entry) in content.entries.iter().enumerate() {
            if self.id_halves.contains(&entry.fingerprint.id)
                || self.holds_hash(content.json(entry))
            {
                matching.add(position);
            }
        }
        matching
    }

    fn holds_hash(&self, bytes: &[u8]) -> bool {
        let mut hashes = self.hashes.iter();
        hashes.any(|hash| memchr::memmem::find(bytes, hash.as_bytes()).is_some())
    }
}
