//! How many copies of files are kept beside the store.

use std::time::Duration;

use crate::clock::UnixMillis;

/// What the copies of files that are kept beside the store may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct CopyBounds {
    pub(super) now: UnixMillis,
    /// `None`: none is too old.
    pub(super) retention: Option<Duration>,
    pub(super) max_bytes: u64,
    /// While less is free on the disk, copies go.
    pub(super) min_free: u64,
}

impl CopyBounds {
    /// None is kept.
    pub(super) const NOTHING: Self = Self {
        now: UnixMillis(0),
        retention: Some(Duration::ZERO),
        max_bytes: 0,
        min_free: 0,
    };

    pub(super) fn has_aged(&self, at: UnixMillis) -> bool {
        self.retention.is_some_and(|retention| {
            // What an unset clock has dated may be of today.
            let is_dated = at >= UnixMillis::EARLIEST;
            retention.is_zero() || is_dated && self.now.since(at) >= retention
        })
    }
}
