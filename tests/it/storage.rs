//! A store that cannot be written, is taken, is damaged, or comes from the future.
//!
//! What takes root (a small disk of its own) says so and is passed over elsewhere; the same fault as a
//! limit on the size of files needs no root.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use pixel_relay::sandbox::faults::Faults;
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use crate::process::{DaemonProcess, run};
use crate::support::{Daemon, Graph, PLAIN_SYNC, SECRET, client, config_text, event};

/// A tmpfs of eight MiB in a folder of its own; unmounted when dropped.
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

    /// Leaves so many bytes free.
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

/// An event that takes some room.
fn heavy(id: &str) -> String {
    let mut event = event(id);
    event["event_properties"]["padding"] = json!("x".repeat(50_000));
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
        .set_faults(Faults::parse("status=503").unwrap());
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
        let url = format!("{}/webhook", self.0.public);
        let request = client().post(url).header("authorization", SECRET);
        let answer = request.body(event(id).to_string()).send().await;
        answer.unwrap().status().as_u16()
    }

    async fn admin_health(&self) -> String {
        let answer = client()
            .get(format!("{}/health", self.0.admin))
            .send()
            .await;
        answer.unwrap().text().await.unwrap()
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
fn place(graph: &Graph) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pixel-relay.toml");
    let store = folder.path().join("store");
    fs::write(&config, config_text(graph.address, &store, PLAIN_SYNC)).unwrap();
    (folder, config)
}

/// Starts the program on a store that it must refuse; gives what it said.
async fn refused(config: &Path) -> String {
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
async fn a_store_of_a_newer_version_is_refused_and_not_touched() {
    let graph = Graph::start().await;
    let (folder, config) = place(&graph);
    DaemonProcess::start(&config).kill();
    let store = folder.path().join("store").join("queue.db");
    let version = |set: &str| {
        let store = Connection::open(&store).unwrap();
        store.execute_batch(set).unwrap();
        store
            .query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    let known = version("");
    assert_eq!(version("PRAGMA user_version = 99"), 99);
    let said = refused(&config).await;
    assert!(said.contains("written by a newer pixel-relay"), "{said}");
    assert_eq!(version(""), 99);
    version(&format!("PRAGMA user_version = {known}"));
    DaemonProcess::start(&config).kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_written_is_refused() {
    let graph = Graph::start().await;
    let (folder, config) = place(&graph);
    let store = folder.path().join("store");
    // A file where the folder should be: a fault that root meets too.
    fs::write(&store, "").unwrap();
    let said = refused(&config).await;
    assert!(said.contains("cannot use the folder"), "{said}");
}

/// Queues events in rows of their own, while nothing is delivered, and stops the daemon.
async fn with_queued(graph: &Graph, rows: usize, per_row: usize) -> (Arc<TempDir>, String) {
    graph
        .sandbox
        .set_faults(Faults::parse("status=503").unwrap());
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let config = config_text(graph.address, folder.path(), PLAIN_SYNC);
    let daemon = Daemon::start_on(Arc::clone(&folder), config.clone()).await;
    for row in 0..rows {
        let events: Vec<_> = (0..per_row)
            .map(|place| event(&format!("r{row}-{place}")))
            .collect();
        let (status, answer) = daemon.post(serde_json::to_vec(&events).unwrap()).await;
        assert_eq!(
            (status, &answer["queued"]),
            (200, &json!(per_row)),
            "{answer}"
        );
    }
    daemon.stop().await;
    graph.sandbox.set_faults(Faults::default());
    (folder, config)
}

/// Starts on a store with damage, and expects so many events to be lost and the others to arrive.
async fn expect_lost(graph: &Graph, folder: Arc<TempDir>, config: String, lost: u32, rest: u32) {
    let daemon = Daemon::start_on(folder, config).await;
    daemon
        .until(
            "pixel_relay_outcomes_total",
            &["delivered"],
            f64::from(rest),
        )
        .await;
    daemon
        .until(
            "pixel_relay_outcomes_total",
            &["damaged_row"],
            f64::from(lost),
        )
        .await;
    assert_eq!(daemon.metric("pixel_relay_queue_events", &[]).await, 0.0);
    assert_eq!(graph.sandbox.stats().accepted, u64::from(rest));
    // It goes on as before.
    let (status, _) = daemon.post(event("next").to_string()).await;
    assert_eq!(status, 200);
    daemon
        .until(
            "pixel_relay_outcomes_total",
            &["delivered"],
            f64::from(rest + 1),
        )
        .await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_on_the_disk_cost_their_row_and_no_other() {
    let graph = Graph::start().await;
    let (folder, config) = with_queued(&graph, 5, 4).await;
    let path = folder.path().join("queue.db");
    let mut bytes = Vec::new();
    File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
    let needle = b"\"event_id\":\"r2-1\"";
    let place = bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .expect("events are plain text in the store");
    let mut file = File::options().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(place as u64 + 13)).unwrap();
    file.write_all(b"X").unwrap();
    drop(file);
    expect_lost(&graph, folder, config, 4, 16).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_page_costs_what_it_held_and_no_more() {
    let graph = Graph::start().await;
    // Each row fills several pages.
    let (folder, config) = with_queued(&graph, 5, 40).await;
    let path = folder.path().join("queue.db");
    let store = Connection::open(&path).unwrap();
    let size: u32 = store
        .query_row("PRAGMA page_size", [], |row| row.get(0))
        .unwrap();
    drop(store);
    let bytes = fs::read(&path).unwrap();
    let needle = b"\"event_id\":\"r2-20\"";
    let place = bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .expect("events are plain text in the store");
    let mut file = File::options().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(
        place as u64 / u64::from(size) * u64::from(size),
    ))
    .unwrap();
    file.write_all(&vec![0; size as usize]).unwrap();
    drop(file);
    expect_lost(&graph, folder, config, 40, 160).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_page_is_wiped_the_daemon_starts_and_no_event_goes_uncounted() {
    let graph = Graph::start().await;
    let (folder, _) = with_queued(&graph, 5, 4).await;
    let whole = fs::read(folder.path().join("queue.db")).unwrap();
    let size = usize::from(u16::from_be_bytes([whole[16], whole[17]]));
    // Without the first page it is no database at all, and is refused.
    for place in (size..whole.len()).step_by(size) {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let mut bytes = whole.clone();
        bytes[place..place + size].fill(0);
        fs::write(folder.path().join("queue.db"), bytes).unwrap();
        let config = config_text(graph.address, folder.path(), PLAIN_SYNC);
        let daemon = Daemon::start_on(folder, config).await;
        // The damage may show only when it is met, and that request is refused.
        let taken = async { while daemon.post(event("next").to_string()).await.0 != 200 {} };
        let limit = Duration::from_secs(30);
        tokio::time::timeout(limit, taken)
            .await
            .expect("it mends itself");
        daemon.until("pixel_relay_outcomes_total", &[], 21.0).await;
        let count = async |outcome| {
            daemon
                .metric("pixel_relay_outcomes_total", &[outcome])
                .await
        };
        assert_eq!(
            count("delivered").await + count("lost").await,
            21.0,
            "{place}"
        );
        daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_full_disk_waits_for_room() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let graph = Graph::start().await;
    graph
        .sandbox
        .set_faults(Faults::parse("status=503").unwrap());
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

#[tokio::test(flavor = "multi_thread")]
async fn without_its_log_the_store_opens_and_keeps_its_books() {
    let graph = Graph::start().await;
    graph
        .sandbox
        .set_faults(Faults::parse("status=503").unwrap());
    let (folder, config) = place(&graph);
    let daemon = DaemonProcess::start(&config);
    let url = format!("{}/webhook", daemon.public);
    for number in 0..20 {
        let request = client().post(&url).header("authorization", SECRET);
        let answer = request
            .body(event(&format!("e{number}")).to_string())
            .send()
            .await;
        assert_eq!(answer.unwrap().status(), 200);
    }
    daemon.kill();
    // Someone tidied up what looked like a left-over. What was only there is gone, as with any file.
    let store = folder.path().join("store");
    fs::remove_file(store.join("queue.db-wal")).unwrap();
    graph.sandbox.set_faults(Faults::default());
    let config = config_text(graph.address, &store, PLAIN_SYNC);
    let daemon = Daemon::start_on(Arc::new(folder), config).await;
    assert_eq!(daemon.post(event("next").to_string()).await.0, 200);
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 1.0)
        .await;
    daemon.stop().await;
}
