//! A store that cannot be written, is in use, or has a newer version.
//!
//! Tests that need root, for a small disk, say so and are skipped without it. The same faults, simulated by
//! a limit on the size of files, need no root.

use std::fs::{self, File};
use std::io::Read as _;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use pixel_relay::sandbox::faults::Faults;
use serde_json::json;
use tempfile::TempDir;

use crate::process::{DaemonProcess, run};
use crate::support::{Daemon, Graph, PLAIN_SYNC, SECRET, client, config_text, event};

/// A tmpfs of eight MiB; unmounted when dropped.
struct SmallDisk {
    folder: Arc<TempDir>,
}

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(folder.path())
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self { folder });
        }
        println!("passed over: mounting a small disk takes root");
        None
    }

    /// Leaves this many bytes free.
    fn fill_but(&self, free: u64) {
        let disk = rustix::fs::statvfs(self.folder.path()).unwrap();
        let ballast = (disk.f_bavail * disk.f_frsize).saturating_sub(free);
        let mut file = File::create(self.folder.path().join("ballast")).unwrap();
        let mut zeros = std::io::repeat(0).take(ballast);
        // The last bytes may not fit.
        std::io::copy(&mut zeros, &mut file).ok();
    }

    fn empty(&self) {
        fs::remove_file(self.folder.path().join("ballast")).unwrap();
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount")
            .arg("-l")
            .arg(self.folder.path())
            .status()
            .ok();
    }
}

async fn health(daemon: &Daemon) -> (u16, serde_json::Value) {
    let answer = client()
        .get(format!("{}/health", daemon.url))
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap())
}

async fn until_well(daemon: &Daemon) {
    let well = async {
        while health(daemon).await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, well)
        .await
        .expect("it recovers by itself");
}

/// An event that needs much room even when it is compressed.
fn heavy(id: &str) -> String {
    let mut event = event(id);
    let padding: String = iter::repeat_with(fastrand::alphanumeric)
        .take(50_000)
        .collect();
    event["event_properties"]["padding"] = json!(padding);
    event.to_string()
}

const PADDED: &str = "[sync.web]\npixel_id = \"1001\"\naccess_token = \"test-token\"\n\
    properties = [\"padding\"]\n[sync.web.delivery]\nmax_batch_delay = \"10ms\"\n\
    requests_per_second = \"unlimited\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_waited_out_and_costs_no_event() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let graph = Graph::start().await;
    let config = config_text(graph.address, &disk.store(), PADDED).replace("1MiB", "0B");
    let daemon = Daemon::start_on(Arc::clone(&disk.folder), config).await;
    let mut taken = 0_u32;
    for round in 0..2 {
        assert_eq!(daemon.post(heavy(&format!("{round} before"))).await.0, 200);
        taken += 1;
        disk.fill_but(100_000);
        let mut refused = None;
        for number in 0..100 {
            let (status, answer) = daemon.post(heavy(&format!("{round} {number}"))).await;
            if status != 200 {
                refused = Some((number, status, answer));
                break;
            }
            taken += 1;
        }
        let (refused, status, answer) = refused.expect("a full disk refuses");
        assert_eq!((status, &answer["error"]), (503, &json!("storage_failed")));
        let (status, answer) = health(&daemon).await;
        assert_eq!((status, &answer["error"]), (503, &json!("storage_failed")));
        disk.empty();
        until_well(&daemon).await;
        // The refused one was not taken, so its repeat is.
        let (status, answer) = daemon.post(heavy(&format!("{round} {refused}"))).await;
        assert_eq!((status, &answer["queued"]), (200, &json!(1)), "{answer}");
        taken += 1;
    }
    daemon
        .until(
            "pixel_relay_outcomes_total",
            &["delivered"],
            f64::from(taken),
        )
        .await;
    let repeats = graph.sandbox.stats().repeats;
    assert_eq!(graph.sandbox.stats().accepted - repeats, u64::from(taken));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_floor_of_free_disk_nothing_is_taken_but_all_is_delivered() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let graph = Graph::start().await;
    graph
        .sandbox
        .set_faults("status=503".parse::<Faults>().unwrap());
    let config = config_text(graph.address, &disk.store(), PLAIN_SYNC).replace("1MiB", "3MiB");
    let daemon = Daemon::start_on(Arc::clone(&disk.folder), config).await;
    assert_eq!(daemon.post(event("before").to_string()).await.0, 200);
    disk.fill_but(2 << 20);
    let (status, answer) = daemon.post(event("refused").to_string()).await;
    assert_eq!((status, &answer["error"]), (503, &json!("disk_low")));
    let (status, answer) = health(&daemon).await;
    assert_eq!((status, &answer["error"]), (503, &json!("disk_low")));
    graph.sandbox.set_faults(Faults::default());
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 1.0)
        .await;
    disk.empty();
    until_well(&daemon).await;
    let (status, answer) = daemon.post(event("refused").to_string()).await;
    assert_eq!((status, &answer["queued"]), (200, &json!(1)), "{answer}");
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 2.0)
        .await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_told_once_and_so_is_its_end() {
    let graph = Graph::start().await;
    graph
        .sandbox
        .set_faults("status=503".parse::<Faults>().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pixel-relay.toml");
    let store = folder.path().join("store");
    let text = config_text(graph.address, &store, PLAIN_SYNC)
        .replace("[queue]", "[queue]\nmax_bytes = \"1MiB\"");
    fs::write(&config, text).unwrap();
    let mut daemon = DaemonProcess::start(&config);
    let url = format!("{}/webhook", daemon.public);
    let client = client();
    let post = async |number: u32| {
        let mut event = event(&number.to_string());
        event["user_properties"]["email"] = json!(format!("{number}@example.com"));
        let request = client.post(&url).header("authorization", SECRET);
        let sent = request.body(event.to_string()).send().await;
        sent.unwrap().status().as_u16()
    };
    let mut number = 0;
    while post(number).await == 200 {
        number += 1;
        assert!(number < 20_000, "the queue never fills up");
    }
    // Once, however many are refused.
    for more in 1..5 {
        assert_eq!(post(number + more).await, 503);
    }
    graph.sandbox.set_faults(Faults::default());
    let daemon = tokio::task::spawn_blocking(move || {
        let before = daemon.wait_for_line("the queue is no longer full");
        assert_eq!(before.matches("the queue is full: ").count(), 1, "{before}");
        daemon
    })
    .await
    .unwrap();
    graph.sandbox.wait_for(number.into()).await;
    daemon.signal("TERM");
    let (code, log) = tokio::task::spawn_blocking(|| daemon.wait()).await.unwrap();
    assert_eq!(code, Some(0), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_low_disk_is_told_with_figures() {
    let graph = Graph::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pixel-relay.toml");
    let store = folder.path().join("store");
    let text = config_text(graph.address, &store, PLAIN_SYNC).replace("1MiB", "1048576GiB");
    fs::write(&config, text).unwrap();
    let daemon = DaemonProcess::start(&config);
    let told = daemon.beginning.lines();
    let told: Vec<&str> = told
        .filter(|line| line.contains("the disk is low"))
        .collect();
    assert_eq!(told.len(), 1, "{}", daemon.beginning);
    assert!(
        told[0].contains("\"min_free_disk_bytes\":1125899906842624"),
        "{told:?}"
    );
    assert!(told[0].contains("\"free_bytes\":"), "{told:?}");
    daemon.signal("TERM");
    tokio::task::spawn_blocking(|| daemon.wait()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_low_disk_is_told_once_and_events_are_taken_again() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let graph = Graph::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pixel-relay.toml");
    let text = config_text(graph.address, &disk.store(), PLAIN_SYNC)
        .replace("min_free_disk = \"1MiB\"", "min_free_disk = \"4MiB\"");
    fs::write(&config, text).unwrap();
    disk.fill_but(3 << 20);
    let mut daemon = Limited(DaemonProcess::start(&config));
    let beginning = &daemon.0.beginning;
    assert_eq!(
        beginning.matches("the disk is low: ").count(),
        1,
        "{beginning}"
    );
    assert_eq!(daemon.post("refused").await, 503);
    assert!(daemon.admin_health().await.contains("less disk is free"));
    disk.empty();
    let daemon = tokio::task::spawn_blocking(move || {
        let before = daemon.0.wait_for_line("the disk is no longer low");
        assert!(!before.contains("the disk is low: "), "{before}");
        daemon
    })
    .await
    .unwrap();
    daemon.until_taken("refused").await;
    assert!(!daemon.admin_health().await.contains("less disk is free"));
    graph.sandbox.wait_for(1).await;
    daemon.0.signal("TERM");
    let (code, log) = tokio::task::spawn_blocking(|| daemon.0.wait())
        .await
        .unwrap();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("the disk is low"), "{log}");
}

/// The real program with a limit on the size of its files, which can be changed while it runs: every write
/// beyond it fails, as on a full or broken disk.
struct Limited(DaemonProcess);

impl Limited {
    fn start(config: &Path) -> Self {
        // The signal that such a write raises is ignored, so that the write fails instead.
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' XFSZ; exec \"$0\" run --config \"$1\""])
            .arg(env!("CARGO_BIN_EXE_pixel-relay"))
            .arg(config)
            .env_clear()
            .env("PATH", "/usr/bin:/bin");
        Self(DaemonProcess::start_as(command))
    }

    fn limit(&self, bytes: &str) {
        let pid = self.0.child.id().to_string();
        let limited = Command::new("prlimit")
            .args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")])
            .status();
        assert!(limited.unwrap().success());
    }

    async fn post(&self, id: &str) -> u16 {
        self.0.post_event(id).await
    }

    async fn admin_health(&self) -> String {
        self.0.admin_text("/health").await
    }

    async fn until_taken(&self, id: &str) {
        let taken = async {
            while self.post(id).await != 200 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let limit = Duration::from_secs(30);
        tokio::time::timeout(limit, taken)
            .await
            .expect("it recovers by itself");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_writes_acknowledge_nothing_and_a_kill_among_them_costs_nothing() {
    if Command::new("prlimit").arg("--version").output().is_err() {
        println!("passed over: there is no prlimit here");
        return;
    }
    let graph = Graph::start().await;
    let (folder, config) = place(&graph);
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let daemon = Limited::start(&config);
        let ids = [format!("{round} before"), format!("{round} after")];
        daemon.until_taken(&ids[0]).await;
        daemon.limit("0");
        for number in 0..3 {
            assert_eq!(daemon.post(&format!("{round} refused {number}")).await, 503);
        }
        let health = daemon.admin_health().await;
        assert!(health.contains("the store cannot write"), "{health}");
        if round == 1 {
            // The end among failing writes.
            acknowledged.push(ids[0].clone());
            daemon.0.kill();
            continue;
        }
        daemon.limit("unlimited");
        daemon.until_taken(&ids[1]).await;
        acknowledged.extend(ids);
        daemon.0.kill();
    }
    let daemon = DaemonProcess::start(&config);
    until_arrived(&graph, &acknowledged).await;
    daemon.signal("TERM");
    let (code, log) = tokio::task::spawn_blocking(|| daemon.wait()).await.unwrap();
    assert_eq!(code, Some(0), "{log}");
    drop(folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_syncs_acknowledge_nothing_until_one_succeeds() {
    let traced = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status();
    if !traced.is_ok_and(|status| status.success()) {
        println!("passed over: there is no strace here, or it may not trace");
        return;
    }
    let graph = Graph::start().await;
    let (_folder, config) = place(&graph);
    // Ten syncs fail, some way into the run.
    let mut command = Command::new("strace");
    command
        // As a grandchild, so that the program is our child.
        .args(["-D", "-f", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"])
        .args(["-e", "inject=fsync,fdatasync:error=EIO:when=30..39"])
        .args([env!("CARGO_BIN_EXE_pixel-relay"), "run", "--config"])
        .arg(&config);
    let daemon = Limited(DaemonProcess::start_as(command));
    let mut acknowledged = Vec::new();
    let mut refused = 0;
    while refused == 0 || acknowledged.len() < 60 {
        let id = format!("e{}", acknowledged.len());
        match daemon.post(&id).await {
            200 => acknowledged.push(id),
            503 => refused += 1,
            status => panic!("{status}"),
        }
        assert!(acknowledged.len() < 1000, "no sync failed");
    }
    until_arrived(&graph, &acknowledged).await;
    daemon.0.kill();
}

/// Waits until each of these events has arrived.
async fn until_arrived(graph: &Graph, ids: &[String]) {
    let arrived = async {
        let arrived = |id: &String| graph.sandbox.times_accepted("1001", "Sign Up", id) > 0;
        while !ids.iter().all(arrived) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, arrived)
        .await
        .expect("every acknowledged event arrives");
}

/// A folder with a configuration for a store in it.
pub fn place(graph: &Graph) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pixel-relay.toml");
    let store = folder.path().join("store");
    fs::write(&config, config_text(graph.address, &store, PLAIN_SYNC)).unwrap();
    (folder, config)
}

/// Starts the program on a store that it must refuse; returns its message.
pub async fn refused(config: &Path) -> String {
    let config = config.to_str().unwrap().to_owned();
    let output = tokio::task::spawn_blocking(move || run(&["run", "--config", &config], &[], ""));
    let output = output.await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said.lines().last().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_the_same_store_is_refused_and_the_first_goes_on() {
    let graph = Graph::start().await;
    let (_folder, config) = place(&graph);
    let first = DaemonProcess::start(&config);
    let said = refused(&config).await;
    assert!(said.contains("in use by another process"), "{said}");
    let url = format!("{}/webhook", first.public);
    let request = client().post(url).header("authorization", SECRET);
    let answer = request.body(event("one").to_string()).send().await;
    assert_eq!(answer.unwrap().status(), 200);
    graph.sandbox.wait_for(1).await;
    first.signal("TERM");
    let (code, log) = tokio::task::spawn_blocking(|| first.wait()).await.unwrap();
    assert_eq!(code, Some(0), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_written_is_refused() {
    let graph = Graph::start().await;
    let (folder, config) = place(&graph);
    let store = folder.path().join("store");
    // A file in place of the folder: this fails for root too.
    fs::write(&store, "").unwrap();
    let said = refused(&config).await;
    assert!(said.contains("cannot use the folder"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_full_disk_waits_for_room() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let graph = Graph::start().await;
    graph
        .sandbox
        .set_faults("status=503".parse::<Faults>().unwrap());
    let config = disk.folder.path().join("pixel-relay.toml");
    let text = config_text(graph.address, &disk.store(), PADDED).replace("1MiB", "0B");
    fs::write(&config, text).unwrap();
    let daemon = Limited(DaemonProcess::start(&config));
    daemon.until_taken("before").await;
    daemon.0.kill();
    disk.fill_but(0);
    let daemon = Limited(DaemonProcess::start(&config));
    disk.empty();
    daemon.until_taken("after").await;
    graph.sandbox.set_faults(Faults::default());
    graph.sandbox.wait_for(2).await;
    daemon.0.kill();
}
