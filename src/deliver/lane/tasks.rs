//! The tasks of a lane: the wait for a permit, requests and settlements.

use std::panic::resume_unwind;
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::SyncName;
use crate::deliver::client::GraphClient;
use crate::deliver::limiter::{Permit, PixelLimiter};
use crate::panics::{Panicked, caught};
use crate::queue::settle::Settlement;
use crate::queue::{Queue, StoreError};

use super::attempt::{Attempt, AttemptOutcome};

#[derive(Debug, Default)]
pub(super) struct LaneTasks {
    set: JoinSet<Result<TaskOutput, Panicked>>,
    /// Requests in flight.
    pub(super) attempts: usize,
    /// For the next request.
    pub(super) permit: Option<Permit>,
    /// The pixel whose permit is waited for, and what ends the wait.
    waits_for: Option<(Arc<PixelLimiter>, CancellationToken)>,
    /// Once it is cancelled, nothing is sent.
    pub(super) stop: CancellationToken,
    /// Once it is cancelled, nothing waits for an answer.
    pub(super) abandon: CancellationToken,
}

/// What a task brings back to the lane.
#[derive(Debug)]
pub(super) enum TaskOutput {
    /// `None`: the wait was ended.
    Permit(Option<Permit>),
    Attempt(Box<(Attempt, AttemptOutcome)>),
    Settled(Settlement, Result<(), StoreError>),
}

impl LaneTasks {
    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Asks for a permit, unless one of this pixel is being waited for.
    pub(super) fn request_permit(&mut self, limiter: &Arc<PixelLimiter>) {
        if let Some((present, wait)) = &self.waits_for {
            if Arc::ptr_eq(present, limiter) {
                return;
            }
            // The lane has left that pixel.
            wait.cancel();
        }
        let (limiter, wait) = (Arc::clone(limiter), self.stop.child_token());
        self.waits_for = Some((Arc::clone(&limiter), wait.clone()));
        self.spawn(async move {
            tokio::select! {
                biased;
                () = wait.cancelled() => TaskOutput::Permit(None),
                permit = limiter.permit() => TaskOutput::Permit(Some(permit)),
            }
        });
    }

    pub(super) fn send(
        &mut self,
        mut attempt: Attempt,
        sync: SyncName,
        queue: Queue,
        graph: Arc<GraphClient>,
        clock: Arc<dyn Clock>,
    ) {
        self.attempts += 1;
        let (stop, abandon) = (self.stop.clone(), self.abandon.clone());
        self.spawn(async move {
            let outcome = attempt
                .run(&sync, &queue, &graph, &*clock, &stop, &abandon)
                .await;
            TaskOutput::Attempt(Box::new((attempt, outcome)))
        });
    }

    pub(super) fn settle(&mut self, queue: &Queue, settlement: Settlement) {
        let queue = queue.clone();
        self.spawn(async move {
            let result = queue.settle(settlement.clone()).await;
            TaskOutput::Settled(settlement, result)
        });
    }

    fn spawn(&mut self, task: impl Future<Output = TaskOutput> + Send + 'static) {
        self.set.spawn(caught(task));
    }

    /// Ends all of them, wherever they are.
    pub(super) async fn end(mut self) {
        self.set.shutdown().await;
    }

    /// Keeps a permit that is waited for. One of a pixel that the lane has left goes back.
    pub(super) fn set_permit(&mut self, permit: Option<Permit>) {
        let limiter = permit.as_ref().map(|permit| Arc::as_ptr(&permit.limiter));
        let wanted = self
            .waits_for
            .as_ref()
            .map(|(wanted, _)| Arc::as_ptr(wanted));
        if limiter.is_some() && limiter == wanted {
            self.waits_for = None;
            self.permit = permit;
        }
    }

    /// What the next task brings back; `None` where there is none.
    pub(super) async fn next(&mut self) -> Option<TaskOutput> {
        self.set.join_next().await.map(output)
    }

    /// What a task has brought back already.
    pub(super) fn try_next(&mut self) -> Option<TaskOutput> {
        self.set.try_join_next().map(output)
    }
}

/// What a task has brought back. Its panic is one of the lane.
fn output(done: Result<Result<TaskOutput, Panicked>, JoinError>) -> TaskOutput {
    match done {
        Ok(Ok(output)) => output,
        Ok(Err(panicked)) => resume_unwind(Box::new(panicked)),
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        // The runtime ends.
        Err(_cancelled) => TaskOutput::Permit(None),
    }
}

#[cfg(test)]
impl LaneTasks {
    /// Whether nothing is under way, apart from the wait for a permit.
    pub(super) fn are_done(&self, waits_for_permit: bool) -> bool {
        self.set.len() == usize::from(self.waits_for.is_some() && waits_for_permit)
    }

    /// Whether requests are all that is under way.
    pub(super) fn are_requests(&self) -> bool {
        self.attempts > 0 && self.set.len() == self.attempts
    }
}
