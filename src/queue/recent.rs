//! Clicks that were asked for lately, in memory.
//!
//! Most events of a visit carry the same click, so that few of them ask the store; and what one request tells
//! of a click, the next one sees before it is stored.

use std::collections::HashMap;

use crate::clock::UnixMillis;
use crate::profile::clicks::{ClickKey, FirstSeen};

/// Most clicks in memory.
const MOST: usize = 1 << 16;

/// Clicks that were asked for lately.
#[derive(Debug, Default)]
pub(super) struct RecentClicks {
    /// As they are stored.
    stored: HashMap<ClickKey, UnixMillis>,
    /// As they were told, and are about to be stored.
    told: HashMap<ClickKey, UnixMillis>,
}

/// What is known of a click.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KnownClick {
    /// It is stored.
    Stored(UnixMillis),
    /// It is about to be, unless that fails.
    Told(UnixMillis),
}

impl RecentClicks {
    /// Finds a click.
    pub(super) fn find(&self, click: ClickKey) -> Option<KnownClick> {
        let stored = self.stored.get(&click).copied().map(KnownClick::Stored);
        stored.or_else(|| self.told.get(&click).copied().map(KnownClick::Told))
    }

    /// Notes what was told of a click, unless something was told before.
    pub(super) fn tell(&mut self, click: FirstSeen) -> KnownClick {
        let known = self.find(click.click);
        known.unwrap_or_else(|| {
            // Told, and never stored: their pushes failed.
            make_room(&mut self.told);
            self.told.insert(click.click, click.seen);
            KnownClick::Told(click.seen)
        })
    }

    /// Notes how a click is stored.
    pub(super) fn store(&mut self, click: FirstSeen) {
        make_room(&mut self.stored);
        self.told.remove(&click.click);
        self.stored.insert(click.click, click.seen);
    }
}

fn make_room(clicks: &mut HashMap<ClickKey, UnixMillis>) {
    if clicks.len() >= MOST {
        clicks.clear();
    }
}
