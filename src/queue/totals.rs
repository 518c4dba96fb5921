//! Counts that survive a restart, because they change in the transaction that moves the event.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, params};

use crate::config::SyncName;
use crate::outcome::Reason;

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

    /// Its place among all counters.
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
    written: [i64; Counter::COUNT],
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
    accounts: Vec<SyncCounters>,
    places: HashMap<SyncName, usize>,
    names: Vec<String>,
}

impl Counters {
    /// Reads the counters.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut ledger = Self {
            names: Counter::all().map(Counter::name).collect(),
            ..Self::default()
        };
        let mut syncs = connection.prepare("SELECT id, name FROM sync ORDER BY id")?;
        let mut syncs = syncs.query([])?;
        while let Some(sync) = syncs.next()? {
            // A name that breaks the rule can only come from elsewhere; it can hold nothing of ours.
            let Some(name) = SyncName::new(sync.get_ref(1)?.as_str()?) else {
                continue;
            };
            ledger.open_account(sync.get(0)?, name);
        }
        let mut totals = connection.prepare("SELECT counter, value FROM total WHERE sync = ?1")?;
        for account in &mut ledger.accounts {
            let mut totals = totals.query([account.id])?;
            while let Some(total) = totals.next()? {
                let name = total.get_ref(0)?.as_str()?;
                if let Some(place) = ledger.names.iter().position(|known| known == name) {
                    account.values[place] = total.get(1)?;
                }
            }
            account.written = account.values;
        }
        Ok(ledger)
    }

    /// Finds a sync's account, or makes one.
    pub(super) fn account(
        &mut self,
        connection: &Connection,
        name: &SyncName,
    ) -> rusqlite::Result<usize> {
        if let Some(place) = self.places.get(name) {
            return Ok(*place);
        }
        connection.execute("INSERT INTO sync (name) VALUES (?1)", [name.as_str()])?;
        Ok(self.open_account(connection.last_insert_rowid(), name.clone()))
    }

    /// Finds a sync's account.
    pub(super) fn find(&self, name: &SyncName) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// Finds the account of a sync by its number in the store.
    pub(super) fn find_by_id(&self, id: i64) -> Option<usize> {
        self.accounts.iter().position(|account| account.id == id)
    }

    /// Every account.
    pub(super) fn accounts(&self) -> &[SyncCounters] {
        &self.accounts
    }

    /// An account.
    pub(super) fn at(&mut self, place: usize) -> &mut SyncCounters {
        &mut self.accounts[place]
    }

    /// Sums a counter over all syncs.
    pub(super) fn sum(&self, counter: Counter) -> u64 {
        self.accounts
            .iter()
            .map(|account| account.get(counter))
            .sum()
    }

    /// Writes what has changed into the transaction under way.
    pub(super) fn write(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "INSERT INTO total (sync, counter, value) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET value = excluded.value",
        )?;
        for account in &mut self.accounts {
            for (place, name) in self.names.iter().enumerate() {
                let value = account.values[place];
                if value != account.written[place] {
                    statement.execute(params![account.id, name, value])?;
                }
            }
            account.written = account.values;
        }
        Ok(())
    }

    fn open_account(&mut self, id: i64, name: SyncName) -> usize {
        self.places.insert(name.clone(), self.accounts.len());
        self.accounts.push(SyncCounters {
            id,
            name,
            values: [0; Counter::COUNT],
            written: [0; Counter::COUNT],
        });
        self.accounts.len() - 1
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
