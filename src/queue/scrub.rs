//! Scrubbing: what was deleted cannot be read from the file any more.
//!
//! A page that is freed keeps its bytes until it is used again. So every free page is used once, for
//! zeros: a piece at a time, so that events are taken and settled in between, however large the file
//! is. Then the zeros are let go, and the file shrinks by them, also a piece at a time.
//!
//! Promises: what was free when the filling began holds zeros, or what has been written since, when
//! it ends; zeros count as free room. Does not know what was deleted, nor why.

use super::disk;
use super::rows::{signed, unsigned};
use super::schema;
use super::store::Core;
use super::tidy;

/// Pages that are filled, or let go, in one go.
const PAGES_A_PIECE: u64 = 256;
impl Core {
    /// Fills a piece of the free pages with zeros. True if there are more.
    pub(super) fn fill_free_pages(&mut self) -> rusqlite::Result<bool> {
        let (free, _) = disk::free_and_used_pages(&self.connection)?;
        if free == 0 {
            return Ok(false);
        }
        // The last piece is larger than what is free, so that no page is left over.
        let pages = if free > PAGES_A_PIECE {
            PAGES_A_PIECE
        } else {
            free + 1
        };
        let bytes = pages * disk::page_size(&self.connection)?;
        self.connection
            .prepare_cached("INSERT INTO filler (zeros) VALUES (zeroblob(?1))")?
            .execute([signed(bytes)])?;
        self.room.filled(bytes, self.now);
        Ok(free > PAGES_A_PIECE)
    }

    /// Lets a piece of the filler go. True if there is more.
    pub(super) fn let_filler_go(&mut self) -> rusqlite::Result<bool> {
        let piece = "DELETE FROM filler WHERE id = (SELECT max(id) FROM filler)
                     RETURNING length(zeros)";
        let pieces = self
            .connection
            .prepare_cached(piece)?
            .query_map([], |row| row.get(0).map(unsigned))?
            .collect::<rusqlite::Result<Vec<u64>>>()?;
        let Some(bytes) = pieces.first() else {
            return Ok(false);
        };
        self.room.emptied(*bytes);
        // The list of free pages is short now, so that each is found at once.
        tidy::vacuum(&self.connection, PAGES_A_PIECE, || true)?;
        Ok(true)
    }

    /// Lets a piece of filler go that nobody else will. True if there is more.
    pub(super) fn let_abandoned_filler_go(&mut self) -> rusqlite::Result<bool> {
        Ok(self.room.has_abandoned_filler(self.now) && self.let_filler_go()?)
    }

    /// Rids the log of what was deleted. Not in a transaction.
    pub(super) fn empty_log(&self) -> rusqlite::Result<()> {
        schema::truncate_log(&self.connection)
    }
}
