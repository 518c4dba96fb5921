//! Rows in the store: how they are written, read, settled and removed.

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};

use crate::clock::UnixMillis;
use crate::outcome::Reason;

use super::row::{self, BatchBuilder, BatchEntry, Bits, StoredBatch};
use super::settle::DOUBT_SECONDS;

/// What changes of a row while its events wait and end.
#[derive(Debug)]
pub(super) struct BatchState {
    /// Its number.
    pub(super) row: i64,
    /// Its sync's number.
    pub(super) sync: i64,
    /// Not later than the deadline of any unsettled event.
    pub(super) deadline: i64,
    /// When it was committed.
    pub(super) taken_at: UnixMillis,
    /// How many events it has.
    pub(super) events: usize,
    /// Bytes of the unsettled ones.
    pub(super) bytes: u64,
    /// Bytes of the store that it takes.
    pub(super) held: u64,
    /// The events that have ended.
    pub(super) settled: Bits,
    /// The first request that did not end all of its events.
    pub(super) first_try: Option<UnixMillis>,
    /// The last such request.
    pub(super) last_try: Option<UnixMillis>,
    /// Events that Meta may have taken.
    pub(super) doubts: InDoubt,
}

/// Selects what [`BatchState::read`] reads, from the rows that the rest of the statement names.
macro_rules! standing {
    ($rest:literal) => {
        concat!(
            "SELECT id, sync, deadline, taken_at, events, bytes, held, settled, first_try, ",
            "last_try, doubts FROM row ",
            $rest
        )
    };
}
pub(super) use standing;

impl BatchState {
    /// Reads what `standing!` selects.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let settled = row.get_ref(7)?.as_blob_or_null()?;
        let doubts = row.get_ref(10)?.as_blob_or_null()?;
        Ok(Self {
            row: row.get(0)?,
            sync: row.get(1)?,
            deadline: row.get(2)?,
            taken_at: UnixMillis(row.get(3)?),
            events: row.get::<_, i64>(4)?.try_into().unwrap_or(0),
            bytes: unsigned(row.get(5)?),
            held: unsigned(row.get(6)?),
            settled: settled.map(Bits::from_stored).unwrap_or_default(),
            first_try: row.get::<_, Option<i64>>(8)?.map(UnixMillis),
            last_try: row.get::<_, Option<i64>>(9)?.map(UnixMillis),
            doubts: doubts.map(InDoubt::from_stored).unwrap_or_default(),
        })
    }

    /// Finds a row by its number.
    pub(super) fn load(connection: &Connection, row: i64) -> rusqlite::Result<Option<Self>> {
        connection
            .prepare_cached(standing!("WHERE id = ?1"))?
            .query_row([row], Self::read)
            .optional()
    }

    /// The events that have not ended.
    pub(super) fn open(&self) -> Bits {
        Bits::first(self.events).without(&self.settled)
    }

    /// When an event expires, and as what.
    pub(super) fn expiry(&self, position: usize, entry: &BatchEntry) -> (i64, Reason) {
        match self.doubts.since(position) {
            Some(since) if since.seconds() + DOUBT_SECONDS < entry.deadline => {
                (since.seconds() + DOUBT_SECONDS, Reason::MaybeDelivered)
            }
            _ => (entry.deadline, Reason::WindowClosed),
        }
    }

    /// The earliest expiry of the events that have not ended.
    pub(super) fn next_expiry(&self, content: &StoredBatch) -> i64 {
        self.open()
            .positions()
            .filter_map(|position| Some((position, content.entries.get(position)?)))
            .map(|(position, entry)| self.expiry(position, entry).0)
            .min()
            .unwrap_or(i64::MAX)
    }

    /// Writes what has changed; a row without open events is removed. True if it was.
    pub(super) fn save(&self, connection: &Connection) -> rusqlite::Result<bool> {
        if self.open().is_empty() {
            self.delete(connection)?;
            return Ok(true);
        }
        let settled = (!self.settled.is_empty()).then(|| self.settled.stored(self.events));
        connection
            .prepare_cached(
                "UPDATE row SET deadline = ?2, bytes = ?3, settled = ?4, first_try = ?5,
                        last_try = ?6, doubts = ?7
                 WHERE id = ?1",
            )?
            .execute(params![
                self.row,
                self.deadline,
                signed(self.bytes),
                settled,
                self.first_try.map(|at| at.0),
                self.last_try.map(|at| at.0),
                self.doubts.stored(),
            ])?;
        Ok(false)
    }

    /// Removes the row.
    pub(super) fn delete(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection
            .prepare_cached("DELETE FROM row WHERE id = ?1")?
            .execute([self.row])?;
        let removed = connection
            .prepare_cached("DELETE FROM content WHERE row = ?1")?
            .execute([self.row]);
        match removed {
            // A damaged page cannot be freed; it is left where it is, and nothing refers to it.
            Err(error) if !is_damage(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Writes a row, for whose body these bytes are stored, with its fingerprints; gives its number.
pub(super) fn insert(
    connection: &Connection,
    sync: i64,
    draft: &BatchBuilder,
    stored: &[u8],
    taken_at: UnixMillis,
) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "INSERT INTO row (sync, deadline, taken_at, events, bytes, held, purchase)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            sync,
            draft.deadline,
            taken_at.0,
            signed(draft.events as u64),
            signed(draft.event_bytes() as u64),
            signed(draft.held_bytes(stored.len()) as u64),
            draft.purchase,
        ])?;
    let row = connection.last_insert_rowid();
    let index = draft.index();
    connection
        .prepare_cached("INSERT INTO content (row, checksum, slots, body) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            row,
            row::checksum(row, &index, stored),
            index,
            stored
        ])?;
    connection
        .prepare_cached(
            "INSERT INTO seen (row, sync, taken_at, fingerprints) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![row, sync, taken_at.0, draft.fingerprints])?;
    Ok(row)
}

/// When the oldest row of a sync was taken.
pub(super) fn oldest(connection: &Connection, sync: i64) -> rusqlite::Result<Option<UnixMillis>> {
    connection
        .prepare_cached("SELECT taken_at FROM row WHERE sync = ?1 ORDER BY id LIMIT 1")?
        .query_row([sync], |row| row.get(0).map(UnixMillis))
        .optional()
}

/// Reads a row's events; `None` where they are damaged.
pub(super) fn content(connection: &Connection, row: i64) -> rusqlite::Result<Option<StoredBatch>> {
    let mut statement =
        connection.prepare_cached("SELECT checksum, slots, body FROM content WHERE row = ?1")?;
    let read = statement.query_row([row], |found| {
        let (index, body) = (found.get_ref(1)?.as_blob()?, found.get_ref(2)?.as_blob()?);
        Ok(StoredBatch::read(row, index, body, found.get(0)?))
    });
    match read {
        Ok(content) => Ok(content),
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
        Err(error) if is_damage(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an error says that what was read makes no sense, or is beyond the end of the file, rather than
/// that it cannot be read now.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..) => true,
        rusqlite::Error::SqliteFailure(failure, _) => {
            failure.code == ErrorCode::DatabaseCorrupt
                || failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ
        }
        _ => false,
    }
}

/// A count as `SQLite` stores it.
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count as `SQLite` gave it.
pub(super) fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// Events that were in a request whose answer was lost, and when the first such request was sent.
///
/// As stored: 12 bytes for each run of events with the same moment, little-endian: the first
/// position and the one after the last (`u16`), the moment in milliseconds (`i64`).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct InDoubt(Vec<(u16, u16, UnixMillis)>);

impl InDoubt {
    /// Since when an event is in doubt.
    pub(super) fn since(&self, position: usize) -> Option<UnixMillis> {
        self.0
            .iter()
            .find(|(from, to, _)| (usize::from(*from)..usize::from(*to)).contains(&position))
            .map(|(_, _, since)| *since)
    }

    /// Notes that these events are in doubt, unless they were before.
    pub(super) fn add(&mut self, events: &Bits, since: UnixMillis) {
        for position in events.positions() {
            if self.since(position).is_some() {
                continue;
            }
            let at = u16::try_from(position).expect("a row has at most 256 events");
            match self.0.last_mut() {
                Some((_, to, same)) if *to == at && *same == since => *to += 1,
                _ => self.0.push((at, at + 1, since)),
            }
        }
    }

    fn stored(&self) -> Option<Vec<u8>> {
        (!self.0.is_empty()).then(|| {
            let mut stored = Vec::with_capacity(self.0.len() * 12);
            for (from, to, since) in &self.0 {
                stored.extend_from_slice(&from.to_le_bytes());
                stored.extend_from_slice(&to.to_le_bytes());
                stored.extend_from_slice(&since.0.to_le_bytes());
            }
            stored
        })
    }

    fn from_stored(stored: &[u8]) -> Self {
        let (runs, _) = stored.as_chunks::<12>();
        let run = |run: &[u8; 12]| {
            let [a, b, c, d, since @ ..] = *run;
            let since = UnixMillis(i64::from_le_bytes(since));
            (
                u16::from_le_bytes([a, b]),
                u16::from_le_bytes([c, d]),
                since,
            )
        };
        Self(runs.iter().map(run).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_doubt_counts() {
        let mut doubts = InDoubt::default();
        let mut later = Bits::first(5);
        doubts.add(&Bits::first(3), UnixMillis(100));
        later.add(200);
        doubts.add(&later, UnixMillis(900));
        for (position, since) in [(0, 100), (2, 100), (3, 900), (4, 900), (200, 900)] {
            assert_eq!(doubts.since(position), Some(UnixMillis(since)));
        }
        assert_eq!(doubts.since(5), None);
        assert_eq!(InDoubt::from_stored(&doubts.stored().unwrap()), doubts);
    }
}
