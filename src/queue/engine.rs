//! The seam: what the queue asks of an engine that keeps it.
//!
//! An engine stores, finds and forgets; the rules are above it. The writer's thread alone uses it; `Reader`s read
//! beside it.
//!
//! - A transaction is one value and one call: `Engine::commit` makes all of a `Transaction` durable, or nothing.
//! - Reads come in pages. A page shows what was committed last.
//! - The writer gives the numbers, not the engine: a `BatchId` names the writer's origin too.
//! - There are three errors, and the queue treats each differently: see [`EngineError`].
//! - One wrong read is no damage: an engine gives up only what it has read twice, the second time afresh.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, UnixMillis};
use crate::config::SyncName;
use crate::outcome::{Outcome, Reason};
use crate::payload::Fingerprint;
use crate::profile::ProfileKey;
use crate::profile::clicks::{ClickKey, FirstSeen};

use super::OpenError;
use super::attempt::{AttemptAnswer, AttemptId, AttemptedEvents, OpenAttempt, TracedRequest};
use super::batch::{BatchId, RewrittenBody, StoredBatch, SyncId};
use super::batch_builder::NewBatch;
use super::cooldown::{Cooldown, CooldownChange};
use super::copy_bounds::CopyBounds;
use super::damage::{Finding, SearchProgress, Verified, VerifyStep};
use super::damaged::{DamagedBatch, DamagedHeader, RawContent};
use super::dead::{DeadFilter, DeadLetter};
use super::displaced::{Displaced, FileFate};
use super::state::{BatchPlace, BatchState};

pub(super) type EngineResult<T> = Result<T, EngineError>;

/// Why an engine failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// What is stored makes no sense: `Storage::salvage` saves what is readable.
    #[error(transparent)]
    Damaged(EngineFault),
    /// Nothing was changed; a later try may succeed.
    #[error(transparent)]
    Unavailable(EngineFault),
    /// The commit may have happened. To know, open the engine again and ask for what it added.
    #[error(transparent)]
    Unknown(EngineFault),
}

/// The engine's own error.
pub type EngineFault = Arc<dyn Error + Send + Sync>;

/// Where an engine keeps a queue.
pub(super) trait Storage: Debug + Send + Sync {
    /// Whether a store is there already.
    fn exists(&self) -> bool;

    /// Copies of damaged files that are kept beside the store, and when each was made.
    fn kept_copies(&self) -> Vec<(PathBuf, UnixMillis)> {
        Vec::new()
    }

    /// Takes possession, until what it returns is dropped.
    fn acquire(&self) -> Result<Box<dyn Any + Send>, OpenError>;

    /// Keeps others from taking possession, until what it returns is dropped, and changes nothing.
    fn acquire_to_look(&self) -> Result<Box<dyn Any + Send>, OpenError> {
        self.acquire()
    }

    /// Opens the engine; makes what it needs where there is nothing yet.
    fn open(&self, opening: Opening) -> Result<Box<dyn Engine>, OpenError>;

    /// Opens a reader.
    fn reader(&self, beside: Beside) -> EngineResult<Box<dyn Reader>>;

    /// Replaces a damaged store by what is readable of it, and sets aside what is damaged; `recount` corrects the
    /// counters of the copy. The engine must not be open.
    fn salvage(&self, now: UnixMillis, recount: Recount) -> Result<(), OpenError>;

    /// Whether the open engine's files are where they were opened. It is asked before each commit.
    fn check_place(&self) -> Result<(), Displaced> {
        Ok(())
    }

    /// Tells what damage was met since the last call.
    fn take_findings(&self) -> Vec<Finding> {
        Vec::new()
    }

    /// Does one step of the search for damage. Changes nothing.
    fn verify(
        &self,
        _step: VerifyStep,
        _beside: Beside,
        _progress: &SearchProgress,
    ) -> EngineResult<Verified> {
        Ok(Verified::default())
    }

    /// Looks for what keeps the store from being opened, or is lost by that. Refuses what is no store of this version.
    /// Nobody may have it open. Changes nothing.
    fn inspect(&self) -> Result<Vec<Finding>, OpenError> {
        Ok(Vec::new())
    }

    /// Removes copies of damaged files that go beyond these bounds, the oldest first.
    fn remove_copies(&self, _bounds: CopyBounds) -> EngineResult<()> {
        Ok(())
    }

    /// Copies the store into a folder beside it; gives that, if there is something to copy. Nobody may have it open.
    fn copy(&self) -> Result<Option<PathBuf>, OpenError> {
        Ok(None)
    }

    /// The volume that the store is on, if this machine has it.
    fn disk(&self) -> Option<Disk>;
}

/// Corrects the counters of a salvaged store, in one transaction; gives the number of events lost.
pub(super) type Recount = fn(&mut dyn Engine) -> EngineResult<u64>;

/// When an engine is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// The process begins.
    Start,
    /// An operation failed. The engine opens only if a write reaches the disk.
    AfterFailure,
}

/// Who has a store open that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// The writer of this process.
    Writer,
    /// Nobody: nothing may be changed.
    Nobody,
}

/// A volume, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk {
    pub(super) free: u64,
    pub(super) size: u64,
}

/// An open engine, as the writer has it.
pub(super) trait Engine: Reader {
    /// Makes all of a transaction durable, or nothing.
    fn commit(&mut self, transaction: &Transaction) -> EngineResult<()>;

    /// Forgets all that was read before, which may have been read wrongly.
    fn read_afresh(&mut self) -> EngineResult<()> {
        Ok(())
    }

    /// Bytes in use.
    fn used_bytes(&mut self) -> EngineResult<u64>;

    /// Gives free room back, a short piece every second. True if there is more to do.
    fn maintain(&mut self, clock: &dyn Clock) -> EngineResult<bool>;

    /// Makes a piece of what was deleted unreadable; gives the next step.
    fn scrub(&mut self, step: ScrubStep, uptime: Duration) -> EngineResult<Option<ScrubStep>>;

    /// Saves what a file holds that is not in its place, as long as it is open: in a copy for the next opening, or in
    /// the file itself.
    fn rescue(&mut self, _fate: FileFate) -> EngineResult<()> {
        Ok(())
    }

    /// Builds again what is derived of other records, so that they are found.
    fn rebuild_indexes(&mut self) -> EngineResult<()> {
        Ok(())
    }

    /// Leaves everything in order for the next process.
    fn close(&mut self) -> EngineResult<()>;
}

/// How far an engine has come with scrubbing; the numbers are the engine's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ScrubStep(pub(super) u8);

/// What can be read of an engine.
pub(super) trait Reader:
    Batches + Fingerprints + DeadLetters + DamagedBatches + Attempts + Profiles + Records + Debug + Send
{
}

/// Records of a page.
const PAGE: usize = 512;

/// Visits all records behind a place: `read` gives a page, `place` tells where a record is.
pub(super) fn visit_pages<T, P>(
    mut after: Option<P>,
    mut read: impl FnMut(Option<P>, usize) -> EngineResult<Vec<T>>,
    place: impl Fn(&T) -> P,
    mut visit: impl FnMut(T),
) -> EngineResult<()> {
    loop {
        let page = read(after, PAGE)?;
        let is_last = page.len() < PAGE;
        after = page.last().map(&place);
        page.into_iter().for_each(&mut visit);
        if is_last {
            return Ok(());
        }
    }
}

/// Batches of queued events.
pub(super) trait Batches {
    fn batch(&mut self, id: BatchId) -> EngineResult<Option<BatchState>>;

    /// The events of a batch; `None` where they are missing or damaged, also when they are read again afresh.
    fn content(&mut self, id: BatchId) -> EngineResult<Option<StoredBatch>>;

    /// What is stored of the events of a batch; what cannot be read is empty. `None` where there is nothing.
    fn raw_content(&mut self, id: BatchId) -> EngineResult<Option<RawContent>>;

    /// A sync's batches behind a place, in an order.
    fn batches(
        &mut self,
        sync: SyncId,
        order: BatchOrder,
        after: Option<BatchPlace>,
        limit: usize,
    ) -> EngineResult<Vec<BatchState>>;

    /// The states of all batches, by number.
    fn all_batches(
        &mut self,
        after: Option<BatchId>,
        limit: usize,
    ) -> EngineResult<Vec<BatchState>> {
        let ids = self.batch_ids(after, limit)?;
        let states = ids.into_iter().map(|id| self.batch(id));
        states.filter_map(Result::transpose).collect()
    }

    /// Batches of all syncs, by number.
    fn batch_ids(&mut self, after: Option<BatchId>, limit: usize) -> EngineResult<Vec<BatchId>>;
}

/// In which order batches are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchOrder {
    /// The earliest deadline first; then by number.
    Deadline,
    /// The latest deadline first; then the newest.
    Freshest,
    /// The same, for batches of Purchases alone.
    FreshestPurchases,
    /// By number.
    Oldest,
    /// By number, the last first.
    Newest,
}

/// Fingerprints, which stay longer than their batches.
pub(super) trait Fingerprints {
    /// By batch: `limit` counts batches.
    fn fingerprints(
        &mut self,
        after: Option<BatchId>,
        limit: usize,
    ) -> EngineResult<Vec<BatchFingerprints>>;

    /// How many there are, by batch, the last batch first.
    fn newest_fingerprint_counts(
        &mut self,
        before: Option<BatchId>,
        limit: usize,
    ) -> EngineResult<Vec<FingerprintCount>>;
}

/// The fingerprints of a batch.
#[derive(Clone, Debug)]
pub(super) struct BatchFingerprints {
    pub(super) batch: BatchId,
    pub(super) sync: SyncId,
    pub(super) taken_at: UnixMillis,
    /// As [`super::batch::fingerprints`] reads them.
    pub(super) stored: Vec<u8>,
    /// Whether they were read as they were written.
    pub(super) is_sound: bool,
}

/// How many fingerprints there are of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct FingerprintCount {
    pub(super) batch: BatchId,
    pub(super) taken_at: UnixMillis,
    pub(super) bytes: u64,
}

/// Dead letters, in the order of filing, which is that of their numbers.
pub(super) trait DeadLetters {
    fn dead_letter(&mut self, id: i64) -> EngineResult<Option<StoredDeadLetter>>;

    /// Those behind a number, until their JSON takes `max_bytes` together.
    fn dead_letters(
        &mut self,
        filter: &DeadFilter,
        after: i64,
        limit: usize,
        max_bytes: usize,
    ) -> EngineResult<Vec<DeadLetter>>;

    /// The searchable part of those behind a number, until it takes `max_bytes`. Includes reasons that this
    /// version does not know.
    fn dead_contents(
        &mut self,
        after: i64,
        limit: usize,
        max_bytes: usize,
    ) -> EngineResult<Vec<DeadContent>>;

    fn dead_headers(&mut self, after: i64, limit: usize) -> EngineResult<Vec<DeadHeader>>;

    /// Those of an event, by the half of its fingerprint that hashes its id.
    fn dead_of_event(&mut self, id_half: u64) -> EngineResult<Vec<DeadHeader>>;

    /// How many samples there are with a reason of which only samples are kept.
    fn dead_count(&mut self, sync: SyncId, reason: Reason) -> EngineResult<u64>;
}

/// The searchable part of a dead letter.
#[derive(Clone, Debug)]
pub(super) struct DeadContent {
    pub(super) id: i64,
    pub(super) event_id: Option<String>,
    pub(super) json: Vec<u8>,
}

/// A dead letter, and what else the store must know of it.
#[derive(Clone, Debug)]
pub(super) struct StoredDeadLetter {
    pub(super) letter: DeadLetter,
    pub(super) sync: SyncId,
    /// Bytes of the store that it takes.
    pub(super) bytes: u64,
    /// Halves of its fingerprint; that of the whole event only if it was queued, or could be if its time were
    /// right.
    pub(super) id_half: Option<u64>,
    pub(super) whole_half: Option<u64>,
    /// The end of Meta's window; `None` as for the whole fingerprint.
    pub(super) deadline: Option<i64>,
    /// Whether it was read as it was written.
    pub(super) is_sound: bool,
}

impl StoredDeadLetter {
    pub(super) fn header(&self) -> DeadHeader {
        let letter = &self.letter;
        DeadHeader {
            id: letter.id,
            sync: self.sync,
            reason: Some(letter.reason),
            event_name: letter.event_name.clone(),
            taken_at: letter.taken_at,
            filed_at: letter.filed_at,
            bytes: self.bytes,
            id_half: self.id_half,
            whole_half: self.whole_half,
        }
    }
}

/// What it takes to find, count and remove a dead letter.
#[derive(Clone, Debug)]
pub(super) struct DeadHeader {
    pub(super) id: i64,
    pub(super) sync: SyncId,
    /// `None` for a reason that this version does not know.
    pub(super) reason: Option<Reason>,
    pub(super) event_name: Option<String>,
    pub(super) taken_at: UnixMillis,
    pub(super) filed_at: UnixMillis,
    pub(super) bytes: u64,
    pub(super) id_half: Option<u64>,
    pub(super) whole_half: Option<u64>,
}

impl DeadHeader {
    /// Whether the event was refused for its time alone, and can be queued yet.
    pub(super) fn is_mistimed(&self) -> bool {
        let outcome = self.reason.map(Reason::outcome);
        outcome == Some(Outcome::Invalid) && self.whole_half.is_some()
    }

    /// The fingerprint of the whole event, if it has one.
    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        Some(Fingerprint {
            id: self.id_half?,
            whole: self.whole_half?,
        })
    }
}

/// Batches that were found damaged, in the order in which they were found, which is that of their numbers here.
pub(super) trait DamagedBatches {
    fn damaged_batches(&mut self, after: i64, limit: usize) -> EngineResult<Vec<DamagedBatch>>;

    fn damaged_headers(&mut self, after: i64, limit: usize) -> EngineResult<Vec<DamagedHeader>>;
}

/// Requests to Meta, and the waits that it asked for.
pub(super) trait Attempts {
    /// Requests since a moment, in the order of their numbers.
    fn attempts(
        &mut self,
        after: i64,
        since: UnixMillis,
        limit: usize,
    ) -> EngineResult<Vec<StoredAttempt>>;

    /// Requests that have no answer.
    fn unanswered(&mut self) -> EngineResult<Vec<StoredAttempt>>;

    /// Those that stand; the last ends latest.
    fn cooldowns(&mut self) -> EngineResult<Vec<Cooldown>>;
}

/// A request as it is stored.
#[derive(Clone, Debug)]
pub(super) struct StoredAttempt {
    pub(super) id: AttemptId,
    pub(super) sync: SyncId,
    pub(super) events: AttemptedEvents,
    pub(super) request: TracedRequest,
}

/// What is remembered of people and of clicks.
pub(super) trait Profiles {
    fn profile(&mut self, key: ProfileKey) -> EngineResult<Option<StoredProfile>>;

    /// A sync's profiles behind a place, the longest untouched first.
    fn oldest_profiles(
        &mut self,
        sync: SyncId,
        after: Option<(UnixMillis, i64)>,
        limit: usize,
    ) -> EngineResult<Vec<AgedProfile>>;

    /// Profiles of all syncs behind a place, in the engine's order.
    fn profiles(
        &mut self,
        after: i64,
        limit: usize,
    ) -> EngineResult<Vec<(i64, ProfileKey, StoredProfile)>>;

    /// When a click was first seen.
    fn click(&mut self, key: ClickKey) -> EngineResult<Option<UnixMillis>>;

    /// The clicks that were stored first.
    fn oldest_clicks(&mut self, limit: usize) -> EngineResult<Vec<FirstSeen>>;

    /// How many clicks there are; may be a little too high.
    fn click_count(&mut self) -> EngineResult<u64>;
}

/// A profile as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredProfile {
    pub(super) sync: SyncId,
    pub(super) touched: UnixMillis,
    pub(super) body: Vec<u8>,
    /// Whether it was read as it was written, for this person.
    pub(super) is_sound: bool,
}

impl StoredProfile {
    /// Bytes of the store that it takes.
    pub(super) const fn held_bytes(&self) -> u64 {
        profile_bytes(self.body.len() as u64)
    }
}

/// Estimates the bytes of the store that a profile takes.
pub(super) const fn profile_bytes(body: u64) -> u64 {
    body + 128
}

/// A profile that may be too old.
#[derive(Clone, Copy, Debug)]
pub(super) struct AgedProfile {
    pub(super) key: ProfileKey,
    pub(super) touched: UnixMillis,
    /// Orders profiles that were touched at the same moment.
    pub(super) place: i64,
    /// Bytes of the store that it takes.
    pub(super) held: u64,
}

/// Syncs, counters and numbers.
pub(super) trait Records {
    fn syncs(&mut self) -> EngineResult<Vec<(SyncId, SyncName)>>;

    fn counters(&mut self) -> EngineResult<Vec<CounterValue>>;

    fn last_ids(&mut self) -> EngineResult<LastIds>;
}

/// The value of a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CounterValue {
    pub(super) sync: SyncId,
    pub(super) counter: Arc<str>,
    pub(super) value: i64,
}

/// The last numbers that were given. No number is given twice: records name what is long gone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastIds {
    pub(super) sync: SyncId,
    /// With the origin of this writer.
    pub(super) batch: BatchId,
    pub(super) dead_letter: i64,
    pub(super) damaged: i64,
    pub(super) attempt: i64,
}

/// All that one commit changes.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) syncs: Vec<(SyncId, SyncName)>,
    pub(super) added: Vec<NewBatch>,
    /// `None`: the batch goes, with its events.
    pub(super) batches: BTreeMap<BatchId, Option<BatchChange>>,
    /// Batches whose fingerprints go.
    pub(super) aged_fingerprints: BTreeSet<BatchId>,
    /// Take the place of those that are stored.
    pub(super) mended_fingerprints: Vec<BatchFingerprints>,
    /// `None`: the dead letter goes.
    pub(super) dead_letters: BTreeMap<i64, Option<StoredDeadLetter>>,
    /// `None`: the damaged batch goes.
    pub(super) damaged: BTreeMap<i64, Option<DamagedBatch>>,
    pub(super) attempts: BTreeMap<AttemptId, AttemptChange>,
    pub(super) cooldowns: Vec<CooldownChange>,
    /// `None`: the profile goes.
    pub(super) profiles: BTreeMap<ProfileKey, Option<StoredProfile>>,
    /// `None`: the click goes.
    pub(super) clicks: BTreeMap<ClickKey, Option<UnixMillis>>,
    pub(super) counters: Vec<CounterValue>,
    /// Whether there are no other counters than these.
    pub(super) replaces_counters: bool,
    /// Whether removed bytes are overwritten, whatever that costs.
    pub(super) erases: bool,
}

impl Transaction {
    pub(super) fn is_empty(&self) -> bool {
        self.syncs.is_empty()
            && self.added.is_empty()
            && self.batches.is_empty()
            && self.aged_fingerprints.is_empty()
            && self.mended_fingerprints.is_empty()
            && self.dead_letters.is_empty()
            && self.damaged.is_empty()
            && self.attempts.is_empty()
            && self.cooldowns.is_empty()
            && self.profiles.is_empty()
            && self.clicks.is_empty()
            && self.counters.is_empty()
            && !self.replaces_counters
    }
}

/// How a batch changes.
#[derive(Clone, Debug)]
pub(super) struct BatchChange {
    pub(super) state: BatchState,
    /// Takes the place of its body.
    pub(super) body: Option<RewrittenBody>,
    /// Whether what never changes of its state is stored too, since that was damaged.
    pub(super) restores: bool,
}

/// What becomes of a request's record.
#[derive(Clone, Debug)]
pub(super) enum AttemptChange {
    /// It is about to be sent.
    Open(SyncId, OpenAttempt),
    /// It was answered.
    Answer {
        at: UnixMillis,
        answer: AttemptAnswer,
    },
    /// It was not sent, or is too old.
    Remove,
}
