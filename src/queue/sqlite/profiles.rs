//! What is remembered of people and of clicks.

use rusqlite::{Connection, Row, params};

use crate::clock::UnixMillis;
use crate::profile::ProfileKey;
use crate::profile::clicks::{ClickKey, FirstSeen};
use crate::queue::batch::SyncId;
use crate::queue::engine::{
    AgedProfile, EngineResult, Profiles, StoredProfile, Transaction, profile_bytes,
};

use super::{SqliteEngine, limit, unsigned};

impl Profiles for SqliteEngine {
    fn profile(&mut self, key: ProfileKey) -> EngineResult<Option<StoredProfile>> {
        let select = "SELECT sync, touched, body FROM profile WHERE key = ?1";
        self.read_row(select, [key.as_bytes()], |row| stored(row, 0))
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
        let select = "SELECT id, key, sync, touched, body FROM profile
                      WHERE id > ?1 AND length(key) = 16 ORDER BY id LIMIT ?2";
        self.read_rows(select, [after, limit(max)], |row| {
            let key = ProfileKey::from_bytes(row.get(1)?);
            Ok((row.get(0)?, key, stored(row, 2)?))
        })
    }

    fn click(&mut self, key: ClickKey) -> EngineResult<Option<UnixMillis>> {
        let select = "SELECT seen FROM click WHERE key = ?1";
        self.read_row(select, [key.as_bytes()], |row| row.get(0).map(UnixMillis))
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

/// Reads a profile from three columns.
fn stored(row: &Row<'_>, column: usize) -> rusqlite::Result<StoredProfile> {
    Ok(StoredProfile {
        sync: row.get(column)?,
        touched: UnixMillis(row.get(column + 1)?),
        body: row.get(column + 2)?,
    })
}

/// Writes what a transaction changes of profiles and clicks.
pub(super) fn write(connection: &Connection, transaction: &Transaction) -> rusqlite::Result<()> {
    for (key, change) in &transaction.profiles {
        match change {
            Some(StoredProfile {
                sync,
                touched,
                body,
            }) => connection
                .prepare_cached(
                    "INSERT INTO profile (key, sync, touched, body) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (key) DO UPDATE
                     SET touched = excluded.touched, body = excluded.body",
                )?
                .execute(params![key.as_bytes(), sync, touched.0, body])?,
            None => connection
                .prepare_cached("DELETE FROM profile WHERE key = ?1")?
                .execute([key.as_bytes()])?,
        };
    }
    for (key, seen) in &transaction.clicks {
        match seen {
            Some(seen) => connection
                .prepare_cached("INSERT OR IGNORE INTO click (key, seen) VALUES (?1, ?2)")?
                .execute(params![key.as_bytes(), seen.0])?,
            None => connection
                .prepare_cached("DELETE FROM click WHERE key = ?1")?
                .execute([key.as_bytes()])?,
        };
    }
    Ok(())
}
