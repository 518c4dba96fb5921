//! One request to Meta, as a task of its lane.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::UnixMillis;
use crate::config::SyncName;
use crate::deliver::bisect::Bisection;
use crate::deliver::client::{GraphClient, PostError};
use crate::deliver::limiter::Permit;
use crate::deliver::verdict::GraphReply;
use crate::queue::attempt::DeliveryId;
use crate::queue::lease::{Leased, Slot};
use crate::queue::state::DOUBT_SECONDS;
use crate::queue::{Queue, StoreError};

/// What a request needs.
#[derive(Debug)]
pub(super) struct GraphRequest {
    pub(super) sync: SyncName,
    pub(super) queue: Queue,
    pub(super) graph: Arc<GraphClient>,
    pub(super) permit: Permit,
    /// The first part of it is sent.
    pub(super) batch: Bisection<Leased>,
}

/// A request that is over, sent or not.
#[derive(Debug)]
pub(super) struct FinishedAttempt {
    pub(super) permit: Permit,
    pub(super) batch: Bisection<Leased>,
    /// Its record in the store, if it got that far.
    pub(super) delivery: Option<DeliveryId>,
    pub(super) began: Instant,
    pub(super) latency: Duration,
}

#[derive(Debug)]
pub(super) enum AttemptOutcome {
    /// It was not sent: the lane stops, or a cooldown began.
    Withheld,
    /// It was not sent: the store could not record it.
    NotRecorded(StoreError),
    /// The lane stopped waiting for the answer.
    Abandoned,
    /// It was sent.
    Sent(Result<GraphReply, PostError>),
}

impl FinishedAttempt {
    /// Meta may have accepted the events: they are not sent any more once it would not recognise them.
    pub(super) fn bound_deadlines(&mut self, now: UnixMillis) {
        let sent = now.seconds() - self.latency.as_secs().cast_signed();
        for event in self.batch.next_mut() {
            event.deadline = event.deadline.min(sent + DOUBT_SECONDS);
        }
    }
}

impl GraphRequest {
    /// Records the request in the store, sends it and reads the answer. It is not sent once `stop` is
    /// cancelled, and no answer is waited for once `abandon` is.
    pub(super) async fn run(
        self,
        stop: CancellationToken,
        abandon: CancellationToken,
    ) -> (FinishedAttempt, AttemptOutcome) {
        let began = Instant::now();
        let mut latency = Duration::ZERO;
        let (delivery, outcome) = match self.record(&stop).await {
            Err(outcome) => (None, outcome),
            Ok(delivery) if stop.is_cancelled() || !self.permit.is_valid() => {
                (Some(delivery), AttemptOutcome::Withheld)
            }
            Ok(delivery) => {
                let sent = Instant::now();
                let outcome = self.post(&abandon).await;
                latency = sent.elapsed();
                (Some(delivery), outcome)
            }
        };
        let attempt = FinishedAttempt {
            permit: self.permit,
            batch: self.batch,
            delivery,
            began,
            latency,
        };
        (attempt, outcome)
    }

    /// Waits until the limiter allows the events, and records the request.
    async fn record(&self, stop: &CancellationToken) -> Result<DeliveryId, AttemptOutcome> {
        let events = self.batch.next();
        tokio::select! {
            biased;
            () = stop.cancelled() => return Err(AttemptOutcome::Withheld),
            () = self.permit.limiter().wait_for_events(events.len()) => {}
        }
        let slots: Vec<Slot> = events.iter().map(|event| event.slot).collect();
        self.queue
            .open_delivery(&self.sync, &slots)
            .await
            .map_err(AttemptOutcome::NotRecorded)
    }

    async fn post(&self, abandon: &CancellationToken) -> AttemptOutcome {
        let events = self.batch.next();
        let bodies: Vec<&[u8]> = events.iter().map(|event| event.body.as_ref()).collect();
        tokio::select! {
            biased;
            answer = self.graph.post(&bodies) => AttemptOutcome::Sent(answer),
            () = abandon.cancelled() => AttemptOutcome::Abandoned,
        }
    }
}
