//! Looks for damage, a step at a time, beside the writer or where none runs.

use std::any::Any;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::config::SyncName;
use crate::config::queue::QueueConfig;

use super::core::Core;
use super::damage::{DamageKind, Finding, SearchProgress, Verified, VerifyStep};
use super::damaged::DamagedBatch;
use super::engine::{Beside, EngineError, Storage};
use super::opening;
use super::writer::WriterCommand;
use super::{CapacityProblem, OpenError, Queue, StoreError, storage, totals};

/// How long the search rests after each step beside a daemon, which has other work.
const REST: Duration = Duration::from_millis(20);
/// How often a writer that mends is asked whether it is done.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(100);

/// A store that nobody has open.
#[derive(Debug)]
pub struct StoppedStore {
    storage: Box<dyn Storage>,
    /// Keeps others away.
    _possession: Box<dyn Any + Send>,
}

impl StoppedStore {
    /// Takes possession of a store without opening it.
    pub fn take(config: &QueueConfig) -> Result<Self, OpenError> {
        let storage = storage(config);
        let possession = storage.acquire()?;
        Ok(Self {
            storage,
            _possession: possession,
        })
    }

    /// Keeps others from opening a store, to look at it, and changes nothing in its folder.
    pub fn look(config: &QueueConfig) -> Result<Self, OpenError> {
        let storage = storage(config);
        let possession = storage.acquire_to_look()?;
        Ok(Self {
            storage,
            _possession: possession,
        })
    }

    /// Looks for what keeps the store from being opened, or would be lost by that. Refuses what is no store of this
    /// version. Changes nothing.
    pub fn inspect(&self) -> Result<Vec<Finding>, OpenError> {
        self.storage.inspect()
    }

    /// Does one step of the search. Changes nothing.
    pub fn verify(&self, step: VerifyStep) -> Result<Verified, StoreError> {
        let progress = SearchProgress::default();
        Ok(self.storage.verify(step, Beside::Nobody, &progress)?)
    }

    /// Reads damaged batches that were set aside, as `Queue::damaged` does.
    pub fn damaged(&self, after: i64, limit: usize) -> Result<Vec<DamagedBatch>, StoreError> {
        let mut reader = self.storage.reader(Beside::Nobody)?;
        Ok(reader.damaged_batches(after, limit)?)
    }

    /// Copies the store's files into a folder beside them.
    pub fn copy(&self) -> Result<Option<PathBuf>, OpenError> {
        self.storage.copy()
    }

    /// Opens the store.
    pub fn open(
        self,
        config: &QueueConfig,
        syncs: &[SyncName],
        clock: Arc<dyn Clock>,
    ) -> Result<Queue, OpenError> {
        drop(self);
        Queue::open(config, syncs, clock)
    }

    /// Saves what is readable, even if the first page is lost.
    pub fn salvage(&self) -> Result<(), OpenError> {
        self.storage.salvage(SystemClock.now(), totals::recount)
    }
}

/// Does one step of the search for damage, beside the writer.
pub(super) async fn verify(queue: &Queue, step: VerifyStep) -> Result<Verified, StoreError> {
    let context = Arc::clone(&queue.0.context);
    let progress = context.shared.searches.clone();
    let by_search = progress.clone();
    let search = move || context.storage.verify(step, Beside::Writer, &by_search);
    let mut search = pin!(queue.0.context.shared.reads.search(search));
    loop {
        tokio::select! {
            biased;
            found = &mut search => return Ok(found??),
            // Whoever waits for this sees that it gets on.
            () = progress.stepped() => {}
        }
    }
}

/// Searches the whole store for damage in small steps, and has it mended.
pub(super) async fn search_and_mend(queue: &Queue) -> Result<(), StoreError> {
    let mut found = Vec::new();
    let mut next = Some(VerifyStep::default());
    while let Some(step) = next {
        let verified = verify(queue, step).await?;
        found.extend(verified.findings);
        next = verified.next;
        tokio::time::sleep(REST).await;
    }
    for Finding { kind, what } in &found {
        tracing::error!(%kind, "the store is damaged: {what}. Check the disk");
    }
    let kinds: Vec<DamageKind> = found.iter().map(|finding| finding.kind).collect();
    let is = |kind| kinds.contains(&kind);
    if is(DamageKind::Pages) || is(DamageKind::Schema) {
        // As if the writer had met it.
        let cause = found.iter().map(|finding| finding.what.as_str());
        let cause = std::io::Error::other(cause.collect::<Vec<_>>().join("; "));
        let meet = move |_: &mut Core| Err(EngineError::Damaged(Arc::new(cause)));
        let met: Result<(), _> = queue.ask(WriterCommand::Outside, meet).await;
        // The next command opens the store again.
        drop(met);
        return queue.mended().await;
    }
    let is_mendable = |kind: &DamageKind| {
        matches!(
            kind,
            DamageKind::Index
                | DamageKind::Counters
                | DamageKind::Batch
                | DamageKind::Fingerprints
                | DamageKind::Profile
        )
    };
    let needs_mending = kinds.iter().any(is_mendable);
    opening::note(&queue.0.context, found);
    if needs_mending {
        mend(queue).await?;
    }
    Ok(())
}

/// Rebuilds indexes, mends batches and counts anew.
pub(super) async fn mend(queue: &Queue) -> Result<(), StoreError> {
    queue
        .ask(WriterCommand::Outside, |core| {
            core.suspects_indexes = true;
            Ok(())
        })
        .await?;
    queue.mended().await
}

/// Waits for the writer, which mends between two commands.
pub(super) async fn mended(queue: &Queue) -> Result<(), StoreError> {
    loop {
        let done = queue.ask(WriterCommand::Outside, |_| Ok(())).await;
        if done.is_ok() || queue.health().trouble != Some(CapacityProblem::Mending) {
            return done;
        }
        tokio::time::sleep(BETWEEN_QUESTIONS).await;
    }
}
