//! Room: free disk, and each sync's part of `max_bytes`.
//!
//! What the fingerprints, dead letters and requests take is taken from all; the rest of `max_bytes`
//! is shared out evenly among the configured syncs, so that one pixel's outage cannot fill the
//! others' part. A sync takes events while its rows are below its part.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;

use crate::clock::UnixMillis;
use crate::config::SyncName;
use crate::config::queue::QueueConfig;

use super::rows::unsigned;
use super::totals::{Counter, Counters};

/// Filler to which nothing was added for so long was left by someone who gave up.
const ABANDONED: Duration = Duration::from_secs(60);
/// How long what was read of the file's size is gone by, and how many bytes may come or go meanwhile.
const FRESH: Duration = Duration::from_secs(1);
const FRESH_BYTES: u64 = 1 << 20;
/// What is counted of what takes room.
const COUNTED: [Counter; 4] = [
    Counter::HeldBytes,
    Counter::SeenBytes,
    Counter::DeadBytes,
    Counter::ProfileBytes,
];

/// Whether the store can store now, and why not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// What keeps it from storing anything.
    pub trouble: Option<CapacityProblem>,
    /// Syncs that have used up their part of `max_bytes`.
    pub full: Vec<SyncName>,
}

/// What keeps the store from storing anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CapacityProblem {
    /// Less free disk than `min_free_disk`.
    DiskLow,
    /// The last write failed, for this reason; it is tried again.
    Failing(String),
    /// The queue was closed.
    Closed,
}

/// Sizes and ages, for metrics.
#[derive(Clone, Debug, Default)]
pub struct StoreStats {
    /// Bytes in use.
    pub used_bytes: u64,
    /// How long the store can take events in, at the rate of the last minutes, if none is delivered;
    /// of all syncs, the shortest. `None` where nothing comes in.
    pub headroom: Option<Duration>,
    /// How far back a repeat is recognised at the present rate.
    pub duplicate_window: Duration,
    /// By sync: when the oldest queued event was taken, leased or not.
    pub oldest: BTreeMap<SyncName, UnixMillis>,
}

/// What may still be stored.
#[derive(Debug)]
pub(super) struct Quota {
    folder: PathBuf,
    max_bytes: u64,
    min_free: Option<u64>,
    syncs: Vec<SyncName>,
    size: Option<FileSize>,
    used: u64,
    share: u64,
    disk: Option<Disk>,
    /// Bytes in the file that are free, and hold zeros for a while; and since when.
    filler: u64,
    filled_at: UnixMillis,
    intakes: BTreeMap<SyncName, ByteRate>,
}

impl Quota {
    /// Knows of the filler that an earlier process left, and nothing else yet.
    pub(super) fn open(
        config: &QueueConfig,
        syncs: Vec<SyncName>,
        connection: &Connection,
    ) -> rusqlite::Result<Self> {
        let select = "SELECT coalesce(sum(length(zeros)), 0) FROM filler";
        let filler = connection.query_row(select, [], |row| row.get(0).map(unsigned))?;
        Ok(Self {
            folder: config.path.clone(),
            max_bytes: config.max_bytes.get(),
            min_free: config.min_free_disk,
            syncs,
            size: None,
            used: 0,
            share: u64::MAX,
            disk: None,
            filler,
            filled_at: UnixMillis(0),
            intakes: BTreeMap::new(),
        })
    }

    /// Looks at the disk and at the file.
    pub(super) fn measure(
        &mut self,
        connection: &Connection,
        ledger: &Counters,
        now: UnixMillis,
    ) -> rusqlite::Result<()> {
        let counted = COUNTED.iter().map(|counter| ledger.sum(*counter)).sum();
        let size = match self.size.take() {
            Some(size) if size.is_fresh(counted, now) => size,
            _ => FileSize::read(connection, counted, now)?,
        };
        self.used = (size.bytes + counted).saturating_sub(size.counted + self.filler);
        self.size = Some(size);
        let held: u64 = self.held(ledger).map(|(_, held)| held).sum();
        let others = self.used.saturating_sub(held);
        let syncs = self.syncs.len().max(1) as u64;
        self.share = self.max_bytes.saturating_sub(others) / syncs;
        // A disk that cannot be asked is written to until it says no.
        let disk = rustix::fs::statvfs(&self.folder).ok();
        self.disk = disk.map(|disk| Disk {
            free: disk.f_bavail * disk.f_frsize,
            floor: self
                .min_free
                .unwrap_or_else(|| (disk.f_blocks * disk.f_frsize / 10).min(1 << 30)),
        });
        Ok(())
    }

    /// Notes bytes of filler.
    pub(super) const fn filled(&mut self, bytes: u64, now: UnixMillis) {
        self.filler += bytes;
        self.filled_at = now;
        self.size = None;
    }

    /// Notes bytes that are filler no longer.
    pub(super) const fn emptied(&mut self, bytes: u64) {
        self.filler = self.filler.saturating_sub(bytes);
        self.size = None;
    }

    /// Whether there is filler that was left by someone who gave up.
    pub(super) fn has_abandoned_filler(&self, now: UnixMillis) -> bool {
        self.filler > 0 && now.since(self.filled_at) > ABANDONED
    }

    /// Whether less disk is free than there must be.
    pub(super) fn is_disk_low(&self) -> bool {
        self.disk.is_some_and(|disk| disk.free < disk.floor)
    }

    /// Whether a sync whose rows take so many bytes has used up its part.
    pub(super) const fn is_full(&self, held: u64) -> bool {
        held >= self.share
    }

    /// The syncs that have used up their part.
    pub(super) fn full(&self, ledger: &Counters) -> Vec<SyncName> {
        self.held(ledger)
            .filter(|(_, held)| self.is_full(*held))
            .map(|(sync, _)| sync.clone())
            .collect()
    }

    /// Says what stands in the way of further events, and when that is over: once each. It is over only when
    /// there is a tenth more room than needed, or a queue at its limit would say so with every event.
    pub(super) fn warn(&self, ledger: &Counters, warned: &mut Warned) {
        if let Some(Disk { free, floor }) = self.disk {
            let low = free < floor || (warned.disk_low && free < floor.saturating_add(floor / 10));
            match (std::mem::replace(&mut warned.disk_low, low), low) {
                (false, true) => tracing::warn!(
                    folder = %self.folder.display(),
                    free_bytes = free,
                    min_free_disk_bytes = floor,
                    "the disk is low: no event is taken until more than queue.min_free_disk is free; \
                     what is queued is delivered. Free room on the volume, or give it more"
                ),
                (true, false) => tracing::info!(
                    free_bytes = free,
                    "the disk is low no longer: events are taken again"
                ),
                _ => {}
            }
        }
        for (sync, held) in self.held(ledger) {
            let was_full = warned.full.contains(sync);
            let full = self.is_full(held) || (was_full && held >= self.share - self.share / 10);
            if full && !was_full {
                warned.full.insert(sync.clone());
                tracing::warn!(
                    %sync,
                    held_bytes = held,
                    share_bytes = self.share,
                    max_bytes = self.max_bytes,
                    "the queue is full: this sync has used up its part of queue.max_bytes, and its \
                     events are refused until some were delivered. See why it does not deliver, or raise \
                     queue.max_bytes"
                );
            } else if was_full && !full {
                warned.full.remove(sync);
                tracing::info!(
                    %sync,
                    held_bytes = held,
                    share_bytes = self.share,
                    "the queue is full no longer: events of this sync are taken again"
                );
            }
        }
    }

    /// Bytes in use.
    pub(super) const fn used_bytes(&self) -> u64 {
        self.used
    }

    /// Notes bytes that a sync took in.
    pub(super) fn taken(&mut self, sync: &SyncName, bytes: u64) {
        if !self.intakes.contains_key(sync) {
            self.intakes.insert(sync.clone(), ByteRate::default());
        }
        if let Some(intake) = self.intakes.get_mut(sync) {
            intake.since_tick += bytes;
        }
    }

    /// Brings the rates up to date.
    pub(super) fn tick(&mut self, passed: Duration) {
        for intake in self.intakes.values_mut() {
            intake.tick(passed.as_secs_f64());
        }
    }

    /// See [`StoreStats::headroom`].
    pub(super) fn headroom(&self, ledger: &Counters) -> Option<Duration> {
        self.held(ledger)
            .filter_map(|(sync, held)| {
                let rate = self.intakes.get(sync)?.rate;
                #[expect(clippy::cast_precision_loss, reason = "an estimate")]
                let seconds = self.share.saturating_sub(held) as f64 / rate;
                Duration::try_from_secs_f64(seconds).ok()
            })
            .min()
    }

    fn held<'a>(&'a self, ledger: &'a Counters) -> impl Iterator<Item = (&'a SyncName, u64)> {
        self.syncs.iter().map(|sync| {
            let account = ledger.find(sync).map(|place| &ledger.accounts()[place]);
            (
                sync,
                account.map_or(0, |account| account.get(Counter::HeldBytes)),
            )
        })
    }
}

/// The volume that the store is on.
#[derive(Clone, Copy, Debug)]
struct Disk {
    free: u64,
    /// Less must not be free.
    floor: u64,
}

/// What the log has said of room, and not yet that it is over.
#[derive(Debug, Default)]
pub(super) struct Warned {
    disk_low: bool,
    full: BTreeSet<SyncName>,
}

/// What was read of the file's size. To read it takes statements that are parsed each time, so that small
/// changes are followed by what is counted.
#[derive(Clone, Copy, Debug)]
struct FileSize {
    /// Bytes of pages in use.
    bytes: u64,
    /// Of these, what was counted.
    counted: u64,
    read_at: UnixMillis,
}

impl FileSize {
    fn read(connection: &Connection, counted: u64, now: UnixMillis) -> rusqlite::Result<Self> {
        let (_, used) = free_and_used_pages(connection)?;
        Ok(Self {
            bytes: used * page_size(connection)?,
            counted,
            read_at: now,
        })
    }

    fn is_fresh(&self, counted: u64, now: UnixMillis) -> bool {
        // A clock that was set back does not tell how old it is.
        let age = (self.read_at <= now).then(|| now.since(self.read_at));
        counted.abs_diff(self.counted) < FRESH_BYTES && age.is_some_and(|age| age < FRESH)
    }
}

/// How fast a sync takes bytes in, over the last five minutes or so.
#[derive(Debug, Default)]
struct ByteRate {
    since_tick: u64,
    /// Bytes per second.
    rate: f64,
    /// Seconds that the rate covers.
    covered: f64,
}

impl ByteRate {
    const MEMORY_SECONDS: f64 = 300.0;

    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn tick(&mut self, seconds: f64) {
        if seconds <= 0.0 {
            return;
        }
        self.covered = (self.covered + seconds).min(Self::MEMORY_SECONDS);
        let weight = (seconds / self.covered).min(1.0);
        self.rate += (self.since_tick as f64 / seconds - self.rate) * weight;
        self.since_tick = 0;
    }
}

/// Pages that hold nothing, and pages that hold something.
pub(super) fn free_and_used_pages(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let free = pages(connection, "PRAGMA freelist_count")?;
    let all = pages(connection, "PRAGMA page_count")?;
    Ok((free, all.saturating_sub(free)))
}

/// Bytes of a page.
pub(super) fn page_size(connection: &Connection) -> rusqlite::Result<u64> {
    pages(connection, "PRAGMA page_size")
}

fn pages(connection: &Connection, pragma: &str) -> rusqlite::Result<u64> {
    connection
        .prepare_cached(pragma)?
        .query_row([], |row| row.get(0).map(unsigned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_again_once_it_may_have_changed() {
        let at = UnixMillis::from_seconds;
        let size = FileSize {
            bytes: 4096,
            counted: 10,
            read_at: at(100),
        };
        assert!(size.is_fresh(10, at(100)));
        assert!(!size.is_fresh(10, at(102)));
        assert!(!size.is_fresh(10 + FRESH_BYTES, at(100)));
        // The clock was set back.
        assert!(!size.is_fresh(10, at(99)));
    }

    #[test]
    fn the_rate_follows_what_comes_in() {
        let mut intake = ByteRate {
            since_tick: 1000,
            ..ByteRate::default()
        };
        intake.tick(10.0);
        assert!((intake.rate - 100.0).abs() < 1e-9);
        intake.tick(10.0);
        assert!((intake.rate - 50.0).abs() < 1e-9);
        for _ in 0..1000 {
            intake.since_tick = 70;
            intake.tick(1.0);
        }
        assert!((intake.rate - 70.0).abs() < 2.0);
    }
}
