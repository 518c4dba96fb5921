//! What only the store's file tells, while no daemon has it open.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

/// The files of a store. After a clean stop there is no write-ahead log.
pub const FILES: [&str; 2] = ["queue.db", "queue.db-wal"];

/// Ends the blocks that the store in a folder holds, as if their hours had passed; gives their number. Only
/// after a clean stop, which leaves nothing for the next daemon to recover.
pub fn let_blocks_pass(folder: &Path) -> rusqlite::Result<usize> {
    Connection::open(file(folder))?.execute(
        "UPDATE standstill SET until = since WHERE kind = 'blocked'",
        [],
    )
}

/// The trace ids of all answers that are on disk. The command line tells them by event alone, and an early
/// call is not about events. The file must be sound.
pub fn answers_on_disk(folder: &Path) -> rusqlite::Result<BTreeSet<String>> {
    let store = Connection::open_with_flags(file(folder), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let sound: String = store.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    assert_eq!(sound, "ok", "the store is damaged");
    let mut answers = store.prepare("SELECT trace_id FROM delivery WHERE trace_id IS NOT NULL")?;
    answers.query_map([], |row| row.get(0))?.collect()
}

fn file(folder: &Path) -> PathBuf {
    folder.join(FILES[0])
}
