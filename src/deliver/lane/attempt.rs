//! One request to Meta, as a task of its lane.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, UnixMillis};
use crate::config::SyncName;
use crate::deliver::bisect::Bisection;
use crate::deliver::client::GraphClient;
use crate::deliver::limiter::Permit;
use crate::deliver::redact::Redactor;
use crate::deliver::transport::PostError;
use crate::deliver::verdict::GraphReply;
use crate::queue::attempt::AttemptId;
use crate::queue::lease::{Leased, Slot};
use crate::queue::state::{DOUBT_SECONDS, in_doubt_since};
use crate::queue::{Queue, StoreError};

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) permit: Permit,
    /// The first part of it is sent.
    pub(super) batch: Bisection<Leased>,
    /// Its record in the store, if it gets that far.
    pub(super) delivery: Option<AttemptId>,
    pub(super) began: Instant,
    pub(super) latency: Duration,
    /// For what the answer says: it may hold the secrets of this request.
    pub(super) redactor: Arc<Redactor>,
}

#[derive(Debug)]
pub(super) enum AttemptOutcome {
    /// It was not sent: the lane stops, a cooldown began, or an event's deadline passed while the record was written.
    Withheld,
    /// It was not sent: the store could not record it.
    NotRecorded(StoreError),
    /// The lane stopped waiting for the answer.
    Abandoned,
    /// It was sent.
    Sent(Result<GraphReply, PostError>),
}

impl Attempt {
    pub(super) fn new(permit: Permit, batch: Bisection<Leased>, redactor: Arc<Redactor>) -> Self {
        Self {
            permit,
            batch,
            delivery: None,
            began: Instant::now(),
            latency: Duration::ZERO,
            redactor,
        }
    }

    /// Records the request in the store, sends it and reads the answer. It is not sent once `stop` is
    /// cancelled, nor once one of its events is too late, and the wait for the answer ends with `abandon`.
    pub(super) async fn run(
        &mut self,
        sync: &SyncName,
        queue: &Queue,
        graph: &GraphClient,
        clock: &dyn Clock,
        stop: &CancellationToken,
        abandon: &CancellationToken,
    ) -> AttemptOutcome {
        let events = self.batch.next();
        tokio::select! {
            biased;
            () = stop.cancelled() => return AttemptOutcome::Withheld,
            () = self.permit.limiter.wait_for_events(events.len()) => {}
        }
        let slots: Vec<Slot> = events.iter().map(|event| event.slot).collect();
        match queue.open_attempt(sync, &slots).await {
            Ok(delivery) => self.delivery = Some(delivery),
            Err(error) => return AttemptOutcome::NotRecorded(error),
        }
        // Both waits may have been long, and every way to a request leads past here.
        let deadlines = clock.deadlines();
        let is_late = |event: &Leased| deadlines.holds_back(event.deadline, event.taken_at);
        if stop.is_cancelled() || !self.permit.is_valid() || events.iter().any(is_late) {
            return AttemptOutcome::Withheld;
        }
        let sent = Instant::now();
        let bodies: Vec<&[u8]> = events.iter().map(|event| event.body.as_ref()).collect();
        let outcome = tokio::select! {
            biased;
            answer = graph.post(&bodies) => AttemptOutcome::Sent(answer),
            () = abandon.cancelled() => AttemptOutcome::Abandoned,
        };
        self.latency = sent.elapsed();
        outcome
    }

    /// Meta may have accepted the events: they are not sent any more once it would not recognise them.
    pub(super) fn bound_deadlines(&mut self, now: UnixMillis) {
        let sent = now.before(self.latency);
        for event in self.batch.next_mut() {
            let since = in_doubt_since(sent, event.taken_at);
            event.deadline = event.deadline.min(since.seconds() + DOUBT_SECONDS);
        }
    }
}
