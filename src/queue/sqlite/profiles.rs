//! What is remembered of people and of clicks.

use rusqlite::{Connection, OptionalExtension as _, params};

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
        Ok(self
            .connection
            .prepare_cached("SELECT sync, touched, body FROM profile WHERE key = ?1")?
            .query_row([key.as_bytes()], |row| {
                Ok(StoredProfile {
                    sync: row.get(0)?,
                    touched: UnixMillis(row.get(1)?),
                    body: row.get(2)?,
                })
            })
            .optional()?)
    }

    fn oldest_profiles(
        &mut self,
        sync: SyncId,
        after: Option<(UnixMillis, i64)>,
        max: usize,
    ) -> EngineResult<Vec<AgedProfile>> {
        let (touched, place) = after.map_or((i64::MIN, i64::MIN), |(at, place)| (at.0, place));
        let mut statement = self.connection.prepare_cached(
            "SELECT key, touched, id, length(body) FROM profile
             WHERE sync = ?1 AND length(key) = 16 AND (touched, id) > (?2, ?3) ORDER BY touched, id LIMIT ?4",
        )?;
        let mut rows = statement.query([sync, touched, place, limit(max)])?;
        let mut oldest = Vec::new();
        while let Some(row) = rows.next()? {
            if let Some(key) = ProfileKey::from_bytes(row.get_ref(0)?.as_blob()?) {
                oldest.push(AgedProfile {
                    key,
                    touched: UnixMillis(row.get(1)?),
                    place: row.get(2)?,
                    held: profile_bytes(row.get(3).map(unsigned)?),
                });
            }
        }
        Ok(oldest)
    }

    fn profiles(
        &mut self,
        after: i64,
        max: usize,
    ) -> EngineResult<Vec<(i64, ProfileKey, StoredProfile)>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, key, sync, touched, body FROM profile
             WHERE id > ?1 AND length(key) = 16 ORDER BY id LIMIT ?2",
        )?;
        let mut rows = statement.query([after, limit(max)])?;
        let mut profiles = Vec::new();
        while let Some(row) = rows.next()? {
            if let Some(key) = ProfileKey::from_bytes(row.get_ref(1)?.as_blob()?) {
                let stored = StoredProfile {
                    sync: row.get(2)?,
                    touched: UnixMillis(row.get(3)?),
                    body: row.get(4)?,
                };
                profiles.push((row.get(0)?, key, stored));
            }
        }
        Ok(profiles)
    }

    fn click(&mut self, key: ClickKey) -> EngineResult<Option<UnixMillis>> {
        Ok(self
            .connection
            .prepare_cached("SELECT seen FROM click WHERE key = ?1")?
            .query_row([key.as_bytes()], |row| row.get(0).map(UnixMillis))
            .optional()?)
    }

    fn oldest_clicks(&mut self, max: usize) -> EngineResult<Vec<FirstSeen>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT key, seen FROM click WHERE length(key) = 16 ORDER BY id LIMIT ?1",
        )?;
        let mut rows = statement.query([limit(max)])?;
        let mut clicks = Vec::new();
        while let Some(row) = rows.next()? {
            if let Some(click) = ClickKey::from_bytes(row.get_ref(0)?.as_blob()?) {
                let seen = UnixMillis(row.get(1)?);
                clicks.push(FirstSeen { click, seen });
            }
        }
        Ok(clicks)
    }

    fn click_count(&mut self) -> EngineResult<u64> {
        // To count them would be to go through them; those that are gone were the first.
        let span = self
            .connection
            .prepare_cached("SELECT (SELECT max(id) FROM click) - (SELECT min(id) FROM click) + 1")?
            .query_row([], |row| row.get::<_, Option<i64>>(0))?;
        Ok(span.map_or(0, unsigned))
    }
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
