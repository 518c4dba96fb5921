//! Counts that survive a restart, because they change in the transaction that moves the event.

use std::collections::{BTreeMap, HashMap};

use std::sync::Arc;

use crate::config::SyncName;
use crate::outcome::Reason;

use super::batch::SyncId;
use super::engine::{BatchOrder, CounterValue, Engine, EngineResult, Reader, Transaction};

/// Records that are read in one go.
const PAGE: usize = 512;
/// What is counted anew after a salvage.
const COUNTED_ANEW: [Counter; 8] = [
    Counter::Queued,
    Counter::QueuedBytes,
    Counter::HeldBytes,
    Counter::SeenBytes,
    Counter::Dead,
    Counter::DeadBytes,
    Counter::Profiles,
    Counter::ProfileBytes,
];

/// The counts of every sync that the store has ever held.
pub type Totals = BTreeMap<SyncName, SyncTotals>;

/// The counts of one sync. At rest, `taken + dead_retried` is the sum of `ended` plus `queued`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncTotals {
    /// Events taken.
    pub taken: u64,
    /// Dead letters queued anew.
    pub dead_retried: u64,
    /// Events that ended, by reason; the reason tells the outcome. Only reasons that occurred.
    pub ended: BTreeMap<Reason, u64>,
    /// Dead letters that left, by cause. Only causes that occurred.
    pub dead_removed: BTreeMap<Removal, u64>,
    /// Events in the queue, ready or on lease.
    pub queued: u64,
    /// Dead letters at hand.
    pub dead: u64,
    /// People and devices that are remembered.
    pub profiles: u64,
    /// Bytes of the store that they take.
    pub profile_bytes: u64,
}

macro_rules! removals {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// Why a dead letter left.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Removal { $($(#[$doc])* $name,)+ }

        impl Removal {
            /// Every cause.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The stable name used in metrics and the store.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

removals! {
    /// Queued anew by command.
    Retried = "retried",
    /// Dropped by command.
    Dropped = "dropped",
    /// Replaced by a backfill of the same event.
    Replaced = "replaced",
    /// Erased with its user.
    Forgotten = "forgotten",
    /// Older than the retention.
    Aged = "aged",
    /// Room was needed for newer ones.
    Crowded = "crowded",
}

/// What is counted for a sync.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counter {
    /// Events taken.
    Taken,
    /// Dead letters queued anew.
    DeadRetried,
    /// Events in the queue.
    Queued,
    /// Their bytes.
    QueuedBytes,
    /// Bytes of the store that their rows take.
    HeldBytes,
    /// Bytes of the store that fingerprints take.
    SeenBytes,
    /// Dead letters.
    Dead,
    /// Bytes of the store that they take.
    DeadBytes,
    /// Profiles of people and devices.
    Profiles,
    /// Bytes of the store that they take.
    ProfileBytes,
    /// Events that ended so.
    Ended(Reason),
    /// Dead letters that left so.
    DeadRemoved(Removal),
}

impl Counter {
    const PLAIN: [Self; 10] = [
        Self::Taken,
        Self::DeadRetried,
        Self::Queued,
        Self::QueuedBytes,
        Self::HeldBytes,
        Self::SeenBytes,
        Self::Dead,
        Self::DeadBytes,
        Self::Profiles,
        Self::ProfileBytes,
    ];
    const COUNT: usize = Self::PLAIN.len() + Reason::ALL.len() + Removal::ALL.len();

    fn all() -> impl Iterator<Item = Self> {
        let reasons = Reason::ALL.iter().map(|reason| Self::Ended(*reason));
        let removals = Removal::ALL.iter().map(|why| Self::DeadRemoved(*why));
        Self::PLAIN.into_iter().chain(reasons).chain(removals)
    }

    /// Where it is among all counters.
    const fn place(self) -> usize {
        match self {
            Self::Taken => 0,
            Self::DeadRetried => 1,
            Self::Queued => 2,
            Self::QueuedBytes => 3,
            Self::HeldBytes => 4,
            Self::SeenBytes => 5,
            Self::Dead => 6,
            Self::DeadBytes => 7,
            Self::Profiles => 8,
            Self::ProfileBytes => 9,
            Self::Ended(reason) => Self::PLAIN.len() + reason as usize,
            Self::DeadRemoved(why) => Self::PLAIN.len() + Reason::ALL.len() + why as usize,
        }
    }

    /// Its name in the store.
    fn name(self) -> String {
        match self {
            Self::Taken => "taken".to_owned(),
            Self::DeadRetried => "dead_retried".to_owned(),
            Self::Queued => "queued".to_owned(),
            Self::QueuedBytes => "queued_bytes".to_owned(),
            Self::HeldBytes => "held_bytes".to_owned(),
            Self::SeenBytes => "seen_bytes".to_owned(),
            Self::Dead => "dead".to_owned(),
            Self::DeadBytes => "dead_bytes".to_owned(),
            Self::Profiles => "profiles".to_owned(),
            Self::ProfileBytes => "profile_bytes".to_owned(),
            Self::Ended(reason) => format!("ended:{reason}"),
            Self::DeadRemoved(why) => format!("dead_removed:{}", why.as_str()),
        }
    }
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
}

impl SyncCounters {
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

    /// Sets a counter to what was counted anew.
    pub(super) fn set(&mut self, counter: Counter, value: u64) {
        self.values[counter.place()] = i64::try_from(value).expect("far below 2^63");
    }

    /// Counts as lost what came, has not ended and is not there; gives its number.
    fn balance(&mut self) -> u64 {
        let came = self.get(Counter::Taken) + self.get(Counter::DeadRetried);
        let ended = Reason::ALL.iter().map(|it| self.get(Counter::Ended(*it)));
        let there = ended.sum::<u64>() + self.get(Counter::Queued);
        let lost = came.saturating_sub(there);
        self.add(Counter::Ended(Reason::DamagedRow), lost);
        // Where the counters themselves were lost, what is there must have come.
        self.add(Counter::Taken, there.saturating_sub(came));
        lost
    }

    /// Events that came and are in the queue no longer.
    pub(super) fn ended(&self) -> u64 {
        let came = self.get(Counter::Taken) + self.get(Counter::DeadRetried);
        came.saturating_sub(self.get(Counter::Queued))
    }

    /// The counts as others see them.
    pub(super) fn totals(&self) -> SyncTotals {
        let mut totals = SyncTotals {
            taken: self.get(Counter::Taken),
            dead_retried: self.get(Counter::DeadRetried),
            queued: self.get(Counter::Queued),
            dead: self.get(Counter::Dead),
            profiles: self.get(Counter::Profiles),
            profile_bytes: self.get(Counter::ProfileBytes),
            ..SyncTotals::default()
        };
        for counter in Counter::all() {
            let value = self.get(counter);
            match counter {
                Counter::Ended(reason) if value > 0 => {
                    totals.ended.insert(reason, value);
                }
                Counter::DeadRemoved(why) if value > 0 => {
                    totals.dead_removed.insert(why, value);
                }
                _ => {}
            }
        }
        totals
    }
}

/// The counters of all syncs.
#[derive(Debug, Default)]
pub(super) struct Counters {
    all: Vec<SyncCounters>,
    indexes: HashMap<SyncName, usize>,
    names: Vec<Arc<str>>,
}

impl Counters {
    pub(super) fn load(reader: &mut dyn Reader) -> EngineResult<Self> {
        let mut counters = Self {
            names: Counter::all().map(|it| it.name().into()).collect(),
            ..Self::default()
        };
        for (id, sync) in reader.syncs()? {
            counters.add(id, sync);
        }
        for stored in reader.counters()? {
            let index = counters.find_by_id(stored.sync);
            let mut names = counters.names.iter();
            if let Some(place) = names.position(|name| *name == stored.counter)
                && let Some(index) = index
            {
                counters.all[index].values[place] = stored.value;
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
        self.all.push(SyncCounters {
            id,
            name,
            values: [0; Counter::COUNT],
            stored: [0; Counter::COUNT],
        });
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

    /// Sums a counter over all syncs.
    pub(super) fn sum(&self, counter: Counter) -> u64 {
        self.all.iter().map(|counters| counters.get(counter)).sum()
    }

    /// Gives what has changed since it was asked before.
    pub(super) fn collect_changes(&mut self, changes: &mut Vec<CounterValue>) {
        for counters in &mut self.all {
            if counters.values == counters.stored {
                continue;
            }
            for (place, name) in self.names.iter().enumerate() {
                let value = counters.values[place];
                if value != counters.stored[place] {
                    changes.push(CounterValue {
                        sync: counters.id,
                        counter: Arc::clone(name),
                        value,
                    });
                }
            }
            counters.stored = counters.values;
        }
    }
}

/// Brings the counters of a salvaged store into line with what is there; gives the number of events lost.
pub(super) fn recount(engine: &mut dyn Engine) -> EngineResult<u64> {
    let mut counters = Counters::load(engine)?;
    for counters in &mut counters.all {
        for counter in COUNTED_ANEW {
            counters.set(counter, 0);
        }
        count_batches(engine, counters)?;
    }
    count_records(engine, &mut counters)?;
    let lost = counters.all.iter_mut().map(SyncCounters::balance).sum();
    let mut transaction = Transaction::default();
    counters.collect_changes(&mut transaction.counters);
    engine.commit(&transaction)?;
    Ok(lost)
}

fn count_batches(engine: &mut dyn Engine, counters: &mut SyncCounters) -> EngineResult<()> {
    let mut after = None;
    loop {
        let page = engine.batches(counters.id, BatchOrder::Oldest, after, PAGE)?;
        for state in &page {
            counters.add(Counter::Queued, state.open().count());
            counters.add(Counter::QueuedBytes, state.bytes);
            counters.add(Counter::HeldBytes, state.held);
            after = Some(state.place());
        }
        if page.len() < PAGE {
            return Ok(());
        }
    }
}

fn count_records(engine: &mut dyn Engine, counters: &mut Counters) -> EngineResult<()> {
    let mut count = |sync, counter, amount| {
        if let Some(index) = counters.find_by_id(sync) {
            counters.at(index).add(counter, amount);
        }
    };
    let mut after = None;
    loop {
        let page = engine.fingerprint_counts(after, false, PAGE)?;
        for batch in &page {
            count(batch.sync, Counter::SeenBytes, batch.bytes);
            after = Some(batch.batch);
        }
        if page.len() < PAGE {
            break;
        }
    }
    let mut after = 0;
    loop {
        let page = engine.dead_headers(after, PAGE)?;
        for letter in &page {
            count(letter.sync, Counter::Dead, 1);
            count(letter.sync, Counter::DeadBytes, letter.bytes);
            after = letter.id;
        }
        if page.len() < PAGE {
            break;
        }
    }
    let mut after = 0;
    loop {
        let page = engine.profiles(after, PAGE)?;
        for (place, _, stored) in &page {
            count(stored.sync, Counter::Profiles, 1);
            count(stored.sync, Counter::ProfileBytes, stored.held_bytes());
            after = *place;
        }
        if page.len() < PAGE {
            return Ok(());
        }
    }
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
