//! Requests to Meta, and cooldowns.

use std::collections::BTreeMap;

use rusqlite::{Connection, Params, Row, params};

use crate::clock::UnixMillis;
use crate::queue::attempt::{
    AttemptAnswer, AttemptId, AttemptedEvents, OpenAttempt, TracedRequest,
};
use crate::queue::batch::{BatchId, SyncId};
use crate::queue::bits::Bits;
use crate::queue::checksum::Checksum;
use crate::queue::cooldown::{Cooldown, CooldownChange};
use crate::queue::engine::{AttemptChange, Attempts, EngineResult, StoredAttempt, Transaction};

use super::{SqliteEngine, limit};

/// Selects what [`attempt`] reads.
macro_rules! attempts {
    ($rest:literal) => {
        concat!(
            "SELECT id, sync, sent_at, slices, answered_at, verdict, status, code, sub_code, ",
            "trace_id, checksum, answer_checksum FROM delivery ",
            $rest
        )
    };
}

impl Attempts for SqliteEngine {
    fn attempts(
        &mut self,
        after: i64,
        since: UnixMillis,
        max: usize,
    ) -> EngineResult<Vec<StoredAttempt>> {
        let select = attempts!("WHERE id > ?1 AND sent_at >= ?2 ORDER BY id LIMIT ?3");
        read_attempts(self, select, &[after, since.0, limit(max)])
    }

    fn unanswered(&mut self) -> EngineResult<Vec<StoredAttempt>> {
        read_attempts(self, attempts!("WHERE answered_at IS NULL"), &[])
    }

    fn cooldowns(&mut self) -> EngineResult<Vec<Cooldown>> {
        let select = "SELECT whose, kind, since, until, checksum FROM standstill
                      ORDER BY until, id";
        let read = |row: &Row<'_>| Ok(cooldown(row).ok().flatten());
        let stored =
            self.read_sound(|engine| engine.read_rows(select, [], read), Option::is_some)?;
        Ok(stored.into_iter().flatten().collect())
    }
}

/// Reads requests. A damaged one tells of no event, and leaves with the next that is too old.
fn read_attempts(
    engine: &mut SqliteEngine,
    select: &str,
    parameters: &(impl Params + Clone),
) -> EngineResult<Vec<StoredAttempt>> {
    let mut attempts = engine.read_sound(
        |engine| engine.read_rows(select, parameters.clone(), attempt),
        |(_, is_sound)| *is_sound,
    )?;
    for (attempt, is_sound) in &mut attempts {
        if !*is_sound {
            attempt.events = AttemptedEvents::default();
            attempt.request = TracedRequest {
                answered_at: attempt.request.answered_at,
                ..TracedRequest::default()
            };
        }
    }
    Ok(attempts.into_iter().map(|(attempt, _)| attempt).collect())
}

/// Reads a cooldown; `None` if it is damaged. Meta tells again what that one said.
fn cooldown(row: &Row<'_>) -> rusqlite::Result<Option<Cooldown>> {
    let cooldown = Cooldown {
        whose: row.get(0)?,
        kind: row.get(1)?,
        since: UnixMillis(row.get(2)?),
        until: UnixMillis(row.get(3)?),
    };
    let sum: Option<i64> = row.get(4)?;
    Ok(Some(cooldown).filter(|it| sum.is_none_or(|sum| sum == checksum(it))))
}

fn checksum(cooldown: &Cooldown) -> i64 {
    Checksum::default()
        .text(Some(&cooldown.whose))
        .text(Some(&cooldown.kind))
        .number(cooldown.since.0)
        .number(cooldown.until.0)
        .stored()
}

/// Writes what a transaction changes of requests and cooldowns.
pub(super) fn write(connection: &Connection, transaction: &Transaction) -> rusqlite::Result<()> {
    for (id, change) in &transaction.attempts {
        match change {
            AttemptChange::Open(sync, OpenAttempt { sent_at, events }) => connection
                .prepare_cached(
                    "INSERT INTO delivery (id, sync, sent_at, slices, checksum)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![
                    id.0,
                    sync,
                    sent_at.0,
                    encode(events),
                    checksum_of_request(*id, *sync, *sent_at, &encode(events)),
                ])?,
            AttemptChange::Answer { at, answer } => connection
                .prepare_cached(
                    "UPDATE delivery SET answered_at = ?2, verdict = ?3, status = ?4, code = ?5,
                            sub_code = ?6, trace_id = ?7, answer_checksum = ?8
                     WHERE id = ?1",
                )?
                .execute(params![
                    id.0,
                    at.0,
                    answer.verdict,
                    answer.status,
                    answer.code,
                    answer.sub_code,
                    answer.trace_id,
                    checksum_of_answer(*id, &answered(*at, answer)),
                ])?,
            AttemptChange::Remove => connection
                .prepare_cached("DELETE FROM delivery WHERE id = ?1")?
                .execute([id.0])?,
        };
    }
    for change in &transaction.cooldowns {
        match change {
            // Changes of lanes that share a pixel may come in any order.
            CooldownChange::Begun(cooldown) => connection
                .prepare_cached(
                    "INSERT INTO standstill (whose, kind, since, until, checksum)
                     VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (whose, kind) DO UPDATE
                     SET since = excluded.since, until = excluded.until,
                         checksum = excluded.checksum
                     WHERE excluded.until > until",
                )?
                .execute(params![
                    cooldown.whose,
                    cooldown.kind,
                    cooldown.since.0,
                    cooldown.until.0,
                    checksum(cooldown),
                ])?,
            CooldownChange::Over { whose, by } => connection
                .prepare_cached("DELETE FROM standstill WHERE whose = ?1 AND until <= ?2")?
                .execute(params![whose, by.0])?,
        };
    }
    Ok(())
}

/// Reads a request, and tells whether it is as it was written.
fn attempt(row: &Row<'_>) -> rusqlite::Result<(StoredAttempt, bool)> {
    let slices = row.get_ref(3)?.as_blob()?;
    let attempt = StoredAttempt {
        id: AttemptId(row.get(0)?),
        sync: row.get(1)?,
        events: decode(slices),
        request: TracedRequest {
            sent_at: UnixMillis(row.get(2)?),
            answered_at: row.get::<_, Option<i64>>(4)?.map(UnixMillis),
            verdict: row.get(5)?,
            status: row.get(6)?,
            code: row.get(7)?,
            sub_code: row.get(8)?,
            trace_id: row.get(9)?,
        },
    };
    let StoredAttempt {
        id, sync, request, ..
    } = &attempt;
    let sums: (Option<i64>, Option<i64>) = (row.get(10)?, row.get(11)?);
    let sent = checksum_of_request(*id, *sync, request.sent_at, slices);
    let is_sound = sums.0.is_none_or(|sum| sum == sent)
        && (sums.1).is_none_or(|sum| sum == checksum_of_answer(*id, request));
    Ok((attempt, is_sound))
}

/// What is stored of an answer.
fn answered(at: UnixMillis, answer: &AttemptAnswer) -> TracedRequest {
    TracedRequest {
        answered_at: Some(at),
        verdict: Some(answer.verdict.to_owned()),
        status: answer.status,
        code: answer.code,
        sub_code: answer.sub_code,
        trace_id: answer.trace_id.clone(),
        ..TracedRequest::default()
    }
}

fn checksum_of_request(id: AttemptId, sync: SyncId, sent_at: UnixMillis, slices: &[u8]) -> i64 {
    Checksum::default()
        .number(id.0)
        .number(sync)
        .number(sent_at.0)
        .bytes(slices)
        .stored()
}

fn checksum_of_answer(id: AttemptId, answered: &TracedRequest) -> i64 {
    Checksum::default()
        .number(id.0)
        .optional(answered.answered_at.map(|at| at.0))
        .text(answered.verdict.as_deref())
        .optional(answered.status.map(i64::from))
        .optional(answered.code)
        .optional(answered.sub_code)
        .text(answered.trace_id.as_deref())
        .stored()
}

/// 12 bytes for each run of events, little-endian: the batch (`i64`), the first position
/// and the one after the last (`u16`).
fn encode(events: &AttemptedEvents) -> Vec<u8> {
    let mut encoded = Vec::new();
    for (batch, bits) in &events.0 {
        for (from, to) in bits.runs() {
            encoded.extend_from_slice(&batch.sequence.to_le_bytes());
            encoded.extend_from_slice(&from.to_le_bytes());
            encoded.extend_from_slice(&to.to_le_bytes());
        }
    }
    encoded
}

fn decode(encoded: &[u8]) -> AttemptedEvents {
    let mut events: BTreeMap<BatchId, Bits> = BTreeMap::new();
    let (runs, _) = encoded.as_chunks::<12>();
    for [batch @ .., a, b, c, d] in runs {
        let batch = BatchId::embedded(i64::from_le_bytes(*batch));
        let bits = events.entry(batch).or_default();
        bits.add_run(u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
    }
    AttemptedEvents(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::lease::Slot;

    #[test]
    fn events_are_stored_as_runs() {
        let slots = [(7, 0), (7, 1), (7, 2), (7, 200), (9, 255)];
        let slots = slots.map(|(batch, position)| Slot::new(BatchId::embedded(batch), position));
        let events = AttemptedEvents::of(&slots);
        assert_eq!(encode(&events).len(), 3 * 12);
        assert_eq!(decode(&encode(&events)), events);
    }
}
