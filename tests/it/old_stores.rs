//! Stores that real programs of earlier formats left, opened by the present one.
//!
//! `tests/fixtures/make_store.py` made them. Of 60 events 20 were delivered, 3 refused, 2 were too old, and 35 wait. They
//! come from 2090, so that none runs out; the program is told that it is 2090, too.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flate2::read::GzDecoder;
use pixel_relay::clock::{Clock as _, SystemClock, TestClock, UnixMillis};
use serde_json::{Value, json};

use crate::preload::Shim;
use crate::process::{DaemonProcess, command, program};
use crate::support::{Graph, SECRET, client, config_text};

const YEAR_2090: i64 = 3_786_912_000;

const SYNC: &str = r#"
    [sync.web]
    pixel_id = "1001"
    access_token = "test-token"
    properties = ["number"]
    [sync.web.user_data]
    email = "user_properties.email"
    [sync.web.delivery]
    max_batch_delay = "10ms"
    requests_per_second = "unlimited"
"#;

/// Puts a store of this format into a folder.
fn unpack(format: u8, folder: &Path) {
    let name = format!("store_format_{format}.db.gz");
    let packed = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name);
    let packed = std::fs::File::open(packed).unwrap();
    let mut store = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut store).unwrap();
    assert_eq!(store[60..64], u32::from(format).to_be_bytes());
    std::fs::create_dir(folder).unwrap();
    std::fs::write(folder.join("queue.db"), store).unwrap();
}

/// An event as the earlier program took it.
fn old_event(number: u32) -> Value {
    json!({
        "event_type": "Sign Up",
        "event_time": "2090-01-01 00:00:00.000000",
        "$insert_id": format!("old-{number}"),
        "user_id": format!("user-{}", number % 7),
        "device_id": "b7b0f6a1-94c5-4c06-8f19-6a5b3d5f2a60",
    })
}

async fn a_store_goes_on(format: u8) {
    let clock = TestClock::at(UnixMillis::from_seconds(YEAR_2090));
    let graph = Graph::start_at(Arc::new(clock)).await;
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    unpack(format, &store);
    let config = folder.path().join("pixel-relay.toml");
    let memory = if format >= 2 {
        "[sync.web.user_memory]\nwebhook = true\n"
    } else {
        ""
    };
    let syncs = format!("{SYNC}{memory}");
    std::fs::write(&config, config_text(graph.address, &store, &syncs)).unwrap();
    let shim = Shim::new(folder.path());
    shim.set_clock(YEAR_2090 - SystemClock.now().seconds());
    let mut run = program();
    run.args(["run", "--config"]).arg(&config);
    run.envs(shim.environment());
    let daemon = tokio::task::spawn_blocking(|| DaemonProcess::start_as(run));
    let daemon = daemon.await.unwrap();

    // What waited arrives.
    graph.sandbox.wait_for(35).await;
    let ids: BTreeSet<String> = graph
        .accepted()
        .iter()
        .map(|event| event["event_id"].as_str().unwrap().to_owned())
        .collect();
    let waited: BTreeSet<String> = (25..60).map(|number| format!("old-{number}")).collect();
    assert_eq!(ids, waited);

    // What was taken before is known.
    let again = serde_json::to_string(&[old_event(3), old_event(30)]).unwrap();
    let request = client().post(format!("{}/webhook", daemon.public));
    let request = request.header("authorization", SECRET).body(again);
    let answer = request.send().await.unwrap().text().await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["duplicate"], 2, "{answer}");

    // So are the dead letters, and where an event that was delivered went.
    let (letters, traced) = {
        let config = config.clone();
        tokio::task::spawn_blocking(move || {
            let letters = command(&config, &["dead", "list"], b"").rows();
            let traced = command(&config, &["trace", "--json", "old-3"], b"").row();
            (letters, traced)
        })
        .await
        .unwrap()
    };
    let of = |reason: &str| {
        letters
            .iter()
            .filter(|letter| letter["reason"] == reason)
            .count()
    };
    assert_eq!((of("refused"), of("too_old")), (3, 2), "{letters:?}");
    assert!(traced.to_string().contains("delivered"), "{traced}");

    // The counts go on where they were.
    let metrics = settled_metrics(&daemon.admin).await;
    assert_eq!(sum(&metrics, "events_taken_total", ""), 62, "{metrics}");
    for (outcome, expected) in [
        ("delivered", 55),
        ("rejected", 3),
        ("invalid", 2),
        ("duplicate", 2),
    ] {
        assert_eq!(
            sum(&metrics, "outcomes_total", outcome),
            expected,
            "{metrics}"
        );
    }
    daemon.signal("TERM");
    let (code, log) = tokio::task::spawn_blocking(|| daemon.wait()).await.unwrap();
    assert_eq!(code, Some(0), "{log}");
}

/// The metrics, once nothing is queued.
async fn settled_metrics(admin: &str) -> String {
    loop {
        let page = client()
            .get(format!("{admin}/metrics"))
            .send()
            .await
            .unwrap();
        let page = page.text().await.unwrap();
        if sum(&page, "queue_events", "") == 0 {
            return page;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The sum of a metric's samples whose labels contain the text.
fn sum(page: &str, name: &str, label: &str) -> u64 {
    let start = format!("pixel_relay_{name}{{");
    page.lines()
        .filter(|line| line.starts_with(&start) && line.contains(label))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_format_1_goes_on() {
    a_store_goes_on(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_format_2_goes_on() {
    a_store_goes_on(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_format_3_goes_on() {
    a_store_goes_on(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_format_4_goes_on() {
    a_store_goes_on(4).await;
}
