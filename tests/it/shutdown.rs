//! A graceful stop loses nothing and repeats nothing; a second signal exits at once.

use std::time::Duration;

use pixel_relay::sandbox::faults::Faults;

use crate::process::DaemonProcess;
use crate::support::{Graph, PLAIN_SYNC, SECRET, client, config_text, event};

/// Sends events to the webhook, which must take them.
async fn send(daemon: &DaemonProcess, body: String) {
    let url = format!("{}/webhook", daemon.public);
    let request = client().post(url).header("authorization", SECRET);
    let answer = request.body(body).send().await;
    assert_eq!(answer.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_the_batch_in_flight_and_repeats_nothing() {
    let graph = Graph::start().await;
    graph
        .sandbox
        .set_faults("latency=300ms".parse::<Faults>().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pixel-relay.toml");
    let store = folder.path().join("store");
    std::fs::write(&config, config_text(graph.address, &store, PLAIN_SYNC)).unwrap();

    let daemon = DaemonProcess::start(&config);
    let body = serde_json::to_string(&[event("a"), event("b")]).unwrap();
    send(&daemon, body).await;
    graph.sandbox.wait_until(|stats| stats.requests >= 1).await;
    daemon.signal("TERM");
    let (code, log) = tokio::task::spawn_blocking(|| daemon.wait()).await.unwrap();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(graph.accepted().len(), 2);

    // A new start finds nothing to send again.
    graph.sandbox.set_faults(Faults::default());
    let daemon = DaemonProcess::start(&config);
    send(&daemon, event("c").to_string()).await;
    graph.sandbox.wait_for(3).await;
    daemon.signal("TERM");
    let (code, log) = tokio::task::spawn_blocking(|| daemon.wait()).await.unwrap();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(graph.accepted().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_exits_at_once() {
    let graph = Graph::start().await;
    graph.sandbox.set_faults("hang".parse::<Faults>().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pixel-relay.toml");
    let store = folder.path().join("store");
    std::fs::write(&config, config_text(graph.address, &store, PLAIN_SYNC)).unwrap();

    let daemon = DaemonProcess::start(&config);
    send(&daemon, event("a").to_string()).await;
    graph.sandbox.wait_until(|stats| stats.requests >= 1).await;
    daemon.signal("TERM");
    // The first signal must have been seen before the second is sent.
    let url = daemon.public.clone();
    while client().get(format!("{url}/health")).send().await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    daemon.signal("TERM");
    let waited = tokio::task::spawn_blocking(|| daemon.wait());
    let (code, _) = tokio::time::timeout(Duration::from_secs(5), waited)
        .await
        .expect("the second signal ends it well before the answer would time out")
        .unwrap();
    assert_eq!(code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_that_mean_reload_elsewhere_are_ignored_with_a_line() {
    let graph = Graph::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pixel-relay.toml");
    let store = folder.path().join("store");
    std::fs::write(&config, config_text(graph.address, &store, PLAIN_SYNC)).unwrap();

    let mut daemon = DaemonProcess::start(&config);
    for name in ["HUP", "USR1", "USR2"] {
        daemon.signal(name);
        daemon.wait_for_line(&format!("SIG{name}"));
    }
    send(&daemon, event("a").to_string()).await;
    graph.sandbox.wait_for(1).await;
    daemon.signal("TERM");
    let (code, log) = tokio::task::spawn_blocking(|| daemon.wait()).await.unwrap();
    assert_eq!(code, Some(0), "{log}");
}
