//! Says when no events come in, and when they come again: one log line each.
//!
//! Amplitude pauses every stream when the volume of the contract is used up, and tells nobody here.
//! `/health` and `/metrics` show the same by [`is_silent`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::SyncName;
use crate::ingest::last_seen::LastSeen;

/// Longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Watches for silence.
#[derive(Debug)]
pub struct SilenceWatch {
    limit: Option<Duration>,
    last_seen: Arc<LastSeen>,
    clock: Arc<dyn Clock>,
    silent: BTreeSet<SyncName>,
}

/// What changed for a sync.
#[derive(Debug, PartialEq, Eq)]
pub enum SilenceChange {
    /// Nothing has come in for so long.
    Began(SyncName, Duration),
    /// Events come in again.
    Ended(SyncName),
}

/// Whether nothing has come in for longer than the operator expects. `silence` is `None` for a sync
/// that takes no events, `limit` where nobody wants to know.
pub fn is_silent(silence: Option<Duration>, limit: Option<Duration>) -> bool {
    matches!((silence, limit), (Some(silence), Some(limit)) if silence >= limit)
}

impl SilenceWatch {
    /// Watches with `ingest.silence_after` as the limit; `None`: never says anything.
    pub fn new(limit: Option<Duration>, last_seen: Arc<LastSeen>, clock: Arc<dyn Clock>) -> Self {
        Self {
            limit,
            last_seen,
            clock,
            silent: BTreeSet::new(),
        }
    }

    /// Looks once: what has changed since the last look.
    pub fn step(&mut self) -> Vec<SilenceChange> {
        let now = self.clock.now();
        let mut changes = Vec::new();
        for sync in self.last_seen.taking() {
            let silence = self.last_seen.silence(sync, now);
            if is_silent(silence, self.limit) {
                if self.silent.insert(sync.clone()) {
                    changes.push(SilenceChange::Began(
                        sync.clone(),
                        silence.unwrap_or_default(),
                    ));
                }
            } else if self.silent.remove(sync) {
                changes.push(SilenceChange::Ended(sync.clone()));
            }
        }
        changes
    }

    /// Looks again and again until the shutdown.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let Some(limit) = self.limit else {
            return shutdown.cancelled().await;
        };
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep((limit / 10).min(LONGEST_PAUSE)) => {}
            }
            for change in self.step() {
                match change {
                    SilenceChange::Began(sync, silence) => tracing::warn!(
                        %sync,
                        silent_seconds = silence.as_secs(),
                        "no event has come in for longer than ingest.silence_after; Amplitude pauses \
                         streams when their quota is used up"
                    ),
                    SilenceChange::Ended(sync) => tracing::info!(%sync, "events come in again"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{TestClock, UnixMillis};

    #[test]
    fn tells_each_silence_once_and_its_end_once() {
        let [app, web] = ["app", "web"].map(|name| SyncName::new(name).unwrap());
        let clock = Arc::new(TestClock::at(UnixMillis::from_seconds(1000)));
        let last_seen = Arc::new(LastSeen::new(
            [(web.clone(), true), (app.clone(), true)],
            clock.now(),
        ));
        let limit = Duration::from_secs(60);
        let mut watch = SilenceWatch::new(Some(limit), Arc::clone(&last_seen), clock.clone());
        assert_eq!(watch.step(), []);
        clock.advance(Duration::from_secs(30));
        last_seen.note(&app, clock.now());
        clock.advance(Duration::from_secs(30));
        assert_eq!(watch.step(), [SilenceChange::Began(web.clone(), limit)]);
        assert_eq!(watch.step(), []);
        clock.advance(Duration::from_secs(30));
        last_seen.note(&web, clock.now());
        let changes = [SilenceChange::Began(app, limit), SilenceChange::Ended(web)];
        assert_eq!(watch.step(), changes);
        assert_eq!(watch.step(), []);
    }

    #[test]
    fn nothing_is_silent_where_nobody_wants_to_know() {
        let long = Some(Duration::from_secs(1 << 30));
        assert!(!is_silent(long, None));
        assert!(!is_silent(None, Some(Duration::from_secs(1))));
    }
}
