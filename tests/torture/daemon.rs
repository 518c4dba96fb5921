//! The daemon under test: the real program, on its own store.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::disk::Disk;
use crate::events::SYNCS;
use crate::harness;
use crate::preload::{Shim, program};
use crate::sqlite;

/// The secret that senders use.
pub const SECRET: &str = "Bearer torture-secret";
/// The access token that the endpoint accepts.
pub const TOKEN: &str = "torture-token";

/// The longest time for a start or another command.
const START: Duration = Duration::from_secs(30);
/// The longest time for a stop; container platforms kill after this time.
const STOP: Duration = Duration::from_secs(30);

/// Where the daemon lives: configuration, log, store.
pub struct Place {
    // Before the folder, so that it is unmounted first.
    pub disk: Option<Disk>,
    folder: TempDir,
}

/// A running daemon.
pub struct Daemon {
    child: Child,
    pub public: String,
    pub admin: String,
}

impl Place {
    /// Makes a place for a daemon that delivers to this endpoint.
    pub fn new(graph: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::mount(&folder.path().join("disk"));
        let place = Self { disk, folder };
        fs::write(place.token_file(), TOKEN).unwrap();
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [ingest]\nsecret = \"{SECRET}\"\n\
             [queue]\npath = \"{}\"\nmax_bytes = \"96MiB\"\nmin_free_disk = \"0B\"\n\
             duplicate_ids = 500_000\n[meta]\nurl = \"http://{graph}\"\n{}",
            place.store().display(),
            SYNCS.replace("TOKEN_FILE", &place.token_file().display().to_string()),
        );
        fs::write(place.config(), text).unwrap();
        place
    }

    /// The folder of everything.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of the store.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("disk").join("store")
    }

    /// Runs a command of the program; returns its output, or its message where it fails.
    pub async fn command(&self, arguments: &[&str]) -> Result<String, String> {
        let program = Command::new(program());
        harness::command(program, &self.config(), arguments, START).await
    }

    /// What the daemons logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap()
    }

    /// Copies the log and the store to a permanent folder, to find out later what went wrong; returns
    /// that folder.
    pub fn keep(&self) -> PathBuf {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("torture");
        fs::create_dir_all(&kept).unwrap();
        fs::copy(self.log_file(), kept.join("log")).ok();
        for file in sqlite::FILES {
            fs::remove_file(kept.join(file)).ok();
            fs::copy(self.store().join(file), kept.join(file)).ok();
        }
        kept
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("pixel-relay.toml")
    }

    fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Daemon {
    /// Starts it, and kills it during the start.
    pub async fn start_in_vain(place: &Place, shim: &Shim, time: Duration) {
        let (mut child, _) = spawn(place, shim);
        sleep(time).await;
        child.kill().await.unwrap();
    }

    /// Starts it, and waits until it listens.
    pub async fn start(place: &Place, shim: &Shim) -> Result<Self, String> {
        let (mut child, from) = spawn(place, shim);
        let given_up = Instant::now() + START;
        loop {
            let ended = child.try_wait().unwrap();
            if let Some((public, admin)) = addresses(&place.log_file(), from) {
                return Ok(Self {
                    child,
                    public: format!("http://{public}"),
                    admin: format!("http://{admin}"),
                });
            }
            if let Some(status) = ended {
                return Err(format!("the daemon did not start: {status}"));
            }
            if Instant::now() > given_up {
                return Err(format!("the daemon did not start within {START:?}"));
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Kills it at once.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Stops it gracefully; returns how it ended.
    pub async fn stop(mut self) -> Result<ExitStatus, String> {
        let id = self.child.id().expect("it was not waited for");
        let sent = Command::new("kill").arg(id.to_string()).status().await;
        assert!(sent.unwrap().success());
        match timeout(STOP, self.child.wait()).await {
            Ok(status) => Ok(status.unwrap()),
            Err(_) => Err(format!("the daemon did not stop within {STOP:?}")),
        }
    }

    /// Its number; `None` once it has ended.
    pub fn process(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it ended by itself.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }
}

/// Spawns the program; returns it with the length of the log so far.
fn spawn(place: &Place, shim: &Shim) -> (Child, u64) {
    let log = File::options()
        .create(true)
        .append(true)
        .open(place.log_file())
        .unwrap();
    let from = log.metadata().unwrap().len();
    let child = Command::new(program())
        .args(["run", "--config"])
        .arg(place.config())
        .env_clear()
        .env("PIXEL_RELAY__LOG__FORMAT", "json")
        .envs(shim.environment())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    (child, from)
}

/// The addresses that the log tells of, after this many bytes.
fn addresses(log: &Path, from: u64) -> Option<(String, String)> {
    let mut file = File::open(log).ok()?;
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| {
        let entry: serde_json::Value = serde_json::from_str(line).ok()?;
        let address = |name: &str| entry[name].as_str().map(str::to_owned);
        Some((address("public")?, address("admin")?))
    })
}
