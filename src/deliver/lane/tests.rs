//! A lane between a real queue and the simulated Graph endpoint.
//!
//! The clock of tokio stands still and moves only when a test says so: a blocking task that never
//! ends keeps tokio from moving it by itself while the queue's thread works.

mod clocks;
mod isolation;
mod pace;
mod refusals;
mod restart;
mod setup;
mod cooldown;
mod stop;
mod store;

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::clock::{CorrectedClock, TestClock, UnixMillis};
use crate::config::{Config, load};
use crate::deliver::lane::status::LaneHandles;
use crate::deliver::{self, Internet, SharedLimits, limiter::Circuit};
use crate::http::Resolver;
use crate::outcome::Reason;
use crate::payload::{Fingerprint, Payload, Submission};
use crate::queue::dead::{DeadFilter, DeadLetter};
use crate::queue::memory::{MemoryEngine, StoreFault};
use crate::sandbox::{self, Sandbox, SandboxConfig};
use crate::telemetry::metrics::LaneState;

use super::*;

const NOW: i64 = 1_790_000_000;
const WEEK: i64 = 7 * 24 * 3600;
const SMITH: &str = "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f";

/// Keeps the clock of tokio still until it is dropped.
struct StillTime {
    _release: mpsc::SyncSender<()>,
}

/// Lanes, their queue and a simulated Meta.
struct LaneFixture {
    sandbox: Sandbox,
    address: SocketAddr,
    queue: Queue,
    lanes: Vec<Lane>,
    limits: SharedLimits,
    handles: LaneHandles,
    /// The machine's.
    clock: Arc<TestClock>,
    corrected: Arc<CorrectedClock>,
    /// Meta's: it is right.
    meta: Arc<TestClock>,
    /// At which uptime.
    started: Duration,
    config: Config,
    memory: MemoryEngine,
    server: JoinSet<std::io::Result<()>>,
    _still: StillTime,
    pushed: usize,
}

impl StillTime {
    fn hold() -> Self {
        let (release, released) = mpsc::sync_channel::<()>(1);
        drop(tokio::task::spawn_blocking(move || released.recv().is_ok()));
        Self { _release: release }
    }
}

impl LaneFixture {
    /// One lane, without limits of its own.
    async fn one() -> Self {
        Self::with("").await
    }

    /// One lane, with further lines for its `delivery` table.
    async fn with(delivery: &str) -> Self {
        Self::syncs(&format!(
            r#"
            [sync.web]
            pixel_id = "11"
            access_token = "token-1"
            delivery = {{ requests_per_second = "unlimited", {delivery} }}
            "#
        ))
        .await
    }

    /// Lanes as configured.
    async fn syncs(syncs: &str) -> Self {
        let still = StillTime::hold();
        let clock = Arc::new(TestClock::at(UnixMillis::from_seconds(NOW)));
        let meta = Arc::new(TestClock::at(clock.now()));
        let sandbox = Sandbox::new(SandboxConfig {
            tokens: vec!["token-1".to_owned(), "token-2".to_owned()],
            clock: meta.clone(),
            ..SandboxConfig::default()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        let shutdown = CancellationToken::new();
        server.spawn(sandbox::serve(listener, sandbox.clone(), shutdown));
        let config = load::from_toml(&text(address, syncs), &[]).unwrap();
        let memory = MemoryEngine::default();
        let corrected = Arc::new(CorrectedClock::new(clock.clone()));
        let (queue, limits, lanes, handles) = begin(&config, &corrected, &memory);
        Self {
            sandbox,
            address,
            queue,
            lanes,
            limits,
            handles,
            started: clock.uptime(),
            clock,
            corrected,
            meta,
            config,
            memory,
            server,
            _still: still,
            pushed: 0,
        }
    }

    /// Stops the lanes as they are, closes the store, and begins anew.
    async fn restart(&mut self) {
        self.restart_after(Duration::ZERO).await;
    }

    /// The same; the store takes so long to open.
    async fn restart_after(&mut self, opening: Duration) {
        self.lanes.clear();
        self.queue.clone().close().await.unwrap();
        self.corrected = Arc::new(CorrectedClock::new(self.clock.clone()));
        self.pass(opening).await;
        (self.queue, self.limits, self.lanes, self.handles) =
            begin(&self.config, &self.corrected, &self.memory);
    }

    fn faults(&self, text: &str) {
        self.sandbox.set_faults(text.parse().unwrap());
    }

    /// Queues an event of each name for the first lane; their ids are numbers, counted from 1.
    async fn push(&mut self, names: &[&str]) {
        let sync = self.lanes[0].sync().clone();
        self.push_for(&sync, names).await;
    }

    async fn push_many(&mut self, events: usize) {
        self.push(&vec!["Lead"; events]).await;
    }

    async fn push_for(&mut self, sync: &SyncName, names: &[&str]) {
        self.push_with(sync, names.iter().map(|name| (*name, "")))
            .await;
    }

    /// Queues events of these names for a sync; their ids are numbers after the given text.
    async fn push_with(&mut self, sync: &SyncName, events: impl Iterator<Item = (&str, &str)>) {
        let mut taken = Vec::new();
        for (name, mark) in events {
            self.pushed += 1;
            let id = format!("{mark}{}", self.pushed);
            let json = serde_json::json!({"event_name": name, "event_time": NOW - 60,
                "event_id": id, "action_source": "other", "user_data": {"em": [SMITH]}});
            taken.push(Submission {
                sync: sync.clone(),
                mapped: Ok(Payload {
                    json: json.to_string().into(),
                    event_name: name.into(),
                    fingerprint: Fingerprint::new(&id, sync.as_str(), name, ""),
                    deadline: NOW - 60 + WEEK,
                }),
            });
        }
        self.queue.push(taken).await.unwrap();
    }

    /// Lets the first lane do what can be done now. Tells when it wants to go on.
    async fn settle(&mut self) -> Option<Instant> {
        settle(&mut self.lanes[0]).await
    }

    /// Lets the first lane go on until this many calls are in flight.
    async fn settle_until_in_flight(&mut self, calls: u64) {
        let lane = &mut self.lanes[0];
        loop {
            let LaneStep::Idle(_) = lane.step().await else {
                continue;
            };
            if lane.tasks.are_requests() {
                break;
            }
            if let Some(output) = lane.tasks.next().await {
                lane.take(output);
            }
        }
        self.sandbox
            .wait_until(|stats| stats.in_flight >= calls)
            .await;
    }

    /// Moves all clocks.
    async fn pass(&self, duration: Duration) {
        self.clock.advance(duration);
        self.meta.advance(duration);
        tokio::time::advance(duration).await;
    }

    /// Moves all clocks to the moment that the lane waits for.
    async fn pass_until(&self, moment: Option<Instant>) {
        let moment = moment.expect("the lane waits for a moment");
        // Timers of tokio are exact to the millisecond.
        let wait = moment.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        self.pass(wait).await;
    }

    /// Waits past the time in which small batches fill.
    async fn fill(&self) {
        self.pass(Duration::from_secs(1)).await;
    }

    fn state(&self) -> LaneState {
        self.lanes[0].status.borrow().state
    }

    fn calls(&self) -> u64 {
        self.sandbox.stats().requests
    }

    fn queued(&self) -> u64 {
        self.queue.totals()[self.lanes[0].sync()].queued
    }

    fn ended(&self, reason: Reason) -> u64 {
        let totals = self.queue.totals();
        let ended = &totals[self.lanes[0].sync()].ended;
        ended.get(&reason).copied().unwrap_or(0)
    }

    async fn dead(&self) -> Vec<DeadLetter> {
        self.queue
            .dead(&DeadFilter::default(), 0, 10_000)
            .await
            .unwrap()
    }

    /// Asserts that every event ended or is queued, none was sent in vain and no limit was broken.
    fn assert_sound(&self) {
        for totals in self.queue.totals().values() {
            let ended: u64 = totals.ended.values().sum();
            assert_eq!(totals.taken + totals.dead_retried, ended + totals.queued);
        }
        let stats = self.sandbox.stats();
        assert_eq!(stats.early_calls, 0);
        assert!(stats.largest_batch <= 1000);
        assert!(stats.largest_body <= 1 << 20);
    }
}

/// A configuration with these syncs, for a Graph endpoint at this address.
fn text(graph: SocketAddr, syncs: &str) -> String {
    format!(
        r#"
        ingest.allow_unauthenticated = true
        queue.path = "store"
        meta.url = "http://{graph}"
        {syncs}
        "#
    )
}

/// Opens the store, and prepares the lanes.
fn begin(
    config: &Config,
    clock: &Arc<CorrectedClock>,
    memory: &MemoryEngine,
) -> (Queue, SharedLimits, Vec<Lane>, LaneHandles) {
    let names: Vec<SyncName> = config.syncs.keys().cloned().collect();
    let opened = Queue::open_in_memory(memory, &config.queue, &names, clock.clone());
    let queue = opened.and_then(Queue::on_thread).unwrap();
    let metrics = Arc::new(Metrics::new());
    let network = Internet::new(clock.clone(), Resolver::start().unwrap());
    let mut limits = SharedLimits::new(&queue, Box::new(network));
    let (lanes, handles) = deliver::lanes(&mut limits, config, &queue, clock, &metrics).unwrap();
    (queue, limits, lanes, handles)
}

/// Lets a lane do what can be done at this moment.
async fn settle(lane: &mut Lane) -> Option<Instant> {
    loop {
        let LaneStep::Idle(until) = lane.step().await else {
            continue;
        };
        let held = match lane.setup.limiter().circuit() {
            Circuit::Closed => false,
            Circuit::Open(_, until) => until > Instant::now(),
            Circuit::HalfOpen(_) => lane.tasks.attempts == 0,
        };
        if lane.tasks.are_done(held) {
            return until;
        }
        if let Some(output) = lane.tasks.next().await {
            lane.take(output);
        }
    }
}
