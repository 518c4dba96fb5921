//! Warns of events that are refused for their time: a template may read the time wrongly, or a clock may be wrong.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::ingest::reply::IngestSummary;
use crate::outcome::Reason;
use crate::telemetry::logs::LogThrottle;

/// So many in a row, with none that is taken between, are no sender's own mistake.
const RUN: u64 = 3;
/// How often each warning is repeated.
const PAUSE: Duration = Duration::from_secs(60);

/// What was warned of.
#[derive(Debug)]
pub(super) struct TimeWarnings {
    template: LogThrottle,
    clock: LogThrottle,
    /// Events that were refused for their time since one was taken.
    run: AtomicU64,
}

impl TimeWarnings {
    pub(super) fn new() -> Self {
        Self {
            template: LogThrottle::new(PAUSE),
            clock: LogThrottle::new(PAUSE),
            run: AtomicU64::new(0),
        }
    }

    /// Warns of what a request tells.
    pub(super) fn note(&self, summary: &IngestSummary, uptime: Duration) {
        let trapped = summary.count(Reason::TimeZoneTrap);
        let ahead = summary.count(Reason::InFuture) + trapped;
        let behind = summary.count(Reason::TooOld) + summary.count(Reason::TooOldForPixel);
        let run = if summary.taken() == 0 {
            let refused = ahead + behind;
            self.run.fetch_add(refused, Ordering::Relaxed) + refused
        } else {
            self.run.store(0, Ordering::Relaxed);
            0
        };
        if trapped > 0
            && let Some(requests) = self.template.due(uptime)
        {
            tracing::warn!(
                requests,
                "events are 7 or 8 hours in the future: a FreeMarker template read UTC as US Pacific \
                 time; write ${{input.event_time}} as it is, or set time_zone=\"UTC\" in the template. \
                 If the template is right, the clock of this machine is wrong"
            );
        }
        if run >= RUN
            && ahead + behind > 0
            && let Some(requests) = self.clock.due(uptime)
        {
            tracing::error!(
                requests,
                events = run,
                in_future = ahead,
                too_old = behind,
                "events are refused for their time, one after the other: the clock of this machine may be \
                 wrong. They are kept as dead letters, as far as there is room: once the clock is right, \
                 `pixel-relay dead retry` delivers them"
            );
        }
    }
}
