//! How events come in: duplicates are recognised, full syncs refused, the rest joins the next commit.

use std::collections::{BTreeMap, HashSet};

use crate::config::SyncName;
use crate::outcome::{Outcome, Reason};
use crate::payload::{Fingerprint, Payload, Rejected, Submission};

use super::dead::NewDeadLetter;
use super::store::Core;
use super::totals::Counter;
use super::{Learnt, Pushed};

/// Whether a known event may be taken once more.
#[derive(Debug)]
pub(super) enum Repeats {
    /// Every repeat is a duplicate.
    Refused,
    /// A repeat takes the place of its dead letter, unless it is queued or was delivered. These events
    /// are repeats too, besides those in the duplicate window.
    ReplaceDead(HashSet<Fingerprint>),
}

impl Repeats {
    /// What is known besides the duplicate window, where dead letters are replaced.
    const fn known(&self) -> Option<&HashSet<Fingerprint>> {
        match self {
            Self::Refused => None,
            Self::ReplaceDead(known) => Some(known),
        }
    }
}

/// How a push ended, the store being well.
#[derive(Debug)]
pub(super) enum PushOutcome {
    /// All is stored.
    Stored(Pushed),
    /// A sync was full; the rest is stored.
    Full {
        /// The first sync that was full.
        sync: SyncName,
        /// What was stored.
        pushed: Pushed,
        /// How many events of each sync were not.
        left: BTreeMap<SyncName, u64>,
    },
    /// Nothing is stored: the disk is nearly full.
    DiskLow,
}

impl Core {
    /// Takes events in, and learns what they say. That is learnt where a sync is full too: its
    /// events come again.
    pub(super) fn push(
        &mut self,
        taken: Vec<Submission>,
        repeats: &Repeats,
        learnt: &Learnt,
    ) -> rusqlite::Result<PushOutcome> {
        if self.room.is_disk_low() {
            return Ok(PushOutcome::DiskLow);
        }
        self.learn(&learnt.lessons)?;
        self.note_clicks(&learnt.clicks)?;
        let mut pushed = Pushed::default();
        let mut full = None;
        let mut left = BTreeMap::new();
        for Submission { sync, mapped } in taken {
            let place = self.ledger.account(&self.connection, &sync)?;
            match mapped {
                Err(rejected) => self.push_rejected(place, &rejected, repeats, &mut pushed)?,
                Ok(payload) => {
                    if !self.push_mapped(place, payload, repeats, &mut pushed)? {
                        *left.entry(sync.clone()).or_insert(0) += 1;
                        full.get_or_insert(sync);
                    }
                }
            }
        }
        Ok(match full {
            Some(sync) => PushOutcome::Full { sync, pushed, left },
            None => PushOutcome::Stored(pushed),
        })
    }

    /// False where the sync is full.
    fn push_mapped(
        &mut self,
        place: usize,
        payload: Payload,
        repeats: &Repeats,
        pushed: &mut Pushed,
    ) -> rusqlite::Result<bool> {
        let known = self.seen.contains(payload.fingerprint)
            || repeats
                .known()
                .is_some_and(|known| known.contains(&payload.fingerprint));
        if known && repeats.known().is_none() {
            self.count_duplicate(place, pushed);
            return Ok(true);
        }
        let held = self.ledger.at(place).get(Counter::HeldBytes) + self.held_by_drafts(place);
        if self.room.is_full(held) {
            return Ok(false);
        }
        let replaces =
            repeats.known().is_some() && self.replace_dead(place, payload.fingerprint)?;
        if known && !replaces {
            self.count_duplicate(place, pushed);
            return Ok(true);
        }
        if repeats.known().is_some() {
            let name = Some(payload.event_name.as_ref());
            self.replace_invalid(place, payload.fingerprint.id, name)?;
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

    fn push_rejected(
        &mut self,
        place: usize,
        rejected: &Rejected,
        repeats: &Repeats,
        pushed: &mut Pushed,
    ) -> rusqlite::Result<()> {
        let account = self.ledger.at(place);
        account.add(Counter::Taken, 1);
        account.add(Counter::Ended(rejected.reason), 1);
        if rejected.reason.outcome() == Outcome::Invalid {
            pushed.invalid += 1;
            if repeats.known().is_some()
                && let Some(id) = &rejected.event_id
            {
                let id_half = Fingerprint::of_id(id);
                self.replace_invalid(place, id_half, rejected.event_name.as_deref())?;
            }
            return self.file_dead(
                place,
                &NewDeadLetter {
                    event_name: rejected.event_name.as_deref(),
                    event_id: rejected.event_id.as_deref(),
                    json: rejected.json.as_deref(),
                    ..NewDeadLetter::new(rejected.reason, self.now)
                },
            );
        }
        pushed.filtered += 1;
        Ok(())
    }
}
