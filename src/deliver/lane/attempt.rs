//! One request, from leave to answer, as a task of its lane.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::SyncName;
use crate::deliver::bisect::Bisection;
use crate::deliver::client::{GraphClient, PostError};
use crate::deliver::limiter::{Permit, PixelLimiter};
use crate::deliver::verdict::GraphReply;
use crate::queue::attempt::DeliveryId;
use crate::queue::lease::{Leased, Slot};
use crate::queue::{Queue, StoreError};

/// What a request needs.
#[derive(Debug)]
pub(super) struct GraphRequest {
    pub(super) sync: SyncName,
    pub(super) queue: Queue,
    pub(super) graph: Arc<GraphClient>,
    pub(super) pixel: Arc<PixelLimiter>,
    pub(super) ticket: Permit,
    /// The first of the parts is sent.
    pub(super) parts: Bisection<Leased>,
    /// Nothing is sent any more.
    pub(super) stop: CancellationToken,
    /// No answer is waited for any more.
    pub(super) abandon: CancellationToken,
}

/// A request that is over.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) ticket: Permit,
    pub(super) parts: Bisection<Leased>,
    /// Its record in the store, where it came so far.
    pub(super) delivery: Option<DeliveryId>,
    pub(super) began: Instant,
    pub(super) latency: Duration,
    pub(super) outcome: AttemptOutcome,
}

/// How a request ended.
#[derive(Debug)]
pub(super) enum AttemptOutcome {
    /// It was not sent: the lane stops, or a standstill began.
    Withheld,
    /// It was not sent: it could not be noted in the store.
    NotNoted(StoreError),
    /// There is no answer.
    Failed(PostError),
    /// The lane stopped waiting for the answer.
    Abandoned,
    /// There is an answer.
    Replied(GraphReply),
}

impl GraphRequest {
    /// Notes the request in the store, sends it and reads the answer.
    pub(super) async fn run(self) -> Answered {
        let began = Instant::now();
        let mut latency = Duration::ZERO;
        let (delivery, outcome) = match self.note().await {
            Err(outcome) => (None, outcome),
            Ok(delivery) if self.stop.is_cancelled() || !self.ticket.is_valid() => {
                (Some(delivery), AttemptOutcome::Withheld)
            }
            Ok(delivery) => {
                let sent = Instant::now();
                let outcome = self.post().await;
                latency = sent.elapsed();
                (Some(delivery), outcome)
            }
        };
        Answered {
            ticket: self.ticket,
            parts: self.parts,
            delivery,
            began,
            latency,
            outcome,
        }
    }

    /// Waits for leave to send so many events, and notes the request.
    async fn note(&self) -> Result<DeliveryId, AttemptOutcome> {
        let events = self.parts.next();
        tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(AttemptOutcome::Withheld),
            () = self.pixel.wait_for_events(events.len()) => {}
        }
        let slots: Vec<Slot> = events.iter().map(|event| event.slot).collect();
        self.queue
            .open_delivery(&self.sync, &slots)
            .await
            .map_err(AttemptOutcome::NotNoted)
    }

    async fn post(&self) -> AttemptOutcome {
        let events = self.parts.next();
        let bodies: Vec<&[u8]> = events.iter().map(|event| event.body.as_ref()).collect();
        tokio::select! {
            biased;
            answer = self.graph.post(&bodies) => match answer {
                Ok(reply) => AttemptOutcome::Replied(reply),
                Err(error) => AttemptOutcome::Failed(error),
            },
            () = self.abandon.cancelled() => AttemptOutcome::Abandoned,
        }
    }
}
