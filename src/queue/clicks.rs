//! Clicks: when each was first seen, kept beside the events.
//!
//! What an event tells is stored in the transaction of its push. Until then, whoever asks for the click is
//! given the same from memory, so that two requests at the same moment agree. The oldest leave first, by age
//! and by number. `forget` does not look here: nobody is named, and no click can be made of its hash.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::clock::UnixMillis;
use crate::profile::clicks::{ClickKey, FirstSeen, KEPT};

use super::rows::{signed, unsigned};
use super::store::{Core, Effect};

/// What the store takes for a click, about, with its place in the index.
const CLICK_BYTES: u64 = 100;
/// The part of `max_bytes` that clicks may take.
const PART: u64 = 50;
/// Clicks that are removed in one go.
const PIECE: usize = 512;
/// Reads when a click was first seen.
pub(super) fn first_seen(
    connection: &Connection,
    click: ClickKey,
) -> rusqlite::Result<Option<UnixMillis>> {
    connection
        .prepare_cached("SELECT seen FROM click WHERE key = ?1")?
        .query_row([click.as_bytes()], |row| row.get(0).map(UnixMillis))
        .optional()
}

impl Core {
    /// Stores what events tell of clicks. What was told before stays.
    pub(super) fn note_clicks(&mut self, told: &[FirstSeen]) -> rusqlite::Result<()> {
        for click in told {
            self.connection
                .prepare_cached("INSERT OR IGNORE INTO click (key, seen) VALUES (?1, ?2)")?
                .execute(params![click.click.as_bytes(), click.seen.0])?;
            if let Some(seen) = first_seen(&self.connection, click.click)? {
                let click = click.click;
                self.effects
                    .push(Effect::Clicked(FirstSeen { click, seen }));
            }
        }
        Ok(())
    }

    /// Removes clicks that are too old or too many. True if there may be more.
    pub(super) fn remove_aged_clicks(&self) -> rusqlite::Result<bool> {
        let (first, last): (Option<i64>, Option<i64>) = self
            .connection
            .prepare_cached("SELECT (SELECT min(id) FROM click), (SELECT max(id) FROM click)")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let Some((first, last)) = first.zip(last) else {
            return Ok(false);
        };
        let most = self.ground.config.max_bytes.get() / PART / CLICK_BYTES;
        let excess = unsigned(last - first + 1).saturating_sub(most);
        let kept_from = self.now.0 - i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX);
        let removed = self
            .connection
            .prepare_cached(
                "DELETE FROM click
                 WHERE id IN (SELECT id FROM click ORDER BY id LIMIT ?1)
                    AND (id < ?2 OR seen < ?3)",
            )?
            .execute(params![
                signed(PIECE as u64),
                first + signed(excess),
                kept_from
            ])?;
        Ok(removed == PIECE)
    }
}
