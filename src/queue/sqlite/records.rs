//! Syncs, counters and the numbers that were given.

use rusqlite::{Connection, params};

use crate::config::SyncName;
use crate::queue::batch::{BatchId, SyncId};
use crate::queue::engine::{CounterValue, EngineResult, LastIds, Records, Transaction};

use super::SqliteEngine;

impl Records for SqliteEngine {
    fn syncs(&mut self) -> EngineResult<Vec<(SyncId, SyncName)>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT id, name FROM sync ORDER BY id")?;
        let mut rows = statement.query([])?;
        let mut syncs = Vec::new();
        while let Some(row) = rows.next()? {
            // A name that breaks the rule can only come from elsewhere; it can hold nothing of ours.
            if let Some(name) = SyncName::new(row.get_ref(1)?.as_str()?) {
                syncs.push((row.get(0)?, name));
            }
        }
        Ok(syncs)
    }

    fn counters(&mut self) -> EngineResult<Vec<CounterValue>> {
        Ok(self
            .connection
            .prepare("SELECT sync, counter, value FROM total")?
            .query_map([], |row| {
                Ok(CounterValue {
                    sync: row.get(0)?,
                    counter: row.get_ref(1)?.as_str()?.into(),
                    value: row.get(2)?,
                })
            })?
            .collect::<rusqlite::Result<_>>()?)
    }

    fn last_ids(&mut self) -> EngineResult<LastIds> {
        let last = |statement: &str| {
            let mut statement = self.connection.prepare_cached(statement)?;
            statement.query_row([], |row| row.get::<_, i64>(0))
        };
        Ok(LastIds {
            sync: last("SELECT coalesce(max(id), 0) FROM sync")?,
            batch: BatchId::embedded(last(
                "SELECT max(
                    coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'row'), 0),
                    coalesce((SELECT max(id) FROM row), 0),
                    coalesce((SELECT max(row) FROM content), 0),
                    coalesce((SELECT max(row) FROM seen), 0)
                )",
            )?),
            dead_letter: last(
                "SELECT max(
                    coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'dead'), 0),
                    coalesce((SELECT max(id) FROM dead), 0)
                )",
            )?,
            attempt: last(
                "SELECT max(
                    coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'delivery'), 0),
                    coalesce((SELECT max(id) FROM delivery), 0)
                )",
            )?,
        })
    }
}

/// Writes what a transaction changes of syncs and counters.
pub(super) fn write(connection: &Connection, transaction: &Transaction) -> rusqlite::Result<()> {
    for (id, name) in &transaction.syncs {
        connection
            .prepare_cached("INSERT INTO sync (id, name) VALUES (?1, ?2)")?
            .execute(params![id, name.as_str()])?;
    }
    if transaction.counters.is_empty() {
        return Ok(());
    }
    let mut statement = connection.prepare_cached(
        "INSERT INTO total (sync, counter, value) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET value = excluded.value",
    )?;
    for CounterValue {
        sync,
        counter,
        value,
    } in &transaction.counters
    {
        statement.execute(params![sync, counter, value])?;
    }
    Ok(())
}

/// Checks that a write reaches the disk.
pub(super) fn prove_writable(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "BEGIN IMMEDIATE;
         INSERT INTO total VALUES (0, 'reopened', 1) ON CONFLICT DO UPDATE SET value = value + 1;
         COMMIT",
    )
}
