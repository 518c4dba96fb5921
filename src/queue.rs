//! The queue: every event that was accepted, on disk until it has ended.

use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use crate::clock::{Clock, UnixMillis};
use crate::config::{QueueConfig, SyncName};
use crate::sync::Taken;

use dead::{DeadFilter, DeadLetter, Retried};
use disk::{Stats, StoreHealth};
use erase::{Forgotten, Person};
use lease::{Backlog, Leased, Order, Slot};
use settle::{DeliveryId, Settlement};
use totals::Totals;
use trace::Trace;

pub mod lease;
pub mod settle;
pub mod totals;
pub mod dead;
pub mod disk;
pub mod trace;
pub mod erase;

/// A handle on the store; clones share it.
#[derive(Clone, Debug)]
pub struct Queue {}

/// What a push did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Events that are queued, durably.
    pub queued: u64,
    /// Events that had been taken before.
    pub duplicates: u64,
    /// Events that were not selected.
    pub filtered: u64,
    /// Events that could not be mapped, set aside as dead letters.
    pub invalid: u64,
}

/// Why events could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// A sync has used up its part of `max_bytes`. What other syncs were to get is stored all the
    /// same; a repeat of the whole will be their `duplicate`.
    #[error("the queue of sync {sync} is full")]
    Full {
        /// The first sync that was full.
        sync: SyncName,
        /// What was stored for the others.
        pushed: Pushed,
    },
    /// Less disk is free than `min_free_disk`.
    #[error("the disk is nearly full")]
    DiskLow,
    /// The store cannot write.
    #[error("the store cannot write")]
    Storage(#[source] Arc<rusqlite::Error>),
    /// The queue was closed.
    #[error("the queue is closed")]
    Closed,
}

/// Why the store could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot read or write.
    #[error("the store cannot be read or written")]
    Storage(#[source] Arc<rusqlite::Error>),
    /// The queue was closed.
    #[error("the queue is closed")]
    Closed,
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the store is in use by another process")]
    InUse,
}

#[allow(
    clippy::unused_async,
    clippy::missing_panics_doc,
    clippy::needless_pass_by_value,
    unused_variables,
    missing_docs,
    reason = "skeleton"
)]
impl Queue {
    pub fn open(
        config: &QueueConfig,
        syncs: &[SyncName],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        Ok(Self {})
    }
    pub async fn push(&self, taken: Vec<Taken>) -> Result<Pushed, PushError> {
        Err(PushError::Closed)
    }
    /// A push by `backfill`.
    pub async fn push_again(&self, taken: Vec<Taken>) -> Result<Pushed, PushError> {
        Err(PushError::Closed)
    }
    pub fn backlog(&self, sync: &SyncName) -> Backlog {
        Backlog::default()
    }
    pub async fn changed(&self, sync: &SyncName) {
        std::future::pending().await
    }
    pub async fn lease(
        &self,
        sync: &SyncName,
        max_events: usize,
        max_bytes: usize,
        order: Order,
    ) -> Result<Vec<Leased>, StoreError> {
        Err(StoreError::Closed)
    }
    pub async fn open_delivery(
        &self,
        sync: &SyncName,
        slots: &[Slot],
    ) -> Result<DeliveryId, StoreError> {
        Err(StoreError::Closed)
    }
    pub async fn settle(&self, settlement: Settlement) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }
    /// Not async: takes effect at once.
    pub fn release(&self, sync: &SyncName, slots: &[Slot]) {}
    pub fn totals(&self) -> Totals {
        Totals::new()
    }
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
    pub fn health(&self) -> StoreHealth {
        StoreHealth::default()
    }
    /// Expires what is due, applies retention; the store does so by itself every second.
    pub async fn tidy(&self) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }
    /// At most `limit` dead letters with numbers above `after`, in order of filing.
    pub async fn dead(
        &self,
        filter: &DeadFilter,
        after: i64,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        Err(StoreError::Closed)
    }
    pub async fn retry_dead(&self, filter: &DeadFilter) -> Result<Retried, StoreError> {
        Err(StoreError::Closed)
    }
    pub async fn drop_dead(&self, filter: &DeadFilter) -> Result<u64, StoreError> {
        Err(StoreError::Closed)
    }
    pub async fn trace(&self, event_id: &str) -> Result<Vec<Trace>, StoreError> {
        Err(StoreError::Closed)
    }
    pub async fn forget(&self, person: Person) -> Result<Forgotten, StoreError> {
        Err(StoreError::Closed)
    }
    /// Removes the queued events of a sync; gives their number.
    pub async fn drop_sync(&self, sync: &SyncName) -> Result<u64, StoreError> {
        Err(StoreError::Closed)
    }
    /// Checkpoints and closes the store; other handles then answer `Closed`.
    pub async fn close(self) -> Result<(), StoreError> {
        Ok(())
    }
}
