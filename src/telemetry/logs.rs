//! Log lines on standard error, for people or for machines.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::{Subscriber, set_global_default};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::{Registry, fmt as lines};

use crate::config::ConfigError;
use crate::config::server::{LogConfig, LogFormat};

use json_line::JsonLine;

mod json_line;

/// Sends this process's log lines to standard error, with colours where that is a terminal.
pub fn init(config: &LogConfig) -> Result<(), ConfigError> {
    let subscriber = subscriber(config, io::stderr().is_terminal(), io::stderr)?;
    set_global_default(subscriber)
        .map_err(|_| ConfigError::new("log", "the log of this process was already set up"))
}

/// Reads a level (`info`), or levels by module (`info,pixel_relay::deliver=debug`).
pub fn levels(text: &str) -> Result<Targets, ConfigError> {
    let mut targets = Targets::new();
    for part in text.split(',').map(str::trim) {
        let (target, level) = match part.split_once('=') {
            Some((target, level)) => (Some(target.trim()), level.trim()),
            None => (None, part),
        };
        let level = Some(level).filter(|level| !level.is_empty());
        let level: Option<LevelFilter> = level.and_then(|level| level.parse().ok());
        let level = level.ok_or_else(|| {
            ConfigError::new(
                "log.level",
                format!(
                    "found {part:?}; each part is off, error, warn, info, debug or trace, or one \
                     of them for a module, as in pixel_relay::deliver=debug"
                ),
            )
        })?;
        targets = match target {
            Some(target) => targets.with_target(target, level),
            None => targets.with_default(level),
        };
    }
    Ok(targets)
}

fn subscriber<W>(
    config: &LogConfig,
    colours: bool,
    writer: W,
) -> Result<impl Subscriber + Send + Sync + use<W>, ConfigError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = lines::layer().with_writer(writer);
    let lines = match config.format {
        LogFormat::Text => lines.with_ansi(colours).boxed(),
        LogFormat::Json => lines.event_format(JsonLine).with_ansi(false).boxed(),
    };
    Ok(Registry::default().with(lines.with_filter(levels(&config.level)?)))
}

const NEVER: u64 = u64::MAX;

/// Keeps a line that anyone can cause from flooding the log.
#[derive(Debug)]
pub struct LogThrottle {
    pause: Duration,
    /// At which uptime the last line was written, in milliseconds; `NEVER` before the first.
    last: AtomicU64,
    /// Occurrences since the last line.
    count: AtomicU64,
}

impl LogThrottle {
    /// At most one line per `pause`.
    pub const fn new(pause: Duration) -> Self {
        Self {
            pause,
            last: AtomicU64::new(NEVER),
            count: AtomicU64::new(0),
        }
    }

    /// Counts one occurrence. If a line is due, returns the number of occurrences since the last one.
    pub fn due(&self, uptime: Duration) -> Option<u64> {
        self.count.fetch_add(1, Ordering::Relaxed);
        let last = self.last.load(Ordering::Relaxed);
        let passed = uptime.saturating_sub(Duration::from_millis(last));
        let is_due = last == NEVER || passed >= self.pause;
        let now = u64::try_from(uptime.as_millis()).unwrap_or(NEVER);
        let is_mine = is_due
            && self
                .last
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        is_mine.then(|| self.count.swap(0, Ordering::Relaxed))
    }
}

/// The same for each of several reasons, so that a frequent one hides no other.
#[derive(Debug)]
pub struct KeyedLogThrottle {
    pause: Duration,
    lines: Mutex<BTreeMap<&'static str, LogThrottle>>,
}

impl KeyedLogThrottle {
    /// At most one line per reason and `pause`.
    pub const fn new(pause: Duration) -> Self {
        Self {
            pause,
            lines: Mutex::new(BTreeMap::new()),
        }
    }

    /// Counts one occurrence of a reason. If a line is due, returns the number of occurrences since the last
    /// one.
    pub fn due(&self, reason: &'static str, uptime: Duration) -> Option<u64> {
        // A panic leaves nothing half done.
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.entry(reason);
        line.or_insert_with(|| LogThrottle::new(self.pause))
            .due(uptime)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::with_default;

    use super::*;

    #[derive(Clone, Default)]
    struct WrittenLog(Arc<Mutex<Vec<u8>>>);

    impl io::Write for WrittenLog {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: LogFormat, level: &str, work: impl FnOnce()) -> String {
        let memory = WrittenLog::default();
        let sink = memory.clone();
        let config = LogConfig {
            format,
            level: level.to_owned(),
        };
        let subscriber = subscriber(&config, false, move || sink.clone()).unwrap();
        with_default(subscriber, work);
        let bytes = memory.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_lines_end_with_their_fields() {
        let text = written(LogFormat::Text, "info", || {
            tracing::warn!(sync = "web", wait_seconds = 3, "the lane waits");
            tracing::debug!("not shown");
        });
        let (_, line) = text.split_once(' ').unwrap();
        assert_eq!(
            line,
            " WARN pixel_relay::telemetry::logs::tests: the lane waits sync=\"web\" wait_seconds=3\n"
        );
    }

    #[test]
    fn json_lines_are_flat_objects() {
        let text = written(LogFormat::Json, "off,pixel_relay::telemetry=debug", || {
            tracing::debug!(sync = "web", "the lane waits");
            tracing::error!(target: "elsewhere", "not shown");
        });
        let mut line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(line.as_object_mut().unwrap().remove("timestamp").is_some());
        assert_eq!(
            line,
            serde_json::json!({
                "level": "DEBUG",
                "message": "the lane waits",
                "sync": "web",
                "target": "pixel_relay::telemetry::logs::tests",
            })
        );
    }

    #[test]
    fn json_lines_hold_no_key_twice_and_numbers_as_numbers() {
        let text = written(LogFormat::Json, "info", || {
            tracing::warn!(
                message = "a field",
                level = "high",
                milliseconds = std::time::Duration::from_secs(3).as_millis(),
                code = Some(190_i64),
                absent = None::<i64>,
                share = 0.5,
                below = -1_i128,
                "the text"
            );
        });
        let (_, line) = text.split_once(',').unwrap();
        assert_eq!(
            line,
            "\"level\":\"WARN\",\"target\":\"pixel_relay::telemetry::logs::tests\",\
             \"message\":\"the text\",\"message_\":\"a field\",\"level_\":\"high\",\
             \"milliseconds\":3000,\"code\":190,\"share\":0.5,\"below\":-1}\n"
        );
    }

    #[test]
    fn a_misspelt_level_is_a_mistake() {
        for text in ["inof", "", "info,", "info,pixel_relay=loud", "pixel_relay"] {
            assert_eq!(levels(text).unwrap_err().key, "log.level", "{text}");
        }
        for text in ["INFO", "warn, pixel_relay::deliver = trace", "off"] {
            assert!(levels(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn one_line_stands_for_those_that_were_not_written() {
        let seldom = LogThrottle::new(Duration::from_secs(60));
        let at = |seconds| seldom.due(Duration::from_secs(seconds));
        assert_eq!(at(100), Some(1));
        assert_eq!(at(101), None);
        assert_eq!(at(159), None);
        assert_eq!(at(160), Some(3));
        assert_eq!(at(161), None);
    }

    #[test]
    fn no_reason_hides_another() {
        let seldom = KeyedLogThrottle::new(Duration::from_secs(60));
        let at = |reason, seconds| seldom.due(reason, Duration::from_secs(seconds));
        assert_eq!(at("method_not_allowed", 100), Some(1));
        assert_eq!(at("not_found", 101), Some(1));
        assert_eq!(at("method_not_allowed", 102), None);
        assert_eq!(at("method_not_allowed", 160), Some(2));
        assert_eq!(at("not_found", 160), None);
    }
}
