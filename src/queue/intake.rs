//! How events come in: duplicates are recognised, full syncs refused, the rest joins the next commit.

use crate::config::SyncName;
use crate::map::payload::Payload;
use crate::outcome::{Outcome, Reason};
use crate::sync::{Ended, Fate, Taken};

use super::Pushed;
use super::dead::Letter;
use super::store::Store;
use super::totals::Counter;

/// Whether a known event may be taken once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeats {
    /// Every repeat is a duplicate.
    Refused,
    /// A repeat takes the place of a dead letter that was `rejected` or `expired`.
    ReplaceDead,
}

/// How a push ended, the store being well.
#[derive(Debug)]
pub(super) enum Intake {
    /// All is stored.
    Stored(Pushed),
    /// This sync was full; the rest is stored.
    Full(SyncName, Pushed),
    /// Nothing is stored: the disk is nearly full.
    DiskLow,
}

impl Store {
    /// Takes events in.
    pub(super) fn push(&mut self, taken: Vec<Taken>, repeats: Repeats) -> rusqlite::Result<Intake> {
        if self.room.is_disk_low() {
            return Ok(Intake::DiskLow);
        }
        let mut pushed = Pushed::default();
        let mut full = None;
        for Taken { sync, fate } in taken {
            let place = self.ledger.account(&self.connection, &sync)?;
            match fate {
                Fate::Ended(ended) => self.push_ended(place, &ended, &mut pushed)?,
                Fate::Mapped(payload) => {
                    if !self.push_mapped(place, payload, repeats, &mut pushed)? {
                        full.get_or_insert(sync);
                    }
                }
            }
        }
        Ok(match full {
            Some(sync) => Intake::Full(sync, pushed),
            None => Intake::Stored(pushed),
        })
    }

    /// Adds an event to the row in the making; a row that is full is written first.
    pub(super) fn queue(&mut self, place: usize, payload: Payload) -> rusqlite::Result<()> {
        let draft = self.drafts.entry(place).or_default();
        if draft.is_full_for(payload.json.len()) {
            let full = std::mem::take(draft);
            self.write_draft(place, &full)?;
        }
        let account = self.ledger.at(place);
        account.add(Counter::Queued, 1);
        account.add(Counter::QueuedBytes, payload.json.len() as u64);
        self.drafts.entry(place).or_default().add(payload);
        Ok(())
    }

    /// False where the sync is full.
    fn push_mapped(
        &mut self,
        place: usize,
        payload: Payload,
        repeats: Repeats,
        pushed: &mut Pushed,
    ) -> rusqlite::Result<bool> {
        let known = self.seen.contains(payload.fingerprint);
        if known && repeats == Repeats::Refused {
            self.count_duplicate(place, pushed);
            return Ok(true);
        }
        let draft = self.drafts.get(&place);
        let held = self.ledger.at(place).get(Counter::HeldBytes)
            + draft.map_or(0, |draft| draft.held_bytes() as u64);
        if self.room.is_full(held) {
            return Ok(false);
        }
        let replaces =
            repeats == Repeats::ReplaceDead && self.replace_dead(place, payload.fingerprint)?;
        if known && !replaces {
            self.count_duplicate(place, pushed);
            return Ok(true);
        }
        self.seen.insert(payload.fingerprint, self.now);
        self.ledger.at(place).add(Counter::Taken, 1);
        pushed.queued += 1;
        self.queue(place, payload)?;
        Ok(true)
    }

    fn count_duplicate(&mut self, place: usize, pushed: &mut Pushed) {
        let account = self.ledger.at(place);
        account.add(Counter::Taken, 1);
        account.add(Counter::Ended(Reason::SeenBefore), 1);
        pushed.duplicates += 1;
    }

    fn push_ended(
        &mut self,
        place: usize,
        ended: &Ended,
        pushed: &mut Pushed,
    ) -> rusqlite::Result<()> {
        let account = self.ledger.at(place);
        account.add(Counter::Taken, 1);
        account.add(Counter::Ended(ended.reason), 1);
        if ended.reason.outcome() == Outcome::Invalid {
            pushed.invalid += 1;
            return self.file_dead(
                place,
                &Letter {
                    event_name: ended.event_name.as_deref(),
                    event_id: ended.event_id.as_deref(),
                    json: ended.json.as_deref(),
                    ..Letter::new(ended.reason, self.now)
                },
            );
        }
        pushed.filtered += 1;
        Ok(())
    }
}
