//! Erasure: of a person, and of a sync that is no more.
//!
//! A person is looked for beside the writer, so that events go on being taken; what is found is
//! handed to the writer in pieces. Erased bytes are overwritten, and so is every page that was
//! freed before (`scrub`): it may hold what had been delivered. Fingerprints stay, since they say nothing about
//! a person and keep an erased event from being taken again.

use std::collections::HashSet;

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use crate::config::SyncName;
use crate::outcome::Reason;
use crate::payload::Fingerprint;
use crate::profile::ProfileKey;

use super::profiles;
use super::row::{self, Bits, StoredBatch};
use super::rows::{self, BatchState, standing};
use super::store::{Core, Effect};
use super::totals::Removal;

/// Rows that are searched, or removed, in one go.
const ROWS_A_PIECE: i64 = 256;

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
    /// Events in rows that are on lease: a request may be carrying them. Repeat to reach what is left.
    pub in_flight: u64,
    /// Profiles erased: of the person, and of devices that belonged to the person.
    pub profiles: u64,
}

/// Finds a person's events.
#[derive(Debug)]
pub(super) struct Search {
    hashes: Vec<String>,
    event_ids: Vec<String>,
    id_halves: Vec<u64>,
    profiles: HashSet<ProfileKey>,
}

/// Rows with a person's events.
pub(super) type MatchingRows = Vec<(i64, Bits)>;

impl Search {
    /// Prepares the search.
    pub(super) fn new(person: Person) -> Self {
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

    /// Looks through rows after this one; gives those with matches, and the last that was looked at.
    pub(super) fn rows(
        &self,
        connection: &Connection,
        after: i64,
    ) -> rusqlite::Result<Option<(MatchingRows, i64)>> {
        let rows: Vec<i64> = connection
            .prepare_cached("SELECT id FROM row WHERE id > ?1 ORDER BY id LIMIT ?2")?
            .query_map([after, ROWS_A_PIECE], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let Some(last) = rows.last().copied() else {
            return Ok(None);
        };
        let mut found = Vec::new();
        for row in rows {
            // A damaged row is found out, and counted, where it is to be delivered.
            let Some(content) = rows::content(connection, row)? else {
                continue;
            };
            let matching = self.matching(&content);
            if !matching.is_empty() {
                found.push((row, matching));
            }
        }
        Ok(Some((found, last)))
    }

    /// Looks through dead letters after this one; as `rows`.
    pub(super) fn dead(
        &self,
        connection: &Connection,
        after: i64,
    ) -> rusqlite::Result<Option<(Vec<i64>, i64)>> {
        let mut statement = connection.prepare_cached(
            "SELECT id, event_id, json FROM dead WHERE id > ?1 ORDER BY id LIMIT ?2",
        )?;
        let mut letters = statement.query([after, ROWS_A_PIECE])?;
        let mut last = None;
        let mut found = Vec::new();
        while let Some(letter) = letters.next()? {
            let id = letter.get(0)?;
            last = Some(id);
            let event_id: Option<String> = letter.get(1)?;
            let json = letter.get_ref(2)?.as_blob_or_null()?.unwrap_or_default();
            if self.holds_hash(json) || event_id.is_some_and(|id| self.event_ids.contains(&id)) {
                found.push(id);
            }
        }
        Ok(last.map(|last| (found, last)))
    }

    /// The profiles that are known to be the person's.
    pub(super) const fn profiles(&self) -> &HashSet<ProfileKey> {
        &self.profiles
    }

    /// Looks through profiles after this number for those that hold a hash; as `rows`.
    pub(super) fn profiles_of(
        &self,
        connection: &Connection,
        after: i64,
    ) -> rusqlite::Result<Option<(Vec<ProfileKey>, i64)>> {
        profiles::search(connection, after, |_, body| self.holds_hash(body))
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

impl Core {
    /// Erases events that a search found; `in_flight` counts those that are left for now.
    pub(super) fn erase(&mut self, found: &MatchingRows) -> rusqlite::Result<Forgotten> {
        self.zeroing(|store| {
            let mut forgotten = Forgotten::default();
            for (row, matching) in found {
                store.erase_from_row(*row, matching, &mut forgotten)?;
            }
            Ok(forgotten)
        })
    }

    /// Removes a person's dead letters; gives their number.
    pub(super) fn erase_dead(&mut self, found: &[i64]) -> rusqlite::Result<u64> {
        self.zeroing(|store| {
            let mut removed = 0;
            for id in found {
                removed += u64::from(store.remove_dead(*id, Removal::Forgotten)?);
            }
            Ok(removed)
        })
    }

    /// Zeroes what is overwritten or freed meanwhile, whatever it costs. After an error the store is
    /// opened anew, as it is with every one.
    pub(super) fn zeroing<T>(
        &mut self,
        erase: impl FnOnce(&mut Self) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.connection.execute_batch("PRAGMA secure_delete = ON")?;
        let erased = erase(self)?;
        self.connection
            .execute_batch("PRAGMA secure_delete = FAST")?;
        Ok(erased)
    }

    /// Removes queued events of a sync, rows with events on lease excepted; gives their number, and
    /// whether there may be more after the row that is named.
    pub(super) fn drop_rows(
        &mut self,
        sync: &SyncName,
        after: i64,
    ) -> rusqlite::Result<(u64, Option<i64>)> {
        let Some(place) = self.ledger.find(sync) else {
            return Ok((0, None));
        };
        let rows: Vec<BatchState> = self
            .connection
            .prepare_cached(standing!(
                "WHERE sync = ?1 AND id > ?2 ORDER BY id LIMIT ?3"
            ))?
            .query_map(
                params![self.ledger.at(place).id, after, ROWS_A_PIECE],
                BatchState::read,
            )?
            .collect::<rusqlite::Result<_>>()?;
        let last = rows.last().map(|standing| standing.row);
        let mut dropped = 0;
        for standing in rows {
            let (leased, _) = self.lanes().lane(sync).on_lease(standing.row);
            if leased.is_empty() {
                dropped += self.end_row(place, &standing, Reason::Dropped)?;
            }
        }
        Ok((dropped, last))
    }

    fn erase_from_row(
        &mut self,
        row: i64,
        matching: &Bits,
        forgotten: &mut Forgotten,
    ) -> rusqlite::Result<()> {
        let Some(mut standing) = BatchState::load(&self.connection, row)? else {
            return Ok(());
        };
        let Some(place) = self.ledger.find_by_id(standing.sync) else {
            return Ok(());
        };
        let sync = self.ledger.at(place).name.clone();
        let (leased, _) = self.lanes().lane(&sync).on_lease(row);
        let open = matching.without(&standing.settled);
        if !leased.is_empty() {
            // A blanked event that is on lease would be sent as blanks.
            forgotten.in_flight += matching.count();
            return Ok(());
        }
        let Some(content) = rows::content(&self.connection, row)? else {
            return Ok(());
        };
        for position in open.positions() {
            let entry = &content.entries[position];
            self.end_event(place, &mut standing, position, entry, Reason::Forgotten);
        }
        forgotten.queued += open.count();
        if !standing.open().is_empty() {
            let body = content.without(matching);
            blank(&self.connection, row, self.packer.pack(&body))?;
        }
        self.save_row(place, &standing)?;
        self.effects.push(Effect::EndedUnleased { place, row });
        Ok(())
    }
}

/// Puts another body in the place of a row's.
fn blank(connection: &Connection, row: i64, stored: &[u8]) -> rusqlite::Result<()> {
    let index: Vec<u8> = connection
        .prepare_cached("SELECT slots FROM content WHERE row = ?1")?
        .query_row([row], |found| found.get(0))?;
    connection
        .prepare_cached("UPDATE content SET checksum = ?2, body = ?3 WHERE row = ?1")?
        .execute(params![row, row::checksum(row, &index, stored), stored])
        .map(drop)
}
