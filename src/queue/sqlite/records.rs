//! Syncs, counters and the numbers that were given.

use std::collections::BTreeMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

use crate::config::SyncName;
use crate::queue::batch::{BatchId, SyncId};
use crate::queue::checksum::Checksum;
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
        // What is damaged here shows by the checksum among them.
        let number = |value: ValueRef<'_>| value.as_i64().unwrap_or(0);
        self.read_rows("SELECT sync, counter, value FROM total", [], |row| {
            Ok(CounterValue {
                sync: number(row.get_ref(0)?),
                counter: row.get_ref(1)?.as_str().unwrap_or_default().into(),
                value: number(row.get_ref(2)?),
            })
        })
    }

    fn last_ids(&mut self) -> EngineResult<LastIds> {
        let mut number = |select: &str| {
            self.read_twice(|connection| {
                connection.query_row(select, [], |row| row.get::<_, i64>(0))
            })
        };
        // No writer has come that far: a greater number is damaged.
        let plausible = i64::MAX >> 8;
        let given = |table| {
            format!(
                "SELECT coalesce(max(seq), 0) FROM sqlite_sequence
                 WHERE name = '{table}' AND typeof(seq) = 'integer' AND seq < {plausible}"
            )
        };
        let highest = |table, key| {
            format!("SELECT coalesce(max({key}), 0) FROM {table} WHERE {key} < {plausible}")
        };
        let mut last = |selects: &[String]| -> EngineResult<i64> {
            let mut last = 0;
            for select in selects {
                last = last.max(number(select)?);
            }
            Ok(last)
        };
        let batches = [
            given("row"),
            highest("row", "id"),
            highest("content", "row"),
            highest("seen", "row"),
        ];
        Ok(LastIds {
            sync: last(&[highest("sync", "id")])?,
            batch: BatchId::embedded(last(&batches)?),
            dead_letter: last(&[given("dead"), highest("dead", "id")])?,
            damaged: last(&[given("damaged"), highest("damaged", "id")])?,
            attempt: last(&[given("delivery"), highest("delivery", "id")])?,
        })
    }
}

/// Writes what a transaction changes of syncs and counters.
pub(super) fn write(connection: &Connection, transaction: &Transaction) -> rusqlite::Result<()> {
    for (id, name) in &transaction.syncs {
        connection
            .prepare_cached("INSERT INTO sync (id, name, checksum) VALUES (?1, ?2, ?3)")?
            .execute(params![
                id,
                name.as_str(),
                checksum_of_sync(*id, name.as_str())
            ])?;
    }
    if transaction.replaces_counters {
        connection.execute("DELETE FROM total", [])?;
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

fn checksum_of_sync(id: SyncId, name: &str) -> i64 {
    let sum = Checksum::default().number(id).text(Some(name));
    sum.stored()
}

/// Gives the syncs of an earlier version their checksums.
pub(super) fn add_checksums(connection: &Connection) -> rusqlite::Result<()> {
    let syncs: Vec<(SyncId, String)> = connection
        .prepare("SELECT id, name FROM sync WHERE checksum IS NULL")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (id, name) in syncs {
        connection.execute(
            "UPDATE sync SET checksum = ?2 WHERE id = ?1",
            params![id, checksum_of_sync(id, &name)],
        )?;
    }
    Ok(())
}

/// Whether every sync has its name.
pub(super) fn are_named(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(names(connection)?.iter().all(|name| name.is_stored))
}

/// Puts the names of syncs right. Gives those that were not.
pub(super) fn mend_names(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let names = names(connection)?;
    let mended = names.iter().filter(|name| !name.is_stored);
    let mended: Vec<String> = mended.map(|name| name.wanted.to_string()).collect();
    if mended.is_empty() {
        return Ok(mended);
    }
    connection.execute_batch("BEGIN IMMEDIATE; DELETE FROM sync")?;
    for name in names {
        let wanted = name.wanted.as_str();
        connection.execute(
            "INSERT OR IGNORE INTO sync (id, name, checksum) VALUES (?1, ?2, ?3)",
            params![name.id, wanted, checksum_of_sync(name.id, wanted)],
        )?;
    }
    connection.execute_batch("COMMIT")?;
    Ok(mended)
}

/// The name that a sync should have.
struct NameOfSync {
    id: SyncId,
    wanted: SyncName,
    /// It has it.
    is_stored: bool,
}

/// Finds the names of syncs, which the table holds and its index holds once more, and names the syncs whose records
/// have no name left.
fn names(connection: &Connection) -> rusqlite::Result<Vec<NameOfSync>> {
    type Named = BTreeMap<SyncId, (Option<SyncName>, Option<i64>)>;
    let read = |select: &str| -> rusqlite::Result<Named> {
        connection
            .prepare(select)?
            .query_map([], |row| {
                let name = row.get_ref(1)?.as_str().ok().and_then(SyncName::new);
                Ok((row.get(0)?, (name, row.get_ref(2)?.as_i64().ok())))
            })?
            .collect()
    };
    let in_table = read("SELECT id, name, checksum FROM sync NOT INDEXED ORDER BY id")?;
    let in_index = read("SELECT id, name, NULL FROM sync ORDER BY name")?;
    let mut wanted: BTreeMap<SyncId, SyncName> = BTreeMap::new();
    for id in in_table.keys().chain(in_index.keys()) {
        let (table, checksum) = in_table.get(id).cloned().unwrap_or_default();
        let (index, _) = in_index.get(id).cloned().unwrap_or_default();
        let fits = |name: &&SyncName| checksum == Some(checksum_of_sync(*id, name.as_str()));
        let names = [table, index];
        let known = names.iter().flatten();
        let name = known.clone().find(fits).or_else(|| known.clone().next());
        wanted.insert(*id, name.cloned().unwrap_or_else(|| name_of_lost(*id)));
    }
    for id in syncs_of_batches(connection)? {
        wanted.entry(id).or_insert_with(|| name_of_lost(id));
    }
    let is_as_wanted = |id: &SyncId, name: &SyncName| {
        let sum = Some(checksum_of_sync(*id, name.as_str()));
        in_table.get(id) == Some(&(Some(name.clone()), sum))
            && in_index
                .get(id)
                .is_some_and(|(found, _)| found.as_ref() == Some(name))
    };
    let names = wanted.into_iter().map(|(id, wanted)| NameOfSync {
        is_stored: is_as_wanted(&id, &wanted),
        id,
        wanted,
    });
    Ok(names.collect())
}

/// The syncs that batches name.
fn syncs_of_batches(connection: &Connection) -> rusqlite::Result<Vec<SyncId>> {
    // Each step finds the next in the index.
    let select = "WITH RECURSIVE found (sync) AS (
                      SELECT min(sync) FROM row
                      UNION ALL
                      SELECT (SELECT min(sync) FROM row WHERE row.sync > found.sync) FROM found
                      WHERE found.sync IS NOT NULL
                  )
                  SELECT sync FROM found WHERE sync IS NOT NULL";
    let mut statement = connection.prepare(select)?;
    let syncs = statement.query_map([], |row| row.get(0))?;
    syncs.collect()
}

/// The name of a sync whose own is lost. Its events wait until somebody drops them.
fn name_of_lost(id: SyncId) -> SyncName {
    SyncName::new(&format!("recovered_{}", id.unsigned_abs())).expect("keeps to the rule for names")
}

/// Checks that a write reaches the disk.
pub(super) fn prove_writable(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "BEGIN IMMEDIATE;
         INSERT INTO total VALUES (0, 'reopened', 1) ON CONFLICT DO UPDATE SET value = value + 1;
         COMMIT",
    )
}
