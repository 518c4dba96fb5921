//! Dead letters: events that ended as `invalid`, `rejected` or `expired`, for the operator to judge.
//!
//! They hold the mapped event, never raw input. Events that came too late or named nobody come in floods, so only a
//! sample of them is kept; but where only the time is wrong, and no backfill brought the event, it may be the clock
//! that is wrong, and the event is kept whole for a retry. The oldest dead letters are removed when they are too old
//! or room is short.

use serde::{Deserialize, Serialize};

use crate::clock::UnixMillis;
use crate::config::SyncName;
use crate::outcome::{self, Reason};
use crate::payload::raw;

/// An event that ended badly.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its number in the store.
    pub id: i64,
    /// The sync that took it.
    pub sync: SyncName,
    /// Why it ended; the reason tells the outcome.
    #[serde(flatten, with = "outcome::with_outcome")]
    pub reason: Reason,
    /// Its name, where it is known.
    pub event_name: Option<String>,
    /// Its id, where it is known.
    pub event_id: Option<String>,
    /// Meta's code.
    pub code: Option<i64>,
    /// Meta's sub-code.
    pub sub_code: Option<i64>,
    /// Meta's trace id.
    pub trace_id: Option<String>,
    /// Meta's text, redacted.
    pub message: Option<String>,
    /// When it was taken.
    pub taken_at: UnixMillis,
    /// When it, or an event that was committed with it, was first sent, if ever.
    pub first_try: Option<UnixMillis>,
    /// When it was last sent, if ever.
    pub last_try: Option<UnixMillis>,
    /// When it ended.
    pub filed_at: UnixMillis,
    /// The mapped event, if there is one.
    #[serde(
        rename = "event",
        default,
        with = "raw::optional",
        skip_serializing_if = "raw::optional::is_unreadable"
    )]
    pub json: Option<Vec<u8>>,
}

/// Why Meta refused an event.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Why it ends as `rejected`.
    pub reason: Reason,
    /// Meta's code.
    pub code: Option<i64>,
    /// Meta's sub-code.
    pub sub_code: Option<i64>,
    /// Meta's trace id.
    pub trace_id: Option<String>,
    /// Meta's text, redacted.
    pub message: Option<String>,
}

/// Which dead letters are meant; an empty filter means all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeadFilter {
    /// Of this sync.
    pub sync: Option<SyncName>,
    /// With this reason.
    pub reason: Option<Reason>,
    /// With this event name.
    pub event_name: Option<String>,
    /// Filed at this moment or later.
    pub filed_from: Option<UnixMillis>,
    /// Filed before this moment.
    pub filed_before: Option<UnixMillis>,
    /// With this number.
    pub id: Option<i64>,
}

/// What a retry did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retried {
    /// Dead letters that are queued again.
    pub queued: u64,
    /// Those that stay: never mapped, too late for Meta, or still in the future.
    pub kept: u64,
    /// Those that were removed, since their events were taken after all.
    #[serde(default)]
    pub replaced: u64,
}
