//! Quota: free disk, and each sync's part of `max_bytes`.
//!
//! Fingerprints, dead letters and requests come out of `max_bytes` first. The configured syncs share the rest
//! evenly, so that one pixel's outage cannot fill the others' parts. A sync takes events while its batches are
//! below its part.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::config::SyncName;

use super::QueueSettings;
use super::damage::DamageLog;
use super::engine::{Disk, Engine, EngineResult};
use super::totals::{Counter, Counters};

/// How long the store's size is not read again, and how many bytes may come or go meanwhile.
const FRESH: Duration = Duration::from_secs(1);
const FRESH_BYTES: u64 = 1 << 20;
/// The counters of bytes.
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
    /// Damage is being mended, which takes long.
    Mending,
    /// It does this, which takes a while.
    Busy(&'static str),
    /// The queue was closed.
    Closed,
}

/// Sizes and ages, for metrics.
#[derive(Clone, Debug, Default)]
pub struct StoreStats {
    /// Bytes in use.
    pub used_bytes: u64,
    /// How long the store can take events in, at the rate of the last minutes, if none is delivered; the shortest
    /// of all syncs. `None` if nothing comes in.
    pub headroom: Option<Duration>,
    /// How far back a repeat is recognised at the present rate.
    pub duplicate_window: Duration,
    /// By sync: when the oldest queued event was taken, leased or not. A date that lay ahead when this was looked up
    /// counts as that moment.
    pub oldest: BTreeMap<SyncName, UnixMillis>,
    /// Damage that was met.
    pub damage: DamageLog,
}

/// What may still be stored.
#[derive(Debug)]
pub(super) struct Quota {
    pub(super) settings: Arc<QueueSettings>,
    size: Option<StoreSize>,
    /// Bytes in use.
    pub(super) used: u64,
    share: u64,
    disk: Option<Disk>,
    rates: BTreeMap<SyncName, ByteRate>,
}

impl Quota {
    pub(super) const fn new(settings: Arc<QueueSettings>) -> Self {
        Self {
            settings,
            size: None,
            used: 0,
            share: u64::MAX,
            disk: None,
            rates: BTreeMap::new(),
        }
    }

    /// Looks at the disk and at the store's size.
    pub(super) fn measure(
        &mut self,
        engine: &mut dyn Engine,
        disk: Option<Disk>,
        totals: &Counters,
        uptime: Duration,
    ) -> EngineResult<()> {
        let counted = COUNTED.iter().map(|counter| totals.sum(*counter)).sum();
        let size = match self.size.take() {
            Some(size) if size.is_fresh(counted, uptime) => size,
            _ => StoreSize {
                bytes: engine.used_bytes()?,
                counted,
                read_at: uptime,
            },
        };
        self.used = (size.bytes + counted).saturating_sub(size.counted);
        self.size = Some(size);
        let held: u64 = self.held(totals).map(|(_, held)| held).sum();
        let others = self.used.saturating_sub(held);
        let syncs = self.settings.syncs.len().max(1) as u64;
        self.share = self.settings.config.max_bytes.get().saturating_sub(others) / syncs;
        self.disk = disk;
        Ok(())
    }

    /// Whether the disk has too little free room.
    pub(super) fn is_disk_low(&self) -> bool {
        // A disk whose room is unknown is written to until that fails.
        self.disk.is_some_and(|disk| disk.free < self.floor(disk))
    }

    /// The bytes of the disk that must be free.
    pub(super) fn min_free(&self) -> u64 {
        self.disk.map_or(0, |disk| self.floor(disk))
    }

    /// The least that must be free.
    fn floor(&self, disk: Disk) -> u64 {
        let default = (disk.size / 10).min(1 << 30);
        self.settings.config.min_free_disk.unwrap_or(default)
    }

    /// Whether a sync whose batches take `held` bytes has used up its part.
    pub(super) const fn is_full(&self, held: u64) -> bool {
        held >= self.share
    }

    /// The syncs that have used up their part.
    pub(super) fn full(&self, totals: &Counters) -> Vec<SyncName> {
        self.held(totals)
            .filter(|(_, held)| self.is_full(*held))
            .map(|(sync, _)| sync.clone())
            .collect()
    }

    /// Logs once what stands in the way of further events, and once when that is over. It is over when there is
    /// a tenth more room than needed, or a queue at its limit would log with every event.
    pub(super) fn warn(&self, totals: &Counters, warned: &mut Warned) {
        if let Some(disk) = self.disk {
            let (free, floor) = (disk.free, self.floor(disk));
            let low = free < floor || (warned.disk_low && free < floor.saturating_add(floor / 10));
            match (std::mem::replace(&mut warned.disk_low, low), low) {
                (false, true) => tracing::warn!(
                    folder = %self.settings.config.path.display(),
                    free_bytes = free,
                    min_free_disk_bytes = floor,
                    "the disk is low: no event is taken until more than queue.min_free_disk is free; \
                     what is queued is delivered. Free room on the volume, or give it more"
                ),
                (true, false) => tracing::info!(
                    free_bytes = free,
                    "the disk is no longer low: events are taken again"
                ),
                _ => {}
            }
        }
        for (sync, held) in self.held(totals) {
            let was_full = warned.full.contains(sync);
            let full = self.is_full(held) || (was_full && held >= self.share - self.share / 10);
            if full && !was_full {
                warned.full.insert(sync.clone());
                tracing::warn!(
                    %sync,
                    held_bytes = held,
                    share_bytes = self.share,
                    max_bytes = self.settings.config.max_bytes.get(),
                    "the queue is full: this sync has used up its part of queue.max_bytes, and its \
                     events are refused until some are delivered. See why it does not deliver, or raise \
                     queue.max_bytes"
                );
            } else if was_full && !full {
                warned.full.remove(sync);
                tracing::info!(
                    %sync,
                    held_bytes = held,
                    share_bytes = self.share,
                    "the queue is no longer full: events of this sync are taken again"
                );
            }
        }
    }

    /// Notes bytes that a sync took in.
    pub(super) fn taken(&mut self, sync: &SyncName, bytes: u64) {
        let rate = self.rates.entry(sync.clone()).or_default();
        rate.since_tick += bytes;
    }

    /// Brings the rates up to date.
    pub(super) fn tick(&mut self, passed: Duration) {
        for rate in self.rates.values_mut() {
            rate.tick(passed.as_secs_f64());
        }
    }

    /// See [`StoreStats::headroom`].
    pub(super) fn headroom(&self, totals: &Counters) -> Option<Duration> {
        self.held(totals)
            .filter_map(|(sync, held)| {
                let rate = self.rates.get(sync)?.rate;
                #[expect(clippy::cast_precision_loss, reason = "an estimate")]
                let seconds = self.share.saturating_sub(held) as f64 / rate;
                Duration::try_from_secs_f64(seconds).ok()
            })
            .min()
    }

    fn held<'a>(&'a self, totals: &'a Counters) -> impl Iterator<Item = (&'a SyncName, u64)> {
        self.settings.syncs.iter().map(|sync| {
            let counters = totals.find(sync).map(|index| &totals.all()[index]);
            let held = counters.map_or(0, |counters| counters.get(Counter::HeldBytes));
            (sync, held)
        })
    }
}

/// Shortages that were logged and have not ended.
#[derive(Debug, Default)]
pub(super) struct Warned {
    disk_low: bool,
    full: BTreeSet<SyncName>,
}

/// The store's size when it was last read. Reading costs more than a small transaction, so the counters tell the
/// small changes since.
#[derive(Clone, Copy, Debug)]
struct StoreSize {
    bytes: u64,
    /// How much of that the counters told.
    counted: u64,
    /// At which uptime.
    read_at: Duration,
}

impl StoreSize {
    fn is_fresh(&self, counted: u64, uptime: Duration) -> bool {
        let age = uptime.saturating_sub(self.read_at);
        counted.abs_diff(self.counted) < FRESH_BYTES && age < FRESH
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_again_once_it_may_have_changed() {
        let at = Duration::from_secs;
        let size = StoreSize {
            bytes: 4096,
            counted: 10,
            read_at: at(100),
        };
        assert!(size.is_fresh(10, at(100)));
        assert!(!size.is_fresh(10, at(102)));
        assert!(!size.is_fresh(10 + FRESH_BYTES, at(100)));
    }

    #[test]
    fn the_rate_follows_what_comes_in() {
        let mut rate = ByteRate {
            since_tick: 1000,
            ..ByteRate::default()
        };
        rate.tick(10.0);
        assert!((rate.rate - 100.0).abs() < 1e-9);
        rate.tick(10.0);
        assert!((rate.rate - 50.0).abs() < 1e-9);
        for _ in 0..1000 {
            rate.since_tick = 70;
            rate.tick(1.0);
        }
        assert!((rate.rate - 70.0).abs() < 2.0);
    }
}
