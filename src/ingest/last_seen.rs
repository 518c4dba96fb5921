//! When events last came in, by sync, and which were missed.
//!
//! Amplitude pauses a stream whose quota is used up, and silence is all that shows it. Events that
//! come in for a disabled sync, and those that went on to Amplitude without being stored here, are
//! what an operator should hear of.

use std::collections::BTreeMap;
use std::sync::RwLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::config::SyncName;

const NEVER: i64 = i64::MIN;

/// When events last came in. Forgotten with the process: silence is counted from when a sync began.
#[derive(Debug, Default)]
pub struct LastSeen {
    syncs: RwLock<BTreeMap<SyncName, Watched>>,
}

/// What is known of one sync.
#[derive(Debug)]
struct Watched {
    began: UnixMillis,
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
    /// Watches these syncs and no others. What is known of those that were watched before stays.
    pub fn watch(&self, syncs: impl IntoIterator<Item = SyncName>, now: UnixMillis) {
        let mut watched = self.syncs.write().expect("no holder of this lock panics");
        let mut before = std::mem::take(&mut *watched);
        watched.extend(syncs.into_iter().map(|sync| {
            let known = before.remove(&sync).unwrap_or_else(|| Watched::from(now));
            (sync, known)
        }));
    }

    /// Notes that events came in for a sync, whatever becomes of them.
    pub fn note(&self, sync: &SyncName, now: UnixMillis) {
        self.of(sync, |watched| {
            watched.last.fetch_max(now.0, Ordering::Relaxed);
        });
    }

    /// Notes events that were passed on and not stored here.
    pub fn note_missed(&self, sync: &SyncName, events: u64, now: UnixMillis) {
        self.of(sync, |watched| {
            watched.missed.fetch_add(events, Ordering::Relaxed);
            watched.last_missed.fetch_max(now.0, Ordering::Relaxed);
        });
    }

    /// When events last came in for a sync; `None` where none has yet.
    pub fn last(&self, sync: &SyncName) -> Option<UnixMillis> {
        self.of(sync, |watched| moment(&watched.last)).flatten()
    }

    /// The events of a sync that were missed; `None` where none was.
    pub fn missed(&self, sync: &SyncName) -> Option<MissedEvents> {
        self.of(sync, |watched| {
            Some(MissedEvents {
                events: watched.missed.load(Ordering::Relaxed),
                last: moment(&watched.last_missed)?,
            })
        })
        .flatten()
    }

    /// How long nothing has come in for a sync; `None` for one that is not watched.
    pub fn silence(&self, sync: &SyncName, now: UnixMillis) -> Option<Duration> {
        self.of(sync, |watched| {
            now.since(moment(&watched.last).unwrap_or(watched.began))
        })
    }

    fn of<T>(&self, sync: &SyncName, act: impl FnOnce(&Watched) -> T) -> Option<T> {
        let syncs = self.syncs.read().expect("no holder of this lock panics");
        syncs.get(sync).map(act)
    }
}

impl Watched {
    const fn from(now: UnixMillis) -> Self {
        Self {
            began: now,
            last: AtomicI64::new(NEVER),
            missed: AtomicU64::new(0),
            last_missed: AtomicI64::new(NEVER),
        }
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
    fn counts_silence_from_the_last_event_or_from_the_beginning() {
        let [web, app, gone] = ["web", "app", "gone"].map(|name| SyncName::new(name).unwrap());
        let at = UnixMillis::from_seconds;
        let last_seen = LastSeen::default();
        last_seen.watch([web.clone(), app.clone()], at(100));
        for (sync, seconds) in [(&web, 150), (&web, 140), (&gone, 150)] {
            last_seen.note(sync, at(seconds));
        }
        for (sync, last, silence) in [
            (&web, Some(150), Some(10)),
            (&app, None, Some(60)),
            (&gone, None, None),
        ] {
            assert_eq!(last_seen.last(sync), last.map(at), "{sync}");
            let silence = silence.map(Duration::from_secs);
            assert_eq!(last_seen.silence(sync, at(160)), silence, "{sync}");
        }
    }

    #[test]
    fn keeps_what_is_known_when_the_syncs_change() {
        let [web, app, new] = ["web", "app", "new"].map(|name| SyncName::new(name).unwrap());
        let at = UnixMillis::from_seconds;
        let last_seen = LastSeen::default();
        last_seen.watch([web.clone(), app.clone()], at(100));
        last_seen.note(&web, at(150));
        last_seen.watch([web.clone(), new.clone()], at(200));
        let silences = [&web, &app, &new].map(|sync| last_seen.silence(sync, at(210)));
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(silences, [seconds(60), None, seconds(10)]);
    }

    #[test]
    fn counts_what_was_missed() {
        let web = SyncName::new("web").unwrap();
        let at = UnixMillis::from_seconds;
        let last_seen = LastSeen::default();
        last_seen.watch([web.clone()], at(100));
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
