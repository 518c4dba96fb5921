//! The sandbox as a client on the network sees it.

mod faults;

use std::io;

use reqwest::{Client, RequestBuilder, Response};
use serde_json::json;
use tokio::task::JoinSet;

use crate::clock::TestClock;

use super::*;

const NOW: i64 = 1_790_000_000;
const SMITH: &str = "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f";

/// A sandbox that listens, and a client.
struct Served {
    sandbox: Sandbox,
    clock: Arc<TestClock>,
    url: String,
    client: Client,
    shutdown: CancellationToken,
    server: JoinSet<io::Result<()>>,
}

impl Served {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut SandboxConfig)) -> Self {
        let clock = Arc::new(TestClock::at(UnixMillis::from_seconds(NOW)));
        let mut config = SandboxConfig {
            tokens: vec!["token-1".to_owned()],
            pixels: Some(vec!["11".to_owned(), "22".to_owned()]),
            clock: clock.clone(),
            ..SandboxConfig::default()
        };
        change(&mut config);
        let sandbox = Sandbox::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let mut server = JoinSet::new();
        server.spawn(serve(listener, sandbox.clone(), shutdown.clone()));
        // Fails where another test installed it first.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        Self {
            sandbox,
            clock,
            url,
            client: Client::new(),
            shutdown,
            server,
        }
    }

    fn faults(&self, text: &str) {
        self.sandbox.set_faults(text.parse().unwrap());
    }

    fn post(&self, pixel_id: &str, body: &Value) -> RequestBuilder {
        self.client
            .post(format!("{}/v26.0/{pixel_id}/events", self.url))
            .bearer_auth("token-1")
            .header("content-type", "application/json")
            .body(body.to_string())
    }

    async fn send(&self, events: &[Value]) -> Answer {
        answer(self.post("11", &json!({"data": events}))).await
    }

    async fn page(&self, path: &str) -> Value {
        let response = self.client.get(format!("{}{path}", self.url)).send().await;
        serde_json::from_slice(&response.unwrap().bytes().await.unwrap()).unwrap()
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        self.server.join_next().await.unwrap().unwrap().unwrap();
    }
}

/// Status, code, sub-code; or status and the count of a success.
#[derive(Debug, PartialEq)]
enum Answer {
    Received(u64),
    Error(u16, i64, Option<u64>),
    Other(u16, String),
}

async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let body = text(response).await;
    let json: Value = serde_json::from_str(&body).unwrap_or_default();
    if let Some(received) = json["events_received"].as_u64() {
        assert_eq!(status, 200);
        assert_eq!(json["messages"], json!([]));
        assert!(json["fbtrace_id"].as_str().unwrap().starts_with('A'));
        return Answer::Received(received);
    }
    let error = &json["error"];
    match error["code"].as_i64() {
        Some(code) => Answer::Error(status, code, error["error_subcode"].as_u64()),
        None => Answer::Other(status, body),
    }
}

async fn text(response: Response) -> String {
    String::from_utf8(response.bytes().await.unwrap().to_vec()).unwrap()
}

fn event(id: &str) -> Value {
    json!({
        "event_name": "Lead",
        "event_time": NOW,
        "event_id": id,
        "action_source": "website",
        "user_data": {"em": SMITH},
    })
}

fn bad_event() -> Value {
    let mut event = event("bad");
    event["user_data"]["em"] = "john@example.com".into();
    event
}

#[tokio::test]
async fn takes_a_good_batch_and_shows_it() {
    let served = Served::start().await;
    assert_eq!(
        served.send(&[event("a"), event("b")]).await,
        Answer::Received(2)
    );
    let body = json!({"data": [event("c")], "test_event_code": "TEST1"});
    assert_eq!(answer(served.post("22", &body)).await, Answer::Received(1));

    assert_eq!(
        served.sandbox.accepted(),
        [event("c"), event("b"), event("a")]
    );
    let newest = json!([{
        "pixel_id": "22",
        "request": 2,
        "received_at_ms": NOW * 1000,
        "test_event_code": "TEST1",
        "event": event("c"),
    }]);
    assert_eq!(served.page("/sandbox/events?limit=1").await, newest);
    assert_eq!(served.page("/sandbox/events?pixel=22").await, newest);
    assert_eq!(served.sandbox.times_accepted("11", "Lead", "a"), 1);

    served.send(&[event("a")]).await;
    let stats = served.page("/sandbox/stats").await;
    assert_eq!(stats["requests"], 3);
    assert_eq!(stats["accepted"], 4);
    assert_eq!(stats["repeats"], 1);
    assert_eq!(stats["largest_batch"], 2);
    assert_eq!(stats["accepted_by_pixel"], json!({"11": 3, "22": 1}));
    served.stop().await;
}

#[tokio::test]
async fn one_bad_event_refuses_the_whole_batch() {
    let served = Served::start().await;
    let refused = Answer::Error(400, 100, Some(2_804_016));
    assert_eq!(
        served.send(&[event("a"), bad_event(), event("b")]).await,
        refused
    );
    assert_eq!(served.sandbox.accepted(), Vec::<Value>::new());
    let stats = served.sandbox.stats();
    assert_eq!(stats.refused.get("100/2804016"), Some(&1));
    assert_eq!((stats.accepted, stats.batches), (0, 0));
}

#[tokio::test]
async fn knows_who_may_call() {
    let served = Served::start().await;
    let body = json!({"data": [event("a")]});
    let good = Answer::Received(1);
    let no_token = Answer::Error(401, 190, None);
    let url = format!("{}/v26.0/11/events", served.url);
    let post = |url: &str, body: &Value| {
        let request = served.client.post(url).body(body.to_string());
        request.header("content-type", "application/json")
    };
    let with_token = json!({"data": [event("a")], "access_token": "token-1"});
    let cases = [
        (post(&url, &body).bearer_auth("token-1"), &good),
        (post(&format!("{url}?access_token=token-1"), &body), &good),
        (post(&url, &with_token), &good),
        (post(&url, &body), &no_token),
        (post(&url, &body).bearer_auth("token-2"), &no_token),
        (post(&url, &body).bearer_auth(""), &no_token),
        (served.post("33", &body), &Answer::Error(400, 100, Some(33))),
    ];
    for (index, (request, expected)) in cases.into_iter().enumerate() {
        assert_eq!(&answer(request).await, expected, "case {index}");
    }
}

#[tokio::test]
async fn checks_the_proof_of_the_app_secret() {
    let served = Served::start_with(|config| {
        config.app_secret = Some("app-secret".to_owned());
    })
    .await;
    // printf token-1 | openssl dgst -sha256 -hmac app-secret
    let proof = "8e4416844a305cc4fe40bc8a5515230210fdd8442bd755396dd7e12d77c01b4f";
    let with = |proof: &str| {
        let body = json!({"data": [event("a")], "appsecret_proof": proof});
        served.post("11", &body)
    };
    assert_eq!(answer(with(proof)).await, Answer::Received(1));
    assert_eq!(answer(with("0123")).await, Answer::Error(400, 100, None));
    assert_eq!(
        served.send(&[event("a")]).await,
        Answer::Error(400, 100, None)
    );
}

#[tokio::test]
async fn knows_its_paths_and_verbs() {
    let served = Served::start().await;
    let unknown = Answer::Error(400, 2500, None);
    let cases = [
        ("/v21.0/11/events", Answer::Received(1)),
        ("/v20.0/11/events", Answer::Error(400, 2635, None)),
        ("/26.0/11/events", unknown),
        ("/v62.0/11/events", Answer::Error(400, 2500, None)),
        ("/v26/11/events", Answer::Error(400, 2500, None)),
        ("/v26.0/11/event", Answer::Error(400, 2500, None)),
        ("/v26.0/11", Answer::Error(400, 2500, None)),
        ("/", Answer::Error(400, 2500, None)),
        ("/v26.0/pixel/events", Answer::Error(404, 803, None)),
    ];
    for (path, expected) in cases {
        let request = (served.client.post(format!("{}{path}", served.url)))
            .bearer_auth("token-1")
            .header("content-type", "application/json")
            .body(json!({"data": [event("a")]}).to_string());
        assert_eq!(answer(request).await, expected, "{path}");
    }
    let get = served.client.get(format!("{}/v26.0/11/events", served.url));
    assert_eq!(answer(get).await, Answer::Error(400, 100, Some(33)));
}

#[tokio::test]
async fn reads_bodies_of_every_documented_form() {
    let served = Served::start().await;
    let parameter = || Answer::Error(400, 100, None);
    let many = |count: usize| json!({"data": vec![event("a"); count]});
    let good = [event("a")];
    let cases = [
        (
            json!({"data": [event("a").to_string()]}),
            Answer::Received(1),
        ),
        (many(1000), Answer::Received(1000)),
        (many(1001), parameter()),
        (json!({"data": []}), parameter()),
        (json!({"data": event("a")}), parameter()),
        (json!({"data": ["no json"]}), parameter()),
        (json!({}), parameter()),
        (json!([event("a")]), parameter()),
        (
            json!({"data": [5]}),
            Answer::Error(400, 100, Some(2_804_019)),
        ),
        (
            json!({"data": good, "partner_agent": "pixel-relay"}),
            Answer::Received(1),
        ),
        (json!({"data": good, "partner_agent": "12345"}), parameter()),
        (
            json!({"data": good, "partner_agent": "a-name-that-is-far-too-long"}),
            parameter(),
        ),
        (json!({"data": good, "test_event_code": ""}), parameter()),
        (json!({"data": good, "test_event_code": 5}), parameter()),
        (
            json!({"data": good, "upload_tag": "t", "platforms": [], "progress": {}}),
            Answer::Received(1),
        ),
        (json!({"data": good, "testEventCode": "T"}), parameter()),
    ];
    for (index, (body, expected)) in cases.into_iter().enumerate() {
        assert_eq!(
            answer(served.post("11", &body)).await,
            expected,
            "case {index}"
        );
    }
    assert_eq!(served.sandbox.stats().largest_batch, 1001);

    let post = |content_type: &str, body: String| {
        let request = served
            .client
            .post(format!("{}/v26.0/11/events", served.url));
        let request = request.bearer_auth("token-1").body(body);
        request.header("content-type", content_type)
    };
    let json = json!({"data": good}).to_string();
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("data", &json!([event("a").to_string()]).to_string())
        .append_pair("access_token", "token-1")
        .finish();
    let cases = [
        (
            post("application/json; charset=utf-8", json.clone()),
            Answer::Received(1),
        ),
        (
            post("application/x-www-form-urlencoded", form),
            Answer::Received(1),
        ),
        (post("text/plain", json.clone()), parameter()),
        (post("application/json", "{".to_owned()), parameter()),
        (post("application/json", "[".repeat(100_000)), parameter()),
        (
            post("application/json", json).header("content-encoding", "gzip"),
            parameter(),
        ),
    ];
    for (index, (request, expected)) in cases.into_iter().enumerate() {
        assert_eq!(answer(request).await, expected, "case {index}");
    }
}

#[tokio::test]
async fn waiting_ends_when_enough_was_accepted() {
    let served = Served::start().await;
    let (two, one) = ([event("a"), event("b")], [event("c")]);
    let ((), first, second) = tokio::join!(
        served.sandbox.wait_for(3),
        served.send(&two),
        served.send(&one)
    );
    assert_eq!((first, second), (Answer::Received(2), Answer::Received(1)));
    served.sandbox.wait_for(3).await;
}

#[tokio::test]
async fn a_sink_counts_and_keeps_nothing() {
    let served = Served::start_with(|config| config.mode = Mode::Sink).await;
    assert_eq!(
        served.send(&[event("a"), bad_event(), json!(5)]).await,
        Answer::Received(3)
    );
    assert_eq!(served.sandbox.stats().accepted, 3);
    assert_eq!(served.sandbox.accepted(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_not_read() {
    let served = Served::start_with(|config| config.max_body_bytes = 100).await;
    assert_eq!(
        served.send(&[event("a")]).await,
        Answer::Other(413, String::new())
    );
}

#[tokio::test]
async fn the_reading_pages_can_be_mounted_alone() {
    let served = Served::start().await;
    served.send(&[event("a")]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = served.sandbox.reading_router();
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await });
    let status = async |path: &str| {
        let response = served.client.get(format!("{url}{path}")).send().await;
        response.unwrap().status().as_u16()
    };
    assert_eq!(status("/sandbox/events").await, 200);
    assert_eq!(status("/sandbox/stats").await, 200);
    assert_eq!(status("/sandbox/events?limit=many").await, 400);
    assert_eq!(status("/sandbox/faults").await, 404);
    assert_eq!(status("/v26.0/11/events").await, 404);
}
