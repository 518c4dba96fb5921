//! No call while Meta says wait, not even after a `kill -9`.

use std::path::Path;
use std::time::Duration;

use pixel_relay::clock::{Clock as _, SystemClock};
use pixel_relay::sandbox::faults::Faults;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{self, DaemonProcess};
use crate::support::{Graph, PLAIN_SYNC, SECRET, client, config_text, event};

/// A place for daemons that deliver to this endpoint.
fn place(graph: &Graph) -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pixel-relay.toml");
    let store = folder.path().join("store");
    std::fs::write(&config, config_text(graph.address, &store, PLAIN_SYNC)).unwrap();
    (folder, config)
}

async fn send(daemon: &DaemonProcess, id: &str) {
    let answer = client()
        .post(format!("{}/webhook", daemon.public))
        .header("authorization", SECRET)
        .body(event(id).to_string())
        .send()
        .await;
    assert_eq!(answer.unwrap().status(), 200);
}

/// Waits until the lane reports this state; returns the report.
async fn lane_in(daemon: &DaemonProcess, state: &str) -> Value {
    let url = format!("{}/health", daemon.admin);
    let reached = async {
        loop {
            let page = client().get(&url).send().await.unwrap();
            let page: Value = serde_json::from_str(&page.text().await.unwrap()).unwrap();
            let lane = &page["syncs"]["web"]["lane"];
            if lane["state"] == *state {
                return lane.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reached)
        .await
        .unwrap_or_else(|_| panic!("the lane is never {state}"))
}

/// Waits until the answer to the request that carried an event is on the disk.
async fn answered(config: &Path, id: &'static str, verdict: &str) {
    loop {
        let config = config.to_owned();
        let traced = tokio::task::spawn_blocking(move || {
            process::command(&config, &["trace", id, "--json"], b"").row()
        });
        if traced.await.unwrap()["requests"][0]["verdict"] == verdict {
            return;
        }
    }
}

async fn stop(daemon: DaemonProcess) {
    daemon.signal("TERM");
    let (code, log) = tokio::task::spawn_blocking(|| daemon.wait()).await.unwrap();
    assert_eq!(code, Some(0), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttle_is_kept_to_by_the_next_process() {
    let graph = Graph::start().await;
    let faults = "next:throttle=80004:10s:retry_after"
        .parse::<Faults>()
        .unwrap();
    graph.sandbox.set_faults(faults);
    let (_folder, config) = place(&graph);
    let mut daemon = DaemonProcess::start(&config);
    let before = SystemClock.now();
    send(&daemon, "first").await;
    answered(&config, "first", "throttled").await;
    for _ in 0..2 {
        daemon.kill();
        daemon = DaemonProcess::start(&config);
        assert!(lane_in(&daemon, "throttled").await["next_try_in_seconds"].as_u64() <= Some(10));
    }
    graph.sandbox.wait_for(1).await;
    let accepted = graph.sandbox.records(9, None);
    let waited = accepted[0].received_at_ms - before.0;
    assert!(waited >= 10_000, "called again after {waited} ms");
    // One was refused, one accepted: none in between.
    assert_eq!(graph.sandbox.stats().requests, 2);
    lane_in(&daemon, "running").await;
    stop(daemon).await;
    assert_eq!(graph.accepted().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_is_kept_to_by_the_next_process() {
    let graph = Graph::start().await;
    graph
        .sandbox
        .set_faults("block=50m".parse::<Faults>().unwrap());
    let (_folder, config) = place(&graph);
    let daemon = DaemonProcess::start(&config);
    send(&daemon, "first").await;
    answered(&config, "first", "blocked").await;
    daemon.kill();

    let daemon = DaemonProcess::start(&config);
    send(&daemon, "second").await;
    // A lane that had to ask would meet the block by a second call.
    let lane = lane_in(&daemon, "blocked").await;
    assert!(
        lane["next_try_in_seconds"].as_u64() > Some(50 * 60),
        "{lane}"
    );
    stop(daemon).await;
    assert_eq!(graph.sandbox.stats().requests, 1);
}
