//! The pages of the file: how many are in use, and what becomes of free ones.
//!
//! A freed page keeps its bytes until it is used again. So `forget` fills every free page with zeros, a piece at a
//! time: events are taken and settled in between, however large the file is. Then it deletes the zeros, also a
//! piece at a time, and the file shrinks.
//!
//! Promises: when the filling ends, each page that was free at its beginning holds zeros or newer data. Zeros count
//! as free room.

use std::time::Duration;

use rusqlite::Connection;

use crate::clock::Clock;

use super::{signed, unsigned};

/// Pages that are filled, or freed, at once.
const PAGES_A_PIECE: u64 = 256;
/// Filler that has not grown for this long was left by a command that gave up.
const ABANDONED: Duration = Duration::from_secs(60);
/// Free pages that are not worth giving back.
const SPARE_PAGES: u64 = 2048;
/// Pages that one pass gives back at most.
const PAGES_A_PASS: u64 = 1024;
/// How long a pass may take: for each page `SQLite` goes through its list of free pages, and pushes wait
/// meanwhile.
const VACUUM_TIME: Duration = Duration::from_millis(10);

/// Rows of zeros that fill free pages for a while.
#[derive(Debug, Default)]
pub(super) struct Filler {
    pub(super) bytes: u64,
    /// At which uptime.
    filled_at: Duration,
}

impl Filler {
    /// Finds the filler that an earlier process left.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let select = "SELECT coalesce(sum(length(zeros)), 0) FROM filler";
        Ok(Self {
            bytes: connection.query_row(select, [], |row| row.get(0).map(unsigned))?,
            filled_at: Duration::ZERO,
        })
    }

    /// Fills a piece of the free pages with zeros. True if there are more.
    pub(super) fn fill_free_pages(
        &mut self,
        connection: &Connection,
        uptime: Duration,
    ) -> rusqlite::Result<bool> {
        let (free, _) = free_and_used_pages(connection)?;
        if free == 0 {
            return Ok(false);
        }
        // The last piece is larger than the free room, so that no page is left over.
        let pages = if free > PAGES_A_PIECE {
            PAGES_A_PIECE
        } else {
            free + 1
        };
        let bytes = pages * page_size(connection)?;
        connection
            .prepare_cached("INSERT INTO filler (zeros) VALUES (zeroblob(?1))")?
            .execute([signed(bytes)])?;
        self.bytes += bytes;
        self.filled_at = uptime;
        Ok(free > PAGES_A_PIECE)
    }

    /// Deletes a piece. True if there is more.
    pub(super) fn release(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        let piece = "DELETE FROM filler WHERE id = (SELECT max(id) FROM filler)
                     RETURNING length(zeros)";
        let pieces = connection
            .prepare_cached(piece)?
            .query_map([], |row| row.get(0).map(unsigned))?
            .collect::<rusqlite::Result<Vec<u64>>>()?;
        let Some(bytes) = pieces.first() else {
            return Ok(false);
        };
        self.bytes = self.bytes.saturating_sub(*bytes);
        // The list of free pages is short now, so each is found at once.
        vacuum(connection, PAGES_A_PIECE, || true)?;
        Ok(true)
    }

    /// Deletes a piece that its command has abandoned. True if there is more.
    pub(super) fn release_abandoned(
        &mut self,
        connection: &Connection,
        uptime: Duration,
    ) -> rusqlite::Result<bool> {
        let is_abandoned = self.bytes > 0 && uptime.saturating_sub(self.filled_at) > ABANDONED;
        Ok(is_abandoned && self.release(connection)?)
    }
}

/// Gives some free pages at the end of the file back.
pub(super) fn give_back_pages(connection: &Connection, clock: &dyn Clock) -> rusqlite::Result<()> {
    let (free, used) = free_and_used_pages(connection)?;
    // Pages in use move into free ones. While a backlog is delivered that is wasted work: their events are about to
    // leave.
    if free <= SPARE_PAGES + 3 * used {
        return Ok(());
    }
    let began = clock.uptime();
    vacuum(connection, PAGES_A_PASS, || {
        clock.uptime().saturating_sub(began) < VACUUM_TIME
    })
}

/// Bytes of the pages in use.
pub(super) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let (_, used) = free_and_used_pages(connection)?;
    Ok(used * page_size(connection)?)
}

/// Takes at most this many free pages off the end of the file, as long as there is time.
fn vacuum(
    connection: &Connection,
    pages: u64,
    has_time: impl Fn() -> bool,
) -> rusqlite::Result<()> {
    // Each step of the pragma frees a page.
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut steps = statement.query([])?;
    while steps.next()?.is_some() && has_time() {}
    Ok(())
}

fn free_and_used_pages(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let free = pragma(connection, "PRAGMA freelist_count")?;
    let all = pragma(connection, "PRAGMA page_count")?;
    Ok((free, all.saturating_sub(free)))
}

fn page_size(connection: &Connection) -> rusqlite::Result<u64> {
    pragma(connection, "PRAGMA page_size")
}

fn pragma(connection: &Connection, pragma: &str) -> rusqlite::Result<u64> {
    connection
        .prepare_cached(pragma)?
        .query_row([], |row| row.get(0).map(unsigned))
}
