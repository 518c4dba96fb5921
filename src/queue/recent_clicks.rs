//! Clicks that were asked for lately.

use std::collections::HashMap;

use crate::clock::UnixMillis;
use crate::profile::clicks::{ClickKey, FirstSeen};

/// Most clicks in memory.
const MAX_RECENT: usize = 1 << 16;

/// Clicks that were asked for lately, in memory: most events of a visit carry the same click, so that few of
/// them ask the store; and what one request sees of a click, the next one sees before it is stored.
#[derive(Debug, Default)]
pub(super) struct RecentClicks {
    stored: HashMap<ClickKey, UnixMillis>,
    /// As requests saw them, and are about to be stored.
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
            // Those that were never stored: their pushes failed.
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
