//! Batches and their fingerprints.

use rusqlite::{Connection, Params, Row, params};

use crate::clock::UnixMillis;
use crate::queue::batch::{BatchId, StoredBatch, SyncId};
use crate::queue::batch_builder::NewBatch;
use crate::queue::bits::Bits;
use crate::queue::checksum::Checksum;
use crate::queue::damaged::RawContent;
use crate::queue::engine::{
    BatchChange, BatchFingerprints, BatchOrder, Batches, EngineResult, FingerprintCount,
    Fingerprints, Transaction,
};
use crate::queue::state::{BatchPlace, BatchState, InDoubt, Soundness};

use super::{SqliteEngine, is_damage, limit, signed, unsigned};

/// Selects what [`state`] reads.
macro_rules! states {
    ($rest:literal) => {
        concat!(
            "SELECT id, sync, deadline, taken_at, events, bytes, held, settled, first_try, ",
            "last_try, doubts, checksum FROM row ",
            $rest
        )
    };
}

/// The statement for each order; it takes a sync, a deadline, a number and a limit.
const fn in_order(order: BatchOrder) -> &'static str {
    match order {
        BatchOrder::Deadline => {
            states!("WHERE sync = ?1 AND (deadline, id) > (?2, ?3) ORDER BY deadline, id LIMIT ?4")
        }
        BatchOrder::Freshest => states!(
            "WHERE sync = ?1 AND (deadline, id) < (?2, ?3) ORDER BY deadline DESC, id DESC LIMIT ?4"
        ),
        BatchOrder::FreshestPurchases => states!(
            "INDEXED BY row_of_purchases WHERE sync = ?1 AND purchase = 1
                AND (deadline, id) < (?2, ?3) ORDER BY deadline DESC, id DESC LIMIT ?4"
        ),
        BatchOrder::Oldest => {
            states!("WHERE sync = ?1 AND ?2 IS NOT NULL AND id > ?3 ORDER BY id LIMIT ?4")
        }
        BatchOrder::Newest => {
            states!("WHERE sync = ?1 AND ?2 IS NOT NULL AND id < ?3 ORDER BY id DESC LIMIT ?4")
        }
    }
}

impl Batches for SqliteEngine {
    fn batch(&mut self, id: BatchId) -> EngineResult<Option<BatchState>> {
        let select = states!("WHERE id = ?1");
        let mut found = read_states(self, select, &[id.sequence])?;
        Ok(found.pop())
    }

    fn content(&mut self, id: BatchId) -> EngineResult<Option<StoredBatch>> {
        let read = |engine: &mut Self| Ok(vec![content(&engine.connection, id)?]);
        let mut found = self.read_sound(read, Option::is_some)?;
        Ok(found.pop().flatten())
    }

    fn raw_content(&mut self, id: BatchId) -> EngineResult<Option<RawContent>> {
        Ok(raw_content(&self.connection, id)?)
    }

    fn batches(
        &mut self,
        sync: SyncId,
        order: BatchOrder,
        after: Option<BatchPlace>,
        max: usize,
    ) -> EngineResult<Vec<BatchState>> {
        let begin = match order {
            BatchOrder::Deadline | BatchOrder::Oldest => i64::MIN,
            _ => i64::MAX,
        };
        let (deadline, id) = after.map_or((begin, begin), |it| (it.deadline, it.id.sequence));
        read_states(self, in_order(order), &[sync, deadline, id, limit(max)])
    }

    fn all_batches(&mut self, after: Option<BatchId>, max: usize) -> EngineResult<Vec<BatchState>> {
        let select = states!("NOT INDEXED WHERE id > ?1 ORDER BY id LIMIT ?2");
        read_states(self, select, &[behind(after), limit(max)])
    }

    fn batch_ids(&mut self, after: Option<BatchId>, max: usize) -> EngineResult<Vec<BatchId>> {
        let select = "SELECT id FROM row WHERE id > ?1 ORDER BY id LIMIT ?2";
        self.read_rows(select, [behind(after), limit(max)], |row| {
            row.get(0).map(BatchId::embedded)
        })
    }
}

/// Reads states; those that are not as they were written twice.
fn read_states(
    engine: &mut SqliteEngine,
    select: &str,
    parameters: &(impl Params + Clone),
) -> EngineResult<Vec<BatchState>> {
    engine.read_sound(
        |engine| engine.read_rows(select, parameters.clone(), state),
        |state| state.soundness == Soundness::Sound,
    )
}

impl Fingerprints for SqliteEngine {
    fn fingerprints(
        &mut self,
        after: Option<BatchId>,
        max: usize,
    ) -> EngineResult<Vec<BatchFingerprints>> {
        let select = "SELECT row, sync, taken_at, fingerprints, checksum FROM seen
                      WHERE row > ?1 ORDER BY row LIMIT ?2";
        let read = |row: &Row<'_>| {
            let mut seen = BatchFingerprints {
                batch: BatchId::embedded(row.get(0)?),
                sync: row.get(1)?,
                taken_at: UnixMillis(row.get(2)?),
                stored: row.get(3)?,
                is_sound: true,
            };
            let sum: Option<i64> = row.get(4)?;
            seen.is_sound = sum.is_none_or(|sum| sum == checksum_of_seen(&seen));
            Ok(seen)
        };
        self.read_sound(
            |engine| engine.read_rows(select, [behind(after), limit(max)], read),
            |seen| seen.is_sound,
        )
    }

    fn newest_fingerprint_counts(
        &mut self,
        before: Option<BatchId>,
        max: usize,
    ) -> EngineResult<Vec<FingerprintCount>> {
        let select = "SELECT row, taken_at, length(fingerprints) FROM seen
                      WHERE row < ?1 ORDER BY row DESC LIMIT ?2";
        let before = before.map_or(i64::MAX, |id| id.sequence);
        self.read_rows(select, [before, limit(max)], |row| {
            Ok(FingerprintCount {
                batch: BatchId::embedded(row.get(0)?),
                taken_at: UnixMillis(row.get(1)?),
                bytes: row.get(2).map(unsigned)?,
            })
        })
    }
}

/// Reads a batch's events; `None` where they are missing or damaged.
pub(super) fn content(
    connection: &Connection,
    id: BatchId,
) -> rusqlite::Result<Option<StoredBatch>> {
    let select = "SELECT checksum, slots, body FROM content WHERE row = ?1";
    let read = readable(connection, select, id, |row| {
        let (index, body) = (row.get_ref(1)?.as_blob()?, row.get_ref(2)?.as_blob()?);
        Ok(StoredBatch::read(id, index, body, row.get(0)?))
    });
    Ok(read?.flatten())
}

/// Reads what is stored of a batch's events, as far as it can be read.
pub(super) fn raw_content(
    connection: &Connection,
    id: BatchId,
) -> rusqlite::Result<Option<RawContent>> {
    let is_there = "SELECT 1 FROM content WHERE row = ?1";
    let found = readable(connection, is_there, id, |row| row.get::<_, i64>(0))?;
    if found.is_none() {
        return Ok(None);
    }
    // One after the other, since the last pages of a body may be unreadable alone.
    let blob = |select| readable(connection, select, id, |row| row.get::<_, Vec<u8>>(0));
    let checksum = "SELECT checksum FROM content WHERE row = ?1";
    Ok(Some(RawContent {
        checksum: readable(connection, checksum, id, |row| row.get(0))?,
        index: blob("SELECT slots FROM content WHERE row = ?1")?.unwrap_or_default(),
        body: blob("SELECT body FROM content WHERE row = ?1")?.unwrap_or_default(),
    }))
}

/// Reads a value of a batch; `None` where it is missing or damaged.
fn readable<T>(
    connection: &Connection,
    select: &str,
    id: BatchId,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    let mut statement = connection.prepare_cached(select)?;
    match statement.query_row([id.sequence], read) {
        Ok(value) => Ok(Some(value)),
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
        Err(error) if is_damage(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes what a transaction changes of batches and fingerprints.
pub(super) fn write(connection: &Connection, transaction: &Transaction) -> rusqlite::Result<()> {
    for batch in &transaction.added {
        insert(connection, batch)?;
    }
    for (id, change) in &transaction.batches {
        let Some(BatchChange {
            state,
            body,
            restores,
        }) = change
        else {
            remove(connection, *id)?;
            continue;
        };
        if *restores {
            restore(connection, state)?;
        }
        save(connection, state)?;
        if let Some(body) = body {
            connection
                .prepare_cached("UPDATE content SET checksum = ?2, body = ?3 WHERE row = ?1")?
                .execute(params![id.sequence, body.checksum, body.stored])?;
        }
    }
    for seen in &transaction.mended_fingerprints {
        connection
            .prepare_cached(
                "UPDATE seen SET sync = ?2, taken_at = ?3, fingerprints = ?4, checksum = ?5
                 WHERE row = ?1",
            )?
            .execute(params![
                seen.batch.sequence,
                seen.sync,
                seen.taken_at.0,
                seen.stored,
                checksum_of_seen(seen),
            ])?;
    }
    for id in &transaction.aged_fingerprints {
        connection
            .prepare_cached("DELETE FROM seen WHERE row = ?1")?
            .execute([id.sequence])?;
    }
    Ok(())
}

fn insert(connection: &Connection, batch: &NewBatch) -> rusqlite::Result<()> {
    let state = &batch.state;
    let id = state.id.sequence;
    connection
        .prepare_cached(
            "INSERT INTO row (id, sync, deadline, taken_at, events, bytes, held, purchase, checksum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            id,
            state.sync,
            state.deadline,
            state.taken_at.0,
            limit(state.events),
            signed(state.bytes),
            signed(state.held),
            batch.is_purchase,
            state.checksum(),
        ])?;
    connection
        .prepare_cached("INSERT INTO content (row, checksum, slots, body) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![id, batch.checksum, batch.index, batch.body])?;
    let sum = sum_of_seen(state.id, state.sync, state.taken_at, &batch.fingerprints);
    connection
        .prepare_cached(
            "INSERT INTO seen (row, sync, taken_at, fingerprints, checksum)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            id,
            state.sync,
            state.taken_at.0,
            batch.fingerprints,
            sum
        ])?;
    Ok(())
}

fn checksum_of_seen(seen: &BatchFingerprints) -> i64 {
    sum_of_seen(seen.batch, seen.sync, seen.taken_at, &seen.stored)
}

fn sum_of_seen(batch: BatchId, sync: SyncId, taken_at: UnixMillis, fingerprints: &[u8]) -> i64 {
    Checksum::default()
        .number(batch.sequence)
        .number(sync)
        .number(taken_at.0)
        .bytes(fingerprints)
        .stored()
}

/// Stores what never changes of a state.
fn restore(connection: &Connection, state: &BatchState) -> rusqlite::Result<()> {
    connection.execute(
        "UPDATE row SET sync = ?2, taken_at = ?3, events = ?4, held = ?5 WHERE id = ?1",
        params![
            state.id.sequence,
            state.sync,
            state.taken_at.0,
            limit(state.events),
            signed(state.held),
        ],
    )?;
    Ok(())
}

fn save(connection: &Connection, state: &BatchState) -> rusqlite::Result<()> {
    let settled = (!state.settled.is_empty()).then(|| state.settled.stored(state.events));
    connection
        .prepare_cached(
            "UPDATE row SET deadline = ?2, bytes = ?3, settled = ?4, first_try = ?5,
                    last_try = ?6, doubts = ?7, checksum = ?8
             WHERE id = ?1",
        )?
        .execute(params![
            state.id.sequence,
            state.deadline,
            signed(state.bytes),
            settled,
            state.first_try.map(|at| at.0),
            state.last_try.map(|at| at.0),
            state.in_doubt.stored(),
            state.checksum(),
        ])?;
    Ok(())
}

fn remove(connection: &Connection, id: BatchId) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM row WHERE id = ?1")?
        .execute([id.sequence])?;
    let removed = connection
        .prepare_cached("DELETE FROM content WHERE row = ?1")?
        .execute([id.sequence]);
    match removed {
        // A damaged page cannot be freed; it stays, and nothing refers to it.
        Err(error) if !is_damage(&error) => Err(error),
        _ => Ok(()),
    }
}

fn state(row: &Row<'_>) -> rusqlite::Result<BatchState> {
    let settled = row.get_ref(7)?.as_blob_or_null()?;
    let in_doubt = row.get_ref(10)?.as_blob_or_null()?;
    let mut state = BatchState {
        id: BatchId::embedded(row.get(0)?),
        sync: row.get(1)?,
        deadline: row.get(2)?,
        taken_at: UnixMillis(row.get(3)?),
        events: row.get::<_, i64>(4)?.try_into().unwrap_or(0),
        bytes: row.get(5).map(unsigned)?,
        held: row.get(6).map(unsigned)?,
        settled: settled.map(Bits::from_stored).unwrap_or_default(),
        first_try: row.get::<_, Option<i64>>(8)?.map(UnixMillis),
        last_try: row.get::<_, Option<i64>>(9)?.map(UnixMillis),
        in_doubt: in_doubt.map(InDoubt::from_stored).unwrap_or_default(),
        soundness: Soundness::Sound,
    };
    if let Some(checksum) = row.get::<_, Option<i64>>(11)?
        && checksum != state.checksum()
    {
        // So that sums of them cannot overflow.
        state.bytes = state.bytes.min(u64::from(u32::MAX));
        state.held = state.held.min(u64::from(u32::MAX));
        state.soundness = if state.history_is_sound(checksum) {
            Soundness::Mendable
        } else {
            Soundness::Lost
        };
    }
    Ok(state)
}

fn behind(after: Option<BatchId>) -> i64 {
    after.map_or(i64::MIN, |id| id.sequence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::sqlite::schema;

    #[test]
    fn every_order_is_that_of_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let connection = schema::open(folder.path(), schema::Trust::Unknown).unwrap();
        for (order, plan) in [
            (
                BatchOrder::Deadline,
                "SEARCH row USING INDEX row_by_deadline (sync=? AND deadline>?)",
            ),
            (
                BatchOrder::Freshest,
                "SEARCH row USING INDEX row_by_deadline (sync=? AND deadline<?)",
            ),
            (
                BatchOrder::FreshestPurchases,
                "SEARCH row USING INDEX row_of_purchases (sync=? AND deadline<?)",
            ),
            (
                BatchOrder::Oldest,
                "SEARCH row USING INDEX row_by_age (sync=? AND rowid>?)",
            ),
            (
                BatchOrder::Newest,
                "SEARCH row USING INDEX row_by_age (sync=? AND rowid<?)",
            ),
        ] {
            let statement = format!("EXPLAIN QUERY PLAN {}", in_order(order));
            let steps: Vec<String> = connection
                .prepare(&statement)
                .and_then(|mut plan| plan.query_map([1, 1, 1, 1], |step| step.get(3))?.collect())
                .unwrap();
            assert_eq!(steps, [plan], "{order:?}");
        }
    }
}
