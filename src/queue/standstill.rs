//! Standstills: what Meta asked to be waited for, kept so that a restart does not forget it.
//!
//! A standstill is written in the transaction that settles the answer which told of it, so that it is
//! known as surely as the answer is. The store does not understand it: when it begins and ends, and
//! what it means, is the lanes' to say.

use rusqlite::{Connection, params};

use crate::clock::UnixMillis;

/// A wait that Meta asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cooldown {
    /// A pixel id, or the name of a sync.
    pub whose: String,
    /// Of what kind.
    pub kind: String,
    /// When Meta asked for it, by the clock of that time.
    pub since: UnixMillis,
    /// When it ends.
    pub until: UnixMillis,
}

/// A change in what stands still.
#[derive(Clone, Debug)]
pub enum CooldownChange {
    /// It begins, or lasts longer.
    Begun(Cooldown),
    /// Everything that would have ended by this moment is over.
    Over {
        /// A pixel id, or the name of a sync.
        whose: String,
        /// The moment.
        by: UnixMillis,
    },
}

/// Writes a change down.
pub(super) fn write(connection: &Connection, note: &CooldownChange) -> rusqlite::Result<()> {
    match note {
        // Notes of lanes that share a pixel may come in any order.
        CooldownChange::Begun(standstill) => connection
            .prepare_cached(
                "INSERT INTO standstill (whose, kind, since, until) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (whose, kind) DO UPDATE
                 SET since = excluded.since, until = excluded.until
                 WHERE excluded.until > until",
            )?
            .execute(params![
                standstill.whose,
                standstill.kind,
                standstill.since.0,
                standstill.until.0
            ])
            .map(drop),
        CooldownChange::Over { whose, by } => connection
            .prepare_cached("DELETE FROM standstill WHERE whose = ?1 AND until <= ?2")?
            .execute(params![whose, by.0])
            .map(drop),
    }
}

/// Reads what stands, the latest last.
pub(super) fn load(connection: &Connection) -> rusqlite::Result<Vec<Cooldown>> {
    connection
        .prepare("SELECT whose, kind, since, until FROM standstill ORDER BY until, id")?
        .query_map([], |row| {
            Ok(Cooldown {
                whose: row.get(0)?,
                kind: row.get(1)?,
                since: UnixMillis(row.get(2)?),
                until: UnixMillis(row.get(3)?),
            })
        })?
        .collect()
}
