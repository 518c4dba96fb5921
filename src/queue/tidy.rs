//! What the store does by itself, every second: expiry, retention, giving room back.
//!
//! Each pass is bounded, so that pushes need not wait long for it; where more is to be done, the
//! writer comes back at once.

use std::sync::Arc;
use std::time::Duration;

use crate::outcome::Reason;

use super::dead::NewDeadLetter;
use super::disk;
use super::row::Bits;
use super::rows::{self, BatchState, standing};
use super::store::{Core, Effect};
use super::totals::Counter;

/// How long requests and fingerprints are kept for `trace`: longer than Meta's window.
const KEPT: Duration = Duration::from_secs(8 * 24 * 3600);
/// Rows, records and letters that one pass looks at.
const ROWS_A_PASS: usize = 512;
/// Events that one pass expires.
const EVENTS_A_PASS: u64 = 4096;
/// Free pages that are not worth giving back.
const SPARE_PAGES: u64 = 2048;
/// Pages that one pass gives back at most.
const PAGES_A_PASS: u64 = 1024;
/// How long it may take for that: to give one page back, `SQLite` goes through its list of free pages,
/// and whoever pushes waits meanwhile.
const VACUUM_TIME: Duration = Duration::from_millis(10);

impl Core {
    /// Expires what is due and removes what is too old. True if there is more to do.
    pub(super) fn tidy(&mut self) -> rusqlite::Result<bool> {
        let mut more = false;
        for place in 0..self.ledger.accounts().len() {
            more |= self.expire(place)?;
            more |= self.remove_aged_profiles(place)?;
        }
        more |= self.remove_aged_dead(ROWS_A_PASS)? == ROWS_A_PASS;
        more |= self.remove_aged_deliveries()? == ROWS_A_PASS;
        more |= self.remove_aged_seen()? == ROWS_A_PASS;
        more |= self.remove_aged_clicks()?;
        more |= self.let_abandoned_filler_go()?;
        Ok(more)
    }

    /// Gives free pages at the end of the file back, a piece. Not in a transaction.
    pub(super) fn give_back_pages(&self) -> rusqlite::Result<()> {
        let (free, used) = disk::free_and_used_pages(&self.connection)?;
        // Pages in use move into free ones. While a backlog is delivered that is work for nothing:
        // what they hold is about to leave.
        if free <= SPARE_PAGES + 3 * used {
            return Ok(());
        }
        let began = self.ground.clock.now();
        vacuum(&self.connection, PAGES_A_PASS, || {
            self.ground.clock.now().since(began) < VACUUM_TIME
        })
    }

    /// Expires events of a sync that are due and not on lease. True if there may be more.
    pub(super) fn expire(&mut self, place: usize) -> rusqlite::Result<bool> {
        let mut ended = 0;
        let due = self.due_rows(place)?;
        let more = due.len() == ROWS_A_PASS;
        for standing in due {
            if ended >= EVENTS_A_PASS {
                return Ok(true);
            }
            ended += self.expire_row(place, standing)?;
        }
        Ok(more && ended > 0)
    }

    /// Counts rows as lost that were found damaged.
    pub(super) fn lose_damaged(&mut self) -> rusqlite::Result<()> {
        for row in std::mem::take(&mut self.damaged) {
            let Some(standing) = BatchState::load(&self.connection, row)? else {
                continue;
            };
            if let Some(place) = self.ledger.find_by_id(standing.sync) {
                self.lose(place, &standing)?;
            }
        }
        Ok(())
    }

    fn due_rows(&self, place: usize) -> rusqlite::Result<Vec<BatchState>> {
        let account = &self.ledger.accounts()[place];
        let mut statement = self.connection.prepare_cached(standing!(
            "WHERE sync = ?1 AND deadline <= ?2 ORDER BY deadline, id"
        ))?;
        let mut found = statement.query([account.id, self.now.seconds()])?;
        let mut due = Vec::new();
        while let Some(found) = found.next()?
            && due.len() < ROWS_A_PASS
        {
            let standing = BatchState::read(found)?;
            let (leased, _) = self.lanes().lane(&account.name).on_lease(standing.row);
            if !standing.open().without(&leased).is_empty() {
                due.push(standing);
            }
        }
        Ok(due)
    }

    fn expire_row(&mut self, place: usize, mut standing: BatchState) -> rusqlite::Result<u64> {
        let sync = self.ledger.at(place).name.clone();
        let (leased, content) = self.lanes().lane(&sync).on_lease(standing.row);
        let content = match content {
            Some(content) => content,
            None => match rows::content(&self.connection, standing.row)? {
                Some(content) if content.entries.len() == standing.events => Arc::new(content),
                _ => return self.lose(place, &standing),
            },
        };
        let mut expired = Bits::default();
        for position in standing.open().without(&leased).positions() {
            let entry = &content.entries[position];
            let (expiry, reason) = standing.expiry(position, entry);
            if expiry > self.now.seconds() {
                continue;
            }
            expired.add(position);
            self.end_event(place, &mut standing, position, entry, reason);
            let letter = NewDeadLetter {
                first_try: standing.first_try,
                last_try: standing.last_try,
                ..NewDeadLetter::of(&content, entry, reason, standing.taken_at)
            };
            self.file_dead(place, &letter)?;
        }
        let next = standing.next_expiry(&content);
        if expired.is_empty() && next == standing.deadline {
            return Ok(0);
        }
        standing.deadline = next;
        self.save_row(place, &standing)?;
        let row = standing.row;
        self.effects.push(Effect::EndedUnleased { place, row });
        Ok(expired.count())
    }

    fn lose(&mut self, place: usize, standing: &BatchState) -> rusqlite::Result<u64> {
        let lost = self.end_row(place, standing, Reason::DamagedRow)?;
        tracing::error!(
            sync = %self.ledger.at(place).name,
            row = standing.row,
            events = lost,
            "a row of the store is damaged; its events are lost. Check the disk"
        );
        Ok(lost)
    }

    fn remove_aged_deliveries(&self) -> rusqlite::Result<usize> {
        self.connection
            .prepare_cached(
                "DELETE FROM delivery WHERE id IN (
                    SELECT id FROM delivery ORDER BY id LIMIT ?2
                 ) AND sent_at < ?1 AND answered_at IS NOT NULL",
            )?
            .execute([self.kept_from(KEPT), rows::signed(ROWS_A_PASS as u64)])
    }

    fn remove_aged_seen(&mut self) -> rusqlite::Result<usize> {
        let kept_from = self.kept_from(KEPT.max(self.ground.config.duplicate_window));
        let most_bytes = self.ground.config.max_bytes.get() / 10;
        let mut excess = self
            .ledger
            .sum(Counter::SeenBytes)
            .saturating_sub(most_bytes);
        let oldest: Vec<(i64, i64, i64, u64)> = self
            .connection
            .prepare_cached(
                "SELECT row, sync, taken_at, length(fingerprints) FROM seen ORDER BY row LIMIT ?1",
            )?
            .query_map([rows::signed(ROWS_A_PASS as u64)], |row| {
                let bytes = row.get(3).map(rows::unsigned)?;
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, bytes))
            })?
            .collect::<rusqlite::Result<_>>()?;
        let mut removed = 0;
        for (row, sync, taken_at, bytes) in oldest {
            if taken_at >= kept_from && excess == 0 {
                break;
            }
            self.connection
                .prepare_cached("DELETE FROM seen WHERE row = ?1")?
                .execute([row])?;
            if let Some(place) = self.ledger.find_by_id(sync) {
                self.ledger.at(place).take(Counter::SeenBytes, bytes);
            }
            excess = excess.saturating_sub(bytes);
            removed += 1;
        }
        Ok(removed)
    }

    fn kept_from(&self, kept: Duration) -> i64 {
        self.now.0 - i64::try_from(kept.as_millis()).unwrap_or(i64::MAX / 2)
    }
}

/// Takes so many free pages off the end of the file, as long as there is time.
pub(super) fn vacuum(
    connection: &rusqlite::Connection,
    pages: u64,
    has_time: impl Fn() -> bool,
) -> rusqlite::Result<()> {
    // The pragma works while it is stepped, a page at a time.
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut steps = statement.query([])?;
    while steps.next()?.is_some() && has_time() {}
    Ok(())
}
