//! Notices that the time of day is set while Meta cannot be reached: by another time its certificates may be valid.

use std::time::Duration;

use crate::clock::UnixMillis;

/// How often to look, while Meta cannot be reached.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// No certificate is so exact.
const LARGE_MILLIS: u64 = 60_000;

#[derive(Debug, Default)]
pub(super) struct ClockStep {
    /// The time of day less the uptime, when Meta could not be reached; `None` while it can be.
    offset: Option<i64>,
}

impl ClockStep {
    /// Whether the time of day was set since the last look that found Meta unreachable.
    pub(super) fn happened(
        &mut self,
        is_unreachable: bool,
        now: UnixMillis,
        uptime: Duration,
    ) -> bool {
        let uptime = i64::try_from(uptime.as_millis()).unwrap_or(i64::MAX);
        let offset = now.0.saturating_sub(uptime);
        let before = self.offset;
        self.offset = is_unreachable.then_some(offset);
        let before = before.filter(|_| is_unreachable);
        // What drifts is noticed in the end, since the first look counts.
        let is_large = before.is_some_and(|before| before.abs_diff(offset) > LARGE_MILLIS);
        if !is_large && before.is_some() {
            self.offset = before;
        }
        is_large
    }
}
