//! What a lane tells the operator of itself.

use tokio::sync::watch;

use crate::clock::UnixMillis;
use crate::config::SyncName;
use crate::telemetry::metrics::LaneState;

/// How a lane stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    /// In a word.
    pub state: LaneState,
    /// Since when.
    pub since: UnixMillis,
    /// Why, where it is not running: one sentence, without any secret.
    pub reason: Option<String>,
    /// When the next request may go out, where it waits.
    pub next_try: Option<UnixMillis>,
    /// Requests under way.
    pub in_flight: usize,
    /// Requests that may be under way at present.
    pub concurrency: usize,
}

/// Shows how every lane stands.
#[derive(Clone, Debug, Default)]
pub struct LaneStatuses {
    lanes: Vec<(SyncName, watch::Receiver<LaneStatus>)>,
}

impl LaneStatus {
    /// A lane that has nothing to say.
    pub fn idle(state: LaneState, since: UnixMillis) -> Self {
        Self {
            state,
            since,
            reason: None,
            next_try: None,
            in_flight: 0,
            concurrency: 1,
        }
    }

    /// Whether someone should look at it.
    pub fn is_in_trouble(&self) -> bool {
        !matches!(self.state, LaneState::running | LaneState::draining)
    }
}

impl LaneStatuses {
    /// Takes what the lanes show, by sync.
    pub fn new(lanes: Vec<(SyncName, watch::Receiver<LaneStatus>)>) -> Self {
        Self { lanes }
    }

    /// How each lane stands now.
    pub fn statuses(&self) -> Vec<(SyncName, LaneStatus)> {
        self.lanes
            .iter()
            .map(|(sync, status)| (sync.clone(), status.borrow().clone()))
            .collect()
    }
}
