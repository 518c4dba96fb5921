//! What is remembered of people and of clicks.

use rusqlite::{Connection, Row, params};

use crate::clock::UnixMillis;
use crate::profile::ProfileKey;
use crate::profile::clicks::{ClickKey, FirstSeen};
use crate::queue::batch::SyncId;
use crate::queue::checksum::Checksum;
use crate::queue::engine::{
    AgedProfile, EngineResult, Profiles, StoredProfile, Transaction, profile_bytes,
};

use super::{SqliteEngine, limit, unsigned};

impl Profiles for SqliteEngine {
    fn profile(&mut self, key: ProfileKey) -> EngineResult<Option<StoredProfile>> {
        let select = "SELECT sync, touched, body, checksum FROM profile WHERE key = ?1";
        let read = |row: &Row<'_>| stored(key, row, 0);
        let mut found = self.read_sound(
            |engine| engine.read_rows(select, [key.as_bytes()], read),
            |profile| profile.is_sound,
        )?;
        Ok(found.pop())
    }

    fn oldest_profiles(
        &mut self,
        sync: SyncId,
        after: Option<(UnixMillis, i64)>,
        max: usize,
    ) -> EngineResult<Vec<AgedProfile>> {
        let select = "SELECT key, touched, id, length(body) FROM profile
             WHERE sync = ?1 AND length(key) = 16 AND (touched, id) > (?2, ?3)
             ORDER BY touched, id LIMIT ?4";
        let (touched, place) = after.map_or((i64::MIN, i64::MIN), |(at, place)| (at.0, place));
        self.read_rows(select, [sync, touched, place, limit(max)], |row| {
            Ok(AgedProfile {
                key: ProfileKey::from_bytes(row.get(0)?),
                touched: UnixMillis(row.get(1)?),
                place: row.get(2)?,
                held: profile_bytes(row.get(3).map(unsigned)?),
            })
        })
    }

    fn profiles(
        &mut self,
        after: i64,
        max: usize,
    ) -> EngineResult<Vec<(i64, ProfileKey, StoredProfile)>> {
        let select = "SELECT id, key, sync, touched, body, checksum FROM profile
                      WHERE id > ?1 AND length(key) = 16 ORDER BY id LIMIT ?2";
        self.read_rows(select, [after, limit(max)], |row| {
            let key = ProfileKey::from_bytes(row.get(1)?);
            Ok((row.get(0)?, key, stored(key, row, 2)?))
        })
    }

    fn click(&mut self, key: ClickKey) -> EngineResult<Option<UnixMillis>> {
        let select = "SELECT seen, checksum FROM click WHERE key = ?1";
        let read = |row: &Row<'_>| {
            let seen = UnixMillis(row.get(0)?);
            let sum: Option<i64> = row.get(1)?;
            let is_sound = sum.is_none_or(|sum| sum == checksum_of_click(key, seen));
            // A damaged one counts as missing.
            Ok(is_sound.then_some(seen))
        };
        let mut found = self.read_sound(
            |engine| engine.read_rows(select, [key.as_bytes()], read),
            Option::is_some,
        )?;
        Ok(found.pop().flatten())
    }

    fn oldest_clicks(&mut self, max: usize) -> EngineResult<Vec<FirstSeen>> {
        let select = "SELECT key, seen FROM click WHERE length(key) = 16 ORDER BY id LIMIT ?1";
        self.read_rows(select, [limit(max)], |row| {
            Ok(FirstSeen {
                click: ClickKey::from_bytes(row.get(0)?),
                seen: UnixMillis(row.get(1)?),
            })
        })
    }

    fn click_count(&mut self) -> EngineResult<u64> {
        // Counting would read them all; the oldest are always removed first, so the numbers tell.
        let select = "SELECT (SELECT max(id) FROM click) - (SELECT min(id) FROM click) + 1";
        let span = self.read_row(select, [], |row| row.get(0))?;
        Ok(span.flatten().map_or(0, unsigned))
    }
}

/// Reads a profile from four columns.
fn stored(key: ProfileKey, row: &Row<'_>, column: usize) -> rusqlite::Result<StoredProfile> {
    let mut stored = StoredProfile {
        sync: row.get(column)?,
        touched: UnixMillis(row.get(column + 1)?),
        body: row.get(column + 2)?,
        is_sound: true,
    };
    let sum: Option<i64> = row.get(column + 3)?;
    stored.is_sound = sum.is_none_or(|sum| sum == checksum(key, &stored));
    Ok(stored)
}

fn checksum(key: ProfileKey, profile: &StoredProfile) -> i64 {
    Checksum::default()
        .bytes(key.as_bytes())
        .number(profile.sync)
        .number(profile.touched.0)
        .bytes(&profile.body)
        .stored()
}

fn checksum_of_click(key: ClickKey, seen: UnixMillis) -> i64 {
    let sum = Checksum::default().bytes(key.as_bytes()).number(seen.0);
    sum.stored()
}

/// Writes what a transaction changes of profiles and clicks.
pub(super) fn write(connection: &Connection, transaction: &Transaction) -> rusqlite::Result<()> {
    for (key, change) in &transaction.profiles {
        match change {
            Some(profile) => connection
                .prepare_cached(
                    "INSERT INTO profile (key, sync, touched, body, checksum)
                     VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (key) DO UPDATE
                     SET sync = excluded.sync, touched = excluded.touched, body = excluded.body,
                         checksum = excluded.checksum",
                )?
                .execute(params![
                    key.as_bytes(),
                    profile.sync,
                    profile.touched.0,
                    profile.body,
                    checksum(*key, profile),
                ])?,
            None => connection
                .prepare_cached("DELETE FROM profile WHERE key = ?1")?
                .execute([key.as_bytes()])?,
        };
    }
    for (key, seen) in &transaction.clicks {
        match seen {
            Some(seen) => connection
                .prepare_cached(
                    "INSERT INTO click (key, seen, checksum) VALUES (?1, ?2, ?3)
                     ON CONFLICT (key) DO UPDATE
                     SET seen = excluded.seen, checksum = excluded.checksum",
                )?
                .execute(params![
                    key.as_bytes(),
                    seen.0,
                    checksum_of_click(*key, *seen)
                ])?,
            None => connection
                .prepare_cached("DELETE FROM click WHERE key = ?1")?
                .execute([key.as_bytes()])?,
        };
    }
    Ok(())
}
