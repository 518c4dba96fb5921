//! Counts that survive a restart, because they change in the transaction that moves the event.
//!
//! A checksum of a sync's counters is stored among them. Where it does not match, what the records tell is counted
//! anew, and what they do not tell is corrected as far as the checksum and the law allow.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::Arc;

use crate::config::SyncName;
use crate::outcome::Reason;
use crate::words::words;

use super::batch::SyncId;
use super::checksum::mix;
use super::engine::{self, CounterValue, Engine, EngineResult, Reader, Transaction};
use super::mend;
use super::state::{BatchState, Soundness};

/// The counts of every sync that the store has ever held.
pub type Totals = BTreeMap<SyncName, SyncTotals>;

/// The counts of one sync. At rest, `taken + dead_retried` is the sum of `ended` plus `queued`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncTotals {
    /// Events taken.
    pub taken: u64,
    /// Dead letters queued again.
    pub dead_retried: u64,
    /// Events that ended, by reason; the reason tells the outcome. Only reasons that occurred.
    pub ended: BTreeMap<Reason, u64>,
    /// Dead letters that were removed, by cause. Only causes that occurred.
    pub dead_removed: BTreeMap<Removal, u64>,
    /// Events in the queue, ready or on lease.
    pub queued: u64,
    /// Dead letters in the store.
    pub dead: u64,
    /// People and devices that are remembered.
    pub profiles: u64,
    /// Bytes of the store that they take.
    pub profile_bytes: u64,
}

words! {
    /// Why a dead letter was removed.
    pub enum Removal {
        /// Queued again by command.
        Retried = "retried",
        /// Dropped by command.
        Dropped = "dropped",
        /// Replaced by a backfill of the same event, or the event was taken after all.
        Replaced = "replaced",
        /// Erased with its user.
        Forgotten = "forgotten",
        /// Older than the retention.
        Aged = "aged",
        /// Room was needed for newer ones.
        Crowded = "crowded",
    }
}

/// The name under which the checksum of a sync's counters is stored.
const CHECKSUM: &str = "checksum";
/// Is 1 for a sync whose counters were stored before there were checksums.
const UNCHECKED: &str = "unchecked";
/// Records are counted until two counts agree, but not more often.
const MAX_COUNTS: usize = 4;
/// A stored count above this is damage.
const PLAUSIBLE: i64 = 1 << 53;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// What is counted for a sync.
        #[derive(Clone, Copy, Debug)]
        pub(super) enum Counter {
            $($(#[$doc])* $name,)+
            /// Events that ended so.
            Ended(Reason),
            /// Dead letters that were removed so.
            DeadRemoved(Removal),
        }

        #[derive(Debug)]
        enum PlainCounter { $($name,)+ }

        impl Counter {
            const PLAIN: &'static [Self] = &[$(Self::$name,)+];

            /// Where it is among all counters.
            const fn place(self) -> usize {
                match self {
                    $(Self::$name => PlainCounter::$name as usize,)+
                    Self::Ended(reason) => Self::PLAIN.len() + reason as usize,
                    Self::DeadRemoved(why) => Self::PLAIN.len() + Reason::ALL.len() + why as usize,
                }
            }

            /// Its name in the store.
            fn name(self) -> String {
                match self {
                    $(Self::$name => $text.to_owned(),)+
                    Self::Ended(reason) => format!("ended:{reason}"),
                    Self::DeadRemoved(why) => format!("dead_removed:{why}"),
                }
            }
        }
    };
}

counters! {
    /// Events taken.
    Taken = "taken",
    /// Dead letters queued again.
    DeadRetried = "dead_retried",
    /// Events in the queue.
    Queued = "queued",
    /// Their bytes.
    QueuedBytes = "queued_bytes",
    /// Bytes of the store that their batches take.
    HeldBytes = "held_bytes",
    /// Bytes of the store that fingerprints take.
    SeenBytes = "seen_bytes",
    /// Dead letters.
    Dead = "dead",
    /// Bytes of the store that they and damaged batches take.
    DeadBytes = "dead_bytes",
    /// What of that dead letters take whose events were refused for their time alone.
    MistimedBytes = "mistimed_bytes",
    /// Profiles of people and devices.
    Profiles = "profiles",
    /// Bytes of the store that they take.
    ProfileBytes = "profile_bytes",
}

impl Counter {
    const COUNT: usize = Self::PLAIN.len() + Reason::ALL.len() + Removal::ALL.len();

    fn all() -> impl Iterator<Item = Self> {
        let reasons = Reason::ALL.iter().map(|reason| Self::Ended(*reason));
        let removals = Removal::ALL.iter().map(|why| Self::DeadRemoved(*why));
        Self::PLAIN.iter().copied().chain(reasons).chain(removals)
    }

    /// Whether it counts what has happened, which the store's records do not tell.
    const fn is_history(self) -> bool {
        matches!(
            self,
            Self::Taken | Self::DeadRetried | Self::Ended(_) | Self::DeadRemoved(_)
        )
    }

    /// Whether it is a part of the law, and is not known from the store's records.
    const fn is_in_law(self) -> bool {
        matches!(self, Self::Taken | Self::DeadRetried | Self::Ended(_))
    }
}

/// What a counter adds to the checksum of its sync. A counter that never counted need not be stored, and adds
/// nothing.
const fn term(sync: SyncId, name: u64, value: i64) -> u64 {
    if value == 0 {
        return 0;
    }
    mix(name ^ mix(sync.cast_unsigned() ^ mix(value.cast_unsigned())))
}

fn hash_of_name(name: &str) -> u64 {
    let add = |hash, byte| mix(hash ^ u64::from(byte));
    name.bytes().fold(0, add)
}

/// The counters of one sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyncCounters {
    /// The sync's number in the store.
    pub(super) id: i64,
    /// The sync.
    pub(super) name: SyncName,
    values: [i64; Counter::COUNT],
    stored: [i64; Counter::COUNT],
    /// The checksum of what is stored.
    sum: u64,
    /// The checksum that is stored.
    stored_sum: Option<u64>,
    is_unchecked: bool,
}

impl SyncCounters {
    const fn new(id: SyncId, name: SyncName) -> Self {
        Self {
            id,
            name,
            values: [0; Counter::COUNT],
            stored: [0; Counter::COUNT],
            sum: 0,
            stored_sum: None,
            is_unchecked: false,
        }
    }

    fn is_sound(&self) -> bool {
        self.stored_sum
            .map_or(self.is_unchecked, |stored| stored == self.sum)
    }

    /// The value of a counter.
    pub(super) fn get(&self, counter: Counter) -> u64 {
        u64::try_from(self.values[counter.place()]).unwrap_or(0)
    }

    /// Counts up.
    pub(super) fn add(&mut self, counter: Counter, amount: u64) {
        self.values[counter.place()] += i64::try_from(amount).expect("far below 2^63");
    }

    /// Counts down.
    pub(super) fn take(&mut self, counter: Counter, amount: u64) {
        self.values[counter.place()] -= i64::try_from(amount).expect("far below 2^63");
    }

    /// Makes the law hold again after the records were counted; gives the number of events that are lost. If a
    /// single counter is wrong, the law and the checksum tell what it was.
    fn correct(&mut self, hashes: &[u64]) -> u64 {
        for value in &mut self.values {
            if !(0..=PLAUSIBLE).contains(value) {
                *value = 0;
            }
        }
        let sum = self.values.iter().zip(hashes);
        let sum = sum.fold(0_u64, |sum, (value, name)| {
            sum.wrapping_add(term(self.id, *name, *value))
        });
        let Some(wanted) = self.stored_sum.filter(|wanted| *wanted != sum) else {
            return self.balance();
        };
        let surplus = self.surplus();
        for counter in Counter::all().filter(|counter| counter.is_in_law()) {
            let place = counter.place();
            let value = match counter {
                Counter::Ended(_) => self.values[place] + surplus,
                _ => self.values[place] - surplus,
            };
            let was = term(self.id, hashes[place], self.values[place]);
            let is = term(self.id, hashes[place], value);
            if sum.wrapping_sub(was).wrapping_add(is) == wanted {
                self.values[place] = value;
                return 0;
            }
        }
        self.balance()
    }

    /// Events that came, less those that have ended or are queued.
    fn surplus(&self) -> i64 {
        let value = |counter: Counter| self.values[counter.place()];
        let ended = Reason::ALL.iter().map(|it| value(Counter::Ended(*it)));
        value(Counter::Taken) + value(Counter::DeadRetried)
            - ended.sum::<i64>()
            - value(Counter::Queued)
    }

    /// Counts events as lost that came, have not ended and are not there; gives their number.
    fn balance(&mut self) -> u64 {
        let came = self.get(Counter::Taken) + self.get(Counter::DeadRetried);
        let ended = Reason::ALL.iter().map(|it| self.get(Counter::Ended(*it)));
        let there = ended.sum::<u64>() + self.get(Counter::Queued);
        let lost = came.saturating_sub(there);
        self.add(Counter::Ended(Reason::DamagedRow), lost);
        // If the counters themselves were lost, the events that are there must have come.
        self.add(Counter::Taken, there.saturating_sub(came));
        lost
    }

    /// Events that came and are in the queue no longer.
    pub(super) fn ended(&self) -> u64 {
        let came = self.get(Counter::Taken) + self.get(Counter::DeadRetried);
        came.saturating_sub(self.get(Counter::Queued))
    }

    pub(super) fn totals(&self) -> SyncTotals {
        let occurred = |counter| Some(self.get(counter)).filter(|count| *count > 0);
        let ended = |reason: &Reason| Some((*reason, occurred(Counter::Ended(*reason))?));
        let removed = |why: &Removal| Some((*why, occurred(Counter::DeadRemoved(*why))?));
        SyncTotals {
            taken: self.get(Counter::Taken),
            dead_retried: self.get(Counter::DeadRetried),
            ended: Reason::ALL.iter().filter_map(ended).collect(),
            dead_removed: Removal::ALL.iter().filter_map(removed).collect(),
            queued: self.get(Counter::Queued),
            dead: self.get(Counter::Dead),
            profiles: self.get(Counter::Profiles),
            profile_bytes: self.get(Counter::ProfileBytes),
        }
    }
}

/// The counters of all syncs.
#[derive(Debug, Default)]
pub(super) struct Counters {
    all: Vec<SyncCounters>,
    indexes: HashMap<SyncName, usize>,
    names: Vec<Arc<str>>,
    /// Of the names.
    hashes: Vec<u64>,
    checksum: Arc<str>,
}

impl Counters {
    pub(super) fn load(reader: &mut dyn Reader) -> EngineResult<Self> {
        let names: Vec<Arc<str>> = Counter::all().map(|it| it.name().into()).collect();
        let mut counters = Self {
            hashes: names.iter().map(|name| hash_of_name(name)).collect(),
            names,
            checksum: CHECKSUM.into(),
            ..Self::default()
        };
        for (id, sync) in reader.syncs()? {
            counters.add(id, sync);
        }
        for stored in reader.counters()? {
            let Some(index) = counters.find_by_id(stored.sync) else {
                continue;
            };
            let sync = &mut counters.all[index];
            match &*stored.counter {
                CHECKSUM => sync.stored_sum = Some(stored.value.cast_unsigned()),
                UNCHECKED => sync.is_unchecked = stored.value == 1,
                // A later version may count more.
                name => {
                    let added = term(sync.id, hash_of_name(name), stored.value);
                    sync.sum = sync.sum.wrapping_add(added);
                    let mut names = counters.names.iter();
                    if let Some(place) = names.position(|known| **known == *name) {
                        sync.values[place] = stored.value;
                    }
                }
            }
        }
        for counters in &mut counters.all {
            counters.stored = counters.values;
        }
        Ok(counters)
    }

    /// Adds a sync that has no counters yet; gives their index.
    pub(super) fn add(&mut self, id: SyncId, name: SyncName) -> usize {
        self.indexes.insert(name.clone(), self.all.len());
        self.all.push(SyncCounters::new(id, name));
        self.all.len() - 1
    }

    pub(super) fn find(&self, name: &SyncName) -> Option<usize> {
        self.indexes.get(name).copied()
    }

    pub(super) fn find_by_id(&self, id: SyncId) -> Option<usize> {
        self.all.iter().position(|counters| counters.id == id)
    }

    pub(super) fn all(&self) -> &[SyncCounters] {
        &self.all
    }

    pub(super) fn at(&mut self, index: usize) -> &mut SyncCounters {
        &mut self.all[index]
    }

    fn are_sound(&self) -> bool {
        self.all.iter().all(SyncCounters::is_sound)
    }

    /// Sums a counter over all syncs.
    pub(super) fn sum(&self, counter: Counter) -> u64 {
        self.all.iter().map(|counters| counters.get(counter)).sum()
    }

    /// Collects what has changed since the last call.
    pub(super) fn collect_changes(&mut self, changes: &mut Vec<CounterValue>) {
        for counters in &mut self.all {
            if counters.values == counters.stored && counters.stored_sum == Some(counters.sum) {
                continue;
            }
            let mut change = |counter, value| {
                changes.push(CounterValue {
                    sync: counters.id,
                    counter,
                    value,
                });
            };
            for (place, name) in self.names.iter().enumerate() {
                let (was, is) = (counters.stored[place], counters.values[place]);
                if is != was {
                    let hash = self.hashes[place];
                    counters.sum = counters
                        .sum
                        .wrapping_sub(term(counters.id, hash, was))
                        .wrapping_add(term(counters.id, hash, is));
                    change(Arc::clone(name), is);
                }
            }
            change(Arc::clone(&self.checksum), counters.sum.cast_signed());
            if mem::take(&mut counters.is_unchecked) {
                change(UNCHECKED.into(), 0);
            }
            counters.stored = counters.values;
            counters.stored_sum = Some(counters.sum);
        }
    }
}

/// Whether all counters are as they were written.
pub(super) fn are_sound(engine: &mut dyn Engine) -> EngineResult<bool> {
    if Counters::load(engine)?.are_sound() {
        return Ok(true);
    }
    // It may be one wrong read.
    engine.read_afresh()?;
    Ok(Counters::load(engine)?.are_sound())
}

/// What is wrong with the counters, for people.
pub(super) fn differences(reader: &mut dyn Reader) -> EngineResult<Vec<String>> {
    let stored = Counters::load(reader)?;
    let counted = counted(reader)?;
    let mut differences = Vec::new();
    for (stored, counted) in stored.all.iter().zip(&counted.all) {
        let name = &stored.name;
        if !stored.is_sound() {
            differences.push(format!(
                "the counters of sync {name} do not match their checksum"
            ));
        }
        for counter in Counter::all() {
            let (told, found) = (stored.get(counter), counted.get(counter));
            if told != found {
                let counter = counter.name();
                differences.push(format!(
                    "sync {name} counts {told} {counter} and holds {found}"
                ));
            }
        }
    }
    Ok(differences)
}

/// Corrects the counters by what is in the store; gives the number of events lost.
pub(super) fn recount(engine: &mut dyn Engine) -> EngineResult<u64> {
    let mut counters = counted(engine)?;
    // What one wrong read hides must not count as lost.
    for _ in 0..MAX_COUNTS {
        engine.read_afresh()?;
        let again = counted(engine)?;
        if again.all == counters.all {
            break;
        }
        counters = again;
    }
    let mut lost = 0;
    for sync in &mut counters.all {
        lost += sync.correct(&counters.hashes);
        // All of them are written.
        sync.stored = [0; Counter::COUNT];
        sync.sum = 0;
        sync.stored_sum = None;
    }
    let mut transaction = Transaction {
        replaces_counters: true,
        ..Transaction::default()
    };
    counters.collect_changes(&mut transaction.counters);
    engine.commit(&transaction)?;
    Ok(lost)
}

/// The counters, as the store's records tell them.
fn counted(reader: &mut dyn Reader) -> EngineResult<Counters> {
    let mut counters = Counters::load(reader)?;
    count_anew(reader, &mut counters)?;
    Ok(counters)
}

/// Counts what the store's records tell.
fn count_anew(reader: &mut dyn Reader, counters: &mut Counters) -> EngineResult<()> {
    for counters in &mut counters.all {
        for counter in Counter::all().filter(|counter| !counter.is_history()) {
            counters.values[counter.place()] = 0;
        }
    }
    count_batches(reader, counters)?;
    count_records(reader, counters)
}

fn count_batches(engine: &mut dyn Reader, counters: &mut Counters) -> EngineResult<()> {
    let mut count = |state: &BatchState| {
        if let Some(index) = counters.find_by_id(state.sync) {
            let counters = counters.at(index);
            counters.add(Counter::Queued, state.open().count());
            counters.add(Counter::QueuedBytes, state.bytes);
            counters.add(Counter::HeldBytes, state.held);
        }
    };
    let mut unsound = Vec::new();
    engine::visit_pages(
        None,
        |after, limit| engine.all_batches(after, limit),
        |state| state.id,
        |state| match state.soundness {
            Soundness::Sound => count(&state),
            _ => unsound.push(state),
        },
    )?;
    for state in unsound {
        if let Some(state) = mend::mended(engine, state)? {
            count(&state);
        }
    }
    Ok(())
}

fn count_records(engine: &mut dyn Reader, counters: &mut Counters) -> EngineResult<()> {
    let mut count = |sync, counter, amount| {
        if let Some(index) = counters.find_by_id(sync) {
            counters.at(index).add(counter, amount);
        }
    };
    engine::visit_pages(
        None,
        |after, limit| engine.fingerprints(after, limit),
        |batch| batch.batch,
        |batch| count(batch.sync, Counter::SeenBytes, batch.stored.len() as u64),
    )?;
    engine::visit_pages(
        None,
        |after, limit| engine.dead_headers(after.unwrap_or(0), limit),
        |letter| letter.id,
        |letter| {
            count(letter.sync, Counter::Dead, 1);
            count(letter.sync, Counter::DeadBytes, letter.bytes);
            if letter.is_mistimed() {
                count(letter.sync, Counter::MistimedBytes, letter.bytes);
            }
        },
    )?;
    engine::visit_pages(
        None,
        |after, limit| engine.damaged_headers(after.unwrap_or(0), limit),
        |batch| batch.id,
        |batch| count(batch.sync, Counter::DeadBytes, batch.bytes),
    )?;
    engine::visit_pages(
        None,
        |after, limit| engine.profiles(after.unwrap_or(0), limit),
        |(place, _, _)| *place,
        |(_, _, stored)| {
            count(stored.sync, Counter::Profiles, 1);
            count(stored.sync, Counter::ProfileBytes, stored.held_bytes());
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_a_place_and_a_name_of_its_own() {
        let places: Vec<usize> = Counter::all().map(Counter::place).collect();
        assert!(places.iter().copied().eq(0..Counter::COUNT));
        let mut names: Vec<String> = Counter::all().map(Counter::name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), Counter::COUNT);
    }
}
