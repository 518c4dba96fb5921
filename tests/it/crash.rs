//! What was acknowledged survives `kill -9` at any moment.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::process::DaemonProcess;
use crate::support::{Graph, PLAIN_SYNC, SECRET, client, config_text, event};

const ROUNDS: usize = 6;
const CONNECTIONS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_event_reaches_meta_although_the_daemon_is_killed() {
    let graph = Graph::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pixel-relay.toml");
    let store = folder.path().join("store");
    std::fs::write(&config, config_text(graph.address, &store, PLAIN_SYNC)).unwrap();

    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    for round in 0..ROUNDS {
        let daemon = DaemonProcess::start(&config);
        let before = acknowledged.lock().unwrap().len();
        let senders: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                let url = format!("{}/webhook", daemon.public);
                let prefix = format!("r{round}-c{connection}");
                tokio::task::spawn(send_until_it_dies(url, prefix, Arc::clone(&acknowledged)))
            })
            .collect();
        // Each round is killed after another number of answers, while requests are under way.
        while acknowledged.lock().unwrap().len() < before + 40 + 37 * round {
            tokio::task::yield_now().await;
        }
        daemon.kill();
        for sender in senders {
            sender.await.unwrap();
        }
    }

    let daemon = DaemonProcess::start(&config);
    let acknowledged = acknowledged.lock().unwrap().clone();
    let arrived = async {
        loop {
            let arrived: BTreeSet<String> = graph
                .accepted()
                .iter()
                .map(|event| event["event_id"].as_str().unwrap().to_owned())
                .collect();
            let missing: Vec<_> = acknowledged.difference(&arrived).collect();
            if missing.is_empty() {
                return arrived;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let arrived = tokio::time::timeout(Duration::from_secs(60), arrived)
        .await
        .expect("every acknowledged event arrives");
    assert!(acknowledged.len() >= ROUNDS * 40);
    // Requests under way at the kill may have arrived too, and nothing else.
    assert!(arrived.len() <= acknowledged.len() + ROUNDS * CONNECTIONS);

    daemon.signal("TERM");
    let (code, log) = tokio::task::spawn_blocking(|| daemon.wait()).await.unwrap();
    assert_eq!(code, Some(0), "{log}");
}

/// Sends one event after another, and notes each that was acknowledged.
async fn send_until_it_dies(
    url: String,
    prefix: String,
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
) {
    let client = client();
    for number in 0.. {
        let id = format!("{prefix}-{number}");
        let request = client.post(&url).header("authorization", SECRET);
        match request.body(event(&id).to_string()).send().await {
            Ok(answer) if answer.status() == 200 => {
                acknowledged.lock().unwrap().insert(id);
            }
            Ok(answer) => panic!("the daemon answered {}", answer.status()),
            Err(_) => return,
        }
    }
}
