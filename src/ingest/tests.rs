//! The public listener, through real sockets, with a real store behind it.

use std::io::Write;
use std::net::SocketAddr;

use flate2::Compression;
use flate2::write::GzEncoder;
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::{TestClock, UnixMillis};
use crate::config::load::from_toml;
use crate::http::{ConnectionLimits, HttpServer};
use crate::ingest::chunk::CHUNK;
use crate::queue::DeadFilter;
use crate::sync::compile_all;

const NOW: UnixMillis = UnixMillis::from_seconds(1_795_000_000);
const SECRET: &str = "Bearer s3cret";

const CONFIG: &str = r#"
    [server]
    max_body = "64KiB"
    [ingest]
    secret = "Bearer s3cret"
    [sync.web]
    pixel_id = "1"
    access_token = "t"
    [sync.web.user_data]
    email = "user_properties.email"
    [sync.web.events]
    "Sign Up" = {}
    [sync.app]
    pixel_id = "2"
    access_token = "t"
    [sync.old]
    enabled = false
    pixel_id = "3"
    access_token = "t"
"#;

struct Running {
    address: SocketAddr,
    ingest: Arc<Ingest>,
    queue: Queue,
    _folder: TempDir,
    _tasks: JoinSet<()>,
}

struct Answer {
    status: u16,
    head: String,
    body: Value,
}

async fn start() -> Running {
    start_with(CONFIG).await
}

async fn start_with(config: &str) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let mut config = from_toml(config, &[]).unwrap();
    config.queue.path = folder.path().join("data");
    config.queue.min_free_disk = Some(0);
    let clock: Arc<dyn Clock> = Arc::new(TestClock::at(NOW));
    let syncs = compile_all(&config).unwrap();
    let names: Vec<SyncName> = config.syncs.keys().cloned().collect();
    let queue = Queue::open(&config.queue, &names, Arc::clone(&clock)).unwrap();
    let metrics = Arc::new(Metrics::new());
    let rules = IngestRules::new(&config, syncs, &metrics, None);
    let config = LiveConfig::new(config);
    let connections = metrics.connections("public");
    let ingest = Ingest::new(config.clone(), rules, queue.clone(), metrics, clock);
    let ingest = Arc::new(ingest);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    let server = HttpServer {
        router: router(Arc::clone(&ingest)),
        limits: ConnectionLimits::default(),
        config,
        authenticator: Arc::clone(ingest.authenticator()),
        metrics: connections,
        panics: Counter::default(),
    };
    tasks.spawn(server.serve(listener, CancellationToken::new()));
    Running {
        address,
        ingest,
        queue,
        _folder: folder,
        _tasks: tasks,
    }
}

impl Running {
    async fn send(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_ascii_lowercase(),
            body: serde_json::from_str(body).unwrap_or_default(),
        }
    }

    async fn call(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = format!(
            "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n",
            body.len()
        )
        .into_bytes();
        for (name, value) in headers {
            request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        self.send(&request).await
    }

    async fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        let line = format!("POST {path}");
        self.call(&line, &[("authorization", SECRET)], body.as_ref())
            .await
    }

    /// Taken, queued and ended by reason, for one sync.
    fn counted(&self, sync: &str) -> Value {
        let totals = self.queue.totals();
        let totals = totals
            .get(&SyncName::new(sync).unwrap())
            .cloned()
            .unwrap_or_default();
        let ended: serde_json::Map<String, Value> = totals
            .ended
            .iter()
            .map(|(reason, count)| (reason.to_string(), json!(count)))
            .collect();
        json!({ "taken": totals.taken, "queued": totals.queued, "ended": ended })
    }
}

fn event(id: usize) -> String {
    json!({
        "event_type": "Sign Up",
        "$insert_id": format!("insert-{id}"),
        "event_time": "2026-11-18 10:26:30.000000",
        "user_id": format!("user-{id}"),
        "device_id": "device-0123456789",
        "ip_address": "203.0.113.24",
        "user_properties": { "email": format!("person{id}@example.com") },
    })
    .to_string()
}

#[tokio::test]
async fn answers_only_with_what_is_in_the_store() {
    let running = start().await;
    let one = running.post("/webhook", event(1)).await;
    assert_eq!(one.status, 200);
    assert_eq!(
        one.body,
        json!({"events": 1, "queued": 2, "duplicate": 0, "filtered": 1, "invalid": 0,
               "reasons": {"sync_disabled": 1}})
    );
    let array = format!("[{},{},{{\"event_type\":\"Other\"}}]", event(1), event(2));
    let array = running.post("/webhook/web", array).await;
    assert_eq!(
        array.body,
        json!({"events": 3, "queued": 1, "duplicate": 1, "filtered": 1, "invalid": 0,
               "reasons": {"not_selected": 1}})
    );
    let envelope = format!("{{\"api_key\":\"k\",\"events\":[{}]}}", event(3));
    let put = running
        .call(
            "PUT /webhook/app",
            &[("authorization", SECRET)],
            envelope.as_bytes(),
        )
        .await;
    assert_eq!(put.body["queued"], 1);
    assert_eq!(
        running.counted("web"),
        json!({"taken": 4, "queued": 2, "ended": {"not_selected": 1, "seen_before": 1}})
    );
    assert_eq!(
        running.counted("app"),
        json!({"taken": 2, "queued": 2, "ended": {}})
    );
    assert_eq!(
        running.counted("old"),
        json!({"taken": 1, "queued": 0, "ended": {"sync_disabled": 1}})
    );
}

#[tokio::test]
async fn nothing_is_no_mistake() {
    let running = start().await;
    let nothing = json!({"events": 0, "queued": 0, "duplicate": 0, "filtered": 0, "invalid": 0, "reasons": {}});
    for body in ["[]", "{\"events\":[]}"] {
        let answer = running.post("/webhook", body).await;
        assert_eq!((answer.status, answer.body), (200, nothing.clone()));
    }
    // A disabled sync takes nothing in, and its sender has nothing to repeat.
    let answer = running.post("/webhook/old", event(1)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        (&answer.body["events"], &answer.body["queued"]),
        (&json!(1), &json!(0))
    );
}

#[tokio::test]
async fn a_poisoned_event_is_taken_and_costs_no_neighbour() {
    let running = start().await;
    let poisons: [(&[u8], &str); 5] = [
        (br#"{"a":1,,}"#, "malformed_json"),
        (b"42", "malformed_json"),
        (br#"{"a":1,396}"#, "grouped_number"),
        (br#"{"event_type":[]}"#, "no_event_name"),
        (br#"{"event_type":" "}"#, "no_event_name"),
    ];
    for (id, (poison, reason)) in poisons.iter().enumerate() {
        let body = [
            b"[",
            event(2 * id).as_bytes(),
            b",",
            poison,
            b",",
            event(2 * id + 1).as_bytes(),
            b"]",
        ]
        .concat();
        let answer = running.post("/webhook/web", body).await;
        assert_eq!(answer.status, 200, "{reason}");
        assert_eq!(
            answer.body,
            json!({"events": 3, "queued": 2, "duplicate": 0, "filtered": 0, "invalid": 1,
                   "reasons": {*reason: 1}})
        );
    }
}

#[tokio::test]
async fn what_is_broken_in_a_value_that_no_rule_reads_costs_nothing() {
    let running = start().await;
    let deep = "[".repeat(20_000) + &"]".repeat(20_000);
    let values: [&[u8]; 8] = [
        b"\"\xff\xfe\"",
        br#""\ud800""#,
        b"\"\0\"",
        b"1e400",
        b"NaN",
        b"",
        br#"{"a":1,"a":2}"#,
        deep.as_bytes(),
    ];
    for (id, value) in values.iter().enumerate() {
        let own = event(id);
        let broken = [b"{\"broken\":", *value, b",", &own.as_bytes()[1..]].concat();
        let answer = running.post("/webhook/web", broken).await;
        let counts = json!({"events": 1, "queued": 1, "duplicate": 0, "filtered": 0, "invalid": 0, "reasons": {}});
        assert_eq!((answer.status, answer.body), (200, counts), "{own}");
    }
}

#[tokio::test]
async fn a_large_array_is_stored_whole() {
    let running = start().await;
    let events: Vec<String> = (0..150)
        .map(|id| format!("{{\"event_type\":\"x{id}\"}}"))
        .cycle()
        .take(2 * CHUNK + 1)
        .collect();
    let body = format!("[{}]", events.join(","));
    assert!(body.len() < 64 << 10);
    let answer = running.post("/webhook/web", body).await;
    assert_eq!(answer.body["filtered"], 2 * CHUNK + 1);
    assert_eq!(running.counted("web")["taken"], 2 * CHUNK + 1);
}

#[tokio::test]
async fn what_is_refused_for_its_time_is_kept_whole_for_a_sender_with_the_secret() {
    let open = CONFIG.replace("secret = \"Bearer s3cret\"", "allow_unauthenticated = true");
    for (config, expected) in [(CONFIG, 150), (&*open, 100)] {
        let running = start_with(config).await;
        let events: Vec<String> = (0..150)
            .map(|id| event(id).replace("2026-11-18", "2026-12-18"))
            .collect();
        let answer = running
            .post("/webhook/web", format!("[{}]", events.join(",")))
            .await;
        assert_eq!((answer.status, &answer.body["invalid"]), (200, &json!(150)));
        let kept = running.queue.dead(&DeadFilter::default(), 0, 1000).await;
        assert_eq!(kept.unwrap().len(), expected);
    }
}

#[tokio::test]
async fn a_refusal_says_why_and_takes_nothing() {
    let running = start().await;
    let secret = ("authorization", SECRET);
    let large = vec![b' '; (64 << 10) + 1];
    let event = event(1);
    let event = event.as_bytes();
    for (line, headers, body, status, error) in [
        ("POST /webhook", &[][..], event, 401, "unauthorized"),
        (
            "POST /webhook",
            &[("authorization", "Bearer s3cre")],
            event,
            401,
            "unauthorized",
        ),
        ("POST /webhook/none", &[], event, 401, "unauthorized"),
        ("POST /webhook/none", &[secret], event, 404, "unknown_sync"),
        ("POST /webhook/%FF", &[secret], event, 404, "unknown_sync"),
        ("GET /webhook", &[secret], b"", 405, "method_not_allowed"),
        (
            "DELETE /webhook/web",
            &[secret],
            b"",
            405,
            "method_not_allowed",
        ),
        ("POST /health", &[secret], b"", 405, "method_not_allowed"),
        ("POST /2/httpapi", &[secret], event, 404, "not_found"),
        ("GET /", &[], b"", 404, "not_found"),
        ("POST /webhook", &[secret], b"", 400, "not_json"),
        ("POST /webhook", &[secret], b"{\"a\":1", 400, "not_json"),
        (
            "POST /webhook",
            &[secret],
            b"[{\"a\":1},{]",
            400,
            "not_json",
        ),
        (
            "POST /webhook",
            &[secret],
            b"[{\"a\":1}] x",
            400,
            "not_json",
        ),
        ("POST /webhook", &[secret], b"\0\0", 400, "not_json"),
        ("POST /webhook", &[secret], &large, 413, "body_too_large"),
        (
            "POST /webhook",
            &[secret, ("content-encoding", "br")],
            event,
            415,
            "unknown_encoding",
        ),
        (
            "POST /webhook",
            &[secret, ("content-encoding", "gzip")],
            event,
            400,
            "broken_gzip",
        ),
    ] {
        let answer = running.call(line, headers, body).await;
        assert_eq!(
            (answer.status, &answer.body["error"]),
            (status, &json!(error)),
            "{line}"
        );
        assert!(answer.body["message"].is_string());
        assert!(answer.head.contains("content-type: application/json"));
        assert_eq!(
            status == 405,
            answer.head.contains("\r\nallow: "),
            "{}",
            answer.head
        );
    }
    let hint = running.post("/webhook", r#"{"time":1,396,381}"#).await;
    assert!(hint.body["message"].as_str().unwrap().contains("${x?c}"));
    for sync in ["web", "app"] {
        assert_eq!(running.counted(sync)["taken"], 0);
    }
}

#[tokio::test]
async fn a_body_is_judged_by_its_bytes_and_not_by_its_type() {
    let running = start().await;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(event(1).as_bytes()).unwrap();
    let folded = encoder.finish().unwrap();
    let secret = ("authorization", SECRET);
    let folded = running
        .call(
            "POST /webhook/web",
            &[secret, ("content-encoding", "gzip")],
            &folded,
        )
        .await;
    assert_eq!(folded.body["queued"], 1);
    let plain = running
        .call(
            "POST /webhook/web",
            &[secret, ("content-type", "text/plain")],
            event(2).as_bytes(),
        )
        .await;
    assert_eq!(plain.body["queued"], 1);
    let chunked = format!(
        "POST /webhook/web HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: {SECRET}\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        event(3).len(),
        event(3)
    );
    let chunked = running.send(chunked.as_bytes()).await;
    assert_eq!(chunked.body["queued"], 1);
}

/// The configuration of these tests, but for a change.
fn rules(ingest: &Ingest, from: &str, to: &str) -> IngestRules {
    assert!(CONFIG.contains(from), "{from}");
    let config = from_toml(&CONFIG.replacen(from, to, 1), &[]).unwrap();
    let syncs = compile_all(&config).unwrap();
    IngestRules::new(&config, syncs, &ingest.metrics, None)
}

#[tokio::test]
async fn a_request_goes_by_the_rules_that_hold_when_it_comes() {
    let running = start().await;
    let ingest = &running.ingest;
    let queued = async |name: &str| {
        let event = event(1).replace("Sign Up", name);
        let answer = running.post("/webhook/web", event).await;
        (answer.status, answer.body["queued"].clone())
    };
    let upload = format!("{{\"api_key\":\"k\",\"events\":[{}]}}", event(2));

    assert_eq!(queued("Sign In").await, (200, json!(0)));
    assert_eq!(running.post("/2/httpapi", &upload).await.status, 404);
    assert_eq!(running.call("PUT /2/httpapi", &[], b"").await.status, 404);

    ingest.replace(rules(ingest, "Sign Up", "Sign In"));
    assert_eq!(queued("Sign In").await, (200, json!(1)));
    ingest.replace(rules(ingest, "[ingest]", "[ingest]\napi_keys = [\"k\"]"));
    assert_eq!(running.post("/2/httpapi", &upload).await.status, 200);
    assert_eq!(running.call("PUT /2/httpapi", &[], b"").await.status, 405);
    ingest.replace(rules(ingest, "64KiB", "1KiB"));
    assert_eq!(running.post("/webhook", [b' '; 1025]).await.status, 413);
    let renamed = CONFIG.replace("[sync.web", "[sync.site");
    ingest.replace(rules(ingest, CONFIG, &renamed));
    assert_eq!(queued("Sign Up").await.0, 404);
}

#[tokio::test]
async fn an_unknown_sender_is_refused_before_the_body() {
    let running = start().await;
    // Only the head is sent: an answer that waited for the body would never come.
    let head = b"POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n";
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(head).await.unwrap();
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 401");
}

#[tokio::test]
async fn a_sender_that_never_stops_to_listen_still_hears_the_answer() {
    let running = start().await;
    let body = vec![b' '; 10 << 20];
    let unknown = running.call("POST /webhook", &[], &body).await;
    assert_eq!(unknown.status, 401);
    let too_much = running.post("/webhook", &body).await;
    assert_eq!(too_much.status, 413);
}

#[tokio::test]
async fn an_endless_body_is_refused_at_the_limit() {
    let running = start().await;
    for framing in ["content-length: 100000000", "transfer-encoding: chunked"] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let head = format!(
            "POST /webhook HTTP/1.1\r\nhost: x\r\nauthorization: {SECRET}\r\n{framing}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        if framing.ends_with("chunked") {
            let chunk = [b"10001\r\n", &vec![b' '; 0x10001][..], b"\r\n"].concat();
            stream.write_all(&chunk).await.unwrap();
        }
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).await.unwrap();
        assert_eq!(&begin, b"HTTP/1.1 413", "{framing}");
    }
}

#[tokio::test]
async fn health_follows_the_store() {
    let running = start().await;
    let answer = running.call("GET /health", &[], b"").await;
    assert_eq!((answer.status, answer.body), (200, json!({"status": "ok"})));
    running.queue.clone().close().await.unwrap();
    let answer = running.call("GET /health", &[], b"").await;
    assert_eq!(
        (answer.status, &answer.body["error"]),
        (503, &json!("stopping"))
    );
    let answer = running.post("/webhook", event(1)).await;
    assert_eq!(
        (answer.status, &answer.body["error"]),
        (503, &json!("stopping"))
    );
    assert!(answer.head.contains("retry-after: "));
}

#[test]
fn only_named_events_have_counters() {
    let rows = "[sync.app.events]\n\"Sign Up\" = {}\n\"*\" = {}\n[sync.old]";
    let config = from_toml(&CONFIG.replace("[sync.old]", rows), &[]).unwrap();
    let app = &config.syncs[&SyncName::new("app").unwrap()];
    assert_eq!(counted_names(app).collect::<Vec<_>>(), ["Sign Up"]);
}
