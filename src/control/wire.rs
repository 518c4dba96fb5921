//! What a command and a daemon say to each other: a line of JSON each way.
//!
//! A request carries the version of this language; a daemon that speaks another one says so. Moments
//! are written as people read them, so that a dead letter goes on as it stands into an export.
//! Requests and answers that carry events never show them in their `Debug` form.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The version of the language.
pub const VERSION: u32 = 1;

/// The longest request, in bytes: a piece of a backfill, the last event of which may be as large as the
/// largest batch.
pub(super) const LONGEST_REQUEST: usize = (16 + 2) << 20;

/// What a command asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// A page of dead letters, by number.
    Letters {
        /// Which are meant.
        filter: Filter,
        /// The number after which the page begins.
        after: i64,
        /// Whether their mapped events are wanted too.
        with_events: bool,
    },
    /// Queues dead letters anew.
    Retry {
        /// Which are meant.
        filter: Filter,
    },
    /// Drops dead letters.
    Drop {
        /// Which are meant.
        filter: Filter,
    },
    /// Tells what became of an event.
    Trace {
        /// Its id.
        event_id: String,
    },
    /// Erases a person.
    Forget {
        /// Hashed values.
        hashes: Vec<String>,
        /// Event ids.
        event_ids: Vec<String>,
        /// Keys of users and devices of whom something may be remembered, in hexadecimal digits.
        #[serde(default)]
        profiles: Vec<String>,
    },
    /// Removes the queued events of a sync.
    DropQueue {
        /// The sync.
        sync: String,
        /// Although the sync takes events.
        force: bool,
    },
    /// Finds which events were taken in the last 8 days.
    Remembered {
        /// The events' fingerprints.
        fingerprints: Vec<[u64; 2]>,
    },
    /// Takes events in that were mapped by the command.
    Take {
        /// The events.
        events: Vec<Mapped>,
    },
}

/// Which dead letters are meant; an empty filter means all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Of this sync.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<String>,
    /// With this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// With this event name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_name: Option<String>,
    /// Filed at this moment or later: milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filed_from: Option<i64>,
    /// Filed before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filed_before: Option<i64>,
    /// With this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<i64>,
}

/// An event and what became of it before the queue.
#[derive(Clone, Serialize, Deserialize)]
pub struct Mapped {
    /// The sync that it was mapped for.
    pub sync: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The mapped event, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Box<RawValue>>,
    /// What became of it.
    pub fate: MappedFate,
}

/// What became of an event before the queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MappedFate {
    /// It is to be queued.
    Queue {
        /// Its fingerprint.
        fingerprint: [u64; 2],
        /// The end of its window, in seconds.
        deadline: i64,
        /// It was taken in the last 8 days, as `Remembered` told.
        known: bool,
    },
    /// It ended.
    Ended {
        /// Why.
        reason: String,
        /// Its id, where it is known.
        id: Option<String>,
    },
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapped")
            .field("sync", &self.sync)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// How a request ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It was done.
    Done(Answer),
    /// It was not done, or not to its end.
    Failed(Problem),
}

/// What a request yields.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A page of dead letters; an empty one is behind the last.
    Letters(Vec<Letter>),
    /// What a retry did.
    Retried {
        /// Letters that are queued anew.
        queued: u64,
        /// Letters that stay: never mapped, or too late for Meta by now.
        kept: u64,
    },
    /// The number of letters, or of queued events, that were dropped.
    Dropped(u64),
    /// What became of an event, once for each time that it was taken.
    Traces(Vec<TraceEntry>),
    /// What was erased.
    Forgotten {
        /// Queued events.
        queued: u64,
        /// Dead letters.
        dead: u64,
        /// Events that a request may be carrying at this moment.
        in_flight: u64,
        /// Profiles.
        #[serde(default)]
        profiles: u64,
    },
    /// Which of the fingerprints are known, by their places in the request.
    Remembered(Vec<u32>),
    /// What became of the events of a piece.
    Taken {
        /// Queued.
        queued: u64,
        /// Taken before.
        duplicates: u64,
    },
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: String,
}

impl Problem {
    /// Describes a problem.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// What kind of problem it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request cannot be understood.
    BadRequest,
    /// The peer speaks another version.
    OtherVersion,
    /// No such sync.
    UnknownSync,
    /// The sync takes events, and force was not used.
    SyncInUse,
    /// A sync's part of the queue is used up.
    Full,
    /// The disk is nearly full.
    DiskLow,
    /// The store cannot be read or written.
    Storage,
    /// The daemon is stopping.
    Closed,
}

/// A dead letter, as commands show it.
#[derive(Serialize, Deserialize)]
pub struct Letter {
    /// Its number.
    pub id: i64,
    /// The sync.
    pub sync: String,
    /// How it ended.
    pub outcome: String,
    /// Why.
    pub reason: String,
    /// Its name.
    pub event_name: Option<String>,
    /// Its id.
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
    pub taken_at: String,
    /// When it was first sent, if ever.
    pub first_try: Option<String>,
    /// When it was last sent, if ever.
    pub last_try: Option<String>,
    /// When it ended.
    pub filed_at: String,
    /// The mapped event, if there is one and it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Box<RawValue>>,
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letter")
            .field("id", &self.id)
            .field("sync", &self.sync)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// One taking of a traced event.
#[derive(Debug, Serialize, Deserialize)]
pub struct TraceEntry {
    /// The sync.
    pub sync: String,
    /// When it was taken, or queued anew.
    pub taken_at: String,
    /// Where it is.
    pub place: Place,
    /// The requests that carried it, oldest first.
    pub requests: Vec<Sent>,
}

/// Where a traced event is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In the queue, waiting for its turn.
    Waiting {
        /// When it expires.
        until: String,
    },
    /// In the queue, and in the hands of the lane.
    InFlight {
        /// When it expires.
        until: String,
    },
    /// Taken by Meta.
    Delivered {
        /// When Meta answered.
        at: String,
    },
    /// A dead letter.
    Dead {
        /// Its number.
        id: i64,
        /// How it ended.
        outcome: String,
        /// Why.
        reason: String,
    },
    /// No longer in the store, and not delivered: erased, dropped, or a dead letter that has left.
    Gone,
}

/// A request that carried a traced event.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sent {
    /// When it was sent.
    pub sent_at: String,
    /// When it was answered; none: not yet, or never.
    pub answered_at: Option<String>,
    /// What the answer meant.
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

#[derive(Serialize)]
struct Writing<'a> {
    version: u32,
    request: &'a Request,
}

#[derive(Deserialize)]
struct Reading<'a> {
    version: u32,
    #[serde(borrow)]
    request: &'a RawValue,
}

impl Request {
    /// Writes the request, with the end of the line.
    pub(super) fn to_line(&self) -> Vec<u8> {
        line(&Writing {
            version: VERSION,
            request: self,
        })
    }

    /// Reads a request.
    pub(super) fn from_line(line: &[u8]) -> Result<Self, Problem> {
        let bad = |_| {
            Problem::new(
                Code::BadRequest,
                "the request is none that this version knows",
            )
        };
        let reading: Reading<'_> = serde_json::from_slice(line).map_err(bad)?;
        if reading.version != VERSION {
            let (theirs, ours) = (reading.version, VERSION);
            return Err(Problem::new(
                Code::OtherVersion,
                format!(
                    "the command speaks version {theirs} of the control language and the running \
                     daemon version {ours}; use the daemon's own program"
                ),
            ));
        }
        serde_json::from_str(reading.request.get()).map_err(bad)
    }
}

impl Reply {
    /// Writes the reply, with the end of the line.
    pub(super) fn to_line(&self) -> Vec<u8> {
        line(self)
    }
}

fn line(content: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(content).expect("these types are all JSON");
    line.push(b'\n');
    line
}
