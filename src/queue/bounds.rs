//! How much the store may hold of what is remembered of people.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::SyncName;

/// How much is remembered of the people of one sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// How long a profile is kept that is not touched.
    pub max_age: Duration,
    /// Most bytes of the store.
    pub max_bytes: u64,
}

/// The bounds of every sync that remembers; nothing is kept of any other.
pub type AllBounds = BTreeMap<SyncName, Bounds>;
