//! The commands on a store: one type for each, with its path, its action and its answer.
//!
//! A running daemon performs them as they arrive on the socket; a command that has opened the store itself
//! performs them directly. Names in a command are checked against the configuration of the process that has
//! the store: that of a daemon is the one it runs with, even if the file has changed.

use std::collections::{BTreeMap, HashSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock::UnixMillis;
use crate::config::{LiveConfig, SyncName};
use crate::control::problem::{Problem, ProblemCode};
use crate::http::LongWork;
use crate::outcome::Reason;
use crate::payload::{Fingerprint, Submission};
use crate::queue::{
    DeadFilter, DeadLetter, ExportedBatch, Finding, Forgotten, Person, PushError, Pushed, Queue,
    Removal, Retried, SyncTotals, Trace, Verified, VerifyStep,
};

/// Dead letters on a page.
const PAGE: usize = 256;

/// A store, and its configured syncs.
#[derive(Debug)]
pub struct CommandHandler {
    queue: Queue,
    config: LiveConfig,
    pub(super) long_work: LongWork,
}

impl CommandHandler {
    pub const fn new(queue: Queue, config: LiveConfig) -> Self {
        Self {
            queue,
            config,
            long_work: LongWork::new(),
        }
    }

    /// How much commands of a kind have dealt with, ever.
    pub(super) fn dealt_with<C: StoreCommand>(&self) -> u64 {
        self.queue.totals().values().map(C::dealt_with).sum()
    }

    /// Whether a configured sync takes events; `None` for any other.
    fn takes_events(&self, sync: &SyncName) -> Option<bool> {
        let config = self.config.now();
        config.syncs.get(sync).map(|sync| sync.enabled)
    }
}

/// A command on a store.
pub trait StoreCommand: Serialize + DeserializeOwned + Send + 'static {
    /// Where it is posted. A change that older programs would misunderstand needs a new version here.
    const PATH: &'static str;

    type Answer: Serialize + DeserializeOwned + Send;

    /// Whether it may go through the whole store. Such commands hold up no others.
    const IS_LONG: bool = true;

    fn perform(
        self,
        handler: &CommandHandler,
    ) -> impl Future<Output = Result<Self::Answer, Problem>> + Send;

    /// What a sync's totals count of the work of such commands, to tell how far one has come.
    fn dealt_with(_totals: &SyncTotals) -> u64 {
        0
    }
}

/// Tells the version of the program that has the store. It goes first, so that a short request finds a
/// daemon of another version before anything is done.
#[derive(Debug, Serialize, Deserialize)]
pub struct TellVersion {}

impl StoreCommand for TellVersion {
    const PATH: &'static str = "/v1/version";
    type Answer = String;
    const IS_LONG: bool = false;

    async fn perform(self, _handler: &CommandHandler) -> Result<String, Problem> {
        Ok(env!("CARGO_PKG_VERSION").to_owned())
    }
}

/// Lists a page of dead letters, in the order in which they were filed. An empty page ends the list.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListDead {
    pub filter: DeadFilter,
    /// The number after which the page begins.
    pub after: i64,
    /// Whether to list the mapped events too.
    pub with_events: bool,
}

impl StoreCommand for ListDead {
    const PATH: &'static str = "/v1/dead/list";
    type Answer = Vec<DeadLetter>;
    const IS_LONG: bool = false;

    async fn perform(self, handler: &CommandHandler) -> Result<Vec<DeadLetter>, Problem> {
        let mut dead = handler.queue.dead(&self.filter, self.after, PAGE).await?;
        if !self.with_events {
            for letter in &mut dead {
                letter.json = None;
            }
        }
        Ok(dead)
    }
}

/// Queues dead letters again.
#[derive(Debug, Serialize, Deserialize)]
pub struct RetryDead(pub DeadFilter);

impl StoreCommand for RetryDead {
    const PATH: &'static str = "/v1/dead/retry";
    type Answer = Retried;

    async fn perform(self, handler: &CommandHandler) -> Result<Retried, Problem> {
        Ok(handler.queue.retry_dead(&self.0).await?)
    }

    fn dealt_with(totals: &SyncTotals) -> u64 {
        totals.dead_retried
    }
}

/// Drops dead letters for good.
#[derive(Debug, Serialize, Deserialize)]
pub struct DropDead(pub DeadFilter);

impl StoreCommand for DropDead {
    const PATH: &'static str = "/v1/dead/drop";
    type Answer = Dropped;

    async fn perform(self, handler: &CommandHandler) -> Result<Dropped, Problem> {
        let dropped = handler.queue.drop_dead(&self.0).await?;
        Ok(Dropped { dropped })
    }

    fn dealt_with(totals: &SyncTotals) -> u64 {
        removed(totals, Removal::Dropped)
    }
}

/// How many dead letters, or queued events, were dropped.
#[derive(Debug, Serialize, Deserialize)]
pub struct Dropped {
    pub dropped: u64,
}

/// Tells what became of an event, for each time that it was taken.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceEvent {
    pub event_id: String,
}

impl StoreCommand for TraceEvent {
    const PATH: &'static str = "/v1/trace";
    type Answer = Vec<Trace>;
    const IS_LONG: bool = false;

    async fn perform(self, handler: &CommandHandler) -> Result<Vec<Trace>, Problem> {
        Ok(handler.queue.trace(&self.event_id).await?)
    }
}

/// Erases the person.
impl StoreCommand for Person {
    const PATH: &'static str = "/v1/forget";
    type Answer = Forgotten;

    async fn perform(self, handler: &CommandHandler) -> Result<Forgotten, Problem> {
        Ok(handler.queue.forget(self).await?)
    }

    fn dealt_with(totals: &SyncTotals) -> u64 {
        ended(totals, Reason::Forgotten) + removed(totals, Removal::Forgotten)
    }
}

/// Drops what is queued for a sync.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropQueue {
    pub sync: SyncName,
    /// Even if the sync takes events.
    #[serde(default)]
    pub force: bool,
}

impl StoreCommand for DropQueue {
    const PATH: &'static str = "/v1/queue/drop";
    type Answer = Dropped;

    async fn perform(self, handler: &CommandHandler) -> Result<Dropped, Problem> {
        let sync = self.sync;
        let stored = handler.queue.totals();
        let takes_events = handler.takes_events(&sync);
        if takes_events.is_none() && !stored.contains_key(&sync) {
            let names: Vec<_> = stored.keys().map(SyncName::as_str).collect();
            let names = match names.as_slice() {
                [] => "none".to_owned(),
                names => names.join(", "),
            };
            return Err(Problem::new(
                ProblemCode::UnknownSync,
                format!("the store holds no sync `{sync}`; it holds: {names}"),
            ));
        }
        if takes_events == Some(true) && !self.force {
            return Err(Problem::new(
                ProblemCode::SyncInUse,
                format!(
                    "sync `{sync}` is configured and takes events; remove it from the \
                     configuration, or disable it, and restart the daemon; or say --force"
                ),
            ));
        }
        let dropped = handler.queue.drop_sync(&sync).await?;
        Ok(Dropped { dropped })
    }

    fn dealt_with(totals: &SyncTotals) -> u64 {
        ended(totals, Reason::Dropped)
    }
}

fn ended(totals: &SyncTotals, reason: Reason) -> u64 {
    totals.ended.get(&reason).copied().unwrap_or(0)
}

fn removed(totals: &SyncTotals, why: Removal) -> u64 {
    totals.dead_removed.get(&why).copied().unwrap_or(0)
}

/// Does one step of the search for damage.
#[derive(Debug, Serialize, Deserialize)]
pub struct VerifyStore(pub VerifyStep);

impl StoreCommand for VerifyStore {
    const PATH: &'static str = "/v1/queue/verify";
    type Answer = Verified;

    async fn perform(self, handler: &CommandHandler) -> Result<Verified, Problem> {
        Ok(handler.queue.verify(self.0).await?)
    }
}

/// Lists a page of damaged batches that were set aside. An empty page ends the list.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListSetAside {
    /// The number after which the page begins.
    pub after: i64,
}

impl ListSetAside {
    /// Batches on a page: each may be large.
    pub const PAGE: usize = 16;
}

impl StoreCommand for ListSetAside {
    const PATH: &'static str = "/v1/queue/set_aside";
    type Answer = Vec<ExportedBatch>;
    const IS_LONG: bool = false;

    async fn perform(self, handler: &CommandHandler) -> Result<Vec<ExportedBatch>, Problem> {
        let page = handler.queue.damaged(self.after, Self::PAGE).await?;
        Ok(page.into_iter().map(ExportedBatch::from).collect())
    }
}

/// Tells what damage the daemon has met, and when.
#[derive(Debug, Serialize, Deserialize)]
pub struct TellDamage {}

impl StoreCommand for TellDamage {
    const PATH: &'static str = "/v1/queue/damage";
    type Answer = Vec<(UnixMillis, Finding)>;
    const IS_LONG: bool = false;

    async fn perform(self, handler: &CommandHandler) -> Result<Self::Answer, Problem> {
        Ok(handler.queue.stats().damage.recent)
    }
}

/// Mends what can be mended while the store is open.
#[derive(Debug, Serialize, Deserialize)]
pub struct MendStore {}

impl StoreCommand for MendStore {
    const PATH: &'static str = "/v1/queue/mend";
    type Answer = ();

    async fn perform(self, handler: &CommandHandler) -> Result<(), Problem> {
        Ok(handler.queue.search_and_mend().await?)
    }
}

/// Finds the events that were taken in the last 8 days.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FindKnown {
    pub fingerprints: Vec<Fingerprint>,
}

impl StoreCommand for FindKnown {
    const PATH: &'static str = "/v1/queue/known";
    type Answer = HashSet<Fingerprint>;

    async fn perform(self, handler: &CommandHandler) -> Result<HashSet<Fingerprint>, Problem> {
        Ok(handler.queue.known_fingerprints(self.fingerprints).await?)
    }
}

/// Queues events that the command has mapped.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushEvents {
    pub events: Vec<Submission>,
    /// The fingerprints that [`FindKnown`] has found.
    pub known: HashSet<Fingerprint>,
}

impl StoreCommand for PushEvents {
    const PATH: &'static str = "/v1/queue/push";
    type Answer = Pushed;

    async fn perform(self, handler: &CommandHandler) -> Result<Pushed, Problem> {
        let full = handler.queue.health().full;
        for Submission { sync, .. } in &self.events {
            if handler.takes_events(sync).is_none() {
                return Err(Problem::new(
                    ProblemCode::UnknownSync,
                    format!(
                        "the daemon runs no sync `{sync}`; restart it, so that it reads its \
                         configuration again"
                    ),
                ));
            }
            // Refuses before anything is stored, so that a repeat counts no duplicates.
            if full.contains(sync) {
                return Err(PushError::Full {
                    sync: sync.clone(),
                    pushed: Pushed::default(),
                    left: BTreeMap::new(),
                }
                .into());
            }
        }
        Ok(handler.queue.push_again(self.events, self.known).await?)
    }
}
