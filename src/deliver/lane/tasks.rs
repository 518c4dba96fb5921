//! The tasks of a lane: the wait for a permit, requests and settlements.

use std::panic::resume_unwind;
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::deliver::limiter::{Permit, PixelLimiter};
use crate::queue::settle::Settlement;
use crate::queue::{Queue, StoreError};

use super::attempt::{AttemptOutcome, FinishedAttempt, GraphRequest};

#[derive(Debug, Default)]
pub(super) struct LaneTasks {
    set: JoinSet<TaskOutput>,
    attempts: usize,
    permit: Option<Permit>,
    wants_permit: bool,
    /// Nothing is sent any more.
    stop: CancellationToken,
    /// No answer is waited for any more.
    abandon: CancellationToken,
}

/// What a task brings back to the lane.
#[derive(Debug)]
pub(super) enum TaskOutput {
    /// `None`: none was given, or it is kept for the next request.
    Permit(Option<Permit>),
    Attempt(Box<(FinishedAttempt, AttemptOutcome)>),
    Settled(Settlement, Result<(), StoreError>),
}

impl LaneTasks {
    /// Requests in flight.
    pub(super) fn attempts(&self) -> usize {
        self.attempts
    }

    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Sends nothing any more.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits for no answer any more.
    pub(super) fn abandon(&self) {
        self.abandon.cancel();
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

    pub(super) fn take_permit(&mut self) -> Option<Permit> {
        self.permit.take()
    }

    pub(super) fn send(&mut self, request: GraphRequest) {
        self.attempts += 1;
        let (stop, abandon) = (self.stop.clone(), self.abandon.clone());
        self.set
            .spawn(async move { TaskOutput::Attempt(Box::new(request.run(stop, abandon).await)) });
    }

    pub(super) fn settle(&mut self, queue: &Queue, settlement: Settlement) {
        let queue = queue.clone();
        self.set.spawn(async move {
            let result = queue.settle(settlement.clone()).await;
            TaskOutput::Settled(settlement, result)
        });
    }

    /// What the next task brings back; `None` where there is none.
    pub(super) async fn next(&mut self) -> Option<TaskOutput> {
        let done = self.set.join_next().await?;
        Some(self.finish(done))
    }

    /// What a task has brought back already.
    pub(super) fn try_next(&mut self) -> Option<TaskOutput> {
        let done = self.set.try_join_next()?;
        Some(self.finish(done))
    }

    fn finish(&mut self, done: Result<TaskOutput, JoinError>) -> TaskOutput {
        match done {
            Ok(TaskOutput::Permit(permit)) => {
                self.wants_permit = false;
                self.permit = permit;
                TaskOutput::Permit(None)
            }
            Ok(TaskOutput::Attempt(finished)) => {
                self.attempts -= 1;
                TaskOutput::Attempt(finished)
            }
            Ok(output) => output,
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            // The runtime ends.
            Err(_cancelled) => TaskOutput::Permit(None),
        }
    }
}

#[cfg(test)]
impl LaneTasks {
    /// Whether nothing is under way but, if one is waited for, the permit.
    pub(super) fn are_done(&self, waits_for_permit: bool) -> bool {
        self.set.len() == usize::from(self.wants_permit && waits_for_permit)
    }

    /// Whether requests are all that is under way.
    pub(super) fn are_requests(&self) -> bool {
        self.attempts > 0 && self.set.len() == self.attempts
    }
}
