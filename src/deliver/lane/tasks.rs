//! The tasks of a lane: the wait for a permit, requests and settlements.

use std::panic::resume_unwind;
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::config::SyncName;
use crate::deliver::client::GraphClient;
use crate::deliver::limiter::{Permit, PixelLimiter};
use crate::queue::settle::Settlement;
use crate::queue::{Queue, StoreError};

use super::attempt::{Attempt, AttemptOutcome};

#[derive(Debug, Default)]
pub(super) struct LaneTasks {
    set: JoinSet<TaskOutput>,
    /// Requests in flight.
    pub(super) attempts: usize,
    /// For the next request.
    pub(super) permit: Option<Permit>,
    wants_permit: bool,
    /// Once it is cancelled, nothing is sent.
    pub(super) stop: CancellationToken,
    /// Once it is cancelled, nothing waits for an answer.
    pub(super) abandon: CancellationToken,
}

/// What a task brings back to the lane.
#[derive(Debug)]
pub(super) enum TaskOutput {
    /// `None`: the lane stops.
    Permit(Option<Permit>),
    Attempt(Box<(Attempt, AttemptOutcome)>),
    Settled(Settlement, Result<(), StoreError>),
}

impl LaneTasks {
    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Asks for a permit, unless one is being waited for.
    pub(super) fn request_permit(&mut self, limiter: &Arc<PixelLimiter>) {
        if self.wants_permit {
            return;
        }
        self.wants_permit = true;
        let limiter = Arc::clone(limiter);
        let stop = self.stop.clone();
        self.set.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => TaskOutput::Permit(None),
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
    ) {
        self.attempts += 1;
        let (stop, abandon) = (self.stop.clone(), self.abandon.clone());
        self.set.spawn(async move {
            let outcome = attempt.run(&sync, &queue, &graph, &stop, &abandon).await;
            TaskOutput::Attempt(Box::new((attempt, outcome)))
        });
    }

    pub(super) fn settle(&mut self, queue: &Queue, settlement: Settlement) {
        let queue = queue.clone();
        self.set.spawn(async move {
            let result = queue.settle(settlement.clone()).await;
            TaskOutput::Settled(settlement, result)
        });
    }

    /// Keeps a permit that was waited for.
    pub(super) fn set_permit(&mut self, permit: Option<Permit>) {
        self.wants_permit = false;
        self.permit = permit;
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

fn output(done: Result<TaskOutput, JoinError>) -> TaskOutput {
    match done {
        Ok(output) => output,
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        // The runtime ends.
        Err(_cancelled) => TaskOutput::Permit(None),
    }
}

#[cfg(test)]
impl LaneTasks {
    /// Whether nothing is under way, apart from the wait for a permit.
    pub(super) fn are_done(&self, waits_for_permit: bool) -> bool {
        self.set.len() == usize::from(self.wants_permit && waits_for_permit)
    }

    /// Whether requests are all that is under way.
    pub(super) fn are_requests(&self) -> bool {
        self.attempts > 0 && self.set.len() == self.attempts
    }
}
