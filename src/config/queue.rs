//! `[queue]`: the store.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

/// `[queue]`: the store.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// Folder of the store. Default `data`.
    pub path: PathBuf,
    /// Most bytes in use, over all syncs. Default 10 GiB.
    pub max_bytes: NonZeroU64,
    /// Free disk below which nothing is taken. Default: the smaller of 1 GiB and a tenth of the volume.
    pub min_free_disk: Option<u64>,
    /// How long a repeat is recognised. Default 48 h.
    pub duplicate_window: Duration,
    /// Most ids remembered for it; the oldest leave first. Default 1,800,000.
    pub duplicate_ids: NonZeroUsize,
    /// How long dead letters are kept. Default 30 days.
    pub dead_letter_retention: Duration,
    /// Most bytes of dead letters, within `max_bytes`. Default 1 GiB.
    pub dead_letter_max_bytes: u64,
}
