//! Dead letters.

use rusqlite::types::Type;
use rusqlite::{Connection, Row, named_params, params};

use crate::clock::UnixMillis;
use crate::config::SyncName;
use crate::outcome::Reason;
use crate::queue::batch::SyncId;
use crate::queue::checksum::Checksum;
use crate::queue::dead::{DeadFilter, DeadLetter};
use crate::queue::engine::{
    DeadContent, DeadHeader, DeadLetters, EngineResult, StoredDeadLetter, Transaction,
};

use super::{SqliteEngine, limit, signed, unsigned};

/// Selects what [`header`] reads.
macro_rules! headers {
    ($rest:literal) => {
        concat!(
            "SELECT id, sync, reason, event_name, taken_at, filed_at, bytes, id_half, whole_half ",
            "FROM dead ",
            $rest
        )
    };
}

/// Selects what [`letter`] reads.
macro_rules! letters {
    ($rest:literal) => {
        concat!(
            "SELECT dead.id, sync.name, reason, event_name, event_id, code, sub_code, trace_id,
                message, taken_at, first_try, last_try, filed_at, json, dead.sync, bytes, id_half,
                whole_half, deadline, dead.checksum
             FROM dead JOIN sync ON sync.id = dead.sync ",
            $rest
        )
    };
}

impl DeadLetters for SqliteEngine {
    fn dead_letter(&mut self, id: i64) -> EngineResult<Option<StoredDeadLetter>> {
        let read = |row: &Row<'_>| {
            let mut stored = StoredDeadLetter {
                letter: letter(row)?,
                sync: row.get(14)?,
                bytes: row.get(15).map(unsigned)?,
                id_half: half(row, 16)?,
                whole_half: half(row, 17)?,
                deadline: row.get(18)?,
                is_sound: true,
            };
            let sum: Option<i64> = row.get(19)?;
            stored.is_sound = sum.is_none_or(|sum| sum == checksum(&stored));
            Ok(stored)
        };
        let select = letters!("WHERE dead.id = ?1");
        let mut found = self.read_sound(
            |engine| engine.read_rows(select, [id], read),
            |letter| letter.is_sound,
        )?;
        Ok(found.pop())
    }

    fn dead_letters(
        &mut self,
        filter: &DeadFilter,
        after: i64,
        max: usize,
        max_bytes: usize,
    ) -> EngineResult<Vec<DeadLetter>> {
        self.read_twice(|connection| {
            let mut statement = connection.prepare_cached(letters!(
                "WHERE dead.id > :after
                AND (:id IS NULL OR dead.id = :id)
                AND (:sync IS NULL OR sync.name = :sync)
                AND (:reason IS NULL OR reason = :reason)
                AND (:event_name IS NULL OR event_name = :event_name)
                AND (:filed_from IS NULL OR filed_at >= :filed_from)
                AND (:filed_before IS NULL OR filed_at < :filed_before)
             ORDER BY dead.id LIMIT :limit"
            ))?;
            let mut found = statement.query(named_params! {
                ":after": after,
                ":id": filter.id,
                ":sync": filter.sync.as_ref().map(SyncName::as_str),
                ":reason": filter.reason.map(Reason::as_str),
                ":event_name": filter.event_name,
                ":filed_from": filter.filed_from.map(|at| at.0),
                ":filed_before": filter.filed_before.map(|at| at.0),
                ":limit": limit(max),
            })?;
            let mut letters = Vec::new();
            let mut bytes = 0;
            while bytes < max_bytes
                && let Some(row) = found.next()?
            {
                let letter = letter(row)?;
                bytes += letter.json.as_ref().map_or(0, Vec::len);
                letters.push(letter);
            }
            Ok(letters)
        })
    }

    fn dead_contents(
        &mut self,
        after: i64,
        max: usize,
        max_bytes: usize,
    ) -> EngineResult<Vec<DeadContent>> {
        self.read_twice(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, event_id, json FROM dead WHERE id > ?1 ORDER BY id LIMIT ?2",
            )?;
            let mut found = statement.query([after, limit(max)])?;
            let mut contents = Vec::new();
            let mut bytes = 0;
            while bytes < max_bytes
                && let Some(row) = found.next()?
            {
                let json: Option<Vec<u8>> = row.get(2)?;
                let content = DeadContent {
                    id: row.get(0)?,
                    event_id: row.get(1)?,
                    json: json.unwrap_or_default(),
                };
                bytes += content.json.len();
                contents.push(content);
            }
            Ok(contents)
        })
    }

    fn dead_headers(&mut self, after: i64, max: usize) -> EngineResult<Vec<DeadHeader>> {
        let select = headers!("WHERE id > ?1 ORDER BY id LIMIT ?2");
        self.read_rows(select, [after, limit(max)], header)
    }

    fn dead_of_event(&mut self, id_half: u64) -> EngineResult<Vec<DeadHeader>> {
        let select = headers!("WHERE id_half = ?1");
        self.read_rows(select, [id_half.cast_signed()], header)
    }

    fn dead_count(&mut self, sync: SyncId, reason: Reason) -> EngineResult<u64> {
        let select = "SELECT count(*) FROM dead INDEXED BY dead_samples
                      WHERE sync = ?1 AND reason = ?2
                        AND whole_half IS NULL
                        AND reason IN ('too_old', 'too_old_for_pixel', 'no_identifier')";
        let count = self.read_row(select, params![sync, reason.as_str()], |row| row.get(0))?;
        Ok(count.map_or(0, unsigned))
    }
}

/// Writes what a transaction changes of dead letters.
pub(super) fn write(connection: &Connection, transaction: &Transaction) -> rusqlite::Result<()> {
    for (id, change) in &transaction.dead_letters {
        match change {
            Some(letter) => insert(connection, letter)?,
            None => {
                connection
                    .prepare_cached("DELETE FROM dead WHERE id = ?1")?
                    .execute([id])?;
            }
        }
    }
    Ok(())
}

fn insert(connection: &Connection, stored: &StoredDeadLetter) -> rusqlite::Result<()> {
    let letter = &stored.letter;
    connection
        .prepare_cached(
            "INSERT INTO dead (id, sync, reason, filed_at, taken_at, bytes, event_name, event_id,
                    id_half, whole_half, deadline, first_try, last_try, code, sub_code,
                    trace_id, message, json, checksum)
             VALUES (:id, :sync, :reason, :filed_at, :taken_at, :bytes, :event_name, :event_id,
                    :id_half, :whole_half, :deadline, :first_try, :last_try, :code, :sub_code,
                    :trace_id, :message, :json, :checksum)",
        )?
        .execute(named_params! {
            ":id": letter.id,
            ":sync": stored.sync,
            ":reason": letter.reason.as_str(),
            ":filed_at": letter.filed_at.0,
            ":taken_at": letter.taken_at.0,
            ":bytes": signed(stored.bytes),
            ":event_name": letter.event_name,
            ":event_id": letter.event_id,
            ":id_half": stored.id_half.map(u64::cast_signed),
            ":whole_half": stored.whole_half.map(u64::cast_signed),
            ":deadline": stored.deadline,
            ":first_try": letter.first_try.map(|at| at.0),
            ":last_try": letter.last_try.map(|at| at.0),
            ":code": letter.code,
            ":sub_code": letter.sub_code,
            ":trace_id": letter.trace_id,
            ":message": letter.message,
            ":json": letter.json,
            ":checksum": checksum(stored),
        })?;
    Ok(())
}

fn checksum(stored: &StoredDeadLetter) -> i64 {
    let letter = &stored.letter;
    let half = |half: Option<u64>| half.map(u64::cast_signed);
    Checksum::default()
        .number(letter.id)
        .number(stored.sync)
        .text(Some(letter.reason.as_str()))
        .number(letter.filed_at.0)
        .number(letter.taken_at.0)
        .number(signed(stored.bytes))
        .text(letter.event_name.as_deref())
        .text(letter.event_id.as_deref())
        .optional(half(stored.id_half))
        .optional(half(stored.whole_half))
        .optional(stored.deadline)
        .optional(letter.first_try.map(|at| at.0))
        .optional(letter.last_try.map(|at| at.0))
        .optional(letter.code)
        .optional(letter.sub_code)
        .text(letter.trace_id.as_deref())
        .text(letter.message.as_deref())
        .bytes(letter.json.as_deref().unwrap_or_default())
        .stored()
}

fn header(row: &Row<'_>) -> rusqlite::Result<DeadHeader> {
    Ok(DeadHeader {
        id: row.get(0)?,
        sync: row.get(1)?,
        reason: Reason::parse(row.get_ref(2)?.as_str()?),
        event_name: row.get(3)?,
        taken_at: UnixMillis(row.get(4)?),
        filed_at: UnixMillis(row.get(5)?),
        bytes: row.get(6).map(unsigned)?,
        id_half: half(row, 7)?,
        whole_half: half(row, 8)?,
    })
}

/// Half of a fingerprint.
fn half(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(i64::cast_unsigned))
}

fn letter(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    let unknown = |column, what: &str| {
        let error = format!("not a {what} that this version knows");
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
    };
    let moment =
        |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(UnixMillis));
    Ok(DeadLetter {
        id: row.get(0)?,
        sync: SyncName::new(row.get_ref(1)?.as_str()?).ok_or_else(|| unknown(1, "sync"))?,
        reason: Reason::parse(row.get_ref(2)?.as_str()?).ok_or_else(|| unknown(2, "reason"))?,
        event_name: row.get(3)?,
        event_id: row.get(4)?,
        code: row.get(5)?,
        sub_code: row.get(6)?,
        trace_id: row.get(7)?,
        message: row.get(8)?,
        taken_at: UnixMillis(row.get(9)?),
        first_try: moment(10)?,
        last_try: moment(11)?,
        filed_at: UnixMillis(row.get(12)?),
        json: row.get(13)?,
    })
}
