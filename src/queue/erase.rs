//! Erases a person, or a sync.
//!
//! A person is searched beside the writer, so that events go on being taken; the writer erases what is found, in
//! pieces. Erased bytes are overwritten, and so are all bytes that were freed before (`Engine::scrub`), which may
//! hold delivered events. Fingerprints stay: they say nothing about a person, and an erased event must not be taken
//! again.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::SyncName;
use crate::outcome::Reason;
use crate::payload::Fingerprint;
use crate::profile::ProfileKey;

use super::batch::{BatchId, StoredBatch};
use super::bits::Bits;
use super::copy_bounds::CopyBounds;
use super::core::Core;
use super::dead_letters;
use super::engine::{self, BatchOrder, DeadContent, EngineResult, Reader, ScrubStep};
use super::state::BatchPlace;
use super::totals::Removal;
use super::writer::WriterCommand;
use super::{Queue, StoreError};
use super::{profiles, set_aside};

/// Batches, dead letters or profiles that are searched, or removed, at once.
const PIECE: usize = 256;
/// Bytes of dead letters that are searched at once; one more may come on top.
const MAX_BYTES: usize = 1 << 20;

/// Whom `forget` erases. An event matches where it holds any of these.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Person {
    /// Hashes as in `user_data`, 64 lower-case hex digits each. Others match nothing.
    pub hashes: Vec<String>,
    /// Event ids.
    pub event_ids: Vec<String>,
    /// Users and devices that may have a profile.
    pub profiles: HashSet<ProfileKey>,
}

/// What `forget` did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// Queued events, now `erased`.
    pub queued: u64,
    /// Dead letters removed.
    pub dead: u64,
    /// Events in batches that are on lease: a request may be carrying them. Repeat the command for the rest.
    pub in_flight: u64,
    /// Profiles removed: of the person, and of the person's devices.
    pub profiles: u64,
    /// Damaged batches removed, all of them: nobody can say whom they hold.
    #[serde(default)]
    pub damaged: u64,
}

/// Erases a person's events from the queue, the dead letters and the bytes on disk.
pub(super) async fn forget(queue: &Queue, person: Person) -> Result<Forgotten, StoreError> {
    let search = Arc::new(Search::new(person));
    let mut forgotten = Forgotten::default();
    let of_person = Arc::clone(&search);
    let batches = move |reader: &mut dyn Reader, after| of_person.batches(reader, after);
    erase_pieces(queue, batches, erase, &mut forgotten).await?;
    while queue.change(set_aside::lose_damaged).await? {}
    forgotten.damaged = remove_damaged(queue, None, true).await?;
    let of_person = Arc::clone(&search);
    let letters = move |reader: &mut dyn Reader, after| of_person.dead_letters(reader, after);
    let erase_letters = |core: &mut Core, found: &[i64], forgotten: &mut Forgotten| {
        forgotten.dead += dead_letters::remove(core, found, Removal::Forgotten)?;
        Ok(())
    };
    erase_pieces(queue, letters, erase_letters, &mut forgotten).await?;
    let people = Arc::new(queue.read(move |reader| search.people(reader)).await?);
    let profiles = move |reader: &mut dyn Reader, after| profiles_of(&people, reader, after);
    let erase_profiles = |core: &mut Core, found: &[ProfileKey], forgotten: &mut Forgotten| {
        forgotten.profiles += profiles::remove(core, found)?;
        Ok(())
    };
    erase_pieces(queue, profiles, erase_profiles, &mut forgotten).await?;
    // Copies of damaged files cannot be searched.
    let remove = |core: &mut Core| {
        let storage = &core.context.storage;
        storage.remove_copies(CopyBounds::NOTHING)
    };
    queue.ask(WriterCommand::Outside, remove).await?;
    scrub(queue).await?;
    Ok(forgotten)
}

/// What a piece of a search found, and the last place that it looked at; `None` at the end.
type Piece<F, P> = Option<(Vec<F>, P)>;

/// Searches beside the writer, a piece at a time, and has the writer erase what is found.
async fn erase_pieces<F: Send + 'static, P: Copy + Send + 'static>(
    queue: &Queue,
    search: impl Fn(&mut dyn Reader, Option<P>) -> EngineResult<Piece<F, P>> + Clone + Send + 'static,
    erase: fn(&mut Core, &[F], &mut Forgotten) -> EngineResult<()>,
    forgotten: &mut Forgotten,
) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let search = search.clone();
        let piece = queue.read(move |reader| search(reader, after)).await?;
        let Some((found, last)) = piece else {
            return Ok(());
        };
        after = Some(last);
        if found.is_empty() {
            continue;
        }
        let mut so_far = *forgotten;
        let erased = queue.change(move |core| {
            core.pending.erases = true;
            erase(core, &found, &mut so_far)?;
            Ok(so_far)
        });
        *forgotten = erased.await?;
    }
}

/// Makes all deleted bytes unreadable, a piece at a time.
async fn scrub(queue: &Queue) -> Result<(), StoreError> {
    let mut step = Some(ScrubStep::default());
    while let Some(now) = step {
        let piece = move |core: &mut Core| core.engine.scrub(now, core.context.clock.uptime());
        step = queue.ask(WriterCommand::Outside, piece).await?;
    }
    Ok(())
}

/// Removes the queued events of a sync, its damaged batches and its profiles; gives the number of events.
pub(super) async fn drop_sync(queue: &Queue, sync: &SyncName) -> Result<u64, StoreError> {
    let mut dropped = 0;
    let mut last = Some(BatchId::default());
    while let Some(after) = last {
        let sync = sync.clone();
        let piece = queue.change(move |core| drop_batches(core, &sync, after));
        let (events, next) = piece.await?;
        dropped += events;
        last = next;
    }
    remove_damaged(queue, Some(sync), false).await?;
    loop {
        let sync = sync.clone();
        let piece = queue.change(move |core| profiles::drop_sync(core, &sync));
        if !piece.await? {
            return Ok(dropped);
        }
    }
}

/// Removes the damaged batches of a sync, or all; gives their number.
async fn remove_damaged(
    queue: &Queue,
    sync: Option<&SyncName>,
    erases: bool,
) -> Result<u64, StoreError> {
    let mut removed = 0;
    let mut last = Some(0);
    while let Some(after) = last {
        let sync = sync.cloned();
        let piece = queue.change(move |core| {
            core.pending.erases |= erases;
            match sync.map(|sync| core.counters.find(&sync)) {
                Some(None) => Ok((0, None)),
                index => set_aside::remove_piece(core, index.flatten(), after),
            }
        });
        let (batches, next) = piece.await?;
        removed += batches;
        last = next;
    }
    Ok(removed)
}

/// Removes queued events of a sync, but not batches with events on lease; gives their number, and the last batch
/// that it looked at, unless there are no more.
fn drop_batches(
    core: &mut Core,
    sync: &SyncName,
    after: BatchId,
) -> EngineResult<(u64, Option<BatchId>)> {
    let Some(index) = core.counters.find(sync) else {
        return Ok((0, None));
    };
    let after = BatchPlace {
        deadline: 0,
        id: after,
    };
    let mut batches = core.walk(index, BatchOrder::Oldest, Some(after));
    let mut dropped = 0;
    let mut last = None;
    for _ in 0..PIECE {
        let Some(state) = batches.next(core)? else {
            return Ok((dropped, None));
        };
        last = Some(state.id);
        let (leased, _) = core.on_lease(index, state.id);
        if leased.is_empty() {
            dropped += core.end_batch(index, &state, Reason::Dropped);
        }
    }
    Ok((dropped, last))
}

/// Erases events that a search found.
pub(super) fn erase(
    core: &mut Core,
    found: &[(BatchId, Bits)],
    forgotten: &mut Forgotten,
) -> EngineResult<()> {
    for (id, matching) in found {
        erase_from_batch(core, *id, matching, forgotten)?;
    }
    Ok(())
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
    let (leased, _) = core.on_lease(index, id);
    if !leased.is_empty() {
        // An event on lease would be sent as blanks.
        forgotten.in_flight += matching.count();
        return Ok(());
    }
    let Some(content) = core.content(&state, None)? else {
        core.damaged.push(id);
        return Ok(());
    };
    let open = matching.without(&state.settled);
    for position in open.positions() {
        core.end_event(index, &mut state, &content, position, Reason::Forgotten);
    }
    forgotten.queued += open.count();
    // Nobody needs the events that have ended, and this transaction may have erased some of them.
    let blanked = matching.or(&state.settled);
    core.save_batch(index, state);
    if let Some(Some(change)) = core.pending.batches.get_mut(&id) {
        change.body = Some(content.without(id, &blanked, &mut core.compressor));
    }
    core.ended_unleased(index, id);
    Ok(())
}

/// Searches a piece of the profiles for these people and their devices.
fn profiles_of(
    people: &HashSet<ProfileKey>,
    reader: &mut dyn Reader,
    after: Option<i64>,
) -> EngineResult<Piece<ProfileKey, i64>> {
    if people.is_empty() {
        return Ok(None);
    }
    let profiles = reader.profiles(after.unwrap_or(0), PIECE)?;
    let last = profiles.last().map(|(place, _, _)| *place);
    let is_wanted = |key, body: &[u8]| people.contains(key) || profiles::belongs_to(body, people);
    let found = profiles
        .iter()
        .filter(|(_, key, stored)| is_wanted(key, &stored.body))
        .map(|(_, key, _)| *key);
    Ok(last.map(|last| (found.collect(), last)))
}

/// Finds a person's events.
#[derive(Debug)]
struct Search {
    hashes: Vec<String>,
    event_ids: Vec<String>,
    id_halves: Vec<u64>,
    profiles: HashSet<ProfileKey>,
}

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

    /// Searches a piece of the batches; gives the matching events of each.
    fn batches(
        &self,
        reader: &mut dyn Reader,
        after: Option<BatchId>,
    ) -> EngineResult<Piece<(BatchId, Bits), BatchId>> {
        let ids = reader.batch_ids(after, PIECE)?;
        let Some(last) = ids.last().copied() else {
            return Ok(None);
        };
        let mut found = Vec::new();
        for id in ids {
            match reader.content(id)? {
                Some(content) => {
                    let matching = self.matching(&content);
                    if !matching.is_empty() {
                        found.push((id, matching));
                    }
                }
                // Nobody can say whom it holds.
                None => found.push((id, Bits::default())),
            }
        }
        Ok(Some((found, last)))
    }

    /// Searches a piece of the dead letters.
    fn dead_letters(
        &self,
        reader: &mut dyn Reader,
        after: Option<i64>,
    ) -> EngineResult<Piece<i64, i64>> {
        let letters = reader.dead_contents(after.unwrap_or(0), PIECE, MAX_BYTES)?;
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

    /// The profiles of the person.
    fn people(&self, reader: &mut dyn Reader) -> EngineResult<HashSet<ProfileKey>> {
        let mut people = self.profiles.clone();
        engine::visit_pages(
            None,
            |after, limit| reader.profiles(after.unwrap_or(0), limit),
            |(place, _, _)| *place,
            |(_, key, stored)| {
                if self.holds_hash(&stored.body) {
                    people.insert(key);
                }
            },
        )?;
        Ok(people)
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
