//! Profiles: what is remembered of people and devices, kept beside the events.
//!
//! A lesson is applied in the transaction of the push that brought it, to what the store holds by then,
//! so it is as durable as the event, and two lessons of one person never undo each other. A profile that
//! cannot be read counts as none. What was not touched for longest leaves first, by age and by size.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::clock::UnixMillis;
use crate::config::SyncName;
use crate::profile::update::{ProfileStore, ProfileUpdate, learn};
use crate::profile::{Profile, ProfileKey, decode};

use super::bounds::Bounds;
use super::rows::{signed, unsigned};
use super::store::Core;
use super::totals::Counter;

/// About what the store takes for a profile besides its body.
const ROW_BYTES: u64 = 128;
/// Profiles that are removed, or searched, in one go.
const PIECE: usize = 256;
/// Profiles that are removed in one go where few are expected to go.
const FEW: usize = 8;

/// Reads a profile.
pub(super) fn profile(
    connection: &Connection,
    key: ProfileKey,
) -> rusqlite::Result<Option<Profile>> {
    let found = connection
        .prepare_cached("SELECT body, touched FROM profile WHERE key = ?1")?
        .query_row([key.as_bytes()], |row| {
            Ok(decode(row.get_ref(0)?.as_blob()?, UnixMillis(row.get(1)?)))
        })
        .optional()?;
    Ok(found.flatten())
}

/// The store as a shelf for the profiles of one sync.
struct SyncProfiles<'s> {
    store: &'s mut Core,
    place: usize,
}

impl ProfileStore for SyncProfiles<'_> {
    type Error = rusqlite::Error;

    fn profile(&mut self, key: ProfileKey) -> rusqlite::Result<Option<Profile>> {
        profile(&self.store.connection, key)
    }

    fn keep(&mut self, key: ProfileKey, profile: Profile) -> rusqlite::Result<()> {
        let held = bytes_of(&self.store.connection, key)?;
        let account = self.store.ledger.at(self.place);
        if let Some(held) = held {
            account.take(Counter::Profiles, 1);
            account.take(Counter::ProfileBytes, held);
        }
        if profile.is_empty() {
            return remove(&self.store.connection, key);
        }
        let body = profile.encode();
        account.add(Counter::Profiles, 1);
        account.add(Counter::ProfileBytes, body.len() as u64 + ROW_BYTES);
        let sync = account.id;
        self.store
            .connection
            .prepare_cached(
                "INSERT INTO profile (key, sync, touched, body) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (key) DO UPDATE SET touched = excluded.touched, body = excluded.body",
            )?
            .execute(params![key.as_bytes(), sync, profile.touched.0, body])
            .map(drop)
    }
}

impl Core {
    /// Applies what events say of people.
    pub(super) fn learn(&mut self, lessons: &[(SyncName, ProfileUpdate)]) -> rusqlite::Result<()> {
        for (sync, lesson) in lessons {
            let place = self.ledger.account(&self.connection, sync)?;
            learn(&mut SyncProfiles { store: self, place }, lesson)?;
            self.make_room_for_profiles(place)?;
        }
        Ok(())
    }

    /// Removes profiles of a sync that are too old or too many. True if there may be more.
    pub(super) fn remove_aged_profiles(&mut self, place: usize) -> rusqlite::Result<bool> {
        match self.bounds_of_profiles(place) {
            Some(bounds) => self.remove_oldest_profiles(place, bounds, PIECE),
            None => Ok(false),
        }
    }

    /// Removes profiles of a sync where there are too many, more than one lesson can add: in a rush far
    /// more people come in than tidying removes meanwhile.
    fn make_room_for_profiles(&mut self, place: usize) -> rusqlite::Result<()> {
        let Some(bounds) = self.bounds_of_profiles(place) else {
            return Ok(());
        };
        for _ in 0..PIECE / FEW {
            let held = self.ledger.at(place).get(Counter::ProfileBytes);
            if held <= bounds.max_bytes || !self.remove_oldest_profiles(place, bounds, FEW)? {
                break;
            }
        }
        Ok(())
    }

    /// How many profiles of a sync may be kept; none where there are none, or nobody said.
    fn bounds_of_profiles(&self, place: usize) -> Option<Bounds> {
        let account = &self.ledger.accounts()[place];
        if account.get(Counter::Profiles) == 0 {
            return None;
        }
        // A command that opened the store knows of no bounds.
        let bounds = self.ground.shared.bounds();
        let bounds = bounds.as_ref()?.get(&account.name).copied();
        Some(bounds.unwrap_or_default())
    }

    /// Removes at most so many profiles that are out of bounds. True if there may be more.
    fn remove_oldest_profiles(
        &mut self,
        place: usize,
        bounds: Bounds,
        most: usize,
    ) -> rusqlite::Result<bool> {
        let age = i64::try_from(bounds.max_age.as_millis()).unwrap_or(i64::MAX);
        let kept_from = self.now.0.saturating_sub(age);
        let mut removed = 0;
        let sync = self.ledger.accounts()[place].id;
        for (key, touched, bytes) in self.oldest_profiles(sync, most)? {
            let held = self.ledger.at(place).get(Counter::ProfileBytes);
            if touched > kept_from && held <= bounds.max_bytes {
                return Ok(false);
            }
            self.remove_profile(place, key, bytes)?;
            removed += 1;
        }
        Ok(removed == most)
    }

    /// Erases profiles; gives their number.
    pub(super) fn erase_profiles(&mut self, found: &[ProfileKey]) -> rusqlite::Result<u64> {
        self.zeroing(|store| {
            let mut erased = 0;
            for key in found {
                let sync: Option<i64> = store
                    .connection
                    .prepare_cached("SELECT sync FROM profile WHERE key = ?1")?
                    .query_row([key.as_bytes()], |row| row.get(0))
                    .optional()?;
                let place = sync.and_then(|sync| store.ledger.find_by_id(sync));
                if let Some(place) = place
                    && let Some(bytes) = bytes_of(&store.connection, *key)?
                {
                    store.remove_profile(place, *key, bytes)?;
                    erased += 1;
                }
            }
            Ok(erased)
        })
    }

    /// Removes profiles of a sync, a piece; true if there may be more.
    pub(super) fn drop_profiles(&mut self, sync: &SyncName) -> rusqlite::Result<bool> {
        let Some(place) = self.ledger.find(sync) else {
            return Ok(false);
        };
        let oldest = self.oldest_profiles(self.ledger.accounts()[place].id, PIECE)?;
        for (key, _, bytes) in &oldest {
            self.remove_profile(place, *key, *bytes)?;
        }
        Ok(oldest.len() == PIECE)
    }

    /// The profiles of a sync that were not touched for longest, when that was, and their bytes.
    fn oldest_profiles(
        &self,
        sync: i64,
        most: usize,
    ) -> rusqlite::Result<Vec<(ProfileKey, i64, u64)>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT key, touched, length(body) FROM profile WHERE sync = ?1 ORDER BY touched LIMIT ?2",
        )?;
        let mut found = statement.query([sync, signed(most as u64)])?;
        let mut oldest = Vec::new();
        while let Some(row) = found.next()? {
            let bytes = row.get(2).map(unsigned)? + ROW_BYTES;
            // A key of another length was never written.
            if let Some(key) = ProfileKey::from_bytes(row.get_ref(0)?.as_blob()?) {
                oldest.push((key, row.get(1)?, bytes));
            }
        }
        Ok(oldest)
    }

    fn remove_profile(
        &mut self,
        place: usize,
        key: ProfileKey,
        bytes: u64,
    ) -> rusqlite::Result<()> {
        remove(&self.connection, key)?;
        let account = self.ledger.at(place);
        account.take(Counter::Profiles, 1);
        account.take(Counter::ProfileBytes, bytes);
        Ok(())
    }
}

/// Looks through profiles after this number for those that are wanted; gives them, and the last that was
/// looked at.
pub(super) fn search(
    connection: &Connection,
    after: i64,
    wanted: impl Fn(ProfileKey, &[u8]) -> bool,
) -> rusqlite::Result<Option<(Vec<ProfileKey>, i64)>> {
    let mut statement = connection
        .prepare_cached("SELECT id, key, body FROM profile WHERE id > ?1 ORDER BY id LIMIT ?2")?;
    let mut rows = statement.query([after, signed(PIECE as u64)])?;
    let mut last = None;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        last = Some(row.get(0)?);
        let key = ProfileKey::from_bytes(row.get_ref(1)?.as_blob()?);
        if let Some(key) = key
            && wanted(key, row.get_ref(2)?.as_blob()?)
        {
            found.push(key);
        }
    }
    Ok(last.map(|last| (found, last)))
}

/// Whether these are the bytes of a device that belongs to one of these users.
pub(super) fn belongs_to(body: &[u8], users: &HashSet<ProfileKey>) -> bool {
    decode(body, UnixMillis::default())
        .and_then(|profile| profile.owner())
        .is_some_and(|owner| users.contains(&owner))
}

/// The bytes and number of a sync's profiles, counted anew.
pub(super) fn count(connection: &Connection, sync: i64) -> rusqlite::Result<(u64, u64)> {
    let (number, bytes) = connection.query_row(
        "SELECT count(*), coalesce(sum(length(body)), 0) FROM profile WHERE sync = ?1",
        [sync],
        |row| Ok((row.get(0).map(unsigned)?, row.get(1).map(unsigned)?)),
    )?;
    Ok((number, bytes + number * ROW_BYTES))
}

fn bytes_of(connection: &Connection, key: ProfileKey) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached("SELECT length(body) FROM profile WHERE key = ?1")?
        .query_row([key.as_bytes()], |row| {
            Ok(row.get(0).map(unsigned)? + ROW_BYTES)
        })
        .optional()
}

fn remove(connection: &Connection, key: ProfileKey) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM profile WHERE key = ?1")?
        .execute([key.as_bytes()])
        .map(drop)
}
