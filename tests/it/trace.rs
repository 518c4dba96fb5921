//! What `trace` tells of one event.

use std::sync::Arc;

use pixel_relay::sandbox::faults::Faults;
use serde_json::json;

use crate::process::command;
use crate::support::{Daemon, Graph, HOLDING_SYNC, PLAIN_SYNC, event};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_followed_to_its_end() {
    let graph = Graph::start().await;
    graph
        .sandbox
        .set_faults("poison=Poison,next:status=503".parse::<Faults>().unwrap());
    let daemon = Daemon::start(&graph, PLAIN_SYNC).await;
    let mut bad = event("bad");
    bad["event_type"] = json!("Poison");
    assert_eq!(
        daemon.post(json!([event("good"), bad]).to_string()).await.0,
        200
    );
    daemon
        .until("pixel_relay_outcomes_total", &["rejected"], 1.0)
        .await;
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 1.0)
        .await;
    let config = daemon.config_file();

    let good = command(&config, &["trace", "good", "--json"], b"").row();
    assert_eq!(good["sync"], "web");
    assert!(good["place"]["delivered"]["at"].is_string(), "{good}");
    let requests = good["requests"].as_array().unwrap();
    assert_eq!(requests[0]["verdict"], "transient", "{good}");
    let last = requests.last().unwrap();
    assert_eq!(
        (&last["verdict"], &last["status"]),
        (&json!("delivered"), &json!(200))
    );
    assert!(last["trace_id"].is_string(), "{good}");

    let words = command(&config, &["trace", "good"], b"");
    for part in [
        "sync web: taken ",
        "transient, HTTP 503",
        "trace id ",
        "\n  delivered ",
    ] {
        assert!(words.data.contains(part), "{part} is missing in {words:?}");
    }
    let words = command(&config, &["trace", "bad"], b"");
    assert!(
        words
            .data
            .contains("rejected, reason refused: dead letter "),
        "{words:?}"
    );
    let folder = Arc::clone(&daemon.folder);
    daemon.stop().await;

    // The same where no daemon runs.
    let later = command(&config, &["trace", "good", "--json"], b"").row();
    assert_eq!(later, good);
    drop(folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_waits_has_its_place_in_the_queue() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, HOLDING_SYNC).await;
    assert_eq!(daemon.post(event("waits").to_string()).await.0, 200);
    let config = daemon.config_file();
    let waiting = command(&config, &["trace", "waits", "--json"], b"").row();
    assert!(
        waiting["place"]["waiting"]["until"].is_string(),
        "{waiting}"
    );
    assert_eq!(waiting["requests"], json!([]));
    let words = command(&config, &["trace", "waits"], b"");
    assert!(words.data.contains("queued, not sent yet"), "{words:?}");

    let unknown = command(&config, &["trace", "never came"], b"");
    assert_eq!(
        (unknown.code, unknown.data.as_str()),
        (1, ""),
        "{unknown:?}"
    );
    assert!(unknown.words.contains("nothing is known"), "{unknown:?}");
    daemon.stop().await;
}
