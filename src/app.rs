//! The daemon: build everything that can fail, run it, stop it in order.

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use axum::Router;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::admin::{self, AdminState};
use crate::clock::{Clock, CorrectedClock};
use crate::config::{Config, ConfigError, LiveConfig, SyncName};
use crate::control::{CommandHandler, Control};
use crate::deliver::{self, Internet, Lane, SharedLimits, SkewWatch};
use crate::http::{self, Authenticator, ConnectionLimits, HttpServer, Resolver};
use crate::ingest::{self, Ingest, IngestRules, SilenceWatch, Upstream};
use crate::panics::{Strikes, caught};
use crate::queue::{OpenError, Queue, QueueSettings, StoreError, TakenStore};
use crate::sandbox::Sandbox;
use crate::sync;
use crate::telemetry::{Metrics, PanickedPart};

use descriptors::ListenerLimits;
use starting::Starting;

mod descriptors;
mod starting;

/// How long requests that are under way may take to finish, once the stop has begun.
const FINISH_REQUESTS: Duration = Duration::from_secs(5);

/// How long batches in flight may take to be answered, after that. With the above it stays below
/// the 30 seconds that container platforms allow between SIGTERM and SIGKILL.
const FINISH_DELIVERIES: Duration = Duration::from_secs(18);

/// How long all of the stop may take, as where the disk hangs.
const FINISH_ALL: Duration = Duration::from_secs(28);

/// How long a start waits for a store that another process has, and how often it looks.
const STORE_IN_USE: Duration = Duration::from_secs(10);
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// How often the log says what share of the events carried each identifier.
const COVERAGE_SUMMARY: Duration = Duration::from_secs(3600);
/// How often the search for damage is begun anew after a panic, the first time included.
const SEARCHES: usize = 3;

/// A daemon that is ready to run.
#[derive(Debug)]
pub struct App {
    public: TcpListener,
    admin: TcpListener,
    public_server: HttpServer,
    admin_server: HttpServer,
    lanes: Vec<Lane>,
    /// Where the volume can hold a socket.
    control: Option<Control>,
    command_handler: CommandHandler,
    silence: SilenceWatch,
    skew: Option<SkewWatch>,
    authenticators: [Arc<Authenticator>; 2],
    ingest: Arc<Ingest>,
    queue: Queue,
    metrics: Arc<Metrics>,
}

/// Why a daemon could not be built.
#[derive(Debug)]
pub enum BuildError {
    /// The configuration holds errors.
    Configuration(Vec<ConfigError>),
    /// Anything else, as an address that is taken or a store that cannot be opened.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for BuildError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl App {
    /// Builds everything that can fail: rules, listeners, store, lanes. The time of day of `clock` is corrected by
    /// what Meta's answers say of it.
    pub async fn build(config: Config, clock: Arc<dyn Clock>) -> Result<Self, BuildError> {
        Self::build_with_routes(config, clock, |_| Router::new()).await
    }

    /// Builds a daemon whose public listener also shows what a simulated Graph endpoint accepted,
    /// behind the same secret.
    pub async fn build_with_sandbox(
        config: Config,
        clock: Arc<dyn Clock>,
        sandbox: &Sandbox,
    ) -> Result<Self, BuildError> {
        let reading = sandbox.reading_router();
        Self::build_with_routes(config, clock, |ingest| ingest::guarded(ingest, reading)).await
    }

    async fn build_with_routes(
        config: Config,
        clock: Arc<dyn Clock>,
        more: impl FnOnce(&Arc<Ingest>) -> Router,
    ) -> Result<Self, BuildError> {
        let corrected = Arc::new(CorrectedClock::new(clock));
        let clock: Arc<dyn Clock> = corrected.clone();
        let syncs = sync::compile_all(&config).map_err(BuildError::Configuration)?;
        let listener_limits = ListenerLimits::of_process(&config);
        let metrics = Arc::new(Metrics::new());
        let rules = IngestRules::new(&config, syncs, &metrics, upstream(&config, &clock)?);
        let taken = take_store(&config, Arc::clone(&clock)).await?;
        let public = listen(config.server.listen).await?;
        let admin = listen(config.admin.listen).await?;
        let control = bind_control(&config);
        let starting = Starting {
            public: &public,
            admin: &admin,
            control: control.as_ref(),
            limits: listener_limits,
            config: LiveConfig::new(config.clone()),
            metrics: &metrics,
            watch: taken.watch(),
        };
        let queue = starting.until(spawn_blocking(|| taken.open())).await;
        let queue = queue.context("opening the store did not end")?;
        let folder = config.queue.path.display();
        let queue = queue.with_context(|| format!("cannot open the store in {folder}"))?;
        warn_of_removed_syncs(&config, &queue);
        queue.configure(queue_settings(&config));
        let network = Internet::new(Arc::clone(&clock), resolver()?);
        let mut limits = SharedLimits::new(&queue, Box::new(network));
        let (lanes, shown) = deliver::lanes(&mut limits, &config, &queue, &corrected, &metrics)?;
        let skew = limits.skew_watch(&lanes, &corrected);
        let config = LiveConfig::new(config);
        let ingest = Arc::new(Ingest::new(
            config.clone(),
            rules,
            queue.clone(),
            Arc::clone(&metrics),
            Arc::clone(&clock),
        ));
        let last_seen = ingest.last_seen();
        let silence = SilenceWatch::new(config.clone(), Arc::clone(last_seen), Arc::clone(&clock));
        let state = AdminState::new(
            config.clone(),
            queue.clone(),
            shown,
            Arc::clone(&metrics),
            Arc::clone(last_seen),
            corrected,
        );
        let authenticators = [ingest.authenticator(), state.authenticator()].map(Arc::clone);
        let server =
            |listener, router, limits, authenticator: &Arc<Authenticator>, part| HttpServer {
                router,
                limits: ConnectionLimits {
                    grace: FINISH_REQUESTS,
                    ..limits
                },
                config: config.clone(),
                authenticator: Arc::clone(authenticator),
                metrics: metrics.connections(listener),
                panics: metrics.panics_of(part),
            };
        let public_router = ingest::router(Arc::clone(&ingest)).merge(more(&ingest));
        let [for_senders, for_operators] = &authenticators;
        let public_server = server(
            "public",
            public_router,
            listener_limits.public,
            for_senders,
            PanickedPart::Request,
        );
        let admin_router = admin::router(Arc::new(state));
        let admin_server = server(
            "admin",
            admin_router,
            listener_limits.admin,
            for_operators,
            PanickedPart::Admin,
        );
        Ok(Self {
            public,
            admin,
            public_server,
            admin_server,
            lanes,
            control,
            command_handler: CommandHandler::new(queue.clone(), config),
            silence,
            skew,
            authenticators,
            ingest,
            queue,
            metrics,
        })
    }

    /// Where events come in.
    pub fn public_address(&self) -> std::io::Result<SocketAddr> {
        self.public.local_addr()
    }

    /// Where operators look.
    pub fn admin_address(&self) -> std::io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// Runs until the shutdown, and then stops in order.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            public = %self.public.local_addr()?,
            admin = %self.admin.local_addr()?,
            syncs = self.lanes.len(),
            "pixel-relay is ready"
        );
        let stop_listening = CancellationToken::new();
        let stop_lanes = CancellationToken::new();

        let mut listeners = JoinSet::new();
        let public = self.public_server;
        listeners.spawn(lasting(public.serve(self.public, stop_listening.clone())));
        let mut watches = JoinSet::new();
        let (mut silence, stop) = (self.silence, stop_listening.clone());
        let silent = watched(Arc::clone(&self.metrics), async move || {
            silence.run(&stop).await;
        });
        watches.spawn(silent);
        if let Some(mut skew) = self.skew {
            let stop = stop_listening.clone();
            let watch = async move || skew.run(&stop).await;
            watches.spawn(watched(Arc::clone(&self.metrics), watch));
        }
        for authenticator in self.authenticators {
            let stop = stop_listening.clone();
            let follow = async move || authenticator.follow(&stop).await;
            watches.spawn(watched(Arc::clone(&self.metrics), follow));
        }
        let (ingest, stop) = (self.ingest, stop_listening.clone());
        let summarise = async move || summarise(&ingest, &stop).await;
        watches.spawn(watched(Arc::clone(&self.metrics), summarise));
        let (queue, stop) = (self.queue.clone(), stop_listening.clone());
        let metrics = Arc::clone(&self.metrics);
        watches.spawn(async move {
            search_for_damage(&queue, &stop, &metrics).await;
            Ok(())
        });
        // The operators' listener stays open until the store is closed.
        let stop_admin = CancellationToken::new();
        let mut admin = JoinSet::new();
        let operators = self.admin_server;
        admin.spawn(lasting(operators.serve(self.admin, stop_admin.clone())));
        let mut lanes = JoinSet::new();
        for lane in self.lanes {
            let stop = stop_lanes.clone();
            lanes.spawn(Box::pin(async move {
                let sync = lane.sync().clone();
                let ended = lane.run(stop, FINISH_DELIVERIES).await;
                ended.with_context(|| format!("the lane of sync {sync} failed again and again"))
            }));
        }

        // Without a socket this part only waits for its end.
        let stop_control = CancellationToken::new();
        let mut control = JoinSet::new();
        let answering = (self.control, self.command_handler, stop_control.clone());
        let panics = self.metrics.panics_of(PanickedPart::Command);
        control.spawn(lasting(async move {
            let (control, handler, stop) = answering;
            match control {
                Some(control) => control.run(handler, panics, stop).await,
                None => stop.cancelled().await,
            }
        }));

        let ended = tokio::select! {
            biased;
            () = shutdown.cancelled() => Ok(()),
            // The lanes end with it.
            () = self.queue.ended() => Err(anyhow!("what writes the store failed")),
            ended = listeners.join_next() => Err(unexpected("the public listener", ended)),
            ended = watches.join_next() => Err(unexpected("a watch", ended)),
            ended = admin.join_next() => Err(unexpected("the admin listener", ended)),
            ended = lanes.join_next() => Err(unexpected("a lane", ended)),
            ended = control.join_next() => Err(unexpected("the control socket", ended)),
        };
        if let Err(error) = &ended {
            tracing::error!(error = format!("{error:#}"), "the daemon cannot go on");
        }
        tracing::info!("stopping: nothing new is accepted, what is under way is finished");
        let stop = async {
            stop_listening.cancel();
            finish(listeners).await;
            finish(watches).await;
            stop_lanes.cancel();
            finish(lanes).await;
            stop_control.cancel();
            finish(control).await;
            let closed = self.queue.close().await;
            closed.context("the store was not closed well")
        };
        let stopped = timeout(FINISH_ALL, stop).await;
        stop_admin.cancel();
        admin.abort_all();
        ended?;
        stopped.context(
            "the stop was cut off, since the store or its disk hangs; nothing is lost, and what was sent last may be \
             sent again",
        )??;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Waits for parts of the daemon to end. One that fails meanwhile holds up no other.
async fn finish(mut parts: JoinSet<anyhow::Result<()>>) {
    while let Some(ended) = parts.join_next().await {
        if !matches!(ended, Ok(Ok(()))) {
            let error = unexpected("a part", Some(ended));
            tracing::error!(
                error = format!("{error:#}"),
                "the daemon does not stop well"
            );
        }
    }
}

/// A part that does not fail.
async fn lasting(part: impl Future<Output = ()>) -> anyhow::Result<()> {
    part.await;
    Ok(())
}

/// Runs a watch until it ends by itself. It begins anew after a panic, unless there are too many.
async fn watched(metrics: Arc<Metrics>, mut watch: impl AsyncFnMut()) -> anyhow::Result<()> {
    let mut strikes = Strikes::default();
    while let Err(panicked) = caught(watch()).await {
        metrics.panicked(PanickedPart::Watch);
        if strikes.add(Instant::now()) {
            return Err(panicked.into());
        }
    }
    Ok(())
}

/// Says every hour how well events can be matched, until the stop.
async fn summarise(ingest: &Ingest, stop: &CancellationToken) {
    let mut hours = tokio::time::interval(COVERAGE_SUMMARY);
    // The first tick comes at once, when there is nothing to say.
    hours.tick().await;
    while stop.run_until_cancelled(hours.tick()).await.is_some() {
        ingest.log_match_key_coverage();
    }
}

/// Looks through the whole store, once, for what went wrong on the disk while the daemon was away. What makes the
/// search panic must not end the daemon.
async fn search_for_damage(queue: &Queue, stop: &CancellationToken, metrics: &Metrics) {
    for _ in 0..SEARCHES {
        match caught(stop.run_until_cancelled(queue.search_and_mend())).await {
            // It is being stopped.
            Ok(None | Some(Ok(()) | Err(StoreError::Closed))) => break,
            Ok(Some(Err(error))) => {
                tracing::warn!(%error, "the store could not be searched for damage");
                break;
            }
            Err(panicked) => {
                metrics.panicked(PanickedPart::Watch);
                tracing::error!(%panicked, "the search for damage in the store failed");
            }
        }
    }
    stop.cancelled().await;
}

/// A token that is cancelled by SIGTERM or SIGINT; a second signal ends the process at once, which
/// loses nothing: what is acknowledged is on disk. No other signal that means something to daemons ends it.
pub fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    ignore_signals()?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let token = CancellationToken::new();
    let first = token.clone();
    #[expect(
        clippy::disallowed_methods,
        reason = "lives as long as the process, and ends it"
    )]
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        first.cancel();
        either(&mut terminate, &mut interrupt).await;
        tracing::warn!("a second signal: exiting at once");
        #[expect(clippy::exit, reason = "whatever is under way is to be left")]
        std::process::exit(1);
    });
    Ok(token)
}

/// Says that the signals by which other daemons are told to read their configuration or to reopen their
/// logs do nothing here. Left alone they would end the process.
fn ignore_signals() -> anyhow::Result<()> {
    let ignored = [
        ("SIGHUP", SignalKind::hangup()),
        ("SIGUSR1", SignalKind::user_defined1()),
        ("SIGUSR2", SignalKind::user_defined2()),
    ];
    for (name, kind) in ignored {
        let mut signals = signal(kind).with_context(|| format!("cannot wait for {name}"))?;
        #[expect(clippy::disallowed_methods, reason = "lives as long as the process")]
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                tracing::warn!(
                    signal = name,
                    "the signal is ignored: a changed configuration is read at the next start, and logs \
                     are written to standard error"
                );
            }
        });
    }
    Ok(())
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn upstream(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Option<Upstream>> {
    let Some(url) = &config.ingest.upstream else {
        return Ok(None);
    };
    // Its host and Meta's do not wait for each other.
    let resolver = resolver()?;
    let tls = http::client_config(url, Arc::clone(clock))?;
    let upstream = Upstream::new(tls, url.clone(), resolver);
    Ok(Some(upstream.context(
        "the HTTP client for ingest.upstream could not be made",
    )?))
}

fn resolver() -> anyhow::Result<Arc<Resolver>> {
    Resolver::start().context("cannot start the thread that finds the addresses of hosts")
}

/// Takes possession of the store. Waits a while for another process that has it: a daemon that is about to stop, or a
/// command.
async fn take_store(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<TakenStore> {
    let folder = config.queue.path.display();
    let syncs: Vec<SyncName> = config.syncs.keys().cloned().collect();
    let give_up = Instant::now() + STORE_IN_USE;
    let mut has_told = false;
    loop {
        match Queue::take(&config.queue, &syncs, Arc::clone(&clock)) {
            Err(OpenError::InUse(_)) if Instant::now() < give_up => {}
            taken => return taken.with_context(|| format!("cannot open the store in {folder}")),
        }
        if !mem::replace(&mut has_told, true) {
            tracing::info!(
                %folder,
                seconds = STORE_IN_USE.as_secs(),
                "another process has the store; waiting for it"
            );
        }
        sleep(BETWEEN_TRIES).await;
    }
}

/// What the configuration says of the store.
fn queue_settings(config: &Config) -> QueueSettings {
    let syncs = config.syncs.iter();
    let memories = syncs.filter_map(|(name, sync)| Some((name.clone(), sync.user_memory.clone()?)));
    QueueSettings {
        config: config.queue.clone(),
        syncs: config.syncs.keys().cloned().collect(),
        memories: Some(memories.collect()),
    }
}

/// Says what waits for a sync that nobody delivers for any more.
fn warn_of_removed_syncs(config: &Config, queue: &Queue) {
    for (sync, totals) in queue.totals() {
        if totals.queued > 0 && !config.syncs.contains_key(&sync) {
            tracing::warn!(
                %sync,
                events = totals.queued,
                "events are queued for a sync that is no longer configured; they are kept, and \
                 `pixel-relay queue drop --sync` drops them"
            );
        }
    }
}

/// Makes the socket for commands. A volume that cannot hold one is no reason not to run.
fn bind_control(config: &Config) -> Option<Control> {
    let bound = Control::bind(&config.queue.path);
    bound
        .inspect_err(|error| {
            tracing::warn!(
                folder = %config.queue.path.display(),
                %error,
                "the control socket cannot be made: commands that touch the store will work only \
                 while the daemon is stopped"
            );
        })
        .ok()
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

/// A part of the daemon that should have run until it was told to stop.
fn unexpected(part: &str, ended: Option<Result<anyhow::Result<()>, JoinError>>) -> anyhow::Error {
    match ended {
        // The log has told of the panic, without what its text may hold.
        Some(Err(_panicked)) => anyhow!("{part} failed"),
        Some(Ok(Err(error))) => error.context(format!("{part} failed")),
        Some(Ok(Ok(()))) | None => anyhow!("{part} ended by itself"),
    }
}
