//! Starts the whole daemon in this process, with a simulated Graph endpoint in Meta's place, and reads its
//! metrics and pages.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use pixel_relay::app::App;
use pixel_relay::clock::{Clock, SystemClock};
use pixel_relay::config::load;
use pixel_relay::sandbox::{self, Sandbox, SandboxConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The secret that every test daemon asks for.
pub const SECRET: &str = "Bearer test-secret";

/// The token that the simulated endpoint accepts.
pub const TOKEN: &str = "test-token";

/// The simulated Graph endpoint on a port of its own; it outlives daemons.
pub struct Graph {
    pub sandbox: Sandbox,
    pub address: SocketAddr,
    stop: CancellationToken,
}

impl Graph {
    pub async fn start() -> Self {
        Self::start_at(Arc::new(SystemClock)).await
    }

    /// Starts it with a given clock.
    pub async fn start_at(clock: Arc<dyn Clock>) -> Self {
        Self::start_with(SandboxConfig {
            clock,
            ..SandboxConfig::default()
        })
        .await
    }

    /// Starts one that asks for a proof made with this app secret.
    pub async fn start_asking_for_proof(app_secret: &str) -> Self {
        Self::start_with(SandboxConfig {
            app_secret: Some(app_secret.to_owned()),
            ..SandboxConfig::default()
        })
        .await
    }

    async fn start_with(config: SandboxConfig) -> Self {
        let sandbox = Sandbox::new(SandboxConfig {
            tokens: vec![TOKEN.to_owned()],
            ..config
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::task::spawn(sandbox::serve(listener, sandbox.clone(), stop.clone()));
        Self {
            sandbox,
            address,
            stop,
        }
    }

    /// The server events that were accepted, oldest first.
    pub fn accepted(&self) -> Vec<Value> {
        let mut accepted = self.sandbox.accepted();
        accepted.reverse();
        accepted
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A running daemon.
pub struct Daemon {
    pub url: String,
    pub admin: String,
    pub folder: Arc<TempDir>,
    config: String,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

/// The text of a configuration: the parts that every test needs, and the syncs of this one.
pub fn config_text(graph: SocketAddr, folder: &std::path::Path, syncs: &str) -> String {
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [ingest]\nsecret = \"{SECRET}\"\n[queue]\npath = \"{}\"\nmin_free_disk = \"1MiB\"\n\
         [meta]\nurl = \"http://{graph}\"\n{syncs}",
        folder.display()
    )
}

/// A sync that takes everything and delivers nothing for an hour.
pub const HOLDING_SYNC: &str = "[sync.web]\npixel_id = \"1001\"\naccess_token = \"test-token\"\n\
    [sync.web.delivery]\nmax_batch_delay = \"1h\"\n";

/// A sync that takes everything and delivers at once.
pub const PLAIN_SYNC: &str = "[sync.web]\npixel_id = \"1001\"\naccess_token = \"test-token\"\n\
    [sync.web.delivery]\nmax_batch_delay = \"10ms\"\nrequests_per_second = \"unlimited\"\n";

impl Daemon {
    /// Starts a daemon with the given syncs.
    pub async fn start(graph: &Graph, syncs: &str) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let config = config_text(graph.address, folder.path(), syncs);
        Self::start_on(folder, config).await
    }

    /// Starts a daemon on a folder that may hold an earlier one's store.
    pub async fn start_on(folder: Arc<TempDir>, config: String) -> Self {
        Self::start_at(folder, config, Arc::new(SystemClock)).await
    }

    /// Starts it with a given clock, too.
    pub async fn start_at(folder: Arc<TempDir>, config: String, clock: Arc<dyn Clock>) -> Self {
        let loaded = load::from_toml(&config, &[]).unwrap_or_else(|mistakes| {
            panic!("mistakes in the test's configuration: {mistakes:#?}")
        });
        let app = App::build(loaded, clock).await.expect("the daemon starts");
        let url = format!("http://{}", app.public_address().unwrap());
        let admin = format!("http://{}", app.admin_address().unwrap());
        let shutdown = CancellationToken::new();
        let task = tokio::task::spawn(app.run(shutdown.clone()));
        Self {
            url,
            admin,
            folder,
            config,
            shutdown,
            task,
        }
    }

    /// A file with the daemon's configuration, beside its store; it stays as long as the folder.
    pub fn config_file(&self) -> PathBuf {
        let file = self.folder.path().join("pixel-relay.toml");
        std::fs::write(&file, &self.config).unwrap();
        file
    }

    /// Posts a body to the webhook; returns the status and the JSON answer.
    pub async fn post(&self, body: impl Into<reqwest::Body>) -> (u16, Value) {
        self.post_to("/webhook", body).await
    }

    /// Posts a body to a path, with the secret.
    pub async fn post_to(&self, path: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let answer = client()
            .post(format!("{}{path}", self.url))
            .header("authorization", SECRET)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .expect("the daemon answers");
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}")),
        )
    }

    /// The metrics, by name with labels.
    pub async fn metrics(&self) -> BTreeMap<String, f64> {
        let page = self.admin_text("/metrics").await;
        page.lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').unwrap();
                (name.to_owned(), value.parse().unwrap())
            })
            .collect()
    }

    /// The text of a page of the admin listener.
    pub async fn admin_text(&self, path: &str) -> String {
        client()
            .get(format!("{}{path}", self.admin))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    /// The sum of all samples of a metric whose labels contain every given part.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        sum(&self.metrics().await, name, labels)
    }

    /// Waits until the metric reaches the value; the test's own time limit bounds the wait.
    pub async fn until(&self, name: &str, labels: &[&str], value: f64) {
        let reached = async {
            while self.metric(name, labels).await < value {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let limit = std::time::Duration::from_secs(60);
        let in_time = tokio::time::timeout(limit, reached).await.is_ok();
        let metrics = self.metrics().await;
        assert!(
            in_time,
            "{name}{labels:?} never reached {value}: {metrics:#?}"
        );
    }

    /// Checks the law: events taken + dead letters retried = outcomes + events queued.
    pub async fn assert_law(&self) {
        let metrics = self.metrics().await;
        let syncs: std::collections::BTreeSet<_> = metrics
            .keys()
            .filter_map(|name| name.strip_prefix("pixel_relay_events_taken_total{sync=\""))
            .filter_map(|rest| rest.split('"').next())
            .map(|sync| format!("sync=\"{sync}\""))
            .collect();
        assert!(!syncs.is_empty(), "no sync is counted: {metrics:#?}");
        for sync in syncs {
            let of = |name: &str| sum(&metrics, name, &[&sync]);
            assert_eq!(
                of("pixel_relay_events_taken_total") + of("pixel_relay_dead_retried_total"),
                of("pixel_relay_outcomes_total") + of("pixel_relay_queue_events"),
                "the law does not hold for {sync}: {metrics:#?}"
            );
        }
    }

    /// Checks the law, then stops the daemon gracefully.
    pub async fn stop(self) {
        self.assert_law().await;
        self.shutdown.cancel();
        self.task.await.unwrap().expect("the daemon stops well");
    }

    /// Waits until the daemon ends by itself; tells how.
    pub async fn ended(self) -> anyhow::Result<()> {
        let limit = std::time::Duration::from_secs(60);
        let ended = tokio::time::timeout(limit, self.task);
        ended.await.expect("it ends by itself").unwrap()
    }

    /// Stops the daemon and starts it again on the same store.
    pub async fn restart(self) -> Self {
        let (folder, config) = (Arc::clone(&self.folder), self.config.clone());
        self.stop().await;
        Self::start_on(folder, config).await
    }
}

fn sum(metrics: &BTreeMap<String, f64>, name: &str, labels: &[&str]) -> f64 {
    metrics
        .iter()
        .filter(|(sample, _)| sample.split('{').next() == Some(name))
        .filter(|(sample, _)| labels.iter().all(|label| sample.contains(label)))
        .map(|(_, value)| value)
        .sum()
}

/// A client that follows no redirect and shares no connection between tests.
pub fn client() -> reqwest::Client {
    // Another test may have installed the provider first.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// An event that every sync accepts, with the given id.
pub fn event(id: &str) -> Value {
    json!({
        "event_type": "Sign Up",
        "event_time": now_text(),
        "$insert_id": id,
        "uuid": format!("uuid-{id}"),
        "user_id": format!("customer-{id}"),
        "device_id": "b7b0f6a1-94c5-4c06-8f19-6a5b3d5f2a60",
        "ip_address": "203.0.113.24",
        "event_properties": {},
        "user_properties": {},
    })
}

/// The present moment, as Amplitude writes it.
pub fn now_text() -> String {
    SystemClock.now().to_string()
}
