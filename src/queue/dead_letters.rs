//! Files dead letters, replaces them, queues them again and removes them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;

use crate::clock::UnixMillis;
use crate::outcome::{Outcome, Reason};
use crate::payload::{Fingerprint, Payload};

use super::batch::{BatchEntry, StoredBatch, SyncId};
use super::core::Core;
use super::dead::{DeadFilter, DeadLetter, Refusal, Retried};
use super::engine::{self, DeadHeader, EngineResult, Reader, StoredDeadLetter};
use super::room;
use super::state::BatchState;
use super::totals::{Counter, Removal};
use super::{Queue, StoreError, window};

/// Dead letters that each sync keeps for a reason of which only a sample is kept.
const MAX_SAMPLES: u64 = 100;
/// How many seconds an event may lie ahead, as in mapping.
const TOLERANCE: i64 = 60;
/// Dead letters that one command handles in one transaction.
const AT_ONCE: usize = 256;
/// What a dead letter takes besides its texts.
const OVERHEAD: usize = 128;
/// Longest name or id that is kept, in bytes.
const MAX_NAME: usize = 512;
/// Longest text from Meta that is kept, in bytes.
const MAX_MESSAGE: usize = 2048;

/// A dead letter about to be filed.
#[derive(Debug)]
pub(super) struct NewDeadLetter<'a> {
    pub(super) reason: Reason,
    pub(super) taken_at: UnixMillis,
    pub(super) event_name: Option<&'a str>,
    pub(super) event_id: Option<&'a str>,
    /// Fingerprint and deadline of an event that was queued, or that could be if its time were right.
    pub(super) queueing: Option<(Fingerprint, i64)>,
    pub(super) first_try: Option<UnixMillis>,
    pub(super) last_try: Option<UnixMillis>,
    pub(super) refusal: Option<&'a Refusal>,
    pub(super) json: Option<&'a [u8]>,
}

impl<'a> NewDeadLetter<'a> {
    /// An event that was queued.
    pub(super) fn of(
        content: &'a StoredBatch,
        entry: &BatchEntry,
        reason: Reason,
        state: &BatchState,
    ) -> Self {
        Self {
            reason,
            taken_at: state.taken_at,
            event_name: Some(content.name(entry)),
            event_id: None,
            queueing: Some((entry.fingerprint, entry.deadline)),
            first_try: state.first_try,
            last_try: state.last_try,
            refusal: None,
            json: Some(content.json(entry)),
        }
    }
}

/// Files a dead letter.
pub(super) fn file(core: &mut Core, index: usize, new: &NewDeadLetter<'_>) -> EngineResult<()> {
    let (sync, name) = {
        let counters = core.counters.at(index);
        (counters.id, counters.name.clone())
    };
    let is_mistimed = new.reason.outcome() == Outcome::Invalid && new.queueing.is_some();
    if is_sampled(new.reason) && !is_mistimed {
        let samples = core.samples.entry((sync, new.reason)).or_default();
        if *samples >= MAX_SAMPLES {
            return Ok(());
        }
        *samples += 1;
    }
    let event_id = new
        .event_id
        .map(Cow::Borrowed)
        .or_else(|| new.json.and_then(event_id));
    let id_half = match new.queueing {
        Some((fingerprint, _)) => Some(fingerprint.id),
        None => event_id.as_deref().map(Fingerprint::of_id),
    };
    let kept = |text: Option<&str>, max| text.map(|text| beginning(text, max).to_owned());
    let refusal = new.refusal;
    let letter = DeadLetter {
        id: core.last.dead_letter + 1,
        sync: name,
        reason: new.reason,
        event_name: kept(new.event_name, MAX_NAME),
        event_id: kept(event_id.as_deref(), MAX_NAME),
        code: refusal.and_then(|refusal| refusal.code),
        sub_code: refusal.and_then(|refusal| refusal.sub_code),
        trace_id: kept(refusal.and_then(|it| it.trace_id.as_deref()), MAX_NAME),
        message: kept(refusal.and_then(|it| it.message.as_deref()), MAX_MESSAGE),
        taken_at: new.taken_at,
        first_try: new.first_try,
        last_try: new.last_try,
        filed_at: core.now,
        json: new.json.map(<[u8]>::to_vec),
    };
    let texts = [
        &letter.event_name,
        &letter.event_id,
        &letter.message,
        &letter.trace_id,
    ];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    let bytes = (OVERHEAD + texts + letter.json.as_ref().map_or(0, Vec::len)) as u64;
    if is_mistimed && !room::takes_mistimed(core, bytes) {
        return Ok(());
    }
    let stored = StoredDeadLetter {
        letter,
        sync,
        bytes,
        id_half,
        whole_half: new.queueing.map(|(fingerprint, _)| fingerprint.whole),
        deadline: new.queueing.map(|(_, deadline)| deadline),
        is_sound: true,
    };
    core.last.dead_letter = stored.letter.id;
    (core.pending.dead_letters).insert(stored.letter.id, Some(stored));
    let counters = core.counters.at(index);
    counters.add(Counter::Dead, 1);
    counters.add(Counter::DeadBytes, bytes);
    if is_mistimed {
        counters.add(Counter::MistimedBytes, bytes);
    }
    room::make_room(core)
}

/// Removes the dead letter of an event that was queued; false if there is none.
pub(super) fn replace_queued(
    core: &mut Core,
    index: usize,
    fingerprint: Fingerprint,
) -> EngineResult<bool> {
    let mut replaced = false;
    for letter in of_event(core, index, fingerprint.id)? {
        let outcome = letter.reason.map(Reason::outcome);
        if letter.whole_half == Some(fingerprint.whole)
            && matches!(outcome, Some(Outcome::Rejected | Outcome::Expired))
        {
            room::remove_letter(core, &letter, Removal::Replaced);
            replaced = true;
        }
    }
    Ok(replaced)
}

/// Removes the dead letters of an event that was `invalid` when it came before. Unless only its time was wrong, it
/// has no fingerprint, so its id and name identify it.
pub(super) fn replace_invalid(
    core: &mut Core,
    index: usize,
    id_half: u64,
    whole_half: Option<u64>,
    event_name: Option<&str>,
) -> EngineResult<()> {
    if core.counters.at(index).get(Counter::Dead) == 0 {
        return Ok(());
    }
    let event_name = event_name.map(|name| beginning(name, MAX_NAME));
    for letter in of_event(core, index, id_half)? {
        let is_same = match letter.whole_half {
            Some(_) => letter.is_mistimed() && letter.whole_half == whole_half,
            None => letter.event_name.as_deref() == event_name,
        };
        if is_same {
            room::remove_letter(core, &letter, Removal::Replaced);
        }
    }
    Ok(())
}

/// Queues dead letters again, if they can still be delivered. Those whose event was refused for its time and
/// taken later are removed: `taken` names such events, besides the duplicate window.
pub(super) fn retry(
    core: &mut Core,
    ids: &[i64],
    taken: &HashSet<Fingerprint>,
) -> EngineResult<Retried> {
    let mut retried = Retried::default();
    for id in ids {
        let found = letter(core, *id)?.and_then(|letter| {
            let index = core.counters.find_by_id(letter.sync)?;
            let payload = payload(&letter, core.now)?;
            Some((index, letter.header(), payload))
        });
        let Some((index, header, payload)) = found else {
            retried.kept += 1;
            continue;
        };
        let fingerprint = payload.fingerprint;
        if header.is_mistimed()
            && (core.window.contains(fingerprint) || taken.contains(&fingerprint))
        {
            room::remove_letter(core, &header, Removal::Replaced);
            retried.replaced += 1;
            continue;
        }
        if payload.deadline <= core.now.seconds() {
            retried.kept += 1;
            continue;
        }
        room::remove_letter(core, &header, Removal::Retried);
        core.window.insert(fingerprint, core.uptime);
        core.counters.at(index).add(Counter::DeadRetried, 1);
        core.queue(index, payload);
        retried.queued += 1;
    }
    Ok(retried)
}

/// Finds the events that were refused for their time and taken later, in the last 8 days.
pub(super) fn taken_later(reader: &mut dyn Reader) -> EngineResult<HashSet<Fingerprint>> {
    let mut mistimed = Vec::new();
    engine::visit_pages(
        None,
        |after, limit| reader.dead_headers(after.unwrap_or(0), limit),
        |letter| letter.id,
        |letter| mistimed.extend(letter.fingerprint().filter(|_| letter.is_mistimed())),
    )?;
    if mistimed.is_empty() {
        return Ok(HashSet::new());
    }
    window::known_fingerprints(reader, &mistimed)
}

/// Queues dead letters again, some at a time.
pub(super) async fn retry_all(queue: &Queue, filter: &DeadFilter) -> Result<Retried, StoreError> {
    let mut retried = Retried::default();
    let taken = Arc::new(queue.read(taken_later).await?);
    let retry = move |core: &mut Core, ids: &[i64]| retry(core, ids, &taken);
    in_pieces(queue, filter, retry, |piece| {
        retried.queued += piece.queued;
        retried.kept += piece.kept;
        retried.replaced += piece.replaced;
    })
    .await?;
    Ok(retried)
}

/// Works on the present dead letters, some at a time; hands each result to `done`.
pub(super) async fn in_pieces<T: Send + 'static>(
    queue: &Queue,
    filter: &DeadFilter,
    work: impl Fn(&mut Core, &[i64]) -> EngineResult<T> + Clone + Send + 'static,
    mut done: impl FnMut(T),
) -> Result<(), StoreError> {
    // Later ones are left alone, or a dead letter could be retried for ever.
    let end = queue.read(|reader| Ok(reader.last_ids()?.dead_letter));
    let end = end.await?;
    let mut after = 0;
    loop {
        let letters = queue.dead(filter, after, AT_ONCE).await?;
        let ids = letters.iter().map(|letter| letter.id);
        let ids: Vec<i64> = ids.take_while(|id| *id <= end).collect();
        let Some(last) = ids.last() else {
            return Ok(());
        };
        after = *last;
        let work = work.clone();
        done(queue.change(move |core| work(core, &ids)).await?);
    }
}

/// Removes dead letters; gives the number of those that it found.
pub(super) fn remove(core: &mut Core, ids: &[i64], why: Removal) -> EngineResult<u64> {
    let mut removed = 0;
    for id in ids {
        if let Some(letter) = header(core, *id)? {
            room::remove_letter(core, &letter, why);
            removed += 1;
        }
    }
    Ok(removed)
}

/// Removes dead letters that are older than the retention. True if there may be more.
pub(super) fn remove_aged(core: &mut Core, limit: usize) -> EngineResult<bool> {
    let ages = core.age_limit(core.settings.config.dead_letter_retention);
    let may_have_aged = |letter: &DeadHeader| ages.may_have_passed(letter.filed_at);
    let mut oldest = |limit| core.engine.dead_headers(0, limit);
    if !oldest(1)?.first().is_some_and(may_have_aged) {
        return Ok(false);
    }
    let mut aged = oldest(limit)?;
    aged.truncate(ages.count(aged.iter().map(|letter| letter.filed_at)));
    // Where the clock was behind when a letter was filed, its event tells a later time.
    let recent = ages.kept_from.seconds()..=core.now.seconds();
    for (place, header) in aged.iter().enumerate() {
        if header.whole_half.is_some()
            && let Some(letter) = letter(core, header.id)?
            && let Some((_, time)) = letter.letter.json.as_deref().and_then(event_time)
            && recent.contains(&time)
        {
            aged.truncate(place);
            break;
        }
    }
    for letter in &aged {
        if !core.pending.dead_letters.contains_key(&letter.id) {
            room::remove_letter(core, letter, Removal::Aged);
        }
    }
    Ok(aged.len() == limit)
}

/// Counts the dead letters of which only a sample is kept.
pub(super) fn load_samples(core: &mut Core) -> EngineResult<()> {
    let syncs: Vec<SyncId> = core.counters.all().iter().map(|it| it.id).collect();
    for sync in syncs {
        for reason in Reason::ALL.iter().filter(|reason| is_sampled(**reason)) {
            let count = core.engine.dead_count(sync, *reason)?;
            core.samples.insert((sync, *reason), count);
        }
    }
    Ok(())
}

/// Finds a dead letter, as the present transaction leaves it.
fn letter(core: &mut Core, id: i64) -> EngineResult<Option<StoredDeadLetter>> {
    match core.pending.dead_letters.get(&id) {
        Some(pending) => Ok(pending.clone()),
        None => core.engine.dead_letter(id),
    }
}

fn header(core: &mut Core, id: i64) -> EngineResult<Option<DeadHeader>> {
    if let Some(pending) = core.pending.dead_letters.get(&id) {
        return Ok(pending.as_ref().map(StoredDeadLetter::header));
    }
    let next = core.engine.dead_headers(id - 1, 1)?.pop();
    Ok(next.filter(|letter| letter.id == id))
}

/// Finds a sync's dead letters of an event, as the present transaction leaves them.
fn of_event(core: &mut Core, index: usize, id_half: u64) -> EngineResult<Vec<DeadHeader>> {
    let mut letters = core.engine.dead_of_event(id_half)?;
    let pending = &core.pending.dead_letters;
    letters.retain(|letter| !pending.contains_key(&letter.id));
    let added = pending.values().flatten();
    let added = added.filter(|letter| letter.id_half == Some(id_half));
    letters.extend(added.map(StoredDeadLetter::header));
    let sync = core.counters.at(index).id;
    letters.retain(|letter| letter.sync == sync);
    Ok(letters)
}

/// The event of a dead letter, if it was mapped, is not damaged, and its time has come.
fn payload(letter: &StoredDeadLetter, now: UnixMillis) -> Option<Payload> {
    if !letter.is_sound {
        return None;
    }
    let mut json = letter.letter.json.clone()?;
    let mut deadline = letter.deadline?;
    if letter.header().is_mistimed() {
        let ahead = come_to_now(&mut json, now)?;
        deadline = deadline.saturating_sub(ahead);
    }
    Some(Payload {
        json: json.into(),
        event_name: letter.letter.event_name.as_deref()?.into(),
        fingerprint: letter.header().fingerprint()?,
        deadline,
    })
}

/// The time of a mapped event, in seconds, and where it stands.
fn event_time(json: &[u8]) -> Option<(Range<usize>, i64)> {
    const KEY: &[u8] = br#""event_time":"#;
    // Only the event's name stands before it, and a quote in a text follows a backslash.
    let start = memchr::memmem::find(json, KEY)? + KEY.len();
    let digits = json.get(start..)?.iter();
    let end = start + digits.take_while(|byte| byte.is_ascii_digit()).count();
    let time = std::str::from_utf8(json.get(start..end)?)
        .ok()?
        .parse()
        .ok()?;
    Some((start..end, time))
}

/// Makes an event happen now that lies as little ahead as mapping would accept; gives the seconds that it was ahead.
fn come_to_now(json: &mut Vec<u8>, now: UnixMillis) -> Option<i64> {
    let (place, time) = event_time(json)?;
    let ahead = time.saturating_sub(now.seconds()).max(0);
    if ahead > TOLERANCE {
        return None;
    }
    if ahead > 0 {
        json.splice(place, now.seconds().to_string().into_bytes());
    }
    Some(ahead)
}

const fn is_sampled(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::TooOld | Reason::TooOldForPixel | Reason::NoIdentifier
    )
}

/// The event id of a mapped event.
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

/// The first `max` bytes of a text, less a character that is cut.
fn beginning(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len()))
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
    fn an_event_a_little_ahead_happens_now_and_one_far_ahead_does_not() {
        let now = UnixMillis::from_seconds(1_000);
        for (time, expected, ahead) in [
            ("900", "900", Some(0)),
            ("1000", "1000", Some(0)),
            ("1060", "1000", Some(60)),
            ("1061", "1061", None),
            ("-5", "-5", None),
            ("", "", None),
        ] {
            let event = |time: &str| {
                let name = r#"{"event_name":"\"event_time\":7","event_time":"#;
                let rest = r#","original_event_data":{"event_time":2000}}"#;
                [name, time, rest].concat().into_bytes()
            };
            let mut json = event(time);
            assert_eq!(come_to_now(&mut json, now), ahead, "{time}");
            assert_eq!(json, event(expected), "{time}");
        }
    }

    #[test]
    fn cuts_at_a_character() {
        assert_eq!(beginning("aé", 2), "a");
        assert_eq!(beginning("aé", 3), "aé");
    }
}
