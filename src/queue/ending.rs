//! How events end: each is counted as its row is marked, and a row goes with its last event.

use crate::outcome::Reason;

use super::row::BatchEntry;
use super::rows::BatchState;
use super::store::{Core, Effect};
use super::totals::Counter;

impl Core {
    /// Counts an event of a row as ended.
    pub(super) fn end_event(
        &mut self,
        place: usize,
        standing: &mut BatchState,
        position: usize,
        entry: &BatchEntry,
        reason: Reason,
    ) {
        standing.settled.add(position);
        standing.bytes = standing.bytes.saturating_sub(entry.bytes());
        let account = self.ledger.at(place);
        account.take(Counter::Queued, 1);
        account.take(Counter::QueuedBytes, entry.bytes());
        account.add(Counter::Ended(reason), 1);
    }

    /// Writes what has changed of a row, or removes it if all of its events have ended.
    pub(super) fn save_row(&mut self, place: usize, standing: &BatchState) -> rusqlite::Result<()> {
        if standing.save(&self.connection)? {
            let held = standing.held;
            self.ledger.at(place).take(Counter::HeldBytes, held);
        }
        Ok(())
    }

    /// Removes a row with all its open events, for a reason that needs no look at them. The row
    /// must have none on lease. Gives their number.
    pub(super) fn end_row(
        &mut self,
        place: usize,
        standing: &BatchState,
        reason: Reason,
    ) -> rusqlite::Result<u64> {
        let events = standing.open().count();
        let account = self.ledger.at(place);
        account.take(Counter::Queued, events);
        account.take(Counter::QueuedBytes, standing.bytes);
        account.take(Counter::HeldBytes, standing.held);
        account.add(Counter::Ended(reason), events);
        standing.delete(&self.connection)?;
        let row = standing.row;
        self.effects.push(Effect::EndedUnleased { place, row });
        Ok(events)
    }
}
