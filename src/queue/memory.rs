//! The reference engine: in memory, for tests and the simulation, which can make it fail.

use std::any::Any;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use std::{io, mem};

use crate::clock::{Clock, UnixMillis};
use crate::config::SyncName;
use crate::outcome::Reason;
use crate::profile::ProfileKey;
use crate::profile::clicks::{ClickKey, FirstSeen};

use super::OpenError;
use super::batch::{BatchId, StoredBatch, SyncId};
use super::cooldown::Cooldown;
use super::damaged::{DamagedBatch, DamagedHeader, RawContent};
use super::dead::{DeadFilter, DeadLetter};
use super::engine::{
    AgedProfile, AttemptChange, Attempts, BatchFingerprints, BatchOrder, Batches, Beside,
    CounterValue, DamagedBatches, DeadContent, DeadHeader, DeadLetters, Disk, Engine, EngineError,
    EngineFault, EngineResult, FingerprintCount, Fingerprints, LastIds, Opening, Profiles, Reader,
    Records, Recount, ScrubStep, Storage, StoredAttempt, StoredDeadLetter, StoredProfile,
    Transaction,
};
use super::state::{BatchPlace, BatchState};

mod faults;
mod tables;

pub use faults::{EngineCall, StoreFault};

use tables::MemoryTables;

/// The data, and a switch that makes commits fail; clones share both.
#[derive(Clone, Debug, Default)]
pub struct MemoryEngine(Arc<Mutex<MemoryTables>>);

/// Which texts of a store were seen: the last of each kind that does not change.
#[derive(Debug, Default)]
pub struct TextsSeen {
    batch: Option<BatchId>,
    dead_letter: i64,
}

impl MemoryEngine {
    pub fn set_fault(&self, fault: Option<StoreFault>) {
        self.tables().fault = fault;
    }

    /// Asks `decide` at each call what goes wrong.
    pub fn decide_faults(
        &self,
        decide: impl FnMut(EngineCall) -> Option<StoreFault> + Send + 'static,
    ) {
        self.tables().decide.0 = Some(Box::new(decide));
    }

    /// Damages the events of a batch, by its place among all, if there is one. Tells whether there is.
    pub fn damage_one(&self, place: usize) -> bool {
        let mut tables = self.tables();
        let batch = tables.batches.values_mut().nth(place);
        batch.map(|batch| batch.checksum ^= 1).is_some()
    }

    /// Loses the entry of a batch in the index of deadlines, by its place among all. Tells whether there is such a
    /// batch.
    pub fn lose_index_entry(&self, place: usize) -> bool {
        let mut tables = self.tables();
        let lost = tables.batches.keys().nth(place).copied();
        tables.not_indexed.extend(lost);
        lost.is_some()
    }

    /// How often all was salvaged, or an index was built anew.
    pub fn rebuilt(&self) -> u64 {
        self.tables().rebuilt
    }

    /// All texts of people that are stored, readable, without the batches and dead letters that were seen.
    pub fn texts(&self, seen: &mut TextsSeen) -> Vec<Vec<u8>> {
        let tables = self.tables();
        let batches = tables.batches.range((behind(seen.batch), Bound::Unbounded));
        let batches = batches.filter_map(|(id, it)| {
            let content = StoredBatch::read(*id, &it.index, &it.body, it.checksum)?;
            Some(content.bytes().to_vec())
        });
        let letters = tables.dead_letters.range(seen.dead_letter + 1..);
        let letters = letters.filter_map(|(_, it)| it.letter.json.clone());
        let profiles = tables.profiles.values().map(|(_, it)| it.body.clone());
        let texts = batches.chain(letters).chain(profiles).collect();
        *seen = TextsSeen {
            batch: Some(tables.last.batch),
            dead_letter: tables.last.dead_letter,
        };
        texts
    }

    fn fault_of(&self, call: EngineCall) -> Option<StoreFault> {
        let mut tables = self.tables();
        let decided = tables.decide.0.as_mut().and_then(|decide| decide(call));
        decided.or(tables.fault)
    }

    /// The tables, unless reads fail.
    fn read(&self) -> EngineResult<MutexGuard<'_, MemoryTables>> {
        let mut tables = self.tables();
        let decide = tables.decide.0.as_mut();
        match decide.and_then(|decide| decide(EngineCall::Read)) {
            Some(StoreFault::Damaged) => Err(EngineError::Damaged(simulated())),
            Some(_) => Err(unavailable()),
            None => Ok(tables),
        }
    }

    /// Damages the events of a batch, by its place among all.
    pub fn damage(&self, place: usize) {
        assert!(self.damage_one(place), "there is such a batch");
    }

    fn tables(&self) -> MutexGuard<'_, MemoryTables> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

/// Gives the store free when it is dropped.
struct Possession(MemoryEngine);

impl Drop for Possession {
    fn drop(&mut self) {
        self.0.tables().is_owned = false;
    }
}

impl Storage for MemoryEngine {
    fn exists(&self) -> bool {
        !self.tables().syncs.is_empty()
    }

    fn acquire(&self) -> Result<Box<dyn Any + Send>, OpenError> {
        if mem::replace(&mut self.tables().is_owned, true) {
            return Err(OpenError::InUse("memory".into()));
        }
        Ok(Box::new(Possession(self.clone())))
    }

    fn open(&self, opening: Opening) -> Result<Box<dyn Engine>, OpenError> {
        match self.fault_of(EngineCall::Open) {
            Some(StoreFault::Unavailable) if opening == Opening::AfterFailure => {
                return Err(OpenError::Engine(unavailable()));
            }
            Some(StoreFault::Damaged) => {
                return Err(OpenError::Engine(EngineError::Damaged(simulated())));
            }
            _ => {}
        }
        Ok(Box::new(self.clone()))
    }

    fn reader(&self, _beside: Beside) -> EngineResult<Box<dyn Reader>> {
        Ok(Box::new(self.clone()))
    }

    fn salvage(&self, _now: UnixMillis, recount: Recount) -> Result<(), OpenError> {
        let mut tables = self.tables();
        tables.not_indexed.clear();
        tables.rebuilt += 1;
        drop(tables);
        recount(&mut self.clone())?;
        Ok(())
    }

    fn disk(&self) -> Option<Disk> {
        let size = 1 << 40;
        Some(Disk { free: size, size })
    }
}

impl Reader for MemoryEngine {}

impl Engine for MemoryEngine {
    fn commit(&mut self, transaction: &Transaction) -> EngineResult<()> {
        let fault = self.fault_of(EngineCall::Commit);
        let mut tables = self.tables();
        let changes = |is_meant: fn(&AttemptChange) -> bool| {
            let mut attempts = transaction.attempts.values();
            attempts.any(is_meant)
        };
        match fault {
            Some(StoreFault::Damaged) => return Err(EngineError::Damaged(simulated())),
            Some(StoreFault::Unavailable) => return Err(unavailable()),
            Some(StoreFault::NoAttempts)
                if changes(|change| matches!(change, AttemptChange::Open(..))) =>
            {
                return Err(unavailable());
            }
            Some(StoreFault::NoAnswers)
                if changes(|change| matches!(change, AttemptChange::Answer { .. })) =>
            {
                return Err(unavailable());
            }
            Some(StoreFault::UnknownAndStored | StoreFault::UnknownAndLost) => tables.fault = None,
            _ => {}
        }
        if fault != Some(StoreFault::UnknownAndLost) {
            tables.apply(transaction);
        }
        match fault {
            Some(StoreFault::UnknownAndStored | StoreFault::UnknownAndLost) => {
                Err(EngineError::Unknown(simulated()))
            }
            _ => Ok(()),
        }
    }

    fn used_bytes(&mut self) -> EngineResult<u64> {
        let tables = self.tables();
        let batches = tables.batches.values().map(|batch| batch.state.held);
        let fingerprints = tables
            .fingerprints
            .values()
            .map(|it| it.stored.len() as u64);
        let dead_letters = tables.dead_letters.values().map(|it| it.bytes);
        let profiles = tables.profiles.values().map(|(_, it)| it.body.len() as u64);
        let all = batches.chain(fingerprints).chain(dead_letters);
        Ok(all.chain(profiles).sum())
    }

    fn maintain(&mut self, _: &dyn Clock) -> EngineResult<bool> {
        Ok(false)
    }

    fn rebuild_indexes(&mut self) -> EngineResult<()> {
        let mut tables = self.tables();
        tables.not_indexed.clear();
        tables.rebuilt += 1;
        Ok(())
    }

    fn scrub(&mut self, _: ScrubStep, _: Duration) -> EngineResult<Option<ScrubStep>> {
        Ok(None)
    }

    fn close(&mut self) -> EngineResult<()> {
        Ok(())
    }
}

impl Batches for MemoryEngine {
    fn batch(&mut self, id: BatchId) -> EngineResult<Option<BatchState>> {
        let tables = self.read()?;
        Ok(tables.batches.get(&id).map(|batch| batch.state.clone()))
    }

    fn content(&mut self, id: BatchId) -> EngineResult<Option<StoredBatch>> {
        let tables = self.read()?;
        let batch = tables.batches.get(&id);
        Ok(batch.and_then(|it| StoredBatch::read(id, &it.index, &it.body, it.checksum)))
    }

    fn raw_content(&mut self, id: BatchId) -> EngineResult<Option<RawContent>> {
        let tables = self.tables();
        let batch = tables.batches.get(&id);
        Ok(batch.map(|it| RawContent {
            checksum: Some(it.checksum.into()),
            index: it.index.clone(),
            body: it.body.clone(),
        }))
    }

    fn batches(
        &mut self,
        sync: SyncId,
        order: BatchOrder,
        after: Option<BatchPlace>,
        limit: usize,
    ) -> EngineResult<Vec<BatchState>> {
        let tables = self.read()?;
        let of_sync = tables.batches.values().filter(|it| it.state.sync == sync);
        let by_number = matches!(order, BatchOrder::Oldest | BatchOrder::Newest);
        let states = of_sync
            .filter(|it| by_number || !tables.not_indexed.contains(&it.state.id))
            .filter(|it| order != BatchOrder::FreshestPurchases || it.is_purchase)
            .map(|it| it.state.clone());
        let place = |place: BatchPlace| BatchPlace {
            deadline: if by_number { 0 } else { place.deadline },
            ..place
        };
        let mut states: Vec<BatchState> = states.collect();
        states.sort_by_key(|state| place(state.place()));
        let after = after.map(place);
        if matches!(order, BatchOrder::Deadline | BatchOrder::Oldest) {
            states.retain(|state| after.is_none_or(|after| place(state.place()) > after));
        } else {
            states.reverse();
            states.retain(|state| after.is_none_or(|after| place(state.place()) < after));
        }
        states.truncate(limit);
        Ok(states)
    }

    fn batch_ids(&mut self, after: Option<BatchId>, limit: usize) -> EngineResult<Vec<BatchId>> {
        let tables = self.tables();
        let behind = tables.batches.range((behind(after), Bound::Unbounded));
        Ok(behind.map(|(id, _)| *id).take(limit).collect())
    }
}

impl Fingerprints for MemoryEngine {
    fn fingerprints(
        &mut self,
        after: Option<BatchId>,
        limit: usize,
    ) -> EngineResult<Vec<BatchFingerprints>> {
        let tables = self.tables();
        let behind = tables.fingerprints.range((behind(after), Bound::Unbounded));
        Ok(behind.map(|(_, it)| it.clone()).take(limit).collect())
    }

    fn newest_fingerprint_counts(
        &mut self,
        before: Option<BatchId>,
        limit: usize,
    ) -> EngineResult<Vec<FingerprintCount>> {
        let tables = self.tables();
        let before = before.map_or(Bound::Unbounded, Bound::Excluded);
        let backwards = tables.fingerprints.range((Bound::Unbounded, before)).rev();
        let counts = backwards.map(|(_, it)| FingerprintCount {
            batch: it.batch,
            taken_at: it.taken_at,
            bytes: it.stored.len() as u64,
        });
        Ok(counts.take(limit).collect())
    }
}

impl DeadLetters for MemoryEngine {
    fn dead_letter(&mut self, id: i64) -> EngineResult<Option<StoredDeadLetter>> {
        Ok(self.tables().dead_letters.get(&id).cloned())
    }

    fn dead_letters(
        &mut self,
        filter: &DeadFilter,
        after: i64,
        limit: usize,
        max_bytes: usize,
    ) -> EngineResult<Vec<DeadLetter>> {
        let tables = self.tables();
        let mut bytes = 0;
        let letters = tables.dead_letters.values().map(|stored| &stored.letter);
        let wanted = letters.filter(|it| it.id > after && matches(filter, it));
        let fitting = wanted.take_while(|it| {
            let fits = bytes < max_bytes;
            bytes += it.json.as_ref().map_or(0, Vec::len);
            fits
        });
        Ok(fitting.take(limit).cloned().collect())
    }

    fn dead_contents(
        &mut self,
        after: i64,
        limit: usize,
        max_bytes: usize,
    ) -> EngineResult<Vec<DeadContent>> {
        let letters = self.dead_letters(&DeadFilter::default(), after, limit, max_bytes)?;
        let content = |letter: DeadLetter| DeadContent {
            id: letter.id,
            event_id: letter.event_id,
            json: letter.json.unwrap_or_default(),
        };
        Ok(letters.into_iter().map(content).collect())
    }

    fn dead_headers(&mut self, after: i64, limit: usize) -> EngineResult<Vec<DeadHeader>> {
        let tables = self.tables();
        let behind = tables.dead_letters.range(after.saturating_add(1)..);
        let headers = behind.map(|(_, letter)| letter.header());
        Ok(headers.take(limit).collect())
    }

    fn dead_of_event(&mut self, id_half: u64) -> EngineResult<Vec<DeadHeader>> {
        let tables = self.tables();
        let letters = tables.dead_letters.values();
        let of_event = letters.filter(|letter| letter.id_half == Some(id_half));
        Ok(of_event.map(StoredDeadLetter::header).collect())
    }

    fn dead_count(&mut self, sync: SyncId, reason: Reason) -> EngineResult<u64> {
        let tables = self.tables();
        let letters = tables.dead_letters.values();
        let samples = letters.filter(|it| it.whole_half.is_none());
        let counted = samples.filter(|it| it.sync == sync && it.letter.reason == reason);
        Ok(counted.count() as u64)
    }
}

impl DamagedBatches for MemoryEngine {
    fn damaged_batches(&mut self, after: i64, limit: usize) -> EngineResult<Vec<DamagedBatch>> {
        let tables = self.tables();
        let behind = tables.damaged.range(after.saturating_add(1)..);
        Ok(behind.map(|(_, it)| it.clone()).take(limit).collect())
    }

    fn damaged_headers(&mut self, after: i64, limit: usize) -> EngineResult<Vec<DamagedHeader>> {
        let batches = self.damaged_batches(after, limit)?;
        Ok(batches.into_iter().map(|it| it.header).collect())
    }
}

impl Attempts for MemoryEngine {
    fn attempts(
        &mut self,
        after: i64,
        since: UnixMillis,
        limit: usize,
    ) -> EngineResult<Vec<StoredAttempt>> {
        let tables = self.tables();
        let all = tables.attempts.values();
        let wanted = all.filter(|it| it.id.0 > after && it.request.sent_at >= since);
        Ok(wanted.take(limit).cloned().collect())
    }

    fn unanswered(&mut self) -> EngineResult<Vec<StoredAttempt>> {
        let tables = self.tables();
        let all = tables.attempts.values();
        let open = all.filter(|it| it.request.answered_at.is_none());
        Ok(open.cloned().collect())
    }

    fn cooldowns(&mut self) -> EngineResult<Vec<Cooldown>> {
        let mut cooldowns = self.tables().cooldowns.clone();
        cooldowns.sort_by_key(|it| it.until);
        Ok(cooldowns)
    }
}

impl Profiles for MemoryEngine {
    fn profile(&mut self, key: ProfileKey) -> EngineResult<Option<StoredProfile>> {
        let tables = self.tables();
        Ok(tables
            .profiles
            .get(&key)
            .map(|(_, profile)| profile.clone()))
    }

    fn oldest_profiles(
        &mut self,
        sync: SyncId,
        after: Option<(UnixMillis, i64)>,
        limit: usize,
    ) -> EngineResult<Vec<AgedProfile>> {
        let tables = self.tables();
        let of_sync = tables
            .profiles
            .iter()
            .filter(|(_, (_, it))| it.sync == sync);
        let mut aged: Vec<AgedProfile> = of_sync
            .map(|(key, (place, it))| AgedProfile {
                key: *key,
                touched: it.touched,
                place: *place,
                held: it.held_bytes(),
            })
            .filter(|it| after.is_none_or(|after| (it.touched, it.place) > after))
            .collect();
        aged.sort_by_key(|it| (it.touched, it.place));
        aged.truncate(limit);
        Ok(aged)
    }

    fn profiles(
        &mut self,
        after: i64,
        limit: usize,
    ) -> EngineResult<Vec<(i64, ProfileKey, StoredProfile)>> {
        let tables = self.tables();
        let all = tables.profiles.iter();
        let mut behind: Vec<_> = all
            .filter(|(_, (place, _))| *place > after)
            .map(|(key, (place, profile))| (*place, *key, profile.clone()))
            .collect();
        behind.sort_by_key(|(place, _, _)| *place);
        behind.truncate(limit);
        Ok(behind)
    }

    fn click(&mut self, key: ClickKey) -> EngineResult<Option<UnixMillis>> {
        let tables = self.tables();
        let found = tables.clicks.iter().find(|known| known.click == key);
        Ok(found.map(|known| known.seen))
    }

    fn oldest_clicks(&mut self, limit: usize) -> EngineResult<Vec<FirstSeen>> {
        Ok(self.tables().clicks.iter().take(limit).copied().collect())
    }

    fn click_count(&mut self) -> EngineResult<u64> {
        Ok(self.tables().clicks.len() as u64)
    }
}

impl Records for MemoryEngine {
    fn syncs(&mut self) -> EngineResult<Vec<(SyncId, SyncName)>> {
        let tables = self.tables();
        let syncs = tables.syncs.iter();
        Ok(syncs.map(|(id, name)| (*id, name.clone())).collect())
    }

    fn counters(&mut self) -> EngineResult<Vec<CounterValue>> {
        let tables = self.tables();
        let counters = tables.counters.iter();
        Ok(counters
            .map(|((sync, counter), value)| CounterValue {
                sync: *sync,
                counter: Arc::clone(counter),
                value: *value,
            })
            .collect())
    }

    fn last_ids(&mut self) -> EngineResult<LastIds> {
        Ok(self.tables().last)
    }
}

fn unavailable() -> EngineError {
    EngineError::Unavailable(simulated())
}

fn simulated() -> EngineFault {
    Arc::new(io::Error::other("simulated"))
}

fn behind(after: Option<BatchId>) -> Bound<BatchId> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}

fn matches(filter: &DeadFilter, letter: &DeadLetter) -> bool {
    let DeadFilter {
        sync,
        reason,
        event_name,
        filed_from,
        filed_before,
        id,
    } = filter;
    sync.as_ref().is_none_or(|sync| *sync == letter.sync)
        && reason.is_none_or(|reason| reason == letter.reason)
        && event_name
            .as_ref()
            .is_none_or(|name| letter.event_name.as_ref() == Some(name))
        && filed_from.is_none_or(|from| letter.filed_at >= from)
        && filed_before.is_none_or(|before| letter.filed_at < before)
        && id.is_none_or(|id| id == letter.id)
}
