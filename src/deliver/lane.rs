//! A lane: delivers the events of one sync.
//!
//! A lane owns its state alone and is driven by [`Lane::step`], which does one thing and says what;
//! [`Lane::run`] only loops, waits and stops. Requests, waits for leave and settlements are tasks
//! of the lane's own set, so that nothing in it waits for anything else, and their results are
//! dealt with one after the other.
//!
//! The way of a batch: something is due, leave is given (`limiter`), events are leased (`next_batch`),
//! the request is noted in the store, sent (`attempt`) and judged (`verdict`), what the verdict
//! leads to is done (`outcome`, `refusal`) and logged (`log`), and that is settled (`settle`).
//! `breaker` knows how the lane stands, `show` says it; `credentials` minds the access token.
//!
//! Promises: every leased event is settled, released or, after a crash, ready again; no request
//! while the pixel is at a standstill, none with more than one event as a probe; no lease while a
//! settlement could not be written. Knows nothing of other lanes but what `limiter` and `shared_token`
//! share.

use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::clock::Clock;
use crate::config::SyncName;
use crate::config::secret_files::SecretFiles;
use crate::config::sync::SyncConfig;
use crate::queue::lease::{Leased, Slot};
use crate::queue::settle::{Refusal, Settlement};
use crate::queue::{Queue, StoreError};
use crate::telemetry::metrics::{LaneState, Metrics};

use super::adaptive::Concurrency;
use super::adaptive::{AdaptiveSize, BatchSize};
use super::bisect::Bisection;
use super::client::GraphClient;
use super::limiter::{Circuit, Permit, PixelLimiter};
use super::quarantine::Quarantine;
use super::redact::Redactor;
use attempt::{Answered, GraphRequest};
use breaker::{Breaker, LaneTrouble, RetrySchedule};
use next_batch::Probing;
use shared_token::{SharedToken, TokenRegistry, TokenTarget};
use status::LaneStatus;

mod attempt;
pub mod breaker;
mod credentials;
mod log;
mod next_batch;
mod outcome;
mod refusal;
pub mod shared_token;
mod settle;
mod show;
pub mod status;

/// Time for the last settlements, once no answer is waited for any more.
const LAST_SETTLEMENTS: Duration = Duration::from_secs(1);

/// Delivers the events of one sync.
#[derive(Debug)]
pub struct Lane {
    sync: SyncName,
    enabled: bool,
    delay: Duration,
    queue: Queue,
    graph: Arc<GraphClient>,
    pixel_id: String,
    pixel: Arc<PixelLimiter>,
    gate: watch::Receiver<Circuit>,
    token_file: SecretFiles,
    app_secret_file: SecretFiles,
    tokens: TokenRegistry,
    shared_token: SharedToken,
    token_news: watch::Receiver<Option<RetrySchedule>>,
    redactor: Redactor,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    status: watch::Sender<LaneStatus>,

    standing: Breaker,
    size: AdaptiveSize,
    concurrency: Concurrency,
    /// Batches that were begun and go on.
    parts: VecDeque<Bisection<Leased>>,
    /// Events that were refused alone, while it is not known whether that is their fault.
    quarantine: Quarantine<EventKey, Leased, Refusal>,
    probing: Probing,
    /// Batches that fail are split so many times more: the lane was found to be well meanwhile.
    splits_left: u32,
    /// What Meta last said beside a success.
    remarked: Option<String>,

    tasks: JoinSet<TaskOutput>,
    requests: usize,
    ticket: Option<Permit>,
    ticket_wanted: bool,
    /// Settlements that could not be written.
    unsettled: VecDeque<Settlement>,
    store_failures: u32,
    store_next: Option<Instant>,
    lease_next: Option<Instant>,
    stop: CancellationToken,
    abandon: CancellationToken,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneStep {
    /// Sent so many events.
    Sent(usize),
    /// Dealt with an answer, or the lack of one.
    Answered(&'static str),
    /// Something else that leaves more to do.
    Progress,
    /// Nothing to do until this moment, or until something changes.
    Idle(Option<Instant>),
}

/// An event that Meta refused, recognised even where another took its place in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct EventKey {
    slot: Slot,
    checksum: u32,
    taken_at: i64,
}

/// What a task of the lane brings back.
#[derive(Debug)]
enum TaskOutput {
    Ticket(Option<Permit>),
    Answered(Box<Answered>),
    Settled(Settlement, Result<(), StoreError>),
}

impl EventKey {
    fn new(event: &Leased) -> Self {
        Self {
            slot: event.slot,
            checksum: crc32fast::hash(event.body.as_ref()),
            taken_at: event.taken_at.0,
        }
    }
}

impl Lane {
    /// Prepares a lane. `pixel` is shared with the other syncs of the same pixel id, and what is known
    /// of its token with those of the same token.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a part of its own, and there is one caller"
    )]
    pub fn new(
        sync: SyncName,
        config: &SyncConfig,
        graph: GraphClient,
        pixel: Arc<PixelLimiter>,
        tokens: &TokenRegistry,
        queue: Queue,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let delivery = &config.delivery;
        let events = delivery.max_batch_events.get().min(pixel.most_events());
        let frame = graph.frame_bytes(events);
        let size = BatchSize {
            events,
            bytes: delivery.max_batch_bytes.get().saturating_sub(frame).max(1),
        };
        let token = &config.access_token;
        let target = TokenTarget {
            pixel_id: config.pixel_id.clone(),
            pixel: Arc::clone(&pixel),
        };
        let shared_token = tokens.join(token, target, None);
        let token_file = SecretFiles::of_meta(
            format!("sync.{sync}.access_token_file"),
            config.access_token_file.as_ref(),
            Some(token),
        );
        let app_secret_file = SecretFiles::of_meta(
            format!("sync.{sync}.app_secret_file"),
            config.app_secret_file.as_ref(),
            config.app_secret.as_ref(),
        );
        let state = if config.enabled {
            LaneState::running
        } else {
            LaneState::draining
        };
        metrics.lane_state(&sync, state);
        let status = watch::Sender::new(LaneStatus::idle(state, clock.now()));
        Self {
            sync,
            enabled: config.enabled,
            delay: delivery.max_batch_delay,
            queue,
            graph: Arc::new(graph),
            gate: pixel.circuit(),
            pixel_id: config.pixel_id.clone(),
            pixel,
            token_file,
            app_secret_file,
            tokens: tokens.clone(),
            token_news: shared_token.watch(),
            shared_token,
            redactor: redactor(token, config.app_secret.as_ref()),
            clock,
            metrics,
            status,
            standing: Breaker::default(),
            size: AdaptiveSize::new(size),
            concurrency: Concurrency::new(delivery.max_in_flight),
            parts: VecDeque::new(),
            quarantine: Quarantine::default(),
            probing: Probing::default(),
            splits_left: 0,
            remarked: None,
            tasks: JoinSet::new(),
            requests: 0,
            ticket: None,
            ticket_wanted: false,
            unsettled: VecDeque::new(),
            store_failures: 0,
            store_next: None,
            lease_next: None,
            stop: CancellationToken::new(),
            abandon: CancellationToken::new(),
        }
    }

    /// The sync that the lane delivers.
    pub fn sync(&self) -> &SyncName {
        &self.sync
    }

    /// Shows how the lane stands.
    pub fn status(&self) -> watch::Receiver<LaneStatus> {
        self.status.subscribe()
    }

    /// Delivers until `stop` is cancelled; then waits for answers for as long as `grace`, and gives
    /// back to the queue what was not delivered.
    pub async fn run(mut self, stop: CancellationToken, grace: Duration) {
        while !stop.is_cancelled() && !self.stop.is_cancelled() {
            // Watched from before the step, so that no change falls between the two.
            let queue = self.queue.clone();
            let sync = self.sync.clone();
            let changed = queue.changed(&sync);
            let LaneStep::Idle(until) = self.step().await else {
                continue;
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    self.take(done);
                }
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
                () = changed => {}
                // The senders live as long as the lane.
                _ = self.gate.changed() => {}
                _ = self.token_news.changed() => {}
            }
        }
        self.finish(grace).await;
    }

    /// Does one thing.
    pub async fn step(&mut self) -> LaneStep {
        let step = match self.tasks.try_join_next() {
            Some(done) => self.take(done),
            None => self.proceed().await,
        };
        self.show();
        match step {
            LaneStep::Idle(until) => LaneStep::Idle(self.wake(until)),
            step => step,
        }
    }

    /// Waits for what is under way, gives the rest back.
    async fn finish(&mut self, grace: Duration) {
        self.stop.cancel();
        let until = Instant::now() + grace;
        self.drain(until).await;
        self.abandon.cancel();
        for settlement in std::mem::take(&mut self.unsettled) {
            self.settle(settlement);
        }
        self.drain(Instant::now() + LAST_SETTLEMENTS).await;
        let mut slots: Vec<Slot> = Vec::new();
        for parts in self.parts.drain(..) {
            slots.extend(parts.into_all().iter().map(|event| event.slot));
        }
        slots.extend(self.probing.take().iter().map(|event| event.slot));
        slots.extend(self.quarantine.release().iter().map(|event| event.slot));
        self.queue.release(&self.sync, &slots);
        if !self.tasks.is_empty() || !self.unsettled.is_empty() {
            warn!(sync = %self.sync, "stopped before the store took the last settlements; their events may be sent again");
        }
    }

    async fn drain(&mut self, until: Instant) {
        while let Ok(Some(done)) = timeout_at(until, self.tasks.join_next()).await {
            self.take(done);
        }
    }

    /// Deals with what a task brought back.
    fn take(&mut self, done: Result<TaskOutput, JoinError>) -> LaneStep {
        let step = match done {
            Ok(TaskOutput::Ticket(ticket)) => {
                self.ticket_wanted = false;
                self.ticket = ticket;
                LaneStep::Progress
            }
            Ok(TaskOutput::Answered(answered)) => {
                self.requests -= 1;
                let verdict = self.answered(*answered);
                self.agree_on_token();
                LaneStep::Answered(verdict)
            }
            Ok(TaskOutput::Settled(settlement, result)) => {
                self.settled(settlement, result);
                LaneStep::Progress
            }
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_cancelled) => LaneStep::Progress,
        };
        self.show();
        step
    }

    /// Begins what can be begun.
    async fn proceed(&mut self) -> LaneStep {
        let ticket = self.ticket.take();
        if self.stop.is_cancelled() {
            return LaneStep::Idle(None);
        }
        self.read_credentials().await;
        self.agree_on_token();
        let now = Instant::now();
        if let Some(step) = self.mind_store(now) {
            return step;
        }
        if let Some(until) = self.standing.wait_until(now) {
            return LaneStep::Idle(Some(until));
        }
        if self.requests >= self.allowed() {
            return LaneStep::Idle(None);
        }
        if let Some(idle) = self.wait_for_work(now) {
            return idle;
        }
        let Some(ticket) = ticket.filter(Permit::is_valid) else {
            self.ask_for_ticket();
            return LaneStep::Idle(None);
        };
        if !self.claims_probe(now) {
            return LaneStep::Progress;
        }
        self.send(ticket, now).await
    }

    /// Requests that may be under way: one while it is not known whether they get through.
    fn allowed(&self) -> usize {
        if self.standing.trouble().is_some() || self.quarantine.is_isolating() {
            1
        } else {
            self.concurrency.allowed()
        }
    }

    fn ask_for_ticket(&mut self) {
        if self.ticket_wanted {
            return;
        }
        self.ticket_wanted = true;
        let pixel = Arc::clone(&self.pixel);
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => TaskOutput::Ticket(None),
                ticket = pixel.permit() => TaskOutput::Ticket(Some(ticket)),
            }
        });
    }

    async fn send(&mut self, ticket: Permit, now: Instant) -> LaneStep {
        let parts = match self.next_parts(&ticket, now).await {
            Ok(Some(parts)) => parts,
            Ok(None) => return LaneStep::Progress,
            Err(error) => {
                self.store_failed(&error);
                return LaneStep::Progress;
            }
        };
        let events = parts.next().len();
        let request = GraphRequest {
            sync: self.sync.clone(),
            queue: self.queue.clone(),
            graph: Arc::clone(&self.graph),
            pixel: Arc::clone(&self.pixel),
            ticket,
            parts,
            stop: self.stop.clone(),
            abandon: self.abandon.clone(),
        };
        self.requests += 1;
        self.tasks
            .spawn(async move { TaskOutput::Answered(Box::new(request.run().await)) });
        LaneStep::Sent(events)
    }

    /// The moment to look again: the given one, or an earlier one that something else needs.
    fn wake(&self, until: Option<Instant>) -> Option<Instant> {
        // The files are read before each request; by themselves only where something is to be put right.
        let files = [self.token_file.next(), self.app_secret_file.next()];
        let is_waited_for = matches!(self.standing.trouble(), Some(LaneTrouble::Fix(_)));
        let files = files.into_iter().flatten().filter(|_| is_waited_for);
        until.into_iter().chain(files).min()
    }
}

fn redactor(token: &SecretString, app_secret: Option<&SecretString>) -> Redactor {
    Redactor::new([token.clone()].into_iter().chain(app_secret.cloned()))
}

#[cfg(test)]
mod tests;
