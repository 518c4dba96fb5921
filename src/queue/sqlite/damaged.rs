//! Batches that were found damaged.

use rusqlite::{Connection, Row, named_params};

use crate::clock::UnixMillis;
use crate::queue::batch::BatchId;
use crate::queue::damaged::{Damage, DamagedBatch, DamagedHeader, RawContent};
use crate::queue::engine::{DamagedBatches, EngineResult, Transaction};

use super::{SqliteEngine, limit, signed, unsigned};

/// Selects what [`header`] reads, and more.
macro_rules! damaged {
    ($more:literal) => {
        concat!(
            "SELECT id, row, sync, taken_at, events, why, found_at, bytes",
            $more,
            " FROM damaged WHERE id > ?1 ORDER BY id LIMIT ?2"
        )
    };
}

impl DamagedBatches for SqliteEngine {
    fn damaged_batches(&mut self, after: i64, max: usize) -> EngineResult<Vec<DamagedBatch>> {
        let select = damaged!(", settled, checksum, slots, body");
        self.read_rows(select, [after, limit(max)], |row| {
            Ok(DamagedBatch {
                header: header(row)?,
                settled: row.get(8)?,
                content: RawContent {
                    checksum: row.get(9)?,
                    index: row.get(10)?,
                    body: row.get(11)?,
                },
            })
        })
    }

    fn damaged_headers(&mut self, after: i64, max: usize) -> EngineResult<Vec<DamagedHeader>> {
        self.read_rows(damaged!(""), [after, limit(max)], header)
    }
}

/// Writes what a transaction changes of damaged batches.
pub(super) fn write(connection: &Connection, transaction: &Transaction) -> rusqlite::Result<()> {
    for (id, change) in &transaction.damaged {
        match change {
            Some(batch) => insert(connection, batch)?,
            None => {
                connection
                    .prepare_cached("DELETE FROM damaged WHERE id = ?1")?
                    .execute([id])?;
            }
        }
    }
    Ok(())
}

/// Sets a batch aside.
pub(super) fn insert(connection: &Connection, batch: &DamagedBatch) -> rusqlite::Result<()> {
    let (header, content) = (&batch.header, &batch.content);
    connection
        .prepare_cached(
            "INSERT INTO damaged (id, row, sync, taken_at, events, why, found_at, bytes, settled,
                    checksum, slots, body)
             VALUES (:id, :row, :sync, :taken_at, :events, :why, :found_at, :bytes, :settled,
                    :checksum, :slots, :body)",
        )?
        .execute(named_params! {
            ":id": header.id,
            ":row": header.batch.sequence,
            ":sync": header.sync,
            ":taken_at": header.taken_at.0,
            ":events": signed(header.events),
            ":why": header.why.as_str(),
            ":found_at": header.found_at.0,
            ":bytes": signed(header.bytes),
            ":settled": batch.settled,
            ":checksum": content.checksum,
            ":slots": content.index,
            ":body": content.body,
        })?;
    Ok(())
}

fn header(row: &Row<'_>) -> rusqlite::Result<DamagedHeader> {
    Ok(DamagedHeader {
        id: row.get(0)?,
        batch: BatchId::embedded(row.get(1)?),
        sync: row.get(2)?,
        taken_at: UnixMillis(row.get(3)?),
        events: row.get(4).map(unsigned)?,
        // A later version may tell more kinds apart.
        why: Damage::parse(row.get_ref(5)?.as_str()?).unwrap_or(Damage::Unreadable),
        found_at: UnixMillis(row.get(6)?),
        bytes: row.get(7).map(unsigned)?,
    })
}
