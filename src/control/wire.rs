//! What a command and a daemon say to each other: a line of JSON each way.
//!
//! A request carries the version of this language; a daemon that speaks another one says so. Moments
//! are written as people read them, so that a dead letter goes on as it stands into an export.
//! Requests and answers that carry events never show them in their `Debug` form.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::queue::dead::{DeadFilter, DeadLetter, Retried};
use crate::queue::erase::{Forgotten, Person};
use crate::queue::trace::Trace;

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
        filter: DeadFilter,
        /// The number after which the page begins.
        after: i64,
        /// Whether their mapped events are wanted too.
        with_events: bool,
    },
    /// Queues dead letters anew.
    Retry {
        /// Which are meant.
        filter: DeadFilter,
    },
    /// Drops dead letters.
    Drop {
        /// Which are meant.
        filter: DeadFilter,
    },
    /// Tells what became of an event.
    Trace {
        /// Its id.
        event_id: String,
    },
    /// Erases a person.
    Forget(Person),
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
    Letters(Vec<DeadLetter>),
    /// What a retry did.
    Retried(Retried),
    /// The number of letters, or of queued events, that were dropped.
    Dropped(u64),
    /// What became of an event, once for each time that it was taken.
    Traces(Vec<Trace>),
    /// What was erased.
    Forgotten(Forgotten),
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
