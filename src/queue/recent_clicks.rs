//! The clicks of recent requests, in memory.

use std::collections::HashMap;

use crate::clock::UnixMillis;
use crate::profile::clicks::{ClickKey, FirstSeen};

/// Most clicks in memory.
const MAX_RECENT: usize = 1 << 16;

/// The clicks of recent requests. Most events of a visit carry the same click, so few need the store; and two
/// requests agree on a click before it is stored.
#[derive(Debug, Default)]
pub(super) struct RecentClicks {
    stored: HashMap<ClickKey, UnixMillis>,
    /// Those that are about to be stored, as requests saw them.
    pending: HashMap<ClickKey, UnixMillis>,
}

/// What is known of a click.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KnownClick {
    /// It is stored.
    Stored(UnixMillis),
    /// It is about to be, unless that fails.
    Pending(UnixMillis),
}

impl RecentClicks {
    pub(super) fn find(&self, click: ClickKey) -> Option<KnownClick> {
        let stored = self.stored.get(&click).copied().map(KnownClick::Stored);
        stored.or_else(|| self.pending.get(&click).copied().map(KnownClick::Pending))
    }

    /// Notes a click that is about to be stored, unless it is known.
    pub(super) fn note(&mut self, click: FirstSeen) -> KnownClick {
        let known = self.find(click.click);
        known.unwrap_or_else(|| {
            // A failed push leaves its clicks here.
            make_room(&mut self.pending);
            self.pending.insert(click.click, click.seen);
            KnownClick::Pending(click.seen)
        })
    }

    pub(super) fn store(&mut self, click: FirstSeen) {
        make_room(&mut self.stored);
        self.pending.remove(&click.click);
        self.stored.insert(click.click, click.seen);
    }
}

fn make_room(clicks: &mut HashMap<ClickKey, UnixMillis>) {
    if clicks.len() >= MAX_RECENT {
        clicks.clear();
    }
}
