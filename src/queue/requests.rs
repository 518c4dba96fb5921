//! Requests on record, and what their answers do to the events they carried.
//!
//! A request is put down before it is sent, and closed by the settlement of its answer. One that is
//! still open when the store is opened was cut off by a crash: like one whose answer was lost, it
//! may have been taken, so its events expire 48 hours after it was sent.

use std::collections::BTreeMap;

use rusqlite::params;

use crate::clock::UnixMillis;
use crate::config::SyncName;

use super::dead::NewDeadLetter;
use super::lease::Slot;
use super::row::Bits;
use super::rows::BatchState;
use super::settle::{AttemptAnswer, DOUBT_SECONDS, DeliveryId, End, Settlement};
use super::slices::AttemptedEvents;
use super::standstill;
use super::store::{Core, Effect, OpenAttempt};

impl Core {
    /// Puts down a request that is about to be sent.
    pub(super) fn open_delivery(
        &mut self,
        sync: &SyncName,
        slots: &[Slot],
    ) -> rusqlite::Result<DeliveryId> {
        let place = self.ledger.account(&self.connection, sync)?;
        let slices = AttemptedEvents::of(slots);
        self.connection
            .prepare_cached("INSERT INTO delivery (sync, sent_at, slices) VALUES (?1, ?2, ?3)")?
            .execute(params![
                self.ledger.at(place).id,
                self.now.0,
                slices.stored()
            ])?;
        let id = DeliveryId(self.connection.last_insert_rowid());
        let sent_at = self.now;
        self.effects
            .push(Effect::Opened(id, OpenAttempt { sent_at, slices }));
        Ok(id)
    }

    /// Does what an answer asks for.
    pub(super) fn settle(&mut self, settlement: &Settlement) -> rusqlite::Result<()> {
        for note in &settlement.standstills {
            standstill::write(&self.connection, note)?;
        }
        let Some(place) = self.ledger.find(&settlement.sync) else {
            return Ok(());
        };
        let mut ends: BTreeMap<i64, Vec<(usize, &End)>> = BTreeMap::new();
        for (slot, end) in &settlement.ends {
            let of_row = ends.entry(slot.row).or_default();
            of_row.push((slot.position(), end));
        }
        let (sent_at, mut carried) = match settlement.delivery {
            Some(id) if settlement.answer.is_some() => self.request(id).unzip(),
            _ => (None, None),
        };
        let mut carried = carried.take().unwrap_or_default();
        let lost = settlement.answer.as_ref().is_some_and(|answer| answer.lost);

        for (row, ends) in ends {
            let attempt = Attempt {
                sent_at,
                carried: carried.remove(&row).unwrap_or_default(),
                lost,
            };
            self.settle_row(place, row, &ends, &attempt)?;
        }
        for (row, carried) in carried {
            let attempt = Attempt {
                sent_at,
                carried,
                lost,
            };
            self.settle_row(place, row, &[], &attempt)?;
        }

        self.effects.push(Effect::Ended {
            place,
            slots: settlement.ends.iter().map(|(slot, _)| *slot).collect(),
        });
        self.effects.push(Effect::Released {
            place,
            slots: settlement.release.clone(),
        });
        if let Some(id) = settlement.delivery {
            self.close_delivery(id, settlement.answer.as_ref())?;
            self.effects.push(Effect::Answered(id));
        }
        Ok(())
    }

    /// Sees to requests that are open in the file though nobody waits for their answer.
    pub(super) fn resolve_open_deliveries(&mut self, restarted: bool) -> rusqlite::Result<()> {
        let open: Vec<(i64, i64, i64, Vec<u8>)> = self
            .connection
            .prepare("SELECT id, sync, sent_at, slices FROM delivery WHERE answered_at IS NULL")?
            .query_map([], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?
            .collect::<rusqlite::Result<_>>()?;
        for (id, sync, sent_at, slices) in open {
            let id = DeliveryId(id);
            if self.request(id).is_some() {
                continue;
            }
            if !restarted {
                // Its writing was reported as failed, so it was not sent.
                self.close_delivery(id, None)?;
                continue;
            }
            if let Some(place) = self.ledger.find_by_id(sync) {
                for (row, carried) in AttemptedEvents::from_stored(&slices).0 {
                    let attempt = Attempt {
                        sent_at: Some(UnixMillis(sent_at)),
                        carried,
                        lost: true,
                    };
                    self.settle_row(place, row, &[], &attempt)?;
                }
            }
            let cut_off = AttemptAnswer {
                verdict: "cut_off",
                status: None,
                code: None,
                sub_code: None,
                trace_id: None,
                lost: true,
            };
            self.close_delivery(id, Some(&cut_off))?;
        }
        Ok(())
    }

    fn settle_row(
        &mut self,
        place: usize,
        row: i64,
        ends: &[(usize, &End)],
        attempt: &Attempt,
    ) -> rusqlite::Result<()> {
        let Some(mut standing) = BatchState::load(&self.connection, row)? else {
            return Ok(());
        };
        let sync = self.ledger.at(place).name.clone();
        let (leased, content) = self.lanes().lane(&sync).on_lease(row);
        let mut changed = false;
        for (position, end) in ends {
            let Some(content) = content.as_ref().filter(|_| leased.has(*position)) else {
                continue;
            };
            if standing.settled.has(*position) {
                continue;
            }
            let entry = &content.entries[*position];
            self.end_event(place, &mut standing, *position, entry, end.reason());
            if let End::Rejected(refusal) = end {
                let letter = NewDeadLetter {
                    refusal: Some(refusal),
                    first_try: standing.first_try.or(attempt.sent_at),
                    last_try: attempt.sent_at.or(standing.last_try),
                    ..NewDeadLetter::of(content, entry, refusal.reason, standing.taken_at)
                };
                self.file_dead(place, &letter)?;
            }
            changed = true;
        }
        changed |= self.note_attempt(place, &mut standing, attempt);
        if changed {
            self.save_row(place, &standing)?;
        }
        Ok(())
    }

    /// Notes on a row that a request did not end all of its events; true if there is something to note.
    fn note_attempt(&mut self, place: usize, standing: &mut BatchState, attempt: &Attempt) -> bool {
        let remaining = attempt.carried.without(&standing.settled);
        let Some(sent_at) = attempt.sent_at.filter(|_| !remaining.is_empty()) else {
            return false;
        };
        standing.first_try.get_or_insert(sent_at);
        standing.last_try = Some(sent_at);
        if attempt.lost {
            standing.doubts.add(&remaining, sent_at);
            let expiry = sent_at.seconds() + DOUBT_SECONDS;
            standing.deadline = standing.deadline.min(expiry);
            let deadline = standing.deadline;
            self.effects.push(Effect::Sooner { place, deadline });
        }
        true
    }

    /// When a request was sent, and the events that it carries, if it is under way.
    fn request(&self, id: DeliveryId) -> Option<(UnixMillis, BTreeMap<i64, Bits>)> {
        let requests = self.ground.shared.requests();
        let request = requests.get(&id)?;
        Some((request.sent_at, request.slices.0.clone()))
    }

    fn close_delivery(
        &self,
        id: DeliveryId,
        answer: Option<&AttemptAnswer>,
    ) -> rusqlite::Result<()> {
        let Some(answer) = answer else {
            return self
                .connection
                .prepare_cached("DELETE FROM delivery WHERE id = ?1")?
                .execute([id.0])
                .map(drop);
        };
        self.connection
            .prepare_cached(
                "UPDATE delivery SET answered_at = ?2, verdict = ?3, status = ?4, code = ?5,
                        sub_code = ?6, trace_id = ?7
                 WHERE id = ?1",
            )?
            .execute(params![
                id.0,
                self.now.0,
                answer.verdict,
                answer.status,
                answer.code,
                answer.sub_code,
                answer.trace_id,
            ])
            .map(drop)
    }
}

/// What a request means for one row.
#[derive(Debug)]
struct Attempt {
    /// When it was sent, if it was.
    sent_at: Option<UnixMillis>,
    /// The events of the row that it carried.
    carried: Bits,
    /// Meta may have taken the events all the same.
    lost: bool,
}
