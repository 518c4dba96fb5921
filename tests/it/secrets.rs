//! Secrets in files change without a restart of the real program.

use std::path::Path;

use crate::process::DaemonProcess;
use crate::support::{Graph, PLAIN_SYNC, SECRET, client, config_text, event};

/// The log line for a new secret.
const TAKEN: &str = "a secret in a file has changed";

/// Starts the program on a configuration, kept in a folder.
async fn start(folder: &Path, config: &str) -> DaemonProcess {
    let file = folder.join("pixel-relay.toml");
    std::fs::write(&file, config).unwrap();
    tokio::task::spawn_blocking(move || DaemonProcess::start(&file))
        .await
        .unwrap()
}

async fn wait_for_line(mut daemon: DaemonProcess, text: &'static str) -> (DaemonProcess, String) {
    let waiting = move || {
        let line = daemon.wait_for_line(text);
        (daemon, line)
    };
    tokio::task::spawn_blocking(waiting).await.unwrap()
}

async fn stop(daemon: DaemonProcess) {
    daemon.signal("TERM");
    let (code, log) = tokio::task::spawn_blocking(|| daemon.wait()).await.unwrap();
    assert_eq!(code, Some(0), "{log}");
}

async fn status(request: reqwest::RequestBuilder, secret: &str) -> u16 {
    let request = request.header("authorization", secret);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_lets_in_and_the_old_one_no_longer() {
    let graph = Graph::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (ingest, admin) = (folder.path().join("ingest"), folder.path().join("admin"));
    std::fs::write(&ingest, "Bearer old\n").unwrap();
    std::fs::write(&admin, "old\n").unwrap();
    let config = config_text(graph.address, &folder.path().join("store"), PLAIN_SYNC)
        .replace(
            &format!("secret = \"{SECRET}\""),
            &format!("secret_file = {ingest:?}"),
        )
        .replace("[ingest]", &format!("secret_file = {admin:?}\n[ingest]"));
    let daemon = start(folder.path(), &config).await;
    let post = || {
        client()
            .post(format!("{}/webhook", daemon.public))
            .body(event("a").to_string())
    };
    let look = || client().get(format!("{}/metrics", daemon.admin));
    for (secret, expected) in [("Bearer old", 200), ("Bearer new", 401)] {
        assert_eq!(status(post(), secret).await, expected, "{secret}");
        assert_eq!(status(look(), secret).await, expected, "{secret}");
    }
    let urls = (daemon.public.clone(), daemon.admin.clone());
    std::fs::write(&ingest, "Bearer new\n").unwrap();
    let (daemon, line) = wait_for_line(daemon, TAKEN).await;
    assert!(line.contains("ingest.secret_file"), "{line}");
    std::fs::write(&admin, "new\n").unwrap();
    let (daemon, line) = wait_for_line(daemon, TAKEN).await;
    assert!(line.contains("admin.secret_file"), "{line}");
    // The line is written just before the secret takes effect.
    let post = || {
        client()
            .post(format!("{}/webhook", urls.0))
            .body(event("b").to_string())
    };
    let look = || client().get(format!("{}/metrics", urls.1));
    while status(post(), "Bearer new").await != 200 || status(look(), "Bearer new").await != 200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(status(post(), "Bearer old").await, 401);
    assert_eq!(status(look(), "Bearer old").await, 401);
    stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_app_secret_resumes_a_paused_lane() {
    let graph = Graph::start_asking_for_proof("the-app-secret").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app_secret");
    std::fs::write(&file, "of-another-app\n").unwrap();
    let sync = PLAIN_SYNC.replace(
        "[sync.web.delivery]",
        &format!("app_secret_file = {file:?}\n[sync.web.delivery]"),
    );
    let config = config_text(graph.address, &folder.path().join("store"), &sync);
    let daemon = start(folder.path(), &config).await;
    let post = client()
        .post(format!("{}/webhook", daemon.public))
        .body(event("a").to_string());
    assert_eq!(status(post, SECRET).await, 200);
    let (daemon, _) = wait_for_line(daemon, "lane paused").await;
    assert_eq!(graph.sandbox.stats().accepted, 0);
    std::fs::write(&file, "the-app-secret\n").unwrap();
    let (daemon, line) = wait_for_line(daemon, TAKEN).await;
    assert!(line.contains("sync.web.app_secret_file"), "{line}");
    graph.sandbox.wait_for(1).await;
    stop(daemon).await;
}
