//! A lane: delivers the events of one sync.
//!
//! A lane owns its state alone. [`Lane::step`] does one thing; [`Lane::run`] only loops, waits and stops.
//! Requests, settlements and the wait for a permit are `tasks`, so that nothing in the lane waits for
//! anything else; the lane takes their results one after the other.
//!
//! The way of a batch: `leased` chooses it; `attempt` records it in the store, sends it and reads the
//! answer; `verdict` judges the answer; `outcome` decides what follows; the lane applies that to its parts
//! and settles. The parts: `breaker` says whether requests may go out, `credentials` with which token,
//! `adaptive` how much at once; `settle` tries again what the store did not take; `status` shows it all.
//!
//! A panic costs the lane its state: it begins anew, and what was on lease or in flight is as after a crash.
//!
//! Promises: every leased event is settled, released or, after a crash, ready again; no request during a
//! cooldown of the pixel; a probe holds one event; no lease while a settlement is not written. Lanes share
//! only what `limiter` and `shared_token` hold.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::config::SyncName;
use crate::panics::{Panicked, Strikes, caught};
use crate::queue::attempt::{AttemptAnswer, AttemptId};
use crate::queue::cooldown::Cooldown;
use crate::queue::{Queue, StoreError};
use crate::telemetry::metrics::{Metrics, PanickedPart};

use super::adaptive::BatchSize;
use super::client::GraphClient;
use super::limiter::Permit;
use super::quarantine::LoneRefusal;
use super::transport::PostError;
use super::verdict::{Fix, GraphReply, Judgement, judge};
use attempt::{Attempt, AttemptOutcome};
use breaker::{Breaker, TransientFailure};
use clock_step::ClockStep;
use leased::{LeasedEvents, Leasing, release};
use outcome::{OnEvents, OutcomeFacts};
use settle::{Settling, StoreRetry};
use setup::LaneSetup;
use status::{LaneHandle, LaneRestarts, LaneStatus};
use tasks::{LaneTasks, TaskOutput};

mod apply;
mod attempt;
pub mod breaker;
mod credentials;
mod leased;
mod log;
mod outcome;
mod probing;
mod settle;
pub mod setup;
pub mod shared_token;
pub mod status;
mod tasks;
mod clock_step;

/// Time for the last settlements, after the wait for answers.
const LAST_SETTLEMENTS: Duration = Duration::from_secs(1);

/// Delivers the events of one sync.
#[derive(Debug)]
pub struct Lane {
    sync: SyncName,
    setup: LaneSetup,
    /// Other setups, as the configuration changes.
    setups: mpsc::Receiver<LaneSetup>,
    queue: Queue,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    breaker: Breaker,
    leased: LeasedEvents,
    tasks: LaneTasks,
    store: StoreRetry,
    clock_step: ClockStep,
    status: watch::Sender<LaneStatus>,
    /// Meta's last remarks on a success.
    last_remarks: Option<String>,
    strikes: Strikes,
    /// The fault after which the lane has not begun anew yet.
    fault: Option<Panicked>,
    restarts: Option<LaneRestarts>,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneStep {
    /// Something; there may be more to do.
    Progress,
    /// Nothing to do until this moment, or until something changes.
    Idle(Option<Instant>),
}

impl Lane {
    /// Prepares a lane, and a handle on it for others.
    pub fn new(
        sync: SyncName,
        setup: LaneSetup,
        queue: Queue,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> (Self, LaneHandle) {
        metrics.lane_state(&sync, setup.normal);
        let status = watch::Sender::new(LaneStatus::idle(setup.normal, clock.uptime()));
        let (sender, setups) = mpsc::channel(1);
        let handle = LaneHandle {
            status: status.subscribe(),
            setups: sender,
        };
        let lane = Self {
            sync,
            setup,
            setups,
            queue,
            clock,
            metrics,
            breaker: Breaker::default(),
            leased: LeasedEvents::default(),
            tasks: LaneTasks::default(),
            store: StoreRetry::default(),
            clock_step: ClockStep::default(),
            status,
            last_remarks: None,
            strikes: Strikes::default(),
            fault: None,
            restarts: None,
        };
        (lane, handle)
    }

    pub fn sync(&self) -> &SyncName {
        &self.sync
    }

    pub(super) fn graph(&self) -> Arc<GraphClient> {
        Arc::clone(&self.setup.graph)
    }

    /// Goes by another setup from the next request on; requests in flight are settled as they were sent.
    /// The change may fix what was wrong, so the lane tries at once.
    fn configure(&mut self, mut setup: LaneSetup) {
        self.breaker.retry_now(Instant::now());
        let (token, before) = (&mut setup.credentials.token, &self.setup.credentials.token);
        token.replaces(before, self.breaker.token_retry());
        self.setup = setup;
        self.publish();
    }

    /// Goes on where an earlier process was paused. A restart is often how a fault is fixed, so the
    /// first event probes at once.
    pub fn restore_pause(&mut self, cooldowns: &[Cooldown]) {
        let now = Instant::now();
        let own = (cooldowns.iter()).filter(|cooldown| cooldown.whose == self.sync.as_str());
        for fix in own.filter_map(|cooldown| Fix::parse(&cooldown.kind)) {
            self.breaker.pause(fix, now, now);
            self.breaker.retry_now(now);
            warn!(sync = %self.sync, "the lane was paused before the daemon started: {}", fix.in_words());
        }
        self.agree_on_token();
    }

    /// Delivers until `stop` is cancelled; then waits for answers for as long as `grace`, and gives
    /// back to the queue what was not delivered. Begins anew after a panic; one too many is the error.
    pub async fn run(mut self, stop: CancellationToken, grace: Duration) -> Result<(), Panicked> {
        while !stop.is_cancelled() && !self.tasks.stop.is_cancelled() {
            let turn = tokio::select! {
                biased;
                // The turn may wait for a disk that hangs. What it has on lease is as after a crash.
                () = stop.cancelled() => break,
                turn = caught(self.turn()) => turn,
            };
            let Err(panicked) = turn else { continue };
            self.metrics.panicked(PanickedPart::Lane);
            if self.strikes.add(Instant::now()) {
                return Err(panicked);
            }
            error!(sync = %self.sync, cause = %panicked, "the lane failed and begins anew; its events are kept");
            self.fault = Some(panicked);
        }
        caught(self.finish(grace)).await
    }

    /// Takes a step, and waits until there is another to take.
    async fn turn(&mut self) {
        if let Some(fault) = self.fault.clone() {
            self.begin_anew(&fault).await;
            self.fault = None;
            return;
        }
        // Watched from before the step, so that no change falls between the two.
        let (queue, sync) = (self.queue.clone(), self.sync.clone());
        let changed = queue.changed(&sync);
        let mut circuit = self.setup.limiter().watch();
        let mut token = self.setup.credentials.token.watch();
        let LaneStep::Idle(until) = self.step().await else {
            return;
        };
        tokio::select! {
            biased;
            Some(output) = self.tasks.next() => self.take(output),
            Some(setup) = self.setups.recv() => self.configure(setup),
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
            () = changed => {}
            () = circuit.changed() => {}
            () = token.changed() => {}
        }
    }

    /// Starts over after a fault, with the same setup. What keeps it from sending until someone fixes it stays.
    async fn begin_anew(&mut self, fault: &Panicked) {
        std::mem::take(&mut self.tasks).end().await;
        self.leased = LeasedEvents::default();
        self.store = StoreRetry::default();
        let fix = std::mem::take(&mut self.breaker).fix();
        if let Some(fix) = fix {
            self.breaker.pause(fix, Instant::now(), Instant::now());
        }
        self.setup.concurrency.reset();
        while let Err(error) = self.queue.abandon(&self.sync).await {
            self.on_store_failure(&error);
            let next = self.store.next.unwrap_or_else(Instant::now);
            tokio::select! {
                () = self.tasks.stop.cancelled() => return,
                () = sleep_until(next) => {}
            }
        }
        self.store = StoreRetry::default();
        let count = self.restarts.as_ref().map_or(0, |restarts| restarts.count);
        self.restarts = Some(LaneRestarts {
            count: count.saturating_add(1),
            last: self.clock.uptime(),
            cause: fault.to_string(),
        });
        self.publish();
    }

    /// Does one thing.
    pub async fn step(&mut self) -> LaneStep {
        if let Some(output) = self.tasks.try_next() {
            self.take(output);
            return LaneStep::Progress;
        }
        if let Ok(setup) = self.setups.try_recv() {
            self.configure(setup);
            return LaneStep::Progress;
        }
        let is_unreachable = self.breaker.failure() == Some(TransientFailure::Unreachable);
        let (now, uptime) = (self.clock.now(), self.clock.uptime());
        if self.clock_step.happened(is_unreachable, now, uptime) {
            self.breaker.retry_now(Instant::now());
        }
        let step = self.proceed().await;
        self.publish();
        match step {
            LaneStep::Idle(Some(until)) if is_unreachable => {
                LaneStep::Idle(Some(until.min(Instant::now() + clock_step::LOOK)))
            }
            // The files of the secrets are read before each request; else only to fix something.
            LaneStep::Idle(until) if self.breaker.fix().is_some() => {
                let files = self.setup.credentials.next_read();
                LaneStep::Idle(until.into_iter().chain(files).min())
            }
            step => step,
        }
    }

    /// Waits for what is under way, and gives the rest back.
    async fn finish(&mut self, grace: Duration) {
        self.tasks.stop.cancel();
        self.drain(Instant::now() + grace).await;
        self.tasks.abandon.cancel();
        for settlement in self.store.unsettled.drain(..) {
            self.tasks.settle(&self.queue, settlement);
        }
        self.drain(Instant::now() + LAST_SETTLEMENTS).await;
        release(&self.queue, &self.sync, &self.leased.take_all());
        if !self.tasks.is_empty() || !self.store.unsettled.is_empty() {
            warn!(sync = %self.sync, "stopped before the store took the last settlements; their events may be sent again");
        }
    }

    async fn drain(&mut self, until: Instant) {
        while let Ok(Some(output)) = timeout_at(until, self.tasks.next()).await {
            self.take(output);
        }
    }

    fn take(&mut self, output: TaskOutput) {
        match output {
            TaskOutput::Permit(permit) => self.tasks.set_permit(permit),
            TaskOutput::Attempt(finished) => {
                self.tasks.attempts -= 1;
                let (attempt, outcome) = *finished;
                match outcome {
                    AttemptOutcome::Sent(answer) => self.on_answer(attempt, &answer),
                    AttemptOutcome::Abandoned => self.give_up(attempt, true),
                    AttemptOutcome::Withheld => self.give_up(attempt, false),
                    AttemptOutcome::NotRecorded(error) => {
                        self.on_store_failure(&error);
                        self.give_up(attempt, false);
                    }
                }
                self.agree_on_token();
            }
            TaskOutput::Settled(_, Ok(())) => {
                if self.store.on_success(Instant::now()) {
                    info!(sync = %self.sync, "the store takes settlements again");
                }
            }
            TaskOutput::Settled(settlement, Err(error)) => {
                self.store.unsettled.push_back(settlement);
                self.on_store_failure(&error);
            }
        }
        self.publish();
    }

    /// Begins what can be begun.
    async fn proceed(&mut self) -> LaneStep {
        let permit = self.tasks.permit.take();
        if self.tasks.stop.is_cancelled() {
            return LaneStep::Idle(None);
        }
        let (credentials, graph) = (&mut self.setup.credentials, &self.setup.graph);
        credentials
            .reread(&self.sync, graph, &mut self.breaker)
            .await;
        self.agree_on_token();
        let now = Instant::now();
        if let Some(settlement) = self.store.take_due(now) {
            self.tasks.settle(&self.queue, settlement);
            return LaneStep::Progress;
        }
        let waits = (self.store.next).or_else(|| self.breaker.wait_until(now));
        if waits.is_some() || self.tasks.attempts >= self.max_in_flight() {
            return LaneStep::Idle(waits);
        }
        let leasing = Leasing {
            sync: self.sync.clone(),
            queue: self.queue.clone(),
            size: self.setup.size.at(now),
            now,
            uptime: self.clock.uptime(),
            deadlines: self.clock.deadlines(),
            settling: self.settling(None),
        };
        match self
            .leased
            .due(&leasing, &self.breaker, self.setup.max_delay)
        {
            Some(due) if due <= now => {}
            later => return LaneStep::Idle(later),
        }
        let limiter = self.setup.limiter();
        let Some(permit) = permit.filter(|permit| permit.is_valid_for(limiter)) else {
            self.tasks.request_permit(limiter);
            return LaneStep::Idle(None);
        };
        if (self.setup.credentials).claim_probe(&mut self.breaker, now) {
            self.send(permit, leasing).await;
        }
        LaneStep::Progress
    }

    async fn send(&mut self, permit: Permit, mut leasing: Leasing) {
        let batch = self
            .leased
            .next_batch(&mut leasing, &mut self.breaker, permit.is_probe())
            .await;
        if !leasing.settling.settlement.ends.is_empty() {
            self.settle(leasing.settling);
        }
        match batch {
            Ok(Some(batch)) => {
                let redactor = Arc::clone(&self.setup.credentials.redactor);
                let attempt = Attempt::new(permit, batch, redactor);
                let (sync, queue) = (self.sync.clone(), self.queue.clone());
                let (graph, clock) = (Arc::clone(&self.setup.graph), Arc::clone(&self.clock));
                self.tasks.send(attempt, sync, queue, graph, clock);
            }
            Ok(None) => {}
            Err(error) => self.on_store_failure(&error),
        }
    }

    /// Judges the answer to a request, or the lack of one, and does what follows.
    fn on_answer(&mut self, mut attempt: Attempt, answer: &Result<GraphReply, PostError>) {
        let events = attempt.batch.next();
        let judgement = match answer {
            Ok(reply) => judge(
                reply,
                events.len(),
                self.setup.credentials.have_app_secret(),
            ),
            Err(error) => Judgement::unanswered(error.is_lost()),
        };
        // The request may hold the secrets of either, where they changed while it waited.
        let present = &self.setup.credentials.redactor;
        let mut judgement = judgement.redacted(&attempt.redactor).redacted(present);
        let is_outdated = !Arc::ptr_eq(&attempt.redactor, present);
        let (verdict, latency) = (judgement.verdict.as_str(), attempt.latency.as_secs_f64());
        (self.metrics).delivery(&self.sync, verdict, latency, events.len());
        let remarks = judgement.remarks.take();
        log::log_remarks(&self.sync, remarks, &mut self.last_remarks);
        let error = answer.as_ref().err();
        let mut settling = self.settling(attempt.delivery);
        // Before the log tells of a wait: this may begin a longer one.
        if let Ok(reply) = answer {
            let limiter = &attempt.permit.limiter;
            apply::record_usage(&reply.usage, limiter, &self.metrics, &mut settling);
        }
        log::log_answer(&self.sync, &judgement, &attempt, error, self.breaker.fix());
        let view = OutcomeFacts {
            events: events.len(),
            is_search: attempt.batch.is_search(),
            is_retry: self.leased.quarantine.is_retry(events),
            is_well: self.breaker.is_closed(),
            suspects_batch: self.breaker.suspects_batch(),
            failures_after: self.breaker.failures_after(attempt.began),
            is_isolating: self.leased.quarantine.is_isolating(),
            split_budget: self.leased.split_budget,
        };
        let mut action = outcome::decide(&judgement, &view);
        if is_outdated {
            action.forget_credentials();
        }
        settling.settlement.answer = Some(settle::answer(&judgement));
        if judgement.may_be_taken {
            attempt.bound_deadlines(settling.now);
        }
        let (breaker, concurrency) = (&mut self.breaker, &mut self.setup.concurrency);
        apply::to_lane(action.lane, &attempt, breaker, concurrency, &mut settling);
        let token = &self.setup.credentials.token;
        apply::to_pixel(action.pixel, attempt.permit, token, &mut settling);
        let (batch, began) = (attempt.batch, attempt.began);
        match action.events {
            OnEvents::Accept { .. } => {
                for event in batch.next() {
                    let waited = settling.now.since(event.taken_at).as_secs_f64();
                    self.metrics.end_to_end(&self.sync, waited);
                }
            }
            OnEvents::Halve => {
                let size = BatchSize::of(batch.next());
                self.setup.size.on_too_large(size, Instant::now());
            }
            OnEvents::Split(_) | OnEvents::Retry(_) => {}
        }
        let (refused, breaker) = (LoneRefusal::of(&judgement), &mut self.breaker);
        (self.leased).apply(action.events, batch, began, refused, breaker, &mut settling);
        if self.breaker.is_refusing() {
            self.setup.concurrency.reset();
        }
        self.leased.split_budget = action.split_budget;
        self.settle(settling);
    }

    /// Gives the events of a request back to the queue when no answer came.
    fn give_up(&mut self, attempt: Attempt, was_sent: bool) {
        let events = attempt.batch.into_all();
        let mut settling = self.settling(attempt.delivery);
        self.leased.give_back(&events, &mut settling);
        if attempt.delivery.is_some() {
            let answer = settle::answer(&Judgement::unanswered(was_sent));
            let verdict = if was_sent { "abandoned" } else { "withheld" };
            settling.settlement.answer = Some(AttemptAnswer { verdict, ..answer });
            self.settle(settling);
        } else {
            release(&self.queue, &self.sync, &events);
        }
    }

    /// Shares what this lane and the others with its token know about it.
    fn agree_on_token(&mut self) {
        let known = self.breaker.token_retry();
        let agreed = self.setup.credentials.token.agree(known);
        self.breaker.set_token_retry(agreed);
        match (known, agreed) {
            (None, Some(_)) => {
                let what = Fix::Token.in_words();
                warn!(sync = %self.sync, "lane paused, its events are kept: another sync found that {what}");
                self.setup.concurrency.reset();
            }
            (Some(_), None) => {
                info!(sync = %self.sync, "the access token works again; the lane goes on");
                let mut settling = self.settling(None);
                settling.end_cooldowns(self.sync.as_str());
                self.settle(settling);
            }
            _ => {}
        }
    }

    fn on_store_failure(&mut self, error: &StoreError) {
        if matches!(error, StoreError::Closed) {
            self.tasks.stop.cancel();
        } else if self.store.on_failure(Instant::now()) {
            let error: &dyn std::error::Error = error;
            error!(sync = %self.sync, error, "the store failed; nothing is sent until it works again");
        }
    }

    /// Requests that may be in flight: one while it is not known whether they get through.
    fn max_in_flight(&self) -> usize {
        if !self.breaker.is_closed() || self.leased.quarantine.is_isolating() {
            1
        } else {
            self.setup.concurrency.allowed()
        }
    }

    fn settling(&self, delivery: Option<AttemptId>) -> Settling {
        Settling::new(&self.sync, delivery, self.clock.now())
    }

    fn settle(&mut self, settling: Settling) {
        self.tasks.settle(&self.queue, settling.settlement);
    }

    fn publish(&self) {
        let mut status = status::describe(
            self.setup.normal,
            &self.breaker,
            self.setup.limiter().circuit(),
            &self.store,
            &self.leased.quarantine,
            self.clock.uptime(),
        );
        status.in_flight = self.tasks.attempts;
        status.concurrency = self.max_in_flight();
        status.restarts.clone_from(&self.restarts);
        let state = status.state;
        if status.publish(&self.status) {
            self.metrics.lane_state(&self.sync, state);
        }
    }
}

#[cfg(test)]
mod tests;
