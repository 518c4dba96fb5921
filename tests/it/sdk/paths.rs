//! Paths that are nearly right, and requests to no endpoint.

use std::path::Path;

use super::*;
use crate::process::DaemonProcess;

#[tokio::test]
async fn surplus_slashes_change_nothing() {
    let graph = Graph::start().await;
    let daemon = start(&graph, &keys(), SYNC).await;
    let event = |id: &str| json!({ "event_type": "Sign Up", "user_id": "user-1", "insert_id": id });
    for (number, path) in [
        "/2/httpapi/",
        "//2/httpapi",
        "/2//httpapi//",
        "/batch/",
        "//",
    ]
    .into_iter()
    .enumerate()
    {
        let body = of(&json!([event(&format!("i{number}"))])).to_string();
        let answer = send(&daemon, path, "application/json", body).await;
        assert_eq!(answer.status(), 200, "{path}");
    }
    let form = "application/x-www-form-urlencoded";
    for path in ["/identify/", "/groupidentify/"] {
        let body = format!("api_key={KEY}&identification=%7B%22user_id%22:%22user-1%22%7D");
        let answer = send(&daemon, path, form, body).await;
        assert_eq!(answer.text().await.unwrap(), "success", "{path}");
    }
    for path in ["/webhook/", "/webhook/web/", "//webhook//web"] {
        let event = crate::support::event(path).to_string();
        assert_eq!(daemon.post_to(path, event).await.0, 200, "{path}");
    }
    for url in [
        format!("{}/health/", daemon.url),
        format!("{}/health/?x=//", daemon.url),
        format!("{}/metrics/", daemon.admin),
    ] {
        assert_eq!(
            client().get(&url).send().await.unwrap().status(),
            200,
            "{url}"
        );
    }
    let asked = client()
        .request(
            reqwest::Method::OPTIONS,
            format!("{}/2/httpapi/", daemon.url),
        )
        .header("origin", "https://shop.example.com")
        .send();
    assert_eq!(asked.await.unwrap().status(), 204);
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 8.0)
        .await;
    let refused = daemon
        .metric("pixel_relay_requests_refused_total", &[])
        .await;
    assert_eq!(refused, 0.0);
    daemon.stop().await;
}

/// A daemon whose endpoints of SDKs are off.
fn without_keys(graph: &Graph, folder: &Path) -> DaemonProcess {
    let config = folder.join("pixel-relay.toml");
    let text = config_text(graph.address, folder, PLAIN_SYNC);
    std::fs::write(&config, text).unwrap();
    DaemonProcess::start(&config)
}

#[tokio::test]
async fn what_nothing_answers_is_counted_and_told_without_secrets() {
    let graph = Graph::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = without_keys(&graph, folder.path());
    let ask = async |method: &str, path: &str| {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let asked = client().request(method, format!("{}{path}", daemon.public));
        asked.send().await.unwrap().status().as_u16()
    };
    assert_eq!(ask("POST", "/amplitude/EAABtoken?secret=x").await, 404);
    // The others are counted, and told a minute later.
    assert_eq!(ask("GET", "/webhook").await, 405);
    assert_eq!(ask("OPTIONS", "/webhook").await, 405);
    assert_eq!(ask("POST", "/2/httpapi").await, 404);
    let metrics = client().get(format!("{}/metrics", daemon.admin)).send();
    let metrics = metrics.await.unwrap().text().await.unwrap();
    for expected in [
        "pixel_relay_requests_refused_total{error=\"not_found\"} 2",
        "pixel_relay_requests_refused_total{error=\"method_not_allowed\"} 2",
    ] {
        assert!(metrics.contains(expected), "{expected}: {metrics}");
    }
    let line = daemon.wait_for_line("there is nothing at this path");
    assert!(line.contains("/amplitude/…"), "{line}");
    assert!(line.contains("POST"), "{line}");
    assert!(!line.contains("EAAB") && !line.contains("secret"), "{line}");
    daemon.kill();
}

#[tokio::test]
async fn requests_of_sdks_whose_endpoints_are_off_are_named() {
    let graph = Graph::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = without_keys(&graph, folder.path());
    let sent = client().post(format!("{}/2/httpapi", daemon.public)).send();
    assert_eq!(sent.await.unwrap().status(), 404);
    daemon.wait_for_line("off until ingest.api_keys lists a project");
    daemon.kill();
}
