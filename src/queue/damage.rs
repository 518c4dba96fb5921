//! What is found to be damaged in the store, and what can be done about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::clock::UnixMillis;
use crate::words::words;

/// Most findings that are kept for `/health`.
const MAX_KEPT: usize = 32;

words! {
    /// What is damaged.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum DamageKind with pub remedy: &'static str {
        /// Counters, or the names of syncs.
        Counters = "counters" => "the daemon counts anew when it starts, and `queue repair` does it at once",
        /// An index that disagrees with its table.
        Index = "index" => "the daemon rebuilds it when it starts, and `queue repair` does it at once",
        /// Batches of queued events.
        Batch = "batch" => "what cannot be read ends as lost when its turn comes, and is kept aside",
        /// A dead letter.
        DeadLetter = "dead_letter" => "it stays listed and cannot be retried; drop it with `dead drop`",
        /// What is remembered of a person.
        Profile = "profile" => "it is dropped when it is met; what later events tell is remembered anew",
        /// Fingerprints of events, by which repeats are known.
        Fingerprints = "fingerprints" => "the daemon restores those of queued events when it starts, and `queue repair` does it at once; a repeat of others may be delivered again",
        /// A file that is not where it belongs, and what was saved of it.
        File = "file" => "look at the files that are named, and put the right one in its place while no daemon runs",
        /// Pages of the file.
        Pages = "pages" => "the daemon saves what is readable when it meets them, and `queue repair` does it at once",
        /// The description of the tables.
        Schema = "schema" => "the daemon saves what is readable when it starts, and `queue repair` does it at once",
        /// The log of the last transactions.
        Log = "log" => "what it held is lost; a copy of the log is kept beside the store",
    }
}

/// One thing that is damaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub kind: DamageKind,
    /// For people: what is damaged, or was.
    pub what: String,
}

impl Finding {
    pub(super) fn new(kind: DamageKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
        }
    }
}

/// The damage that this process has met.
#[derive(Clone, Debug, Default)]
pub struct DamageLog {
    /// The last findings, and when each was made.
    pub recent: Vec<(UnixMillis, Finding)>,
    counts: [u64; DamageKind::ALL.len()],
}

impl DamageLog {
    /// How often something of this kind was found.
    pub const fn count(&self, kind: DamageKind) -> u64 {
        self.counts[kind as usize]
    }

    pub(super) fn add(&mut self, now: UnixMillis, finding: Finding) {
        self.counts[finding.kind as usize] += 1;
        self.recent.retain(|(_, known)| *known != finding);
        if self.recent.len() == MAX_KEPT {
            self.recent.remove(0);
        }
        self.recent.push((now, finding));
    }
}

/// Where the search goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyStep {
    pub(super) stage: u32,
    /// The number of the record after which a piece begins.
    pub(super) after: i64,
}

/// What a step has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    pub findings: Vec<Finding>,
    /// Batches that were looked at.
    pub batches: u64,
    /// `None` at the end.
    pub next: Option<VerifyStep>,
}

/// How a search goes on, and whether it is to end.
#[derive(Clone, Debug, Default)]
pub(super) struct SearchProgress(Arc<SearchState>);

#[derive(Debug, Default)]
struct SearchState {
    stops: AtomicBool,
    steps: Notify,
}

impl SearchProgress {
    /// Ends all searches.
    pub(super) fn stop(&self) {
        self.0.stops.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.0.stops.load(Ordering::Relaxed)
    }

    /// Notes that a search has got on.
    pub(super) fn step(&self) {
        self.0.steps.notify_waiters();
    }

    /// Returns when a search has got on.
    pub(super) async fn stepped(&self) {
        self.0.steps.notified().await;
    }
}
