//! What Meta or the network does wrong costs no event.

use pixel_relay::sandbox::faults::Faults;
use serde_json::json;

use crate::process::DaemonProcess;
use crate::support::{Daemon, Graph, PLAIN_SYNC, SECRET, client, config_text, event};

/// Sends ten events into a fault, heals it, and expects each event to be delivered once.
async fn survives(fault: &str) {
    let graph = Graph::start().await;
    graph.sandbox.set_faults(fault.parse::<Faults>().unwrap());
    let daemon = Daemon::start(&graph, PLAIN_SYNC).await;
    let events: Vec<_> = (0..10).map(|number| event(&format!("e{number}"))).collect();
    assert_eq!(
        daemon.post(serde_json::to_vec(&events).unwrap()).await.0,
        200
    );
    graph.sandbox.wait_until(|stats| stats.requests >= 1).await;
    daemon.assert_law().await;
    graph.sandbox.set_faults(Faults::default());
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 10.0)
        .await;
    daemon.stop().await;
    let mut ids: Vec<_> = graph
        .accepted()
        .iter()
        .map(|event| event["event_id"].clone())
        .collect();
    ids.sort_by_key(ToString::to_string);
    ids.dedup();
    assert_eq!(ids.len(), 10, "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_errors_with_any_body_are_retried() {
    survives("status=503").await;
    survives("status=502:html").await;
    survives("status=500:empty").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_is_tried_again_under_the_same_ids() {
    survives("reset_before").await;
    survives("reset_after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_event_costs_only_itself() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(
        &graph,
        "[sync.web]\npixel_id = \"1001\"\naccess_token = \"test-token\"\n\
         [sync.web.delivery]\nmax_batch_delay = \"100ms\"\nrequests_per_second = \"unlimited\"\n",
    )
    .await;
    // Two of a hundred break an unknown rule.
    graph
        .sandbox
        .set_faults("poison=Poison".parse::<Faults>().unwrap());
    let mut events: Vec<_> = (0..100)
        .map(|number| event(&format!("e{number}")))
        .collect();
    events[7]["event_type"] = json!("Poison");
    events[42]["event_type"] = json!("Poison");
    assert_eq!(
        daemon.post(serde_json::to_vec(&events).unwrap()).await.0,
        200
    );
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 98.0)
        .await;
    daemon
        .until("pixel_relay_outcomes_total", &["rejected"], 2.0)
        .await;
    let stats = graph.sandbox.stats();
    assert!(stats.requests <= 1 + 2 * 2 * 7, "too many calls: {stats:?}");
    daemon.stop().await;
}

/// The health page, once its lane's reason contains these words.
async fn health_that_says(daemon: &Daemon, words: &str) -> serde_json::Value {
    loop {
        let health: serde_json::Value =
            serde_json::from_str(&daemon.admin_text("/health").await).unwrap();
        let reason = &health["syncs"]["web"]["lane"]["reason"];
        if reason.as_str().is_some_and(|reason| reason.contains(words)) {
            return health;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_tells_of_no_event_costs_none_and_shows() {
    for (fault, words) in [
        ("error=400:2500", "meta.api_version"),
        ("error=400:123456", "code 123456"),
        ("status=400:html", "not Meta's Graph API (status 400)"),
    ] {
        let graph = Graph::start().await;
        graph.sandbox.set_faults(fault.parse::<Faults>().unwrap());
        let daemon = Daemon::start(&graph, PLAIN_SYNC).await;
        assert_eq!(daemon.post(event("one").to_string()).await.0, 200);
        let health = health_that_says(&daemon, words).await;
        assert_eq!(health["status"], "warning", "{health}");
        assert_eq!(daemon.post(event("two").to_string()).await.0, 200);
        daemon
            .until("pixel_relay_queue_events", &["web"], 2.0)
            .await;
        let rejected = daemon
            .metric("pixel_relay_outcomes_total", &["rejected"])
            .await;
        assert!(rejected < 1.0, "{fault}");
        daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_of_another_app_pauses_and_is_named() {
    let graph = Graph::start_asking_for_proof("the-app-secret").await;
    let syncs = "[sync.web]\npixel_id = \"1001\"\naccess_token = \"test-token\"\n\
                 app_secret = \"of-another-app\"\n[sync.web.delivery]\nmax_batch_delay = \"10ms\"\n";
    let daemon = Daemon::start(&graph, syncs).await;
    assert_eq!(daemon.post(event("kept").to_string()).await.0, 200);
    let health = health_that_says(&daemon, "app_secret").await;
    assert_eq!(
        health["syncs"]["web"]["lane"]["state"], "paused",
        "{health}"
    );
    assert!(!health.to_string().contains("of-another-app"));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_meta_remarks_and_how_long_it_holds_a_lane_is_logged_once() {
    let graph = Graph::start().await;
    graph
        .sandbox
        .set_faults("remark".parse::<Faults>().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pixel-relay.toml");
    let store = folder.path().join("store");
    std::fs::write(&file, config_text(graph.address, &store, PLAIN_SYNC)).unwrap();
    let daemon = DaemonProcess::start(&file);
    let url = format!("{}/webhook", daemon.public);
    for (faults, id) in [
        ("remark", "one"),
        ("remark", "two"),
        ("usage_business=96", "three"),
    ] {
        graph.sandbox.set_faults(faults.parse::<Faults>().unwrap());
        let before = graph.sandbox.stats().accepted;
        let sent = client()
            .post(&url)
            .header("authorization", SECRET)
            .body(event(id).to_string())
            .send();
        assert_eq!(sent.await.unwrap().status(), 200);
        graph.sandbox.wait_for(before + 1).await;
    }
    daemon.signal("TERM");
    let (code, log) = tokio::task::spawn_blocking(|| daemon.wait()).await.unwrap();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("Simulated remark").count(), 1, "{log}");
    assert_eq!(log.matches("nothing is sent for 60 s").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_token_keeps_every_event_and_the_public_listener_open() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(
        &graph,
        "[sync.web]\npixel_id = \"1001\"\naccess_token = \"a-dead-token\"\n\
         [sync.web.delivery]\nmax_batch_delay = \"10ms\"\n",
    )
    .await;
    assert_eq!(daemon.post(event("kept").to_string()).await.0, 200);
    daemon
        .until("pixel_relay_lane_state", &["paused"], 1.0)
        .await;
    assert_eq!(daemon.post(event("kept too").to_string()).await.0, 200);
    assert_eq!(daemon.metric("pixel_relay_queue_events", &[]).await, 2.0);
    let health: serde_json::Value =
        serde_json::from_str(&daemon.admin_text("/health").await).unwrap();
    assert_eq!(
        health["syncs"]["web"]["lane"]["state"],
        json!("paused"),
        "{health}"
    );
    assert!(!health.to_string().contains("a-dead-token"));
    daemon.stop().await;
}
