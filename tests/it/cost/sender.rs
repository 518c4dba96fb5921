//! Sends requests, costly ones and honest ones, to an ingest in this process, each in the form of an endpoint.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use flate2::Compression;
use flate2::read::{GzEncoder, ZlibEncoder};
use pixel_relay::clock::{Clock, TestClock, UnixMillis};
use pixel_relay::config::live::LiveConfig;
use pixel_relay::config::load::from_toml;
use pixel_relay::http::client_address::Peer;
use pixel_relay::ingest::{Ingest, IngestRules, router};
use pixel_relay::queue::Queue;
use pixel_relay::sync::compile_all;
use pixel_relay::telemetry::metrics::Metrics;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use super::corpus::{self, KEY, NOW, SECRET};

/// How a body of events reaches an endpoint.
pub const ENDPOINTS: [&str; 8] = [
    "webhook",
    "gzip",
    "deflate",
    "httpapi",
    "batch",
    "identify",
    "legacy",
    "multipart",
];

/// Requests that are refused whatever their events are, each with the endpoint that takes honest ones.
pub const REFUSED: [(&str, &str); 4] = [
    ("wrong secret", "webhook"),
    ("unknown sync", "webhook"),
    ("unknown key", "httpapi"),
    ("too many requests", "httpapi"),
];

/// An ingest with its store.
pub struct Server {
    routes: Router,
    runtime: Runtime,
    queue: Queue,
    _folder: TempDir,
}

impl Server {
    /// Starts one with these rules, for requests to an endpoint.
    pub fn start(rules: &str, endpoint: &str) -> Self {
        let mut text = corpus::config(corpus::rules(rules));
        let is_throttled = endpoint == "too many requests";
        if is_throttled {
            text = text.replace(
                "[ingest]\n",
                "[ingest]\naddress_requests_per_second = 0.001\n",
            );
        }
        let mut config = from_toml(&text, &[]).expect("the rules are well");
        let folder = tempfile::tempdir().expect("a folder for the store");
        folder.path().clone_into(&mut config.queue.path);
        let syncs = compile_all(&config).expect("the rules are well");
        let names: Vec<_> = config.syncs.keys().cloned().collect();
        let clock: Arc<dyn Clock> = Arc::new(TestClock::at(UnixMillis(NOW)));
        let queue = Queue::open(&config.queue, &names, Arc::clone(&clock));
        let queue = queue.expect("a new store opens");
        let metrics = Arc::new(Metrics::new());
        let rules = IngestRules::new(&config, syncs, &metrics, None);
        let config = LiveConfig::new(config);
        let ingest = Ingest::new(config, rules, queue.clone(), metrics, clock);
        let server = Self {
            routes: router(Arc::new(ingest)),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a runtime"),
            queue,
            _folder: folder,
        };
        if is_throttled {
            // The one request of this address that is within the limit.
            server.send(request("httpapi", b"[]".to_vec()));
        }
        server
    }

    /// Sends a request, and reads the answer to its end.
    pub fn send(&self, request: Request<Body>) -> StatusCode {
        self.runtime.block_on(async {
            let answer = self.routes.clone().oneshot(request).await;
            let (head, body) = answer.expect("routes answer").into_parts();
            let read = axum::body::to_bytes(body, usize::MAX).await;
            read.expect("the answer is whole");
            head.status
        })
    }

    pub fn stop(self) {
        let closed = self.runtime.block_on(self.queue.close());
        closed.expect("the store closes");
    }
}

/// A request in the form of an endpoint, with these events.
pub fn request(endpoint: &str, events: Vec<u8>) -> Request<Body> {
    const JSON: &str = "application/json";
    const FORM: &str = "application/x-www-form-urlencoded";
    let (path, kind, encoding, body) = match endpoint {
        "webhook" | "wrong secret" => ("/webhook", JSON, "identity", events),
        "unknown sync" => ("/webhook/another", JSON, "identity", events),
        "gzip" => {
            let encoder = GzEncoder::new(&*events, Compression::default());
            ("/webhook", JSON, "gzip", read(encoder))
        }
        "deflate" => {
            let encoder = ZlibEncoder::new(&*events, Compression::default());
            ("/webhook", JSON, "deflate", read(encoder))
        }
        "batch" => ("/batch", JSON, "identity", in_object(&events, KEY)),
        "httpapi" => ("/2/httpapi", JSON, "identity", in_object(&events, KEY)),
        "unknown key" => ("/2/httpapi", JSON, "identity", in_object(&events, "other")),
        // Of a body that says nothing of its length all events that it could hold are named.
        "too many requests" => ("/2/httpapi", JSON, "gzip", Vec::new()),
        "identify" => (
            "/identify",
            FORM,
            "identity",
            in_form(&events, ["api_key", "identification"]),
        ),
        "legacy" => ("/", FORM, "identity", in_form(&events, ["client", "e"])),
        _ => (
            "/",
            "multipart/form-data; boundary=b",
            "identity",
            in_parts(&events),
        ),
    };
    let secret = if endpoint == "wrong secret" {
        "Bearer other"
    } else {
        SECRET
    };
    Request::post(path)
        .header("authorization", secret)
        .header("content-type", kind)
        .header("content-encoding", encoding)
        .header("content-length", body.len())
        .extension(Peer(([198, 51, 100, 9], 4000).into()))
        .body(Body::from(body))
        .expect("a request")
}

/// A request without events whose length is that of a costly part beside them.
pub fn request_of_members(endpoint: &str, length: usize) -> Request<Body> {
    let (path, kind, body) = if endpoint == "httpapi" {
        let more = "\"\":0,".repeat(length / 5);
        let body = format!("{{{more}\"api_key\":\"{KEY}\",\"events\":[]}}");
        ("/2/httpapi", "application/json", body)
    } else {
        let more = "&a=1".repeat(length / 4);
        let body = format!("api_key={KEY}&event=%5B%5D{more}");
        ("/httpapi", "application/x-www-form-urlencoded", body)
    };
    Request::post(path)
        .header("content-type", kind)
        .extension(Peer(([198, 51, 100, 9], 4000).into()))
        .body(Body::from(body))
        .expect("a request")
}

fn in_object(events: &[u8], key: &str) -> Vec<u8> {
    let begin = format!("{{\"api_key\":\"{key}\",\"events\":");
    [begin.as_bytes(), events, b",\"options\":{}}"].concat()
}

fn in_form(events: &[u8], [key, field]: [&str; 2]) -> Vec<u8> {
    let mut text = format!("{key}={KEY}&{field}=");
    for byte in events {
        if byte.is_ascii_alphanumeric() {
            text.push(char::from(*byte));
        } else {
            write!(text, "%{byte:02X}").expect("a text takes all");
        }
    }
    text.into_bytes()
}

fn in_parts(events: &[u8]) -> Vec<u8> {
    let part = |name| format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n");
    let begin = format!("{}{KEY}\r\n{}", part("client"), part("e"));
    [begin.as_bytes(), events, b"\r\n--b--\r\n"].concat()
}

fn read(mut from: impl std::io::Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = from.read_to_end(&mut bytes);
    read.expect("reading memory does not fail");
    bytes
}
