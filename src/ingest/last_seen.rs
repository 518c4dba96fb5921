//! When events last came in, by sync, and which were missed.
//!
//! Amplitude pauses a stream whose quota is used up, and silence is all that shows it. Events that
//! come in for a disabled sync, and those that went on to Amplitude without being stored here, are
//! what an operator should hear of.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::config::SyncName;

const NEVER: i64 = i64::MIN;

/// When events last came in. Forgotten with the process: silence is counted from its start.
#[derive(Debug)]
pub struct LastSeen {
    started: UnixMillis,
    syncs: BTreeMap<SyncName, Watched>,
}

/// What is known of one sync.
#[derive(Debug)]
struct Watched {
    enabled: bool,
    last: AtomicI64,
    missed: AtomicU64,
    last_missed: AtomicI64,
}

/// Events that were passed on and not stored here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissedEvents {
    /// How many, since the start.
    pub events: u64,
    /// When the last ones came.
    pub last: UnixMillis,
}

impl LastSeen {
    /// Begins to watch the syncs, each with whether it takes events.
    pub fn new(syncs: impl IntoIterator<Item = (SyncName, bool)>, now: UnixMillis) -> Self {
        let watched = |enabled| Watched {
            enabled,
            last: AtomicI64::new(NEVER),
            missed: AtomicU64::new(0),
            last_missed: AtomicI64::new(NEVER),
        };
        Self {
            started: now,
            syncs: syncs
                .into_iter()
                .map(|(sync, enabled)| (sync, watched(enabled)))
                .collect(),
        }
    }

    /// The syncs that take events.
    pub fn taking(&self) -> impl Iterator<Item = &SyncName> {
        self.syncs
            .iter()
            .filter(|(_, watched)| watched.enabled)
            .map(|(sync, _)| sync)
    }

    /// Notes that events came in for a sync, whatever becomes of them.
    pub fn note(&self, sync: &SyncName, now: UnixMillis) {
        if let Some(watched) = self.syncs.get(sync) {
            watched.last.fetch_max(now.0, Ordering::Relaxed);
        }
    }

    /// Notes events that were passed on and not stored here.
    pub fn note_missed(&self, sync: &SyncName, events: u64, now: UnixMillis) {
        if let Some(watched) = self.syncs.get(sync) {
            watched.missed.fetch_add(events, Ordering::Relaxed);
            watched.last_missed.fetch_max(now.0, Ordering::Relaxed);
        }
    }

    /// When events last came in for a sync; `None` where none has yet.
    pub fn last(&self, sync: &SyncName) -> Option<UnixMillis> {
        moment(&self.syncs.get(sync)?.last)
    }

    /// The events of a sync that were missed; `None` where none was.
    pub fn missed(&self, sync: &SyncName) -> Option<MissedEvents> {
        let watched = self.syncs.get(sync)?;
        Some(MissedEvents {
            events: watched.missed.load(Ordering::Relaxed),
            last: moment(&watched.last_missed)?,
        })
    }

    /// How long nothing has come in for a sync; `None` where it takes no events.
    pub fn silence(&self, sync: &SyncName, now: UnixMillis) -> Option<Duration> {
        self.syncs
            .get(sync)
            .filter(|watched| watched.enabled)
            .map(|watched| now.since(moment(&watched.last).unwrap_or(self.started)))
    }
}

fn moment(stored: &AtomicI64) -> Option<UnixMillis> {
    let millis = stored.load(Ordering::Relaxed);
    (millis != NEVER).then_some(UnixMillis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_silence_from_the_last_event_or_from_the_start() {
        let [web, app, off, gone] =
            ["web", "app", "off", "gone"].map(|name| SyncName::new(name).unwrap());
        let at = UnixMillis::from_seconds;
        let syncs = [(&web, true), (&app, true), (&off, false)];
        let syncs = syncs.map(|(sync, enabled)| (sync.clone(), enabled));
        let last_seen = LastSeen::new(syncs, at(100));
        for (sync, seconds) in [(&web, 150), (&web, 140), (&off, 150), (&gone, 150)] {
            last_seen.note(sync, at(seconds));
        }
        for (sync, last, silence) in [
            (&web, Some(150), Some(10)),
            (&app, None, Some(60)),
            (&off, Some(150), None),
            (&gone, None, None),
        ] {
            assert_eq!(last_seen.last(sync), last.map(at), "{sync}");
            let silence = silence.map(Duration::from_secs);
            assert_eq!(last_seen.silence(sync, at(160)), silence, "{sync}");
        }
        assert!(last_seen.taking().eq([&app, &web]));
    }

    #[test]
    fn counts_what_was_missed() {
        let web = SyncName::new("web").unwrap();
        let at = UnixMillis::from_seconds;
        let last_seen = LastSeen::new([(web.clone(), true)], at(100));
        assert_eq!(last_seen.missed(&web), None);
        last_seen.note_missed(&web, 3, at(150));
        last_seen.note_missed(&web, 1, at(140));
        let expected = MissedEvents {
            events: 4,
            last: at(150),
        };
        assert_eq!(last_seen.missed(&web), Some(expected));
    }
}
