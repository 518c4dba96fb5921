//! Says when no events come in, and when they come again: one log line each.
//!
//! Amplitude pauses every stream when the volume of the contract is used up, and tells nobody here.
//! `/health` and `/metrics` show the same by [`is_silent`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::SyncName;
use crate::config::live::LiveConfig;
use crate::ingest::last_seen::LastSeen;

/// Longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Watches for silence.
#[derive(Debug)]
pub struct SilenceWatch {
    config: LiveConfig,
    last_seen: Arc<LastSeen>,
    clock: Arc<dyn Clock>,
    /// The syncs that are silent, and how long each had been when that was noticed.
    silent: BTreeMap<SyncName, Duration>,
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
    pub fn new(config: LiveConfig, last_seen: Arc<LastSeen>, clock: Arc<dyn Clock>) -> Self {
        Self {
            config,
            last_seen,
            clock,
            silent: BTreeMap::new(),
        }
    }

    /// Looks once: what has changed since the last look.
    pub fn step(&mut self) -> Vec<SilenceChange> {
        let uptime = self.clock.uptime();
        let config = self.config.now();
        let limit = config.ingest.silence_after;
        let mut changes = Vec::new();
        let mut before = std::mem::take(&mut self.silent);
        for (sync, _) in config.syncs.iter().filter(|(_, sync)| sync.enabled) {
            let silence = self.last_seen.silence(sync, uptime).unwrap_or_default();
            match before.remove(sync) {
                None if is_silent(Some(silence), limit) => {
                    changes.push(SilenceChange::Began(sync.clone(), silence));
                    self.silent.insert(sync.clone(), silence);
                }
                Some(noticed) if silence < noticed => {
                    changes.push(SilenceChange::Ended(sync.clone()));
                }
                // A limit that was raised ends no silence.
                Some(noticed) if limit.is_some() => {
                    self.silent.insert(sync.clone(), noticed);
                }
                _ => {}
            }
        }
        changes
    }

    /// Looks again and again until the shutdown.
    pub async fn run(&mut self, shutdown: &CancellationToken) {
        let mut changed = self.config.watch();
        loop {
            let limit = self.config.now().ingest.silence_after;
            let pause = limit.map_or(LONGEST_PAUSE, |limit| (limit / 10).min(LONGEST_PAUSE));
            tokio::select! {
                () = shutdown.cancelled() => return,
                Ok(()) = changed.changed() => {}
                () = sleep(pause) => {}
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
    use crate::config::load::from_toml;

    const CONFIG: &str = r#"
        [ingest]
        allow_unauthenticated = true
        silence_after = "1m"
        [sync.web]
        pixel_id = "1"
        access_token = "t"
        [sync.app]
        pixel_id = "1"
        access_token = "t"
        [sync.off]
        enabled = false
        pixel_id = "1"
        access_token = "t"
    "#;

    #[test]
    fn tells_each_silence_once_and_its_end_once() {
        let [app, web] = ["app", "web"].map(|name| SyncName::new(name).unwrap());
        let clock = Arc::new(TestClock::at(UnixMillis::from_seconds(1000)));
        let config = LiveConfig::new(from_toml(CONFIG, &[]).unwrap());
        let last_seen = Arc::new(LastSeen::default());
        last_seen.watch(config.now().syncs.keys().cloned(), clock.uptime());
        let limit = Duration::from_secs(60);
        let mut watch = SilenceWatch::new(config.clone(), Arc::clone(&last_seen), clock.clone());
        assert_eq!(watch.step(), []);
        clock.advance(Duration::from_secs(30));
        last_seen.note(&app, clock.uptime());
        clock.advance(Duration::from_secs(30));
        assert_eq!(watch.step(), [SilenceChange::Began(web.clone(), limit)]);
        assert_eq!(watch.step(), []);
        clock.advance(Duration::from_secs(30));
        last_seen.note(&web, clock.uptime());
        let changes = [
            SilenceChange::Began(app.clone(), limit),
            SilenceChange::Ended(web),
        ];
        assert_eq!(watch.step(), changes);
        assert_eq!(watch.step(), []);

        let with =
            |limit| from_toml(&CONFIG.replace("silence_after = \"1m\"", limit), &[]).unwrap();
        config.replace(with("silence_after = \"1h\""));
        assert_eq!(watch.step(), [], "nothing came in");
        last_seen.note(&app, clock.uptime());
        assert_eq!(watch.step(), [SilenceChange::Ended(app)]);
        clock.advance(Duration::from_secs(3600));
        config.replace(with(""));
        assert_eq!(watch.step(), []);
    }

    #[test]
    fn nothing_is_silent_where_nobody_wants_to_know() {
        let long = Some(Duration::from_secs(1 << 30));
        assert!(!is_silent(long, None));
        assert!(!is_silent(None, Some(Duration::from_secs(1))));
    }
}
