//! The whole daemon on clocks that the test moves, for behaviour that takes hours.
//!
//! A blocking task keeps tokio from moving its clock by itself. So nothing here may wait for time to pass;
//! the tests poll instead.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use pixel_relay::clock::{Clock as _, SystemClock, TestClock};
use pixel_relay::sandbox::faults::Faults;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Daemon, Graph, PLAIN_SYNC, SECRET, client, config_text, event};

/// Both clocks, which move only when the test moves them.
struct Clocks {
    clock: Arc<TestClock>,
    _release: mpsc::SyncSender<()>,
}

impl Clocks {
    fn hold() -> Self {
        let (release, released) = mpsc::sync_channel::<()>(1);
        drop(tokio::task::spawn_blocking(move || released.recv().is_ok()));
        Self {
            clock: Arc::new(TestClock::at(SystemClock.now())),
            _release: release,
        }
    }

    async fn pass(&self, duration: Duration) {
        self.clock.advance(duration);
        tokio::time::advance(duration).await;
    }

    async fn start(&self, graph: &Graph) -> Daemon {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let config = config_text(graph.address, folder.path(), PLAIN_SYNC);
        Daemon::start_at(folder, config, self.clock.clone()).await
    }
}

/// The health report, once the condition holds.
async fn health_where(daemon: &Daemon, holds: impl Fn(&Value) -> bool) -> Value {
    loop {
        let page = daemon.admin_text("/health").await;
        let page = serde_json::from_str(&page).unwrap();
        if holds(&page) {
            return page;
        }
    }
}

fn lane_is(page: &Value, state: &str) -> bool {
    page["syncs"]["web"]["lane"]["state"] == *state
}

#[tokio::test(start_paused = true)]
async fn after_hours_of_a_block_a_lane_goes_on_by_itself() {
    let clocks = Clocks::hold();
    let graph = Graph::start_at(clocks.clock.clone()).await;
    graph
        .sandbox
        .set_faults("next:block=50m,next:block=100m".parse::<Faults>().unwrap());
    let daemon = clocks.start(&graph).await;
    health_where(&daemon, |page| page["status"] == "ok").await;
    assert_eq!(daemon.post(event("first").to_string()).await.0, 200);
    clocks.pass(Duration::from_secs(1)).await;
    let mut taken = 1;
    // The first block is waited out for one hour, the next, which the probe meets, for two.
    for hours in [1, 2] {
        let wait = |page: &Value| page["syncs"]["web"]["lane"]["next_try_in_seconds"].as_u64();
        let held = |page: &Value| lane_is(page, "blocked") && wait(page) == Some(3600 * hours);
        let page = health_where(&daemon, held).await;
        assert_eq!(page["status"], "warning", "{page}");
        for _ in 0..hours * 4 - 1 {
            clocks.pass(Duration::from_secs(900)).await;
            let id = format!("e{taken}");
            assert_eq!(daemon.post(event(&id).to_string()).await.0, 200);
            taken += 1;
            health_where(&daemon, |page| lane_is(page, "blocked")).await;
        }
        assert_eq!(graph.sandbox.stats().requests, hours);
        clocks.pass(Duration::from_secs(900)).await;
    }
    graph.sandbox.wait_for(taken).await;
    let page = health_where(&daemon, |page| lane_is(page, "running")).await;
    assert_eq!(page["status"], "ok", "{page}");
    assert_eq!(
        (
            graph.sandbox.stats().early_calls,
            graph.sandbox.stats().repeats
        ),
        (0, 0)
    );
    daemon.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_dead_for_hours_is_probed_and_the_lane_goes_on() {
    let clocks = Clocks::hold();
    let graph = Graph::start_at(clocks.clock.clone()).await;
    graph
        .sandbox
        .set_faults("token_dead".parse::<Faults>().unwrap());
    let daemon = clocks.start(&graph).await;
    assert_eq!(daemon.post(event("first").to_string()).await.0, 200);
    clocks.pass(Duration::from_secs(1)).await;
    health_where(&daemon, |page| lane_is(page, "paused")).await;
    for calls in 2..20 {
        clocks.pass(Duration::from_secs(600)).await;
        graph
            .sandbox
            .wait_until(|stats| stats.requests >= calls)
            .await;
        let page = health_where(&daemon, |page| {
            page["syncs"]["web"]["lane"]["requests_in_flight"] == 0
        });
        assert!(lane_is(&page.await, "paused"));
        assert_eq!(graph.sandbox.stats().requests, calls);
    }
    graph.sandbox.set_faults(Faults::default());
    clocks.pass(Duration::from_secs(600)).await;
    let page = health_where(&daemon, |page| lane_is(page, "running")).await;
    assert_eq!(page["status"], "ok", "{page}");
    graph.sandbox.wait_for(1).await;
    daemon.stop().await;
}

/// A connection on which the head of a request was sent.
async fn begun(daemon: &Daemon, length: usize) -> TcpStream {
    let address: SocketAddr = daemon.url.strip_prefix("http://").unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /webhook HTTP/1.1\r\nhost: x\r\nauthorization: {SECRET}\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    String::from_utf8(answer).unwrap()
}

#[tokio::test(start_paused = true)]
async fn slow_bodies_are_given_up_and_cost_no_other_sender_anything() {
    let clocks = Clocks::hold();
    let graph = Graph::start_at(clocks.clock.clone()).await;
    let daemon = clocks.start(&graph).await;
    // Two hundred announce 400 MB together, far more than all bodies may take in memory.
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = begun(&daemon, 2 << 20).await;
        stream.write_all(b"[").await.unwrap();
        slow.push(stream);
    }
    let mut taken = 0;
    let mut trickling = slow.split_off(1);
    // A byte every nine seconds: never idle for long, and never done.
    for _ in 0..7 {
        assert_eq!(
            daemon.post(event(&format!("e{taken}")).to_string()).await.0,
            200
        );
        taken += 1;
        clocks.pass(Duration::from_secs(9)).await;
        for stream in &mut trickling {
            stream.write_all(b" ").await.ok();
        }
    }
    // The one that stopped was given up first.
    for stream in slow.iter_mut().chain(&mut trickling) {
        let mut answer = vec![0; b"HTTP/1.1 408".len()];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 408");
    }
    assert_eq!(daemon.post(event("last").to_string()).await.0, 200);
    clocks.pass(Duration::from_secs(1)).await;
    graph.sandbox.wait_for(taken + 1).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_asks_first_is_told_to_go_on_or_not_to_send_at_all() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, PLAIN_SYNC).await;
    let address: SocketAddr = daemon.url.strip_prefix("http://").unwrap().parse().unwrap();
    let body = event("asked").to_string();
    let head = |secret: &str| {
        format!(
            "POST /webhook HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: {secret}\r\n\
             expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
    };
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head(SECRET).as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).await.unwrap();
    let said = answer(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");

    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(head("Bearer wrong").as_bytes())
        .await
        .unwrap();
    // A sender without `100 Continue` sends nothing.
    stream.shutdown().await.unwrap();
    let said = answer(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 401"), "{said}");
    graph.sandbox.wait_for(1).await;
    let page = client().get(format!("{}/health", daemon.url)).send().await;
    let page: Value = serde_json::from_str(&page.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(page["error"], json!(null), "{page}");
    daemon.stop().await;
}
