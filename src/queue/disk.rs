//! Room: free disk, and the parts of `max_bytes`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::config::SyncName;

/// Whether the store can store now, and why not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// What keeps it from storing anything.
    pub trouble: Option<Trouble>,
    /// Syncs that have used up their part of `max_bytes`.
    pub full: Vec<SyncName>,
}

/// What keeps the store from storing anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Less free disk than `min_free_disk`.
    DiskLow,
    /// The last write failed, for this reason; it is tried again.
    Failing(String),
    /// The queue was closed.
    Closed,
}

/// Sizes and ages, for metrics.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Bytes in use.
    pub used_bytes: u64,
    /// How long the store can take events in, at the rate of the last minutes, if none is delivered;
    /// `None` where nothing comes in.
    pub headroom: Option<Duration>,
    /// How far back a repeat is recognised at the present rate.
    pub duplicate_window: Duration,
    /// By sync: when the oldest queued event was taken, leased or not.
    pub oldest: BTreeMap<SyncName, UnixMillis>,
}
