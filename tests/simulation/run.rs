//! One run: a plan is carried out in virtual time, on this thread, and every promise is checked on the way.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::http::header::AUTHORIZATION;
use fastrand::Rng;
use pixel_relay::clock::Clock as _;
use pixel_relay::config::SyncName;
use pixel_relay::outcome::{Outcome, Reason};
use pixel_relay::queue::DeadFilter;
use pixel_relay::queue::memory::StoreFault;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::checks::Checks;
use crate::events::{EventKind, SentEvent};
use crate::graph;
use crate::plan::{GraphMood, Happening, Operation, Plan};
use crate::process::{Process, SECRET};
use crate::world::{Damage, FAR_BEHIND, Failure, World};

/// How often everything is checked.
const LOOK: Duration = Duration::from_millis(250);
/// The same, while the queue drains in peace.
const CALM_LOOK: Duration = Duration::from_secs(1);
/// How long the queue may take to drain.
const DRAIN: Duration = Duration::from_secs(40 * 60);
/// The same after a block.
const DRAIN_AFTER_BLOCK: Duration = Duration::from_secs(8 * 3600);

/// What came of a run.
#[derive(Debug)]
pub struct Outcomes {
    pub trace: Vec<String>,
    pub failure: Option<Failure>,
}

/// The part of a process that senders need.
#[derive(Clone, Debug, Default)]
struct Entrance(Arc<Mutex<Option<(axum::Router, CancellationToken)>>>);

struct Run<'a> {
    plan: &'a Plan,
    /// The configuration in force.
    present: Plan,
    world: World,
    process: Option<Process>,
    /// When the next one starts, if there is none.
    starts_at: Instant,
    entrance: Entrance,
    senders: JoinSet<()>,
    checks: Checks,
    syncs: Vec<SyncName>,
    events: u64,
    was_blocked: bool,
}

/// Carries out a plan.
pub fn run(plan: &Plan) -> Outcomes {
    // What the program draws comes from the generator of this thread.
    fastrand::seed(plan.seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = World::begin(plan);
        let mut run = Run::new(plan, world.clone());
        run.carry_out().await;
        run.senders.shutdown().await;
        if let Some(process) = run.process.take() {
            process.kill().await;
        }
        let mut state = world.state();
        Outcomes {
            trace: std::mem::take(&mut state.trace),
            failure: state.failure.take(),
        }
    })
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan, world: World) -> Self {
        world.sandbox.vary_faults(
            graph::faults(GraphMood::Well, &mut Rng::with_seed(0))
                .parse()
                .unwrap(),
        );
        Self {
            plan,
            present: plan.clone(),
            syncs: plan
                .syncs
                .iter()
                .map(|sync| SyncName::new(sync.name).unwrap())
                .collect(),
            checks: Checks::new(world.clone()),
            world,
            process: None,
            starts_at: Instant::now(),
            entrance: Entrance::default(),
            senders: JoinSet::new(),
            events: 0,
            was_blocked: false,
        }
    }

    async fn carry_out(&mut self) {
        for sync in &self.plan.syncs {
            self.world.note(format_args!("{sync:?}"));
        }
        let began = Instant::now();
        for operation in &self.plan.operations {
            self.wait_until(began + operation.at, LOOK).await;
            if self.world.has_failed() {
                return;
            }
            self.world.note(format_args!("-- {:?}", operation.what));
            self.apply(operation).await;
        }
        self.wait_until(Instant::now() + Duration::from_secs(10), LOOK)
            .await;
        self.settle().await;
    }

    /// Lets time pass, with a look now and then.
    async fn wait_until(&mut self, end: Instant, look: Duration) {
        loop {
            self.keep_alive();
            if let Some(process) = &mut self.process {
                self.checks.look(process, &self.present).await;
            }
            let now = Instant::now();
            if now >= end || self.world.has_failed() {
                return;
            }
            let next = if self.process.is_none() {
                self.starts_at.max(now + Duration::from_millis(1))
            } else {
                end
            };
            sleep_until(end.min(now + look).min(next)).await;
        }
    }

    /// Starts the process when it is time.
    fn keep_alive(&mut self) {
        if self.process.is_some() || Instant::now() < self.starts_at {
            return;
        }
        match Process::start(&self.world, &self.present) {
            Ok(process) => {
                self.world.note(format_args!("the process starts"));
                let entrance = (process.router.clone(), process.gone.clone());
                *self.entrance.0.lock().unwrap() = Some(entrance);
                self.checks.restarted();
                self.process = Some(process);
            }
            Err(error) => {
                self.world
                    .note(format_args!("the process does not start: {error}"));
                self.starts_at = Instant::now() + Duration::from_secs(1);
            }
        }
    }

    async fn apply(&mut self, operation: &Operation) {
        let mut random = Rng::with_seed(operation.seed);
        let machine = &self.world.machine;
        let now = Instant::now();
        match &operation.what {
            Happening::Request(events) => self.request(*events, &mut random),
            Happening::StepClock(millis) => machine.set_error(machine.error() + millis),
            Happening::RightClock => machine.set_error(0),
            Happening::Epoch => machine.set_to_epoch(),
            Happening::Drift(millionths) => machine.set_drift(*millionths),
            Happening::Graph(mood) => {
                self.was_blocked |= *mood == GraphMood::Blocking;
                self.checks.may_be_slowed |= *mood == GraphMood::Busy;
                let faults = graph::faults(*mood, &mut random);
                self.world.note(format_args!("   {faults}"));
                self.world.sandbox.vary_faults(faults.parse().unwrap());
                self.world.state().mood = *mood;
            }
            Happening::StoreDown(time) => {
                let mut disk = self.world.disk();
                disk.down_until = Some(disk.wrong_until(now + *time));
            }
            Happening::NoAttempts(time) => {
                let mut disk = self.world.disk();
                disk.no_attempts_until = Some(disk.wrong_until(now + *time));
            }
            Happening::NoAnswers(time) => {
                let mut disk = self.world.disk();
                disk.no_answers_until = Some(disk.wrong_until(now + *time));
            }
            Happening::UnknownAndStored => {
                self.world.disk().next_commit = Some(StoreFault::UnknownAndStored);
            }
            Happening::UnknownAndLost => {
                self.world.disk().next_commit = Some(StoreFault::UnknownAndLost);
            }
            Happening::ReportsDamage => {
                self.world.disk().reports_damage = true;
                self.world.state().suffer(Damage::Mendable);
            }
            Happening::Stall(time) => {
                let mut disk = self.world.disk();
                disk.stalled_until = Some(disk.wrong_until(now + *time));
            }
            Happening::LoseIndexEntry => {
                let lost = self.world.memory.lose_index_entry(random.usize(..3));
                self.world.note(format_args!("   {lost}"));
                if lost {
                    self.world.state().suffer(Damage::Mendable);
                }
            }
            Happening::Damage => self.damage(&mut random),
            Happening::Kill(down) => {
                self.end_process(*down, true).await;
            }
            Happening::Restart => self.end_process(Duration::ZERO, false).await,
            Happening::Reload => self.reload(&mut random).await,
            Happening::RetryDead => {
                if let Some(process) = &self.process {
                    let all = DeadFilter::default();
                    let retried = process.queue.retry_dead(&all);
                    let retried = timeout(Duration::from_secs(30), retried).await;
                    self.world.note(format_args!("   {retried:?}"));
                }
            }
        }
        let error = self.world.machine.error();
        let mut state = self.world.state();
        state.clock_is_right &= error == 0;
        state.was_far_behind |= error < FAR_BEHIND;
    }

    fn damage(&self, random: &mut Rng) {
        if self.world.memory.damage_one(random.usize(..3)) {
            self.world.note(format_args!("   a batch is damaged"));
            self.world.state().suffer(Damage::Batch);
        }
    }

    async fn end_process(&mut self, down: Duration, at_once: bool) {
        *self.entrance.0.lock().unwrap() = None;
        if let Some(process) = self.process.take() {
            if at_once {
                process.kill().await;
            } else {
                process.stop().await;
            }
        }
        self.starts_at = Instant::now() + down;
        self.keep_alive();
    }

    /// Draws other sizes and rates; the names, pixels and tokens stay.
    async fn reload(&mut self, random: &mut Rng) {
        let other = Plan::draw(random.u64(..));
        for (sync, other) in self.present.syncs.iter_mut().zip(other.syncs) {
            sync.max_batch_events = other.max_batch_events;
            sync.max_batch_delay = other.max_batch_delay;
            sync.max_in_flight = other.max_in_flight;
            sync.requests_per_second = other.requests_per_second;
        }
        let present = self.present.clone();
        if let Some(process) = &mut self.process {
            process.reload(&present).await;
        }
        self.checks.restarted();
    }

    /// Sends a request, again and again until it is acknowledged.
    fn request(&mut self, events: usize, random: &mut Rng) {
        let now = self.world.truth.now();
        let mut ids = Vec::with_capacity(events);
        let mut bodies = Vec::with_capacity(events);
        for _ in 0..events {
            let known = self.world.state().account.events.len();
            let event = if known > 0 && random.u8(..10) == 0 {
                let account = &self.world.state().account;
                account.events.values().nth(random.usize(..known)).cloned()
            } else {
                None
            };
            let event = event.unwrap_or_else(|| {
                self.events += 1;
                SentEvent::draw(random, self.events, now)
            });
            self.sends(&event);
            ids.push(event.id);
            bodies.push(event.json);
        }
        self.send(ids, format!("[{}]", bodies.join(",")));
    }

    fn sends(&self, event: &SentEvent) {
        let mut state = self.world.state();
        let events = &mut state.account.events;
        events
            .entry(event.id.clone())
            .or_insert_with(|| event.clone());
    }

    fn send(&mut self, ids: Vec<String>, body: String) {
        let (world, entrance) = (self.world.clone(), self.entrance.clone());
        let syncs = self.syncs.clone();
        self.senders.spawn(async move {
            let mut wait = Duration::from_secs(1);
            loop {
                let there = entrance.0.lock().unwrap().clone();
                if let Some((router, gone)) = there {
                    let request = Request::post("/webhook")
                        .header(AUTHORIZATION, SECRET)
                        .body(Body::from(body.clone()))
                        .unwrap();
                    let answer = tokio::select! {
                        biased;
                        () = gone.cancelled() => None,
                        answer = router.oneshot(request) => answer.ok(),
                    };
                    if let Some(answer) = answer {
                        let status = answer.status().as_u16();
                        let answer = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
                        let text = String::from_utf8_lossy(&answer).trim().to_owned();
                        world.note(format_args!("{status} {text} for {}", ids.join(" ")));
                        if status == 200 {
                            check_summary(&world, &answer, ids.len(), syncs.len());
                            world.state().account.acknowledge(&ids, &syncs);
                            return;
                        }
                        if status != 503 {
                            world.fail("answer", format!("a request is answered {status}: {text}"));
                            return;
                        }
                    }
                }
                sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(10));
            }
        });
    }

    /// Everything is well again: all that was acknowledged must find its end.
    async fn settle(&mut self) {
        self.world.note(format_args!("-- all is well from now on"));
        self.world.disk().heal();
        self.world.machine.set_drift(0);
        self.world.machine.set_error(0);
        let faults = graph::faults(GraphMood::Well, &mut Rng::with_seed(0));
        self.world.sandbox.set_faults(faults.parse().unwrap());
        self.world.state().mood = GraphMood::Well;
        self.starts_at = Instant::now();
        self.wait_until(Instant::now() + Duration::from_secs(30), CALM_LOOK)
            .await;
        while self.senders.try_join_next().is_some() {}
        if !self.senders.is_empty() {
            return self
                .world
                .fail("acknowledgement", "a sender is still refused".to_owned());
        }
        // An operator sees to the lanes.
        let present = self.present.clone();
        if let Some(process) = &mut self.process {
            process.reload(&present).await;
        }
        self.drain().await;
        for _ in 0..3 {
            if !self.retry_dead().await {
                break;
            }
            self.drain().await;
        }
        if let (Some(process), false) = (&mut self.process, self.world.has_failed()) {
            self.checks.account(process, &self.syncs).await;
        }
    }

    async fn drain(&mut self) {
        let limit = if self.was_blocked {
            DRAIN_AFTER_BLOCK
        } else {
            DRAIN
        };
        let (began, mut round) = (Instant::now(), 0_u32);
        while !self.world.has_failed() && self.queued() > 0 {
            if began.elapsed() > limit {
                return self
                    .world
                    .fail("drain", format!("{} events stay queued", self.queued()));
            }
            // What was refused alone ends when another is taken.
            if round.is_multiple_of(10) {
                self.events += 1;
                let now = self.world.truth.now();
                let mut random = Rng::with_seed(self.events);
                let event = SentEvent::of(EventKind::Page, &mut random, self.events, now);
                self.sends(&event);
                self.send(vec![event.id], event.json);
            }
            round += 1;
            let pause = if round > 120 {
                Duration::from_secs(30)
            } else {
                CALM_LOOK
            };
            self.wait_until(Instant::now() + pause, CALM_LOOK).await;
        }
        while !self.senders.is_empty() && !self.world.has_failed() {
            self.wait_until(Instant::now() + CALM_LOOK, CALM_LOOK).await;
            while self.senders.try_join_next().is_some() {}
        }
    }

    fn queued(&self) -> u64 {
        let totals = self.process.as_ref().map(|process| process.queue.totals());
        totals.map_or(1, |totals| {
            totals.values().map(|totals| totals.queued).sum()
        })
    }

    /// Retries what a wrong clock may have set aside. Tells whether anything is queued again.
    async fn retry_dead(&mut self) -> bool {
        let mut queued = 0;
        let Some(process) = &self.process else {
            return false;
        };
        for reason in Reason::ALL {
            let is_of_time = matches!(
                reason,
                Reason::InFuture | Reason::TooOld | Reason::TimeZoneTrap
            ) || reason.outcome() == Outcome::Expired;
            if !is_of_time {
                continue;
            }
            let filter = DeadFilter {
                reason: Some(*reason),
                ..DeadFilter::default()
            };
            match process.queue.retry_dead(&filter).await {
                Ok(retried) => queued += retried.queued,
                Err(error) => self.world.fail("command", error.to_string()),
            }
        }
        self.world
            .note(format_args!("retried {queued} dead letters"));
        queued > 0
    }
}

/// The answer tells the fate of each event in each sync.
fn check_summary(world: &World, answer: &[u8], events: usize, syncs: usize) {
    let summary: Value = serde_json::from_slice(answer).unwrap_or_default();
    let count = |name: &str| summary[name].as_u64().unwrap_or_default();
    let fates = ["queued", "duplicate", "filtered", "invalid"].map(count);
    if fates.iter().sum::<u64>() != (events * syncs) as u64 {
        world.fail(
            "answer",
            format!("{events} events for {syncs} syncs: {summary}"),
        );
    }
}
