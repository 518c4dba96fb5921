//! What goes wrong, and when: drawn from the seed.
//!
//! Time is divided into phases. Each has its own faults, and ends with a SIGKILL, a SIGTERM or neither.
//! Throttles and blocks last across phases, so that no process may call early. A block would outlast the
//! run, so at a SIGTERM its time passes for both sides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pixel_relay::clock::{Clock as _, SystemClock, UnixMillis};
use pixel_relay::sandbox::Sandbox;
use pixel_relay::sandbox::faults::Faults;
use tokio::time::{Instant, sleep};

use crate::daemon::{Daemon, Place};
use crate::events::PIXELS;
use crate::load::Load;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::sqlite;

/// Faults that stay, even after everything else is healed, so that poison is always refused.
const STANDING: &str = "poison=Poison";

/// Faults that strike single calls.
const LIGHT: [&str; 20] = [
    "status=503:0.3",
    "status=502:html:0.3",
    "status=500:empty:0.3",
    "status=500:bare:0.3",
    "html=0.2",
    "empty=0.2",
    "error=400:2:transient:0.2",
    "error=500:1:0.2",
    "error=400:-3:0.2",
    "hang=0.1",
    "hang_after=0.1",
    "reset_before=0.2",
    "reset_after=0.2",
    "partial=0.2",
    "short_count=0.2",
    "zero_count=0.2",
    "reduce=40",
    "too_large=40000:0.5",
    "usage_app=60",
    "usage_business=80",
];

/// Faults that stop a lane for a while.
const HEAVY: [&str; 9] = [
    "throttle=80004:3s:retry_after:0.3",
    "throttle=17:3s:reset:0.3",
    "throttle=613:2s:retry_after:0.5",
    "token_dead",
    "token_dead=500",
    "no_permission",
    "pixel_gone",
    "hang",
    "block=3h",
];

/// How often good events are sent while the queue drains, so that a lane that met only poison finds out
/// that not every event is refused.
const ENCOURAGE_EVERY: Duration = Duration::from_secs(3);

/// Causes the faults.
pub struct Chaos {
    random: fastrand::Rng,
    seed: u64,
    sandbox: Sandbox,
    pub place: Place,
    load: Arc<Load>,
    daemon: Option<Daemon>,
    /// When a daemon ended, one way or the other.
    pub ends: Vec<UnixMillis>,
    /// What was done, by name, and how often.
    pub deeds: BTreeMap<&'static str, u64>,
    /// What the daemon did wrong.
    pub wrong: Vec<String>,
    /// The last page of metrics.
    pub metrics: Option<Metrics>,
}

impl Chaos {
    pub fn new(options: &Options, sandbox: Sandbox, place: Place, load: Arc<Load>) -> Self {
        Self {
            random: fastrand::Rng::with_seed(options.seed),
            seed: options.seed,
            sandbox,
            place,
            load,
            daemon: None,
            ends: Vec::new(),
            deeds: BTreeMap::new(),
            wrong: Vec::new(),
            metrics: None,
        }
    }

    /// Causes faults for this long.
    pub async fn rage(&mut self, length: Duration) {
        let end = Instant::now() + length;
        while Instant::now() < end {
            self.new_faults();
            self.ensure_daemon().await;
            let phase = Duration::from_millis(self.random.u64(1000..4000));
            let disk_fills = self.place.disk.is_some() && self.random.u8(0..4) == 0;
            if disk_fills {
                self.fill_disk_for(phase / 2).await;
            }
            sleep(phase / if disk_fills { 2 } else { 1 }).await;
            self.note_early_end();
            if self.random.u8(0..3) == 0 {
                self.retry_dead_letters().await;
            }
            match self.random.u8(0..10) {
                0..6 => self.kill().await,
                6..8 => self.terminate().await,
                _ => {}
            }
        }
    }

    /// Heals everything and waits until the queue is empty; returns whether that was in time.
    pub async fn heal_and_drain(&mut self, patience: Duration) -> bool {
        // Ends every block.
        self.ensure_daemon().await;
        self.terminate().await;
        self.sandbox
            .vary_faults(STANDING.parse::<Faults>().unwrap());
        self.ensure_daemon().await;
        let end = Instant::now() + patience;
        let mut encouraged: Option<Instant> = None;
        while let Some(daemon) = &self.daemon {
            if encouraged.is_none_or(|when| when.elapsed() > ENCOURAGE_EVERY) {
                self.load.send_good_ones(self.seed).await;
                encouraged = Some(Instant::now());
            }
            sleep(Duration::from_millis(100)).await;
            let metrics = Metrics::read(&daemon.admin).await;
            let queued = metrics.sum("queue_events", &[]);
            self.metrics = Some(metrics);
            if queued == 0 {
                break;
            }
            if Instant::now() > end {
                return false;
            }
        }
        self.note_early_end();
        self.terminate().await;
        true
    }

    fn new_faults(&mut self) {
        let mut items = vec![STANDING.to_owned(), "latency=1ms..80ms".to_owned()];
        for pixel in PIXELS {
            if self.random.u8(0..4) == 0 {
                items.push(format!("{pixel}/{}", self.one_of(&HEAVY)));
            }
            for _ in 0..self.random.u8(1..5) {
                items.push(format!("{pixel}/{}", self.one_of(&LIGHT)));
            }
        }
        let faults = items
            .join(",")
            .parse::<Faults>()
            .expect("the lists hold faults");
        self.sandbox.vary_faults(faults);
        self.did("changes of faults");
    }

    fn one_of(&mut self, list: &[&'static str]) -> &'static str {
        list[self.random.usize(0..list.len())]
    }

    async fn ensure_daemon(&mut self) {
        while self.daemon.is_none() {
            if self.random.u8(0..4) == 0 {
                let time = Duration::from_millis(self.random.u64(0..200));
                Daemon::start_in_vain(&self.place, time).await;
                self.ends.push(SystemClock.now());
                self.did("kills while starting");
                continue;
            }
            match Daemon::start(&self.place).await {
                Ok(daemon) => {
                    self.load.point_at(Some(daemon.public.clone()));
                    self.daemon = Some(daemon);
                    self.did("starts");
                }
                Err(problem) => {
                    self.wrong.push(problem);
                    return;
                }
            }
        }
    }

    async fn fill_disk_for(&mut self, time: Duration) {
        let Some(disk) = &self.place.disk else { return };
        disk.fill();
        sleep(time).await;
        // Sometimes it is killed while the disk is full.
        if self.random.bool() {
            self.kill().await;
            self.new_faults();
        }
        if let Some(disk) = &self.place.disk {
            disk.free();
        }
        self.did("full disks");
        self.ensure_daemon().await;
    }

    /// Retries dead letters, as an operator may: poison is refused again.
    async fn retry_dead_letters(&mut self) {
        if self.daemon.is_none() {
            return;
        }
        let retried = self
            .place
            .command(&["dead", "retry", "--reason", "refused"]);
        match retried.await {
            Ok(_) => self.did("retries of dead letters"),
            Err(problem) => self.wrong.push(problem),
        }
    }

    async fn kill(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.kill().await;
            self.ends.push(SystemClock.now());
            self.load.point_at(None);
            self.did("kills with SIGKILL");
        }
    }

    async fn terminate(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            match daemon.stop().await {
                Ok(status) if status.success() => {}
                Ok(status) => self.wrong.push(format!("SIGTERM ended it with {status}")),
                Err(problem) => self.wrong.push(problem),
            }
            self.ends.push(SystemClock.now());
            self.load.point_at(None);
            self.did("stops with SIGTERM");
            self.let_blocks_pass();
        }
    }

    /// Ends blocks, as if their time had passed.
    fn let_blocks_pass(&mut self) {
        match sqlite::let_blocks_pass(&self.place.store()) {
            Ok(0) => {}
            Ok(_) => {
                self.sandbox.set_faults(self.sandbox.faults());
                self.did("blocks that pass");
            }
            Err(error) => self
                .wrong
                .push(format!("the store cannot be changed: {error}")),
        }
    }

    fn note_early_end(&mut self) {
        if let Some(daemon) = &mut self.daemon
            && let Some(status) = daemon.has_ended()
        {
            self.wrong
                .push(format!("the daemon ended by itself: {status}"));
            self.daemon = None;
            self.load.point_at(None);
        }
    }

    fn did(&mut self, deed: &'static str) {
        *self.deeds.entry(deed).or_default() += 1;
    }
}
