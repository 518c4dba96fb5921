//! When events last came in, by sync: Amplitude pauses a stream whose quota is used up, and silence
//! is all that shows it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::config::SyncName;

const NEVER: i64 = i64::MIN;

/// When events last came in. Forgotten with the process: silence is counted from its start.
#[derive(Debug)]
pub struct Arrivals {
    started: UnixMillis,
    last: BTreeMap<SyncName, AtomicI64>,
}

impl Arrivals {
    /// Begins to watch the syncs that take events.
    pub fn new(syncs: impl IntoIterator<Item = SyncName>, now: UnixMillis) -> Self {
        Self {
            started: now,
            last: syncs
                .into_iter()
                .map(|sync| (sync, AtomicI64::new(NEVER)))
                .collect(),
        }
    }

    /// The syncs that are watched.
    pub fn syncs(&self) -> impl Iterator<Item = &SyncName> {
        self.last.keys()
    }

    /// Notes that events came in for a sync, whatever becomes of them.
    pub fn note(&self, sync: &SyncName, now: UnixMillis) {
        if let Some(last) = self.last.get(sync) {
            last.fetch_max(now.0, Ordering::Relaxed);
        }
    }

    /// When events last came in for a sync; `None` where none has yet.
    pub fn last(&self, sync: &SyncName) -> Option<UnixMillis> {
        let last = self.last.get(sync)?.load(Ordering::Relaxed);
        (last != NEVER).then_some(UnixMillis(last))
    }

    /// How long nothing has come in for a sync; `None` where it takes no events.
    pub fn silence(&self, sync: &SyncName, now: UnixMillis) -> Option<Duration> {
        self.last
            .contains_key(sync)
            .then(|| now.since(self.last(sync).unwrap_or(self.started)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_silence_from_the_last_event_or_from_the_start() {
        let [web, app, old] = ["web", "app", "old"].map(|name| SyncName::new(name).unwrap());
        let at = UnixMillis::from_seconds;
        let arrivals = Arrivals::new([web.clone(), app.clone()], at(100));
        arrivals.note(&web, at(150));
        arrivals.note(&web, at(140));
        arrivals.note(&old, at(150));
        assert_eq!(arrivals.last(&web), Some(at(150)));
        assert_eq!(arrivals.last(&app), None);
        for (sync, seconds) in [(&web, Some(10)), (&app, Some(60)), (&old, None)] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(arrivals.silence(sync, at(160)), expected, "{sync}");
        }
    }
}
