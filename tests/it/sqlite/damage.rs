//! A damaged store: the daemon delivers what is readable and counts the rest, or refuses with a clear
//! message and overwrites nothing.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::iter;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pixel_relay::sandbox::faults::Faults;
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use crate::process::{DaemonProcess, command};
use crate::support::{Daemon, Graph, PLAIN_SYNC, SECRET, client, config_text, event};

const NOTED_SYNC: &str = "[sync.web]\npixel_id = \"1001\"\naccess_token = \"test-token\"\n\
    properties = [\"note\"]\n[sync.web.delivery]\nmax_batch_delay = \"10ms\"\n\
    requests_per_second = \"unlimited\"\n";

/// A text that differs between events, and does not compress.
fn note(row: usize, place: usize) -> String {
    let mut random = fastrand::Rng::with_seed((row * 1000 + place) as u64);
    iter::repeat_with(|| random.alphanumeric())
        .take(500)
        .collect()
}

/// Where the store's file holds an event.
fn place_of(bytes: &[u8], row: usize, place: usize) -> usize {
    let note = note(row, place);
    bytes
        .windows(16)
        .position(|window| window == &note.as_bytes()[..16])
        .expect("what events have not in common is plain text in the store")
}

/// Queues events in one row each, while nothing is delivered, and stops the daemon.
async fn with_queued(graph: &Graph, rows: usize, per_row: usize) -> (Arc<TempDir>, String) {
    graph
        .sandbox
        .set_faults("status=503".parse::<Faults>().unwrap());
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let config = config_text(graph.address, folder.path(), NOTED_SYNC);
    let daemon = Daemon::start_on(Arc::clone(&folder), config.clone()).await;
    for row in 0..rows {
        let events: Vec<_> = (0..per_row)
            .map(|place| {
                let mut event = event(&format!("r{row}-{place}"));
                event["event_properties"]["note"] = json!(note(row, place));
                event
            })
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

/// A store with twenty events that a killed process left; Meta answers again.
async fn left_by_a_kill(graph: &Graph) -> (Arc<TempDir>, PathBuf, String) {
    graph
        .sandbox
        .set_faults("status=503".parse::<Faults>().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pixel-relay.toml");
    let store = folder.path().join("store");
    let config = config_text(graph.address, &store, PLAIN_SYNC);
    fs::write(&file, &config).unwrap();
    let daemon = DaemonProcess::start(&file);
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
    graph.sandbox.set_faults(Faults::default());
    (Arc::new(folder), store, config)
}

/// Starts on a damaged store, and expects this many events to be lost and the others to arrive.
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
    let place = place_of(&bytes, 2, 1);
    let mut file = File::options().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(place as u64)).unwrap();
    file.write_all(b"#").unwrap();
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
    let place = place_of(&bytes, 2, 20);
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
    for place in (size..whole.len()).step_by(size) {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let mut bytes = whole.clone();
        bytes[place..place + size].fill(0);
        fs::write(folder.path().join("queue.db"), bytes).unwrap();
        let config = config_text(graph.address, folder.path(), PLAIN_SYNC);
        let daemon = Daemon::start_on(folder, config).await;
        // The damage may show only later, and then a request is refused.
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
async fn without_its_log_the_store_opens_and_keeps_its_books() {
    let graph = Graph::start().await;
    let (folder, store, config) = left_by_a_kill(&graph).await;
    // Someone deleted the write-ahead log. What only the log held is lost.
    fs::remove_file(store.join("queue.db-wal")).unwrap();
    let daemon = Daemon::start_on(folder, config).await;
    assert_eq!(daemon.post(event("next").to_string()).await.0, 200);
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 1.0)
        .await;
    daemon.stop().await;
}

/// Restores what a clean stop left, in another folder.
fn copy_of(whole: &[u8]) -> (Arc<TempDir>, PathBuf) {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let store = folder.path().join("queue.db");
    fs::write(&store, whole).unwrap();
    (folder, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_its_first_page_is_refused_and_left_as_it_is() {
    let graph = Graph::start().await;
    let (folder, _) = with_queued(&graph, 5, 4).await;
    let whole = fs::read(folder.path().join("queue.db")).unwrap();
    let filled = |filling: u8| {
        let mut bytes = whole.clone();
        bytes[..4096].fill(filling);
        bytes
    };
    for bytes in [filled(0), filled(0xa5)] {
        let (folder, store) = copy_of(&bytes);
        let config = folder.path().join("pixel-relay.toml");
        let text = config_text(graph.address, folder.path(), PLAIN_SYNC);
        fs::write(&config, text).unwrap();
        let ran = tokio::task::spawn_blocking(move || command(&config, &["run"], b""));
        let ran = ran.await.unwrap();
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.words.contains("its first page is damaged"), "{ran:?}");
        assert!(fs::read(store).unwrap() == bytes, "it was written to");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_file_that_was_cut_off_the_readable_part_is_delivered() {
    let graph = Graph::start().await;
    // Each row fills several pages.
    let (folder, _) = with_queued(&graph, 20, 40).await;
    let whole = fs::read(folder.path().join("queue.db")).unwrap();
    let mut delivered = 0.0;
    for eighths in 4..8 {
        let (folder, _) = copy_of(&whole[..whole.len() / 8 * eighths]);
        let config = config_text(graph.address, folder.path(), PLAIN_SYNC);
        let daemon = Daemon::start_on(folder, config).await;
        let taken = async { while daemon.post(event("next").to_string()).await.0 != 200 {} };
        tokio::time::timeout(Duration::from_secs(30), taken)
            .await
            .expect("it mends itself");
        daemon
            .until("pixel_relay_outcomes_total", &["delivered"], 1.0)
            .await;
        let ended = |outcome| daemon.metric("pixel_relay_outcomes_total", outcome);
        loop {
            let queued = daemon.metric("pixel_relay_queue_events", &[]).await;
            if queued == 0.0 {
                break;
            }
        }
        // If the counters were cut off too, the number of lost events is unknown.
        let total = ended(&["delivered"]).await + ended(&["lost"]).await;
        assert!(total <= 801.0, "{eighths}/8: {total}");
        delivered += ended(&["delivered"]).await;
        daemon.stop().await;
    }
    assert!(delivered > 400.0, "only {delivered} events were found");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_is_a_new_store() {
    let graph = Graph::start().await;
    let (folder, _) = copy_of(b"");
    let config = config_text(graph.address, folder.path(), PLAIN_SYNC);
    let daemon = Daemon::start_on(folder, config).await;
    assert_eq!(daemon.post(event("one").to_string()).await.0, 200);
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 1.0)
        .await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_beside_the_file_costs_nothing() {
    let graph = Graph::start().await;
    let (folder, _) = with_queued(&graph, 5, 4).await;
    let whole = fs::read(folder.path().join("queue.db")).unwrap();
    let noise: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for (round, (name, content)) in [
        ("queue.db-wal", noise.as_slice()),
        ("queue.db-wal", b""),
        ("queue.db-shm", &noise),
        ("queue.db-journal", &noise),
        ("salvage-draft.db", &noise),
    ]
    .into_iter()
    .enumerate()
    {
        let (folder, _) = copy_of(&whole);
        fs::write(folder.path().join(name), content).unwrap();
        let config = config_text(graph.address, folder.path(), PLAIN_SYNC);
        let daemon = Daemon::start_on(folder, config).await;
        daemon
            .until("pixel_relay_outcomes_total", &["delivered"], 20.0)
            .await;
        assert_eq!(
            daemon.metric("pixel_relay_outcomes_total", &[]).await,
            20.0,
            "{name}"
        );
        daemon.stop().await;
        assert_eq!(
            graph.sandbox.stats().accepted,
            20 * (round as u64 + 1),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_behind_the_log_and_a_lost_index_of_it_cost_nothing_after_a_kill() {
    let graph = Graph::start().await;
    let (folder, store, config) = left_by_a_kill(&graph).await;
    fs::remove_file(store.join("queue.db-shm")).unwrap();
    // A power cut left a commit half written.
    let log = File::options()
        .append(true)
        .open(store.join("queue.db-wal"));
    log.unwrap().write_all(&[0xa5; 6000]).unwrap();
    let daemon = Daemon::start_on(folder, config).await;
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 20.0)
        .await;
    assert_eq!(graph.sandbox.stats().repeats, 0);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_and_mended_by_command() {
    let graph = Graph::start().await;
    let (folder, store, _) = left_by_a_kill(&graph).await;
    let config = folder.path().join("pixel-relay.toml");
    let verify = || {
        let ran = command(&config, &["queue", "verify", "--json"], b"");
        let rows = ran.rows();
        let mut kinds: Vec<_> = rows.iter().map(|row| row["kind"].clone()).collect();
        kinds.dedup();
        (ran.code, kinds)
    };
    let change = |statement: &str| {
        let store = Connection::open(store.join("queue.db")).unwrap();
        store.execute_batch(statement).unwrap();
    };
    assert_eq!(verify(), (0, vec![]));
    change("UPDATE total SET value = value + 7 WHERE counter = 'queued'");
    assert_eq!(verify(), (1, vec![json!("counters")]));
    let repaired = command(&config, &["queue", "repair"], b"");
    assert_eq!(repaired.code, 0, "{repaired:?}");
    // The copy of the files as they were is no damage.
    assert_eq!(verify(), (0, vec![]));
    // A batch that cannot be read hides nothing that comes before it.
    change("UPDATE content SET checksum = checksum + 1 WHERE row = (SELECT min(row) FROM content)");
    change("UPDATE total SET value = value + 7 WHERE counter = 'queued'");
    assert_eq!(verify(), (1, vec![json!("counters"), json!("batch")]));
}
