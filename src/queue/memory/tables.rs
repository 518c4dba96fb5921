//! The data of the engine in memory, and how a transaction changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::SyncName;
use crate::profile::ProfileKey;
use crate::profile::clicks::FirstSeen;
use crate::queue::attempt::{AttemptId, OpenAttempt, TracedRequest};
use crate::queue::batch::{BatchId, SyncId};
use crate::queue::batch_builder::NewBatch;
use crate::queue::cooldown::{Cooldown, CooldownChange};
use crate::queue::damaged::DamagedBatch;
use crate::queue::engine::{
    AttemptChange, BatchFingerprints, LastIds, StoredAttempt, StoredDeadLetter, StoredProfile,
    Transaction,
};

use super::faults::{FaultSource, StoreFault};

#[derive(Debug, Default)]
pub(super) struct MemoryTables {
    pub(super) fault: Option<StoreFault>,
    pub(super) decide: FaultSource,
    /// Batches whose entry in the index of deadlines is lost.
    pub(super) not_indexed: BTreeSet<BatchId>,
    /// How often all was salvaged, or an index was built anew.
    pub(super) rebuilt: u64,
    pub(super) is_owned: bool,
    pub(super) syncs: BTreeMap<SyncId, SyncName>,
    pub(super) counters: BTreeMap<(SyncId, Arc<str>), i64>,
    pub(super) batches: BTreeMap<BatchId, NewBatch>,
    pub(super) fingerprints: BTreeMap<BatchId, BatchFingerprints>,
    pub(super) dead_letters: BTreeMap<i64, StoredDeadLetter>,
    pub(super) damaged: BTreeMap<i64, DamagedBatch>,
    pub(super) attempts: BTreeMap<AttemptId, StoredAttempt>,
    pub(super) cooldowns: Vec<Cooldown>,
    pub(super) profiles: BTreeMap<ProfileKey, (i64, StoredProfile)>,
    pub(super) clicks: Vec<FirstSeen>,
    pub(super) last: LastIds,
    pub(super) last_profile: i64,
}

impl MemoryTables {
    pub(super) fn apply(&mut self, transaction: &Transaction) {
        for (id, name) in &transaction.syncs {
            self.syncs.insert(*id, name.clone());
            self.last.sync = self.last.sync.max(*id);
        }
        if transaction.replaces_counters {
            self.counters.clear();
        }
        for counter in &transaction.counters {
            let key = (counter.sync, Arc::clone(&counter.counter));
            self.counters.insert(key, counter.value);
        }
        self.apply_to_batches(transaction);
        for (id, letter) in &transaction.dead_letters {
            match letter {
                Some(letter) => drop(self.dead_letters.insert(*id, letter.clone())),
                None => drop(self.dead_letters.remove(id)),
            }
            self.last.dead_letter = self.last.dead_letter.max(*id);
        }
        for (id, batch) in &transaction.damaged {
            match batch {
                Some(batch) => drop(self.damaged.insert(*id, batch.clone())),
                None => drop(self.damaged.remove(id)),
            }
            self.last.damaged = self.last.damaged.max(*id);
        }
        for (id, change) in &transaction.attempts {
            self.apply_to_attempt(*id, change);
        }
        for change in &transaction.cooldowns {
            self.apply_to_cooldowns(change);
        }
        for (key, profile) in &transaction.profiles {
            match profile {
                Some(profile) => {
                    let known = self.profiles.get(key).map(|(place, _)| *place);
                    self.last_profile += 1;
                    let place = known.unwrap_or(self.last_profile);
                    self.profiles.insert(*key, (place, profile.clone()));
                }
                None => drop(self.profiles.remove(key)),
            }
        }
        for (click, seen) in &transaction.clicks {
            match seen {
                Some(seen) => self.clicks.push(FirstSeen {
                    click: *click,
                    seen: *seen,
                }),
                None => self.clicks.retain(|known| known.click != *click),
            }
        }
    }

    fn apply_to_batches(&mut self, transaction: &Transaction) {
        for batch in &transaction.added {
            let state = &batch.state;
            self.last.batch = self.last.batch.max(state.id);
            let fingerprints = BatchFingerprints {
                batch: state.id,
                sync: state.sync,
                taken_at: state.taken_at,
                stored: batch.fingerprints.clone(),
                is_sound: true,
            };
            self.fingerprints.insert(state.id, fingerprints);
            self.batches.insert(state.id, batch.clone());
        }
        for (id, change) in &transaction.batches {
            let Some(change) = change else {
                self.batches.remove(id);
                continue;
            };
            if let Some(batch) = self.batches.get_mut(id) {
                batch.state = change.state.clone();
                if let Some(body) = &change.body {
                    batch.checksum = body.checksum;
                    batch.body.clone_from(&body.stored);
                }
            }
        }
        for mended in &transaction.mended_fingerprints {
            self.fingerprints.insert(mended.batch, mended.clone());
        }
        for id in &transaction.aged_fingerprints {
            self.fingerprints.remove(id);
        }
    }

    fn apply_to_attempt(&mut self, id: AttemptId, change: &AttemptChange) {
        match change {
            AttemptChange::Open(sync, OpenAttempt { sent_at, events }) => {
                self.last.attempt = self.last.attempt.max(id.0);
                let attempt = StoredAttempt {
                    id,
                    sync: *sync,
                    events: events.clone(),
                    request: TracedRequest {
                        sent_at: *sent_at,
                        ..TracedRequest::default()
                    },
                };
                self.attempts.insert(id, attempt);
            }
            AttemptChange::Answer { at, answer } => {
                if let Some(attempt) = self.attempts.get_mut(&id) {
                    let request = &mut attempt.request;
                    request.answered_at = Some(*at);
                    request.verdict = Some(answer.verdict.to_owned());
                    request.status = answer.status;
                    request.code = answer.code;
                    request.sub_code = answer.sub_code;
                    request.trace_id.clone_from(&answer.trace_id);
                }
            }
            AttemptChange::Remove => drop(self.attempts.remove(&id)),
        }
    }

    fn apply_to_cooldowns(&mut self, change: &CooldownChange) {
        match change {
            CooldownChange::Begun(new) => {
                let is_same = |it: &Cooldown| it.whose == new.whose && it.kind == new.kind;
                match self.cooldowns.iter_mut().find(|it| is_same(it)) {
                    Some(known) if known.until < new.until => known.clone_from(new),
                    Some(_) => {}
                    None => self.cooldowns.push(new.clone()),
                }
            }
            CooldownChange::Over { whose, by } => self
                .cooldowns
                .retain(|it| it.whose != *whose || it.until > *by),
        }
    }
}
