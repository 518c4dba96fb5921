//! The program under test, on a folder of its own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::events::SYNC;
use crate::harness;
use crate::preload::{Shim, program};

/// The secret that senders use.
pub const SECRET: &str = "Bearer faults-secret";
/// A project's key opens the endpoints of SDKs.
const KEY: &str = "0123456789abcdef0123456789abcdef";
/// The access token that the endpoint accepts.
pub const TOKEN: &str = "faults-token";

/// The longest time for a start or another command.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the daemon lives: configuration, log, store.
pub struct Place {
    folder: TempDir,
}

/// A running daemon.
pub struct Daemon {
    child: Child,
    pub public: String,
    pub admin: String,
}

/// It ended instead of starting.
pub struct Refusal {
    pub status: ExitStatus,
    /// What it logged.
    pub said: String,
}

impl Place {
    /// Makes a place for a daemon that delivers to this endpoint, after this delay.
    pub fn new(graph: SocketAddr, delay: &str) -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        place.configure(graph, delay);
        place
    }

    /// Writes the configuration, which the next daemon reads.
    pub fn configure(&self, graph: SocketAddr, delay: &str) {
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [ingest]\nsecret = \"{SECRET}\"\napi_keys = [\"{KEY}\"]\n\
             [queue]\npath = \"{}\"\nmin_free_disk = \"0B\"\nduplicate_ids = 100_000\n\
             [meta]\nurl = \"http://{graph}\"\n{}",
            self.store().display(),
            SYNC.replace("TOKEN", TOKEN).replace("DELAY", delay),
        );
        fs::write(self.config(), text).unwrap();
    }

    /// The folder of everything.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of the store.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Runs a command of the program; returns its output, or its message where it fails.
    pub async fn command(&self, arguments: &[&str]) -> Result<String, String> {
        let program = Command::new(program());
        harness::command(program, &self.config(), arguments, PATIENCE).await
    }

    /// What the daemons logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Starts the daemon, and waits until it listens.
    pub async fn start(&self, shim: Option<&Shim>) -> Result<Daemon, Refusal> {
        let from = self.log().len();
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .unwrap();
        let mut child = Command::new(program())
            .args(["run", "--config"])
            .arg(self.config())
            .env_clear()
            .env("PIXEL_RELAY__LOG__FORMAT", "json")
            .envs(shim.map(Shim::environment).unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let given_up = Instant::now() + PATIENCE;
        loop {
            let ended = child.try_wait().unwrap();
            let said = self.log().split_off(from);
            if let Some((public, admin)) = addresses(&said) {
                return Ok(Daemon {
                    child,
                    public: format!("http://{public}"),
                    admin: format!("http://{admin}"),
                });
            }
            if let Some(status) = ended {
                return Err(Refusal { status, said });
            }
            assert!(
                Instant::now() < given_up,
                "no start within {PATIENCE:?}: {said}"
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("pixel-relay.toml")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Daemon {
    /// Kills it at once.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Stops it gracefully.
    pub async fn stop(mut self) {
        let id = self.child.id().expect("it was not waited for");
        let sent = Command::new("kill").arg(id.to_string()).status().await;
        assert!(sent.unwrap().success());
        let ended = timeout(PATIENCE, self.child.wait()).await;
        assert!(ended.expect("it stops").unwrap().success());
    }

    /// How many descriptors it holds.
    pub fn descriptors(&self) -> usize {
        let id = self.child.id().expect("it was not waited for");
        fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count)
    }

    /// How it ended, if it did so by itself.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// The page of the admin listener about its health.
    pub async fn health(&self) -> Value {
        let page = reqwest::get(format!("{}/health", self.admin)).await;
        match page {
            Ok(page) => {
                let text = page.text().await.unwrap_or_default();
                serde_json::from_str(&text).unwrap_or_default()
            }
            Err(_) => Value::Null,
        }
    }
}

/// The addresses that the log tells of.
fn addresses(log: &str) -> Option<(String, String)> {
    log.lines().find_map(|line| {
        let entry: Value = serde_json::from_str(line).ok()?;
        let address = |name: &str| entry[name].as_str().map(str::to_owned);
        Some((address("public")?, address("admin")?))
    })
}
