//! Which events were taken before, as far back as the store remembers.
//!
//! The duplicate window in memory is shorter and bounded; history that is brought in may repeat what
//! left it. The fingerprints on disk are read from end to end, beside the writer, so what it costs
//! depends on how much is remembered and hardly on how many events are asked for.

use std::collections::HashSet;

use hashbrown::HashTable;
use rusqlite::Connection;

use crate::payload::Fingerprint;

use super::row::fingerprints;

/// Rows read in one go, so that the log is not held up for long.
const PIECE: i64 = 4096;

/// Finds those of the wanted events that were taken.
pub(super) fn remembered(
    connection: &Connection,
    wanted: &[Fingerprint],
) -> rusqlite::Result<HashSet<Fingerprint>> {
    // A fingerprint is a hash already.
    let mut table = HashTable::with_capacity(wanted.len());
    for id in wanted {
        table.insert_unique(id.whole, *id, |id| id.whole);
    }
    let mut found = HashSet::new();
    let mut statement = connection
        .prepare("SELECT row, fingerprints FROM seen WHERE row > ?1 ORDER BY row LIMIT ?2")?;
    let mut last = Some(0);
    while let Some(after) = last.take() {
        let mut seen = statement.query([after, PIECE])?;
        while let Some(seen) = seen.next()? {
            last = Some(seen.get(0)?);
            for id in fingerprints(seen.get_ref(1)?.as_blob()?) {
                if table.find(id.whole, |wanted| *wanted == id).is_some() {
                    found.insert(id);
                }
            }
        }
    }
    Ok(found)
}
