//! The simulated process: what the daemon is made of, on one thread and without sockets.

use std::fmt::Write as _;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use pixel_relay::clock::{Clock, CorrectedClock};
use pixel_relay::config::{Config, LiveConfig, SyncName, load};
use pixel_relay::deliver::{self, LaneHandles, SharedLimits};
use pixel_relay::ingest::{self, Ingest, IngestRules};
use pixel_relay::queue::{Queue, QueueSettings, Writer};
use pixel_relay::sync;
use pixel_relay::telemetry::metrics::Metrics;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::graph::SimulatedNetwork;
use crate::plan::{Plan, SyncPlan};
use crate::world::World;

/// How long a process that stops waits for answers.
const GRACE: Duration = Duration::from_secs(18);
/// What senders show: what a wrong clock refuses is kept whole of those alone who are known.
pub const SECRET: &str = "Bearer s3cret";

#[derive(Debug)]
pub struct Process {
    pub queue: Queue,
    pub router: Router,
    pub handles: LaneHandles,
    /// Is cancelled when the process is gone.
    pub gone: CancellationToken,
    world: World,
    corrected: Arc<CorrectedClock>,
    metrics: Arc<Metrics>,
    ingest: Arc<Ingest>,
    limits: SharedLimits,
    lanes: JoinSet<()>,
    writer: JoinSet<()>,
    stop: CancellationToken,
}

/// The configuration that a plan asks for.
pub fn config(plan: &[SyncPlan]) -> Config {
    let mut text = format!(
        "ingest.secret = \"{SECRET}\"\nqueue.path = \"store\"\nmeta.url = \"http://127.0.0.1:9\"\n"
    );
    for sync in plan {
        let rate = sync
            .requests_per_second
            .map_or_else(|| "\"unlimited\"".to_owned(), |rate| rate.to_string());
        write!(
            text,
            r#"
            [sync.{}]
            pixel_id = "{}"
            access_token = "{}"
            properties = ["serial", "padding"]
            consent = "not_required"
            [sync.{0}.user_data]
            external_id = "user_id"
            email = "user_properties.email"
            phone = "user_properties.phone"
            [sync.{0}.custom_data]
            value = "event_properties.value"
            currency = "event_properties.currency"
            [sync.{0}.delivery]
            max_batch_events = {}
            max_batch_delay = "{}ms"
            max_in_flight = {}
            requests_per_second = {rate}
            timeout = "{}s"
            "#,
            sync.name,
            sync.pixel_id,
            sync.token,
            sync.max_batch_events,
            sync.max_batch_delay.as_millis(),
            sync.max_in_flight,
            sync.timeout.as_secs(),
        )
        .unwrap();
        if sync.remembers {
            writeln!(text, "[sync.{}.user_memory]", sync.name).unwrap();
        }
    }
    load::from_toml(&text, &[]).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"))
}

fn settings(config: &Config) -> QueueSettings {
    let syncs = config.syncs.iter();
    let memories = syncs.filter_map(|(name, sync)| Some((name.clone(), sync.user_memory.clone()?)));
    QueueSettings {
        config: config.queue.clone(),
        syncs: config.syncs.keys().cloned().collect(),
        memories: Some(memories.collect()),
    }
}

impl Process {
    /// Starts one on what the store holds.
    pub fn start(world: &World, plan: &Plan) -> Result<Self, String> {
        let config = config(&plan.syncs);
        let generation = {
            let mut state = world.state();
            state.generation += 1;
            (state.started_at, state.confirmed_at) = (Instant::now(), None);
            state.generation
        };
        let corrected = Arc::new(CorrectedClock::new(Arc::clone(&world.machine) as _));
        let clock: Arc<dyn Clock> = Arc::clone(&corrected) as _;
        let names: Vec<SyncName> = config.syncs.keys().cloned().collect();
        let opened =
            Queue::open_in_memory(&world.memory, &config.queue, &names, Arc::clone(&clock));
        let (queue, writer) = opened.map_err(|error| error.to_string())?;
        queue.configure(settings(&config));
        let metrics = Arc::new(Metrics::new());
        let syncs = sync::compile_all(&config).unwrap();
        let rules = IngestRules::new(&config, syncs, &metrics, None);
        let network = SimulatedNetwork {
            world: world.clone(),
            generation,
        };
        let mut limits = SharedLimits::new(&queue, Box::new(network));
        let lanes = deliver::lanes(&mut limits, &config, &queue, &corrected, &metrics);
        let (lanes, handles) = lanes.map_err(|error| error.to_string())?;
        let skew = limits.skew_watch(&lanes, &corrected);
        let ingest = Arc::new(Ingest::new(
            LiveConfig::new(config),
            rules,
            queue.clone(),
            Arc::clone(&metrics),
            clock,
        ));
        let stop = CancellationToken::new();
        let (mut running, mut driver) = (JoinSet::new(), JoinSet::new());
        driver.spawn(drive(writer, world.clone()));
        for lane in lanes {
            let run = Box::pin(lane.run(stop.clone(), GRACE));
            running.spawn(async { run.await.unwrap() });
        }
        if let Some(mut skew) = skew {
            let stop = stop.clone();
            running.spawn(async move { skew.run(&stop).await });
        }
        Ok(Self {
            queue,
            router: ingest::router(Arc::clone(&ingest)),
            handles,
            gone: CancellationToken::new(),
            world: world.clone(),
            corrected,
            metrics,
            ingest,
            limits,
            lanes: running,
            writer: driver,
            stop,
        })
    }

    /// Puts another configuration in force.
    pub async fn reload(&mut self, plan: &Plan) {
        let config = config(&plan.syncs);
        let syncs = sync::compile_all(&config).unwrap();
        self.ingest
            .replace(IngestRules::new(&config, syncs, &self.metrics, None));
        self.queue.configure(settings(&config));
        for (name, setup) in self.limits.setups(&config, &self.corrected).unwrap() {
            if let Some(handle) = self.handles.0.get(&name) {
                handle.configure(setup).await;
            }
        }
    }

    /// Whether an answer has told the time.
    pub fn is_clock_confirmed(&self) -> bool {
        self.corrected.unconfirmed_for().is_none()
    }

    /// What has ended although it should run on.
    pub fn ended(&mut self) -> Option<String> {
        let lane = self
            .lanes
            .try_join_next()
            .map(|ended| ("a lane, or the skew watch,", ended));
        let writer = || {
            self.writer
                .try_join_next()
                .map(|ended| ("the writer", ended))
        };
        let (what, ended) = lane.or_else(writer)?;
        Some(format!("{what} ended: {ended:?}"))
    }

    /// Ends it at once: only what the store holds is left.
    pub async fn kill(mut self) {
        self.world.disk().is_dead = true;
        self.world.state().generation += 1;
        self.gone.cancel();
        drop(self.router);
        drop(self.ingest);
        self.lanes.shutdown().await;
        self.writer.shutdown().await;
        drop(self.queue);
        let mut disk = self.world.disk();
        disk.is_dead = false;
        let wrong_at = disk.wrong_at;
        drop(disk);
        self.world.state().account.process_ended(wrong_at);
    }

    /// Stops it in order.
    pub async fn stop(mut self) {
        self.gone.cancel();
        self.stop.cancel();
        while self.lanes.join_next().await.is_some() {}
        let closed = self.queue.clone().close().await;
        self.world.note(format_args!("closed: {closed:?}"));
        self.writer.shutdown().await;
        let wrong_at = self.world.disk().wrong_at;
        self.world.state().account.process_ended(wrong_at);
        self.world.state().generation += 1;
    }
}

/// Drives the writer, except while the disk answers late.
async fn drive(writer: Writer, world: World) {
    let stalled = || {
        let until = world.disk().stalled_until;
        until.filter(|until| *until > Instant::now())
    };
    let mut running = pin!(writer.run());
    loop {
        if let Some(until) = stalled() {
            sleep_until(until).await;
        }
        let ended = poll_fn(|context| {
            if stalled().is_some() {
                return Poll::Ready(false);
            }
            running.as_mut().poll(context).map(|()| true)
        });
        if ended.await {
            return;
        }
    }
}
