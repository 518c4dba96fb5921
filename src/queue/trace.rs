//! What became of one event, from the fingerprints and the records of requests.

use crate::clock::UnixMillis;
use crate::config::SyncName;
use crate::outcome::Reason;

/// One taking of an event, for one sync.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The sync.
    pub sync: SyncName,
    /// When it was taken.
    pub taken_at: UnixMillis,
    /// The requests that carried it, oldest first.
    pub requests: Vec<TracedRequest>,
    /// Where it is now.
    pub place: Place,
}

/// A request that carried a traced event.
#[derive(Clone, Debug)]
pub struct TracedRequest {
    /// When it was sent.
    pub sent_at: UnixMillis,
    /// When it was answered; `None`: not yet, or never.
    pub answered_at: Option<UnixMillis>,
    /// The verdict's name.
    pub verdict: Option<String>,
    /// The HTTP status.
    pub status: Option<u16>,
    /// Meta's code.
    pub code: Option<i64>,
    /// Meta's sub-code.
    pub sub_code: Option<i64>,
    /// Meta's trace id.
    pub trace_id: Option<String>,
}

/// Where a traced event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the queue.
    Queued {
        /// The end of its window: seconds since the epoch.
        deadline: i64,
        /// Out on lease at this moment.
        leased: bool,
    },
    /// Among the dead letters, under this number.
    Dead {
        /// The number.
        id: i64,
        /// Why.
        reason: Reason,
    },
    /// Gone: delivered, if its last request says so, else removed by command.
    Gone,
}
