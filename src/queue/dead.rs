//! Dead letters: events that ended as `invalid`, `rejected` or `expired`, for the operator to judge.
//!
//! They hold the mapped event, never raw input. Of events that came too late or named nobody, which
//! come in floods, a sample is kept. The oldest letters leave when they are too old or room is short.

use std::borrow::Cow;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use serde::{Deserialize, Serialize};

use crate::clock::UnixMillis;
use crate::config::SyncName;
use crate::outcome::{self, Outcome, Reason};
use crate::payload::{Fingerprint, Payload, raw};

use super::row::{BatchEntry, StoredBatch};
use super::rows::{signed, unsigned};
use super::settle::Refusal;
use super::store::Core;
use super::totals::{Counter, Removal};

/// Letters kept for each sync of a reason of which only a sample is kept.
const SAMPLES: i64 = 100;
/// What a letter takes besides its texts.
const OVERHEAD: usize = 128;
/// Events read in one go, in bytes; one more event may come on top.
const LISTED_BYTES: usize = 1 << 20;
/// Longest name or id that is kept, in bytes.
const MAX_NAME: usize = 512;
/// Longest text of Meta's that is kept, in bytes.
const MAX_MESSAGE: usize = 2048;

/// An event that ended badly.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its number in the store.
    pub id: i64,
    /// The sync it was taken for.
    pub sync: SyncName,
    /// Why it ended; the reason tells the outcome.
    #[serde(flatten, with = "outcome::with_outcome")]
    pub reason: Reason,
    /// Its name, where it is known.
    pub event_name: Option<String>,
    /// Its id, where it is known.
    pub event_id: Option<String>,
    /// Meta's code.
    pub code: Option<i64>,
    /// Meta's sub-code.
    pub sub_code: Option<i64>,
    /// Meta's trace id.
    pub trace_id: Option<String>,
    /// Meta's text, redacted.
    pub message: Option<String>,
    /// When it was taken.
    pub taken_at: UnixMillis,
    /// When it, or an event that was committed with it, was first sent, if ever.
    pub first_try: Option<UnixMillis>,
    /// When it was last sent, if ever.
    pub last_try: Option<UnixMillis>,
    /// When it ended.
    pub filed_at: UnixMillis,
    /// The mapped event, if there is one.
    #[serde(
        rename = "event",
        default,
        with = "raw::optional",
        skip_serializing_if = "raw::optional::is_unreadable"
    )]
    pub json: Option<Vec<u8>>,
}

/// Which dead letters are meant; an empty filter means all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeadFilter {
    /// Of this sync.
    pub sync: Option<SyncName>,
    /// With this reason.
    pub reason: Option<Reason>,
    /// With this event name.
    pub event_name: Option<String>,
    /// Filed at this moment or later.
    pub filed_from: Option<UnixMillis>,
    /// Filed before this moment.
    pub filed_before: Option<UnixMillis>,
    /// With this number.
    pub id: Option<i64>,
}

/// What a retry did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retried {
    /// Dead letters that are queued anew.
    pub queued: u64,
    /// Those that stay: never mapped, or too late for Meta by now.
    pub kept: u64,
}

/// A dead letter about to be filed.
#[derive(Debug)]
pub(super) struct NewDeadLetter<'a> {
    pub(super) reason: Reason,
    pub(super) taken_at: UnixMillis,
    pub(super) event_name: Option<&'a str>,
    pub(super) event_id: Option<&'a str>,
    /// Fingerprint and deadline of an event that was queued.
    pub(super) queued: Option<(Fingerprint, i64)>,
    pub(super) first_try: Option<UnixMillis>,
    pub(super) last_try: Option<UnixMillis>,
    pub(super) refusal: Option<&'a Refusal>,
    pub(super) json: Option<&'a [u8]>,
}

impl<'a> NewDeadLetter<'a> {
    /// An event of which nothing else is known yet.
    pub(super) const fn new(reason: Reason, taken_at: UnixMillis) -> Self {
        Self {
            reason,
            taken_at,
            event_name: None,
            event_id: None,
            queued: None,
            first_try: None,
            last_try: None,
            refusal: None,
            json: None,
        }
    }

    /// An event that was queued.
    pub(super) fn of(
        content: &'a StoredBatch,
        entry: &BatchEntry,
        reason: Reason,
        taken_at: UnixMillis,
    ) -> Self {
        Self {
            event_name: Some(content.name(entry)),
            queued: Some((entry.fingerprint, entry.deadline)),
            json: Some(content.json(entry)),
            ..Self::new(reason, taken_at)
        }
    }
}

impl Core {
    /// Files a dead letter.
    pub(super) fn file_dead(
        &mut self,
        place: usize,
        letter: &NewDeadLetter<'_>,
    ) -> rusqlite::Result<()> {
        let sync = self.ledger.at(place).id;
        if is_sampled(letter.reason) && self.has_samples(sync, letter.reason)? {
            return Ok(());
        }
        let event_id = letter
            .event_id
            .map(Cow::Borrowed)
            .or_else(|| letter.json.and_then(event_id));
        let id_half = match letter.queued {
            Some((fingerprint, _)) => Some(fingerprint.id),
            None => event_id.as_deref().map(Fingerprint::of_id),
        };
        let event_name = letter.event_name.map(|name| beginning(name, MAX_NAME));
        let event_id = event_id.as_deref().map(|id| beginning(id, MAX_NAME));
        let message = letter
            .refusal
            .and_then(|refusal| refusal.message.as_deref());
        let message = message.map(|message| beginning(message, MAX_MESSAGE));
        let trace_id = letter
            .refusal
            .and_then(|refusal| refusal.trace_id.as_deref());
        let trace_id = trace_id.map(|trace_id| beginning(trace_id, MAX_NAME));
        let texts = [event_name, event_id, message, trace_id];
        let texts: usize = texts.iter().flatten().map(|text| text.len()).sum();
        let bytes = (OVERHEAD + texts + letter.json.map_or(0, <[u8]>::len)) as u64;

        self.connection
            .prepare_cached(
                "INSERT INTO dead (sync, reason, filed_at, taken_at, bytes, event_name, event_id,
                        id_half, whole_half, deadline, first_try, last_try, code, sub_code,
                        trace_id, message, json)
                 VALUES (:sync, :reason, :filed_at, :taken_at, :bytes, :event_name, :event_id,
                        :id_half, :whole_half, :deadline, :first_try, :last_try, :code, :sub_code,
                        :trace_id, :message, :json)",
            )?
            .execute(named_params! {
                ":sync": sync,
                ":reason": letter.reason.as_str(),
                ":filed_at": self.now.0,
                ":taken_at": letter.taken_at.0,
                ":bytes": signed(bytes),
                ":event_name": event_name,
                ":event_id": event_id,
                ":id_half": id_half.map(u64::cast_signed),
                ":whole_half": letter.queued.map(|(fingerprint, _)| fingerprint.whole.cast_signed()),
                ":deadline": letter.queued.map(|(_, deadline)| deadline),
                ":first_try": letter.first_try.map(|at| at.0),
                ":last_try": letter.last_try.map(|at| at.0),
                ":code": letter.refusal.and_then(|refusal| refusal.code),
                ":sub_code": letter.refusal.and_then(|refusal| refusal.sub_code),
                ":trace_id": trace_id,
                ":message": message,
                ":json": letter.json,
            })?;
        let account = self.ledger.at(place);
        account.add(Counter::Dead, 1);
        account.add(Counter::DeadBytes, bytes);
        self.make_room_for_dead()
    }

    /// Removes the dead letter of an event that Meta refused or that expired; false if there is none.
    pub(super) fn replace_dead(
        &mut self,
        place: usize,
        fingerprint: Fingerprint,
    ) -> rusqlite::Result<bool> {
        let letters: Vec<(i64, String)> = self
            .connection
            .prepare_cached(
                "SELECT id, reason FROM dead WHERE id_half = ?1 AND whole_half = ?2 AND sync = ?3",
            )?
            .query_map(
                params![
                    fingerprint.id.cast_signed(),
                    fingerprint.whole.cast_signed(),
                    self.ledger.at(place).id,
                ],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?
            .collect::<rusqlite::Result<_>>()?;
        let mut replaced = false;
        for (id, reason) in letters {
            let outcome = Reason::parse(&reason).map(Reason::outcome);
            if matches!(outcome, Some(Outcome::Rejected | Outcome::Expired)) {
                self.remove_dead(id, Removal::Replaced)?;
                replaced = true;
            }
        }
        Ok(replaced)
    }

    /// Removes the letters of an event that was found `invalid` when it came before. Such an event has
    /// no fingerprint, so its id and name must do.
    pub(super) fn replace_invalid(
        &mut self,
        place: usize,
        id_half: u64,
        event_name: Option<&str>,
    ) -> rusqlite::Result<()> {
        let account = self.ledger.at(place);
        if account.get(Counter::Dead) == 0 {
            return Ok(());
        }
        let letters: Vec<i64> = self
            .connection
            .prepare_cached(
                "SELECT id FROM dead
                 WHERE id_half = ?1 AND whole_half IS NULL AND sync = ?2 AND event_name IS ?3",
            )?
            .query_map(
                params![
                    id_half.cast_signed(),
                    account.id,
                    event_name.map(|name| beginning(name, MAX_NAME))
                ],
                |row| row.get(0),
            )?
            .collect::<rusqlite::Result<_>>()?;
        for id in letters {
            self.remove_dead(id, Removal::Replaced)?;
        }
        Ok(())
    }

    /// Queues these dead letters anew, those that can still be delivered.
    pub(super) fn retry_dead(&mut self, ids: &[i64]) -> rusqlite::Result<Retried> {
        let mut retried = Retried::default();
        for id in ids {
            let Some((sync, payload)) = self.payload_of_dead(*id)? else {
                retried.kept += 1;
                continue;
            };
            let Some(place) = self.ledger.find_by_id(sync) else {
                retried.kept += 1;
                continue;
            };
            self.remove_dead(*id, Removal::Retried)?;
            self.seen.insert(payload.fingerprint, self.now);
            self.ledger.at(place).add(Counter::DeadRetried, 1);
            self.queue(place, payload)?;
            retried.queued += 1;
        }
        Ok(retried)
    }

    /// Removes a dead letter; false if it is not there.
    pub(super) fn remove_dead(&mut self, id: i64, why: Removal) -> rusqlite::Result<bool> {
        let removed: Option<(i64, i64)> = self
            .connection
            .prepare_cached("DELETE FROM dead WHERE id = ?1 RETURNING sync, bytes")?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((sync, bytes)) = removed else {
            return Ok(false);
        };
        if let Some(place) = self.ledger.find_by_id(sync) {
            let account = self.ledger.at(place);
            account.take(Counter::Dead, 1);
            account.take(Counter::DeadBytes, unsigned(bytes));
            account.add(Counter::DeadRemoved(why), 1);
        }
        Ok(true)
    }

    /// Removes letters that are older than the retention, at most so many; gives their number.
    pub(super) fn remove_aged_dead(&mut self, most: usize) -> rusqlite::Result<usize> {
        let mut removed = 0;
        while removed < most
            && let Some((id, filed_at)) = self.oldest_dead()?
            && self.now.since(filed_at) > self.ground.config.dead_letter_retention
        {
            self.remove_dead(id, Removal::Aged)?;
            removed += 1;
        }
        Ok(removed)
    }

    fn make_room_for_dead(&mut self) -> rusqlite::Result<()> {
        let config = &self.ground.config;
        // Dead letters may not take what the queue needs, whatever their own limit says.
        let most = config.dead_letter_max_bytes.min(config.max_bytes.get() / 2);
        while self.ledger.sum(Counter::DeadBytes) > most
            && let Some((id, _)) = self.oldest_dead()?
        {
            self.remove_dead(id, Removal::Crowded)?;
        }
        Ok(())
    }

    fn oldest_dead(&self) -> rusqlite::Result<Option<(i64, UnixMillis)>> {
        self.connection
            .prepare_cached("SELECT id, filed_at FROM dead ORDER BY id LIMIT 1")?
            .query_row([], |row| Ok((row.get(0)?, UnixMillis(row.get(1)?))))
            .optional()
    }

    fn has_samples(&self, sync: i64, reason: Reason) -> rusqlite::Result<bool> {
        self.connection
            .prepare_cached(
                "SELECT count(*) >= ?3 FROM dead INDEXED BY dead_samples
                 WHERE sync = ?1 AND reason = ?2 AND reason IN ('too_old', 'too_old_for_pixel', 'no_identifier')",
            )?
            .query_row(params![sync, reason.as_str(), SAMPLES], |row| row.get(0))
    }

    fn payload_of_dead(&self, id: i64) -> rusqlite::Result<Option<(i64, Payload)>> {
        self.connection
            .prepare_cached(
                "SELECT sync, json, event_name, id_half, whole_half, deadline FROM dead
                 WHERE id = ?1 AND json IS NOT NULL AND whole_half IS NOT NULL AND deadline > ?2",
            )?
            .query_row([id, self.now.seconds()], |row| {
                let payload = Payload {
                    json: row.get::<_, Vec<u8>>(1)?.into(),
                    event_name: row.get::<_, String>(2)?.into(),
                    fingerprint: Fingerprint {
                        id: row.get::<_, i64>(3)?.cast_unsigned(),
                        whole: row.get::<_, i64>(4)?.cast_unsigned(),
                    },
                    deadline: row.get(5)?,
                };
                Ok((row.get(0)?, payload))
            })
            .optional()
    }
}

/// Reads at most `limit` letters with numbers above `after`, in the order in which they were filed;
/// fewer where they are large, so that no memory is filled by them.
pub(super) fn list(
    connection: &Connection,
    filter: &DeadFilter,
    after: i64,
    limit: usize,
) -> rusqlite::Result<Vec<DeadLetter>> {
    let mut statement = connection.prepare_cached(
        "SELECT dead.id, sync.name, reason, event_name, event_id, code, sub_code, trace_id,
                    message, taken_at, first_try, last_try, filed_at, json
             FROM dead JOIN sync ON sync.id = dead.sync
             WHERE dead.id > :after
                AND (:id IS NULL OR dead.id = :id)
                AND (:sync IS NULL OR sync.name = :sync)
                AND (:reason IS NULL OR reason = :reason)
                AND (:event_name IS NULL OR event_name = :event_name)
                AND (:filed_from IS NULL OR filed_at >= :filed_from)
                AND (:filed_before IS NULL OR filed_at < :filed_before)
             ORDER BY dead.id LIMIT :limit",
    )?;
    let mut found = statement.query(named_params! {
        ":after": after,
        ":id": filter.id,
        ":sync": filter.sync.as_ref().map(SyncName::as_str),
        ":reason": filter.reason.map(Reason::as_str),
        ":event_name": filter.event_name,
        ":filed_from": filter.filed_from.map(|at| at.0),
        ":filed_before": filter.filed_before.map(|at| at.0),
        ":limit": signed(limit as u64),
    })?;
    let mut letters = Vec::new();
    let mut bytes = 0;
    while bytes < LISTED_BYTES
        && let Some(row) = found.next()?
    {
        let letter = read(row)?;
        bytes += letter.json.as_ref().map_or(0, Vec::len);
        letters.push(letter);
    }
    Ok(letters)
}

/// The number of the letter that was filed last.
pub(super) fn last(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT coalesce(max(id), 0) FROM dead", [], |row| {
        row.get(0)
    })
}

fn read(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    let unknown = |column, what: &str| {
        let error = format!("not a {what} that this version knows");
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
    };
    let moment =
        |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(UnixMillis));
    Ok(DeadLetter {
        id: row.get(0)?,
        sync: SyncName::new(row.get_ref(1)?.as_str()?).ok_or_else(|| unknown(1, "sync"))?,
        reason: Reason::parse(row.get_ref(2)?.as_str()?).ok_or_else(|| unknown(2, "reason"))?,
        event_name: row.get(3)?,
        event_id: row.get(4)?,
        code: row.get(5)?,
        sub_code: row.get(6)?,
        trace_id: row.get(7)?,
        message: row.get(8)?,
        taken_at: UnixMillis(row.get(9)?),
        first_try: moment(10)?,
        last_try: moment(11)?,
        filed_at: UnixMillis(row.get(12)?),
        json: row.get(13)?,
    })
}

const fn is_sampled(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::TooOld | Reason::TooOldForPixel | Reason::NoIdentifier
    )
}

/// The event id in a mapped event.
fn event_id(json: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct WithEventId<'a> {
        #[serde(borrow)]
        event_id: Option<Cow<'a, str>>,
    }
    serde_json::from_slice::<WithEventId<'_>>(json)
        .ok()?
        .event_id
}

/// As much of a text as fits into so many bytes.
fn beginning(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_id_of_a_mapped_event() {
        let json = br#"{"event_name":"A","event_id":"a\"b","custom_data":{"event_id":"no"}}"#;
        assert_eq!(event_id(json).as_deref(), Some("a\"b"));
        assert_eq!(event_id(br#"{"event_name":"A"}"#), None);
    }

    #[test]
    fn cuts_at_a_character() {
        assert_eq!(beginning("aé", 2), "a");
        assert_eq!(beginning("aé", 3), "aé");
    }
}
