//! When events last came in, by sync, and which were missed.
//!
//! Amplitude pauses a stream whose quota is used up, and silence is all that shows it. Events that
//! come in for a disabled sync, and those that went on to Amplitude without being stored here, are
//! what an operator should hear of.

use std::collections::BTreeMap;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::SyncName;

const NEVER: u64 = u64::MAX;

/// When events last came in. Forgotten with the process: silence is counted from when a sync began.
#[derive(Debug, Default)]
pub struct LastSeen {
    syncs: RwLock<BTreeMap<SyncName, Watched>>,
}

/// What is known of one sync. Times are uptimes, in milliseconds where they are atomic.
#[derive(Debug)]
struct Watched {
    began: Duration,
    last: AtomicU64,
    missed: AtomicU64,
    last_missed: AtomicU64,
}

/// Events that were passed on and not stored here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissedEvents {
    /// How many, since the start.
    pub events: u64,
    /// At which uptime the last ones came.
    pub last: Duration,
}

impl LastSeen {
    /// Watches these syncs and no others. What is known of those that were watched before stays.
    pub fn watch(&self, syncs: impl IntoIterator<Item = SyncName>, uptime: Duration) {
        let mut watched = self.syncs.write().expect("no holder of this lock panics");
        let mut before = std::mem::take(&mut *watched);
        watched.extend(syncs.into_iter().map(|sync| {
            let known = before
                .remove(&sync)
                .unwrap_or_else(|| Watched::from(uptime));
            (sync, known)
        }));
    }

    /// Notes that events came in for a sync, whatever becomes of them.
    pub fn note(&self, sync: &SyncName, uptime: Duration) {
        self.of(sync, |watched| {
            note(&watched.last, uptime);
        });
    }

    /// Notes events that were passed on and not stored here.
    pub fn note_missed(&self, sync: &SyncName, events: u64, uptime: Duration) {
        self.of(sync, |watched| {
            watched.missed.fetch_add(events, Ordering::Relaxed);
            note(&watched.last_missed, uptime);
        });
    }

    /// At which uptime events last came in for a sync; `None` where none has yet.
    pub fn last(&self, sync: &SyncName) -> Option<Duration> {
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
    pub fn silence(&self, sync: &SyncName, uptime: Duration) -> Option<Duration> {
        self.of(sync, |watched| {
            uptime.saturating_sub(moment(&watched.last).unwrap_or(watched.began))
        })
    }

    fn of<T>(&self, sync: &SyncName, act: impl FnOnce(&Watched) -> T) -> Option<T> {
        let syncs = self.syncs.read().expect("no holder of this lock panics");
        syncs.get(sync).map(act)
    }
}

impl Watched {
    const fn from(uptime: Duration) -> Self {
        Self {
            began: uptime,
            last: AtomicU64::new(NEVER),
            missed: AtomicU64::new(0),
            last_missed: AtomicU64::new(NEVER),
        }
    }
}

fn moment(stored: &AtomicU64) -> Option<Duration> {
    let millis = stored.load(Ordering::Relaxed);
    (millis != NEVER).then_some(Duration::from_millis(millis))
}

/// Notes the latest moment. Requests on several threads may come out of order.
fn note(stored: &AtomicU64, uptime: Duration) {
    let millis = u64::try_from(uptime.as_millis()).unwrap_or(NEVER - 1);
    // The condition always holds, so the result is no error.
    let _noted = stored.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| {
        let is_later = before == NEVER || before < millis;
        Some(if is_later { millis } else { before })
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_silence_from_the_last_event_or_from_the_beginning() {
        let [web, app, gone] = ["web", "app", "gone"].map(|name| SyncName::new(name).unwrap());
        let at = Duration::from_secs;
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
        let at = Duration::from_secs;
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
        let at = Duration::from_secs;
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
