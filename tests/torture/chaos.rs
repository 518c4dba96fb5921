//! What goes wrong, and when: drawn from the seed.
//!
//! Time is divided into phases. Each has its own faults and commands, and ends with a SIGKILL, a SIGTERM or neither. In a
//! long run, some daemons are left running for minutes, to see whether they grow.
//! Throttles and blocks last across phases, so that no process may call early. A block would outlast the
//! run, so at a SIGTERM its time passes for both sides.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use pixel_relay::clock::{Clock as _, SystemClock, UnixMillis};
use pixel_relay::sandbox::Sandbox;
use pixel_relay::sandbox::faults::Faults;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::clock::FalseClock;
use crate::daemon::{Daemon, Place};
use crate::events::{PIXELS, Sync};
use crate::load::Load;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::sqlite;
use crate::watch::Watch;

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
const HEAVY: [&str; 4] = [
    "throttle=80004:3s:retry_after:0.3",
    "throttle=17:3s:reset:0.3",
    "throttle=613:2s:retry_after:0.5",
    "hang",
];

/// Faults that stop a lane until its process ends, or for minutes.
const LASTING: [&str; 5] = [
    "token_dead",
    "token_dead=500",
    "no_permission",
    "pixel_gone",
    "block=3h",
];

/// How often good events are sent while the queue drains, so that a lane that met only poison finds out
/// that not every event is refused.
const ENCOURAGE_EVERY: Duration = Duration::from_secs(3);

/// The endpoint is down.
const DOWN: &str = "poison=Poison,status=503";
/// How soon each sync must deliver something once the endpoint is well: the delay of a batch and five seconds, on a machine
/// that is slow.
const LIVELY: Duration = Duration::from_secs(20);
/// The same for a process that has met faults before, and so may wait before its next try.
const LIVELY_AFTER_FAULTS: Duration = Duration::from_secs(60);
/// How long a daemon is left running, and how long they come and go in between.
const LONG_LIFE: Duration = Duration::from_secs(300);
const SHORT_LIVES: Duration = Duration::from_secs(300);
/// No wait of a lane is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// A command may fail with these words.
const IN_FLIGHT: &str = "are being sent right now";
/// The reasons that a wrong clock gives; once it is right again, they are given back.
const BY_WRONG_CLOCK: [&str; 4] = ["in_future", "too_old", "window_closed", "maybe_delivered"];

/// Causes the faults.
pub struct Chaos {
    random: fastrand::Rng,
    seed: u64,
    sandbox: Sandbox,
    pub place: Place,
    load: Arc<Load>,
    daemon: Option<Daemon>,
    pub clock: FalseClock,
    /// Whether the clock is wrong at times.
    pub moves_clock: bool,
    /// Whether some daemons are left running for long.
    is_soak: bool,
    /// Whether the present one is.
    lives_long: bool,
    pub watch: Watch,
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
            clock: FalseClock::new(place.path()),
            moves_clock: options.clock,
            is_soak: options.is_soak(),
            lives_long: false,
            watch: Watch::default(),
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
        let mut long_life = Instant::now() + SHORT_LIVES;
        while Instant::now() < end {
            if self.is_soak && Instant::now() >= long_life {
                self.live_long(end.min(Instant::now() + LONG_LIFE)).await;
                long_life = Instant::now() + SHORT_LIVES;
            }
            self.phase().await;
            match self.random.u8(0..10) {
                0..6 => self.kill().await,
                6..8 => self.terminate().await,
                _ => {}
            }
        }
    }

    /// Leaves one daemon running, with faults and commands, until this moment.
    async fn live_long(&mut self, end: Instant) {
        // Ends every block, and forgets every wait.
        self.ensure_daemon().await;
        self.terminate().await;
        self.lives_long = true;
        self.watch.begin_long_life();
        while Instant::now() < end {
            self.phase().await;
        }
        self.lives_long = false;
        self.did("long lives");
    }

    /// A few seconds of faults, with a command and a step of the clock.
    async fn phase(&mut self) {
        self.new_faults();
        self.ensure_daemon().await;
        let phase = Duration::from_millis(self.random.u64(1000..4000));
        let disk_fills = self.place.disk.is_some() && self.random.u8(0..4) == 0;
        if disk_fills {
            self.fill_disk_for(phase / 2).await;
        }
        sleep(phase / if disk_fills { 2 } else { 1 }).await;
        self.note_early_end();
        if let Some(process) = self.daemon.as_ref().and_then(Daemon::process) {
            self.watch.look_at(process, self.lives_long);
        }
        self.command().await;
        if self.moves_clock {
            match self.random.u8(0..4) {
                0 => {
                    self.clock.step(&mut self.random);
                    self.did("steps of the clock");
                }
                1 => self.clock.set_right(),
                2 => self.move_clock_over_a_queue().await,
                _ => {}
            }
        }
    }

    /// What an operator may ask at any moment.
    async fn command(&mut self) {
        match self.random.u8(0..12) {
            // Poison is refused again.
            0 | 1 => self.ask(&["dead", "retry", "--reason", "refused"]).await,
            2 => self.ask(&["dead", "list"]).await,
            3 => {
                if let Some((_, id)) = self.load.any_taken(&mut self.random) {
                    self.ask(&["trace", &id]).await;
                }
            }
            4 => self.ask(&["queue", "verify"]).await,
            5 => {
                let name = Sync::Scrap.name();
                self.ask(&["queue", "drop", "--sync", name, "--force"])
                    .await;
            }
            6 | 7 => {
                if let Some((serial, id)) = self.load.any_taken(&mut self.random) {
                    self.load.record().events[serial].forgotten = true;
                    self.ask(&["forget", "--event-id", &id]).await;
                }
            }
            8 => self.backfill().await,
            _ => {}
        }
    }

    /// Brings in some history.
    async fn backfill(&mut self) {
        if self.daemon.is_none() {
            return;
        }
        let count = self.random.usize(1..1500);
        let (lines, serials) = self.load.write_history(count, &mut self.random);
        let file = self.place.path().join("history.ndjson");
        fs::write(&file, lines).unwrap();
        match self
            .place
            .command(&["backfill", file.to_str().unwrap()])
            .await
        {
            Ok(_) => {
                self.load.acknowledge(serials);
                self.did("backfills");
            }
            Err(problem) => self.wrong.push(problem),
        }
    }

    /// While events wait, the clock is moved. Once the endpoint is well, every sync must deliver.
    async fn move_clock_over_a_queue(&mut self) {
        let well = STANDING.parse::<Faults>().unwrap();
        self.ensure_daemon().await;
        if !self.lives_long {
            // Ends every block, and forgets every wait.
            self.terminate().await;
            self.clock.set_right();
        }
        self.sandbox.vary_faults(well.clone());
        self.ensure_daemon().await;
        // A token that was dead before is tried again.
        self.all_deliver("once the endpoint is well").await;
        self.sandbox.vary_faults(DOWN.parse::<Faults>().unwrap());
        self.load.send_good_ones(self.seed).await;
        self.clock.step(&mut self.random);
        self.sandbox.vary_faults(well);
        self.all_deliver("after a step of the clock").await;
        self.did("steps of the clock over a queue");
    }

    /// Waits until every sync has delivered something from now on, as it must within a time.
    async fn all_deliver(&mut self, when: &str) {
        let patience = if self.lives_long {
            LIVELY_AFTER_FAULTS
        } else {
            LIVELY
        };
        let before = self.delivered().await;
        self.load.send_good_ones(self.seed).await;
        let end = Instant::now() + patience;
        loop {
            let now = self.delivered().await;
            let syncs = Sync::ALL.into_iter().zip(before.iter().zip(now));
            let still = syncs.filter(|(_, (before, now))| now <= *before);
            let still: Vec<Sync> = still.map(|(sync, _)| sync).collect();
            if still.is_empty() {
                return;
            }
            if Instant::now() > end {
                self.tell_of_standstill(when, &still).await;
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Says that syncs deliver nothing, but for those that wait as Meta has asked, and in a daemon that has met faults
    /// before, those that say when they try again.
    async fn tell_of_standstill(&mut self, when: &str, still: &[Sync]) {
        let Some(daemon) = &self.daemon else {
            return;
        };
        let health = match reqwest::get(format!("{}/health", daemon.admin)).await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        let health: Value = serde_json::from_str(&health).unwrap_or_default();
        for sync in still {
            let lane = &health["syncs"][sync.name()]["lane"];
            let next = lane["next_try_in_seconds"].as_u64();
            // A token that was dead is tried again once a minute.
            let waits_for_meta = ["throttled", "blocked", "paused"]
                .iter()
                .any(|state| lane["state"] == *state);
            let may_wait = self.lives_long || waits_for_meta;
            let waits = next.is_some_and(|next| (1..=LONGEST_WAIT.as_secs()).contains(&next));
            if !(may_wait && waits) {
                let name = sync.name();
                self.wrong
                    .push(format!("{when} {name} delivered nothing in time: {lane}"));
            }
        }
    }

    /// How many events of each sync are delivered.
    async fn delivered(&self) -> Vec<u64> {
        let Some(daemon) = &self.daemon else {
            return Vec::new();
        };
        let metrics = Metrics::read(&daemon.admin).await;
        let syncs = Sync::ALL.iter().map(|sync| {
            let label = format!("sync=\"{}\"", sync.name());
            metrics.sum("outcomes_total", &[&label, "outcome=\"delivered\""])
        });
        syncs.collect()
    }

    /// Gives back what a wrong clock has put aside.
    async fn take_back(&mut self) {
        for reason in BY_WRONG_CLOCK {
            self.ask(&["dead", "retry", "--reason", reason]).await;
        }
    }

    /// Runs a command beside the daemon, if there is one.
    async fn ask(&mut self, arguments: &[&str]) {
        if self.daemon.is_none() {
            return;
        }
        match self.place.command(arguments).await {
            Ok(_) => self.did("commands"),
            Err(problem) if problem.contains(IN_FLIGHT) => self.did("commands that were too early"),
            Err(problem) => self.wrong.push(problem),
        }
    }

    /// Heals everything and waits until the queue is empty; returns whether that was in time.
    pub async fn heal_and_drain(&mut self, patience: Duration) -> bool {
        // Ends every block.
        self.clock.set_right();
        self.ensure_daemon().await;
        self.terminate().await;
        self.sandbox
            .vary_faults(STANDING.parse::<Faults>().unwrap());
        self.ensure_daemon().await;
        if self.moves_clock {
            self.take_back().await;
        }
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
            match self.random.u8(0..8) {
                0 if !self.lives_long => items.push(format!("{pixel}/{}", self.one_of(&LASTING))),
                0 | 1 => items.push(format!("{pixel}/{}", self.one_of(&HEAVY))),
                _ => {}
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
                Daemon::start_in_vain(&self.place, &self.clock.shim, time).await;
                self.ends.push(SystemClock.now());
                self.did("kills while starting");
                continue;
            }
            match Daemon::start(&self.place, &self.clock.shim).await {
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
        if !self.lives_long && self.random.bool() {
            self.kill().await;
            self.new_faults();
        }
        if let Some(disk) = &self.place.disk {
            disk.free();
        }
        self.did("full disks");
        self.ensure_daemon().await;
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
