//! What one address may send, and what is refused before any of a body is read.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::*;
use crate::support::event;

/// Much longer than anything takes that does not wait for a time-out of the daemon.
const SOON: Duration = Duration::from_secs(8);

/// Connects from an address of the loopback network.
async fn connect(daemon: &Daemon, from: [u8; 4]) -> TcpStream {
    let address: SocketAddr = daemon.url.strip_prefix("http://").unwrap().parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(address).await.unwrap()
}

/// Sends a head that announces a body, and nothing of the body; returns the answer.
async fn announce(daemon: &Daemon, head: &str) -> String {
    let mut stream = connect(daemon, [127, 0, 0, 1]).await;
    let head = format!("{head}host: x\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 16 << 10];
    let read = timeout(SOON, stream.read(&mut answer)).await;
    let read = read.expect("no byte of the body is waited for").unwrap();
    answer.truncate(read);
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_head_alone_shows_is_refused_before_the_body() {
    let graph = Graph::start().await;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let keys = format!("{}\naddress_requests_per_second = 0.002\n[queue]", keys());
    let config = config_text(graph.address, folder.path(), SYNC)
        .replace("[queue]", &keys)
        .replace(
            "[admin]",
            "cors_origins = [\"https://shop.example.com\"]\n[admin]",
        );
    let daemon = Daemon::start_on(folder, config).await;
    let page = "origin: https://evil.example.net\r\ncontent-length: 99\r\n";
    for (head, status) in [
        ("POST /2/other HTTP/1.1\r\ncontent-length: 99\r\n", "404"),
        ("PUT /2/httpapi HTTP/1.1\r\ncontent-length: 99\r\n", "405"),
        (&format!("POST /2/httpapi HTTP/1.1\r\n{page}"), "403"),
        ("POST /webhook HTTP/1.1\r\ncontent-length: 99\r\n", "401"),
        // The one request of this address that is within the limit.
        (
            "POST /batch HTTP/1.1\r\ncontent-length: 99999999\r\n",
            "413",
        ),
        ("POST /2/httpapi HTTP/1.1\r\ncontent-length: 99\r\n", "429"),
        (
            "POST /identify HTTP/1.1\r\ntransfer-encoding: chunked\r\n",
            "429",
        ),
    ] {
        let answer = announce(&daemon, head).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{head}{answer}"
        );
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_an_unknown_encoding_is_not_waited_for() {
    let graph = Graph::start().await;
    let daemon = start(&graph, &keys(), SYNC).await;
    let head = "POST /2/httpapi HTTP/1.1\r\ncontent-encoding: br\r\ncontent-length: 99\r\n";
    let answer = announce(&daemon, head).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_sends_too_many_events_is_told_to_rest() {
    let graph = Graph::start().await;
    let ingest = format!("{}\naddress_events_per_second = 0.002", keys());
    let daemon = start(&graph, &ingest, SYNC).await;
    let events = |from: usize, count: usize| {
        let events = (from..from + count).map(|number| {
            json!({ "event_type": "Sign Up", "user_id": "user-1", "insert_id": format!("i{number}") })
        });
        of(&events.collect())
    };
    // More than there can ever be at once: it uses up all there is.
    assert_eq!(upload(&daemon, &events(0, 5)).await.0, 200);
    let expected = json!({
        "code": 429, "error": "Too many requests for some devices and users", "eps_threshold": 0.002,
        "throttled_devices": {}, "throttled_users": {}, "throttled_events": [0, 1, 2],
        "exceeded_daily_quota_devices": {}, "exceeded_daily_quota_users": {},
    });
    assert_eq!(upload(&daemon, &events(5, 3)).await, (429, expected));
    // What holds no event is not charged, and the webhook has no such limit.
    assert_eq!(upload(&daemon, &of(&json!([]))).await.0, 200);
    let webhook: Vec<Value> = (0..50).map(|id| event(&id.to_string())).collect();
    assert_eq!(daemon.post(json!(webhook).to_string()).await.0, 200);
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 55.0)
        .await;
    let throttled = ["error=\"throttled_events\""];
    let refused = daemon.metric("pixel_relay_requests_refused_total", &throttled);
    assert_eq!(refused.await, 1.0);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_is_the_one_that_a_trusted_proxy_forwards() {
    let graph = Graph::start().await;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let keys = format!("{}\naddress_events_per_second = 0.002\n[queue]", keys());
    let config = config_text(graph.address, folder.path(), SYNC)
        .replace("[queue]", &keys)
        .replace("[admin]", "trusted_proxies = [\"127.0.0.1\"]\n[admin]");
    let daemon = Daemon::start_on(folder, config).await;
    let mut statuses = Vec::new();
    for (number, forwarded) in ["198.51.100.1", "198.51.100.2", "198.51.100.1"]
        .iter()
        .enumerate()
    {
        let id = format!("i{number}");
        let event = json!({ "event_type": "Sign Up", "user_id": "user-1", "insert_id": id });
        let sent = client()
            .post(format!("{}/2/httpapi", daemon.url))
            .header("x-forwarded-for", *forwarded)
            .body(of(&json!([event])).to_string())
            .send();
        statuses.push(sent.await.unwrap().status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 429]);
    daemon.stop().await;
}

/// Strangers hold all the memory for bodies that strangers may have; the webhook has its own.
#[tokio::test(flavor = "multi_thread")]
async fn stalled_uploads_of_strangers_leave_memory_for_the_webhook() {
    let graph = Graph::start().await;
    let daemon = start(&graph, &keys(), SYNC).await;
    let head = "POST /batch HTTP/1.1\r\nhost: x\r\ncontent-length: 2000001\r\n\r\n";
    let body = [head.as_bytes(), &vec![b' '; 2_000_000]].concat();
    let mut stalled = Vec::new();
    for address in 2..6 {
        for _ in 0..14 {
            let mut stream = connect(&daemon, [127, 0, 0, address]).await;
            // The daemon may refuse it before it has read everything.
            stream.write_all(&body).await.ok();
            stalled.push(stream);
        }
    }
    let busy = ["error=\"busy\""];
    daemon
        .until("pixel_relay_requests_refused_total", &busy, 1.0)
        .await;
    let events: Vec<Value> = (0..4000).map(|id| event(&id.to_string())).collect();
    let large = json!(events).to_string();
    assert!(
        (1_000_000..2 << 20).contains(&large.len()),
        "{}",
        large.len()
    );
    let (status, answer) = daemon.post(large).await;
    assert_eq!(status, 200, "{answer}");
    drop(stalled);
    daemon.stop().await;
}
