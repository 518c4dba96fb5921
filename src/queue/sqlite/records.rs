//! Syncs, counters and the numbers that were given.

use rusqlite::{Connection, params};

use crate::config::SyncName;
use crate::queue::batch::{BatchId, SyncId};
use crate::queue::engine::{CounterValue, EngineResult, LastIds, Records, Transaction};

use super::SqliteEngine;

impl Records for SqliteEngine {
    fn syncs(&mut self) -> EngineResult<Vec<(SyncId, SyncName)>> {
        let select = "SELECT id, name FROM sync ORDER BY id";
        let syncs = self.read_rows(select, [], |row| {
            Ok((row.get(0)?, SyncName::new(row.get_ref(1)?.as_str()?)))
        })?;
        // A name that breaks the rule comes from elsewhere; nothing of ours belongs to it.
        let valid = |(id, name): (SyncId, Option<SyncName>)| Some((id, name?));
        Ok(syncs.into_iter().filter_map(valid).collect())
    }

    fn counters(&mut self) -> EngineResult<Vec<CounterValue>> {
        self.read_rows("SELECT sync, counter, value FROM total", [], |row| {
            Ok(CounterValue {
                sync: row.get(0)?,
                counter: row.get_ref(1)?.as_str()?.into(),
                value: row.get(2)?,
            })
        })
    }

    fn last_ids(&mut self) -> EngineResult<LastIds> {
        let number = |select: String| {
            let connection = &self.connection;
            connection.query_row(&select, [], |row| row.get::<_, i64>(0))
        };
        let given = |table| {
            number(format!(
                "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = '{table}'"
            ))
        };
        let highest = |table, key| number(format!("SELECT coalesce(max({key}), 0) FROM {table}"));
        let batches = [
            given("row")?,
            highest("row", "id")?,
            highest("content", "row")?,
            highest("seen", "row")?,
        ];
        Ok(LastIds {
            sync: highest("sync", "id")?,
            batch: BatchId::embedded(batches.into_iter().fold(0, i64::max)),
            dead_letter: given("dead")?.max(highest("dead", "id")?),
            damaged: given("damaged")?.max(highest("damaged", "id")?),
            attempt: given("delivery")?.max(highest("delivery", "id")?),
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
