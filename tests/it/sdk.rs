//! The endpoints of Amplitude's SDKs: what each SDK writes, what it is answered, and what becomes of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use pixel_relay::clock::{Clock, SystemClock};
use reqwest::Response;
use reqwest::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    CONTENT_TYPE, ORIGIN, USER_AGENT,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use crate::support::{Daemon, Graph, PLAIN_SYNC, client, config_text};

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Identity, address and user agent, and everything that a purchase may carry.
const SYNC: &str = r#"
    [sync.web]
    pixel_id = "1001"
    access_token = "test-token"
    [sync.web.user_data]
    external_id = ["user_id", "device_id"]
    client_user_agent = "user_agent"
    [sync.web.events]
    "*" = {}
    [sync.web.events."Sign Up"]
    [sync.web.events.revenue_amount]
    send_as = "Purchase"
    custom_data = { content_ids = ["event_properties[\"$productId\"]", "product_id"] }
    [sync.web.events."Order Completed"]
    send_as = "Purchase"
    custom_data = { content_ids = "productId", value = ["event_properties.total", "revenue"], currency = "currency" }
    [sync.web.delivery]
    max_batch_delay = "10ms"
    requests_per_second = "unlimited"
"#;

async fn start(graph: &Graph, ingest: &str, syncs: &str) -> Daemon {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let ingest = format!("{ingest}\n[queue]");
    let config = config_text(graph.address, folder.path(), syncs).replace("[queue]", &ingest);
    Daemon::start_on(folder, config).await
}

fn keys() -> String {
    format!("api_keys = ['{KEY}']")
}

async fn send(
    daemon: &Daemon,
    path: &str,
    content_type: &str,
    body: impl Into<String>,
) -> Response {
    client()
        .post(format!("{}{path}", daemon.url))
        .header(CONTENT_TYPE, content_type)
        .body(body.into())
        .send()
        .await
        .unwrap()
}

async fn upload(daemon: &Daemon, body: &Value) -> (u16, Value) {
    let response = send(daemon, "/2/httpapi", "application/json", body.to_string()).await;
    let status = response.status().as_u16();
    let body = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    (status, body)
}

fn of(events: &Value) -> Value {
    json!({ "api_key": KEY, "events": events })
}

fn now() -> i64 {
    SystemClock.now().0
}

fn hashed(id: &str) -> String {
    hex::encode(Sha256::digest(id))
}

#[tokio::test]
async fn the_endpoints_are_off_until_a_project_is_listed() {
    let graph = Graph::start().await;
    let daemon = start(&graph, "", PLAIN_SYNC).await;
    for path in ["/2/httpapi", "/batch", "/identify", "/"] {
        let response = send(&daemon, path, "application/json", "{}").await;
        assert_eq!(response.status(), 404, "{path}");
    }
    assert_eq!(daemon.post("[]").await.0, 200);
}

#[tokio::test]
async fn answers_are_amplitudes_to_the_letter() {
    let graph = Graph::start().await;
    let daemon = start(&graph, &format!("{}\n", keys()), SYNC).await;
    let body = of(&json!([{ "event_type": "Sign Up", "user_id": "user-1", "insert_id": "i1" }]));
    let before = now();
    let (status, answer) = upload(&daemon, &body).await;
    let at = answer["server_upload_time"].as_i64().unwrap();
    assert!((before..=now()).contains(&at));
    let expected = json!({
        "code": 200, "events_ingested": 1,
        "payload_size_bytes": body.to_string().len(), "server_upload_time": at,
    });
    assert_eq!((status, answer), (200, expected));

    let good = json!({ "event_type": "Sign Up", "user_id": "user-2", "insert_id": "i2" });
    for (body, expected) in [
        (
            json!({ "events": [good] }),
            json!({ "code": 400, "error": "Request missing required field", "missing_field": "api_key" }),
        ),
        (
            json!({ "api_key": KEY }),
            json!({ "code": 400, "error": "Request missing required field", "missing_field": "events" }),
        ),
        (
            json!({ "api_key": "of another project", "events": [good] }),
            json!({ "code": 400, "error": "Invalid API key: this project is not listed here" }),
        ),
        (
            of(&json!([
                good,
                { "event_type": "A", "user_id": "abc" },
                { "event_type": "A" },
                { "event_type": "A", "device_id": "unknown" },
                { "user_id": "user-3" },
                { "event_type": "A", "user_id": "user-3", "time": "noon" },
                { "event_type": "A", "user_id": 7 },
            ])),
            json!({
                "code": 400, "error": "Invalid field values on some events",
                "events_with_missing_fields": { "event_type": [4], "user_id": [2] },
                "events_with_invalid_fields": { "device_id": [3], "event": [6], "time": [5] },
                "events_with_invalid_id_lengths": { "user_id": [1] },
            }),
        ),
    ] {
        assert_eq!(upload(&daemon, &body).await, (400, expected));
    }
    let many = of(&Value::Array(vec![good.clone(); 2001]));
    let too_large = json!({ "code": 413, "error": "Payload too large" });
    assert_eq!(upload(&daemon, &many).await, (413, too_large.clone()));
    let long = of(&json!([{ "event_type": "A", "user_id": "user-1", "x": "y".repeat(2 << 20) }]));
    assert_eq!(upload(&daemon, &long).await, (413, too_large));
    let broken = send(&daemon, "/batch", "application/json", "{\"api_key\":").await;
    assert_eq!(
        broken.text().await.unwrap(),
        r#"{"code":400,"error":"Invalid JSON request body"}"#
    );
    // Nothing of a refused request was taken; a shorter length may be asked for.
    let mut short = of(&json!([good, { "event_type": "A", "user_id": "abc" }]));
    short["options"] = json!({ "min_id_length": 3 });
    assert_eq!(upload(&daemon, &short).await.0, 200);
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 3.0)
        .await;
    assert_eq!(
        daemon.metric("pixel_relay_events_taken_total", &[]).await,
        3.0
    );
    daemon.stop().await;
}

/// Path, content type and body of one request of each SDK that writes JSON.
fn json_forms(time: i64) -> [(&'static str, &'static str, Value); 4] {
    // Go: groups are arrays, user properties operations.
    let go = json!({
        "api_key": KEY,
        "events": [{
            "event_type": "Sign Up", "user_id": "go-user", "device_id": "go-device", "time": time,
            "insert_id": "go-1", "library": "amplitude-go/1.3.1", "groups": { "org": ["acme"] },
            "user_properties": { "$set": { "plan": "pro" } },
        }],
    });
    // Swift spells the product and the kind of revenue with underscores.
    let swift = json!({
        "api_key": KEY,
        "events": [{
            "event_type": "revenue_amount", "user_id": "swift-user", "device_id": "swift-device",
            "timestamp": time, "time": time, "insert_id": "swift-1", "session_id": time, "ip": "$remote",
            "platform": "iOS", "os_name": "ios", "os_version": "18.6", "idfv": "3F2504E0",
            "event_properties": { "$price": 4.5, "$quantity": 2, "$currency": "EUR" },
            "product_id": "sku-1", "revenue_type": "purchase", "library": "amplitude-swift/1.18.6",
        }],
        "options": {}, "client_upload_time": "2026-11-20T18:04:10.020Z",
        "request_metadata": { "sdk": null },
    });
    // Kotlin.
    let kotlin = json!({
        "api_key": KEY, "client_upload_time": "2026-11-20T18:04:10.020Z",
        "events": [{
            "event_type": "Order Completed", "user_id": "kotlin-user", "device_id": "kotlin-deviceR",
            "time": time, "insert_id": "kotlin-1", "event_id": 7, "session_id": -1, "ip": "$remote",
            "platform": "Android", "os_name": "android", "language": "en", "adid": "a1b2",
            "price": 3.25, "quantity": 2, "productId": "sku-2", "currency": "USD",
            "$skip_user_properties_sync": true, "library": "amplitude-analytics-android/1.20.0",
        }],
    });
    // A server's call with top-level revenue.
    let server = json!({
        "api_key": KEY,
        "events": { "event_type": "Order Completed", "user_id": "server-user", "insert_id": "server-1",
            "revenue": 12, "currency": "USD", "ip": "203.0.113.77" },
    });
    [
        ("/2/httpapi", "application/json", go),
        ("/2/httpapi", "application/json; charset=utf-8", swift),
        ("/batch", "application/json; charset=utf-8", kotlin),
        // A beacon's type, and a server URL without a path.
        ("/", "text/plain;charset=UTF-8", server),
    ]
}

/// The form of the oldest browser SDK.
fn legacy_form(time: i64) -> String {
    let events = json!([{
        "device_id": "legacy-device", "user_id": "old", "timestamp": time, "event_id": 1,
        "event_type": "Sign Up", "uuid": "legacy-uuid", "library": { "name": "amplitude-js", "version": "8.21.9" },
        "api_properties": {}, "event_properties": {}, "user_properties": {}, "sequence_number": 2,
    }]);
    url::form_urlencoded::Serializer::new(String::new())
        .append_pair("client", KEY)
        .append_pair("e", &events.to_string())
        .append_pair("v", "2")
        .append_pair("upload_time", &time.to_string())
        .append_pair("checksum", "0f")
        .finish()
}

/// One event of each SDK, as that SDK writes it, under its own content type.
#[tokio::test]
async fn every_sdks_own_form_is_understood() {
    let graph = Graph::start().await;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let config = config_text(graph.address, folder.path(), SYNC)
        .replace("[server]", "[server]\ntrusted_proxies = ['127.0.0.1']")
        .replace("[queue]", &format!("{}\n[queue]", keys()));
    let daemon = Daemon::start_on(folder, config).await;
    let time = now();

    for (path, content_type, body) in json_forms(time) {
        let answer = client()
            .post(format!("{}{path}", daemon.url))
            .header(CONTENT_TYPE, content_type)
            .header("x-forwarded-for", "6.6.6.6, 198.51.100.9")
            .body(body.to_string())
            .send()
            .await
            .unwrap();
        let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(answer["code"], 200, "{answer}");
    }
    // The form of the oldest browsers' SDK, sent by a browser.
    let form = legacy_form(time);
    let answer = client()
        .post(format!("{}/", daemon.url))
        .header(
            CONTENT_TYPE,
            "application/x-www-form-urlencoded; charset=UTF-8",
        )
        .header(ORIGIN, "https://shop.example.com")
        .header(USER_AGENT, "Mozilla/5.0 (old)")
        .header("x-forwarded-for", "198.51.100.9")
        .body(form)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    assert_eq!(
        (answer.status().as_u16(), &*answer.text().await.unwrap()),
        (200, "success")
    );

    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 5.0)
        .await;
    let mut found: Vec<Value> = graph
        .accepted()
        .into_iter()
        .map(|event| {
            json!([
                event["event_id"],
                event["event_name"],
                event["event_time"],
                event["user_data"]["external_id"],
                event["user_data"]["client_ip_address"],
                event["user_data"]["client_user_agent"],
                event["custom_data"],
            ])
        })
        .collect();
    found.sort_by_key(|row| row[0].to_string());
    let seconds = time.div_euclid(1000);
    let server_time = found[3][2].clone();
    let remote = "198.51.100.9";
    let expected = [
        json!([
            "go-1",
            "Sign Up",
            seconds,
            hashed("go-user"),
            null,
            null,
            null
        ]),
        json!(["kotlin-1", "Purchase", seconds, hashed("kotlin-user"), remote, null,
            { "currency": "USD", "value": 6.5, "content_ids": ["sku-2"] }]),
        json!([
            "legacy-uuid",
            "Sign Up",
            seconds,
            hashed("old"),
            remote,
            "Mozilla/5.0 (old)",
            null
        ]),
        json!(["server-1", "Purchase", server_time, hashed("server-user"), "203.0.113.77", null,
            { "currency": "USD", "value": 12 }]),
        json!(["swift-1", "Purchase", seconds, hashed("swift-user"), remote, null,
            { "currency": "EUR", "value": 9.0, "content_ids": ["sku-1"] }]),
    ];
    assert_eq!(Value::from(found), Value::from(expected.to_vec()));
    daemon.stop().await;
}

#[tokio::test]
async fn identify_calls_are_taken_in_every_documented_form() {
    let graph = Graph::start().await;
    let daemon = start(&graph, &keys(), SYNC).await;
    let query = |identification: &str| {
        url::form_urlencoded::Serializer::new(String::new())
            .append_pair("api_key", KEY)
            .append_pair("identification", identification)
            .finish()
    };
    let user = r#"[{"user_id":"user-1","user_properties":{"$set":{"plan":"pro"}}}]"#;
    let form = "application/x-www-form-urlencoded";
    let parts = format!(
        "--b\r\nContent-Disposition: form-data; name=\"api_key\"\r\n\r\n{KEY}\r\n--b\r\n\
         Content-Disposition: form-data; name=\"identification\"\r\n\r\n{user}\r\n--b--\r\n"
    );
    let get = client().get(format!("{}/identify?{}", daemon.url, query(user)));
    for (answer, expected) in [
        (
            send(&daemon, "/identify", form, query(user)).await,
            (200, "success"),
        ),
        (
            send(
                &daemon,
                "/identify",
                "multipart/form-data; boundary=b",
                parts,
            )
            .await,
            (200, "success"),
        ),
        (get.send().await.unwrap(), (200, "success")),
        (
            send(&daemon, "/identify", form, query("{}")).await,
            (400, "missing_event"),
        ),
        (
            send(&daemon, "/identify", form, query("{")).await,
            (400, "missing_event"),
        ),
        (
            send(&daemon, "/identify", form, format!("api_key={KEY}")).await,
            (400, "missing_event"),
        ),
        (
            send(&daemon, "/identify", form, "api_key=x&identification=[]").await,
            (400, "invalid_api_key"),
        ),
    ] {
        let status = answer.status().as_u16();
        assert_eq!((status, &*answer.text().await.unwrap()), expected);
    }
    let filtered = daemon
        .metric("pixel_relay_outcomes_total", &["user_payload"])
        .await;
    assert_eq!(filtered, 3.0);
    daemon.stop().await;
}

#[tokio::test]
async fn a_key_may_be_bound_to_some_syncs() {
    let graph = Graph::start().await;
    let ingest = "api_keys = [{ key = 'of-the-app', syncs = ['app'] }, 'of-both']";
    let app = "[sync.app]\npixel_id = '1002'\naccess_token = 'test-token'\n";
    let daemon = start(&graph, ingest, &format!("{PLAIN_SYNC}{app}")).await;
    for (key, id) in [("of-the-app", "i1"), ("of-both", "i2")] {
        let event = json!({ "event_type": "Sign Up", "user_id": "user-1", "insert_id": id });
        let body = json!({ "api_key": key, "events": [event] });
        assert_eq!(upload(&daemon, &body).await.0, 200);
    }
    let taken = async |sync| {
        daemon
            .metric("pixel_relay_events_taken_total", &[sync])
            .await
    };
    assert_eq!((taken("app").await, taken("web").await), (2.0, 1.0));
    daemon.stop().await;
}

#[tokio::test]
async fn pages_may_send_from_the_listed_origins_only() {
    let graph = Graph::start().await;
    for (origins, asking, expected) in [
        ("", "https://anywhere.example.net", Some("*")),
        (
            "cors_origins = ['https://shop.example.com']",
            "https://shop.example.com",
            Some("https://shop.example.com"),
        ),
        (
            "cors_origins = ['https://shop.example.com']",
            "https://evil.example.net",
            None,
        ),
    ] {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let config = config_text(graph.address, folder.path(), SYNC)
            .replace("[server]", &format!("[server]\n{origins}"))
            .replace("[queue]", &format!("{}\n[queue]", keys()));
        let daemon = Daemon::start_on(folder, config).await;
        let url = format!("{}/2/httpapi", daemon.url);
        let asked = client()
            .request(reqwest::Method::OPTIONS, &url)
            .header(ORIGIN, asking)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type")
            .send()
            .await
            .unwrap();
        let header = |name| {
            asked
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(header(ACCESS_CONTROL_ALLOW_ORIGIN).as_deref(), expected);
        let others = expected.map(|_| {
            (
                "GET, POST".to_owned(),
                "content-type, content-encoding".to_owned(),
            )
        });
        assert_eq!(
            header(ACCESS_CONTROL_ALLOW_METHODS).zip(header(ACCESS_CONTROL_ALLOW_HEADERS)),
            others
        );
        let event = json!({ "event_type": "Sign Up", "user_id": "user-1" });
        let sent = client()
            .post(&url)
            .header(ORIGIN, asking)
            .body(of(&json!([event])).to_string())
            .send()
            .await
            .unwrap();
        assert_eq!(
            sent.status().as_u16(),
            if expected.is_some() { 200 } else { 403 }
        );
    }
}

#[tokio::test]
async fn an_address_that_calls_too_often_is_told_to_rest() {
    let graph = Graph::start().await;
    let ingest = format!("{}\naddress_requests_per_second = 0.001", keys());
    let daemon = start(&graph, &ingest, SYNC).await;
    let event = |id| json!({ "event_type": "Sign Up", "user_id": "user-1", "insert_id": id });
    let body = of(&json!([event("i1"), event("i2")]));
    assert_eq!(upload(&daemon, &body).await.0, 200);
    let expected = json!({
        "code": 429, "error": "Too many requests for some devices and users", "eps_threshold": 0.001,
        "throttled_devices": {}, "throttled_users": {}, "throttled_events": [0, 1],
        "exceeded_daily_quota_devices": {}, "exceeded_daily_quota_users": {},
    });
    assert_eq!(upload(&daemon, &body).await, (429, expected));
    daemon.stop().await;
}

/// What the simulated Amplitude was sent: path, forwarded address, body.
type Seen = Arc<Mutex<Vec<(String, String, String)>>>;

/// An Amplitude that gives these answers, one after the other; the last one stays.
async fn amplitude(answers: Vec<(u16, &'static str)>) -> (String, Seen) {
    let seen = Seen::default();
    let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
    let record = Arc::clone(&seen);
    let router = Router::new().fallback(async move |uri: Uri, headers: HeaderMap, body: Bytes| {
        let forwarded = headers
            .get("x-forwarded-for")
            .map(|value| value.to_str().unwrap());
        record.lock().unwrap().push((
            uri.path().to_owned(),
            forwarded.unwrap_or_default().to_owned(),
            String::from_utf8(body.to_vec()).unwrap(),
        ));
        let mut answers = answers.lock().unwrap();
        let (status, body) = if answers.len() > 1 {
            answers.pop_front().unwrap()
        } else {
            answers[0]
        };
        (
            StatusCode::from_u16(status).unwrap(),
            [(CONTENT_TYPE, "application/json")],
            body,
        )
            .into_response()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::task::spawn(async move { axum::serve(listener, router).await });
    (url, seen)
}

#[tokio::test]
async fn what_is_stored_is_passed_on_and_amplitudes_answer_is_the_answer() {
    let graph = Graph::start().await;
    let refusal = r#"{"code":400,"error":"Invalid field values on some events","events_with_invalid_fields":{"x":[1]}}"#;
    let (url, seen) = amplitude(vec![
        (500, "oops"),
        (302, ""),
        (200, r#"{"code":200}"#),
        (400, refusal),
    ])
    .await;
    let ingest = format!("{}\nupstream = '{url}'", keys());
    let daemon = start(&graph, &ingest, SYNC).await;
    let body = format!(
        r#"{{"api_key":"{KEY}","events":[ {{"event_type":"Sign Up","user_id":"user-1","insert_id":"i1","ip" : "$remote","n":1e2}},{{"event_type":"Sign Up","ip":"$remote"}},{{"event_type":"Sign Up","user_id":"user-2","insert_id":"i2","ip":"203.0.113.7","event_properties":{{"ip":"$remote"}}}}],"options":{{}}}}"#
    );
    let mut answers = Vec::new();
    for _ in 0..4 {
        let response = send(&daemon, "/2/httpapi", "application/json", body.clone()).await;
        answers.push((response.status().as_u16(), response.text().await.unwrap()));
    }
    let unavailable =
        r#"{"code":503,"error":"the events could not be passed on; send this again"}"#;
    let expected = [
        (503, unavailable),
        (503, unavailable),
        (200, r#"{"code":200}"#),
        (400, refusal),
    ];
    assert_eq!(
        answers,
        expected.map(|(status, body)| (status, body.to_owned()))
    );
    let passed_on = body.replacen("\"$remote\"", "\"127.0.0.1\"", 2);
    for call in seen.lock().unwrap().iter() {
        assert_eq!(
            *call,
            (
                "/2/httpapi".to_owned(),
                "127.0.0.1".to_owned(),
                passed_on.clone()
            )
        );
    }
    // The good ones were taken once; the repeats are duplicates.
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 2.0)
        .await;
    assert_eq!(
        daemon
            .metric("pixel_relay_outcomes_total", &["duplicate"])
            .await,
        6.0
    );
    assert_eq!(graph.accepted().len(), 2);
    daemon.stop().await;
}

#[tokio::test]
async fn forms_are_passed_on_as_they_came_and_a_dead_upstream_is_503() {
    let graph = Graph::start().await;
    let (url, seen) = amplitude(vec![(200, "success")]).await;
    let daemon = start(&graph, &format!("{}\nupstream = '{url}/'", keys()), SYNC).await;
    let form = "application/x-www-form-urlencoded";
    let text = format!("api_key={KEY}&identification=%7B%22user_id%22:%22user-1%22%7D");
    let answer = send(&daemon, "/identify", form, text.clone()).await;
    assert_eq!(answer.text().await.unwrap(), "success");
    let get = client().get(format!("{}/identify?{text}", daemon.url));
    assert_eq!(get.send().await.unwrap().text().await.unwrap(), "success");
    let call = ("/identify".to_owned(), "127.0.0.1".to_owned(), text);
    assert_eq!(*seen.lock().unwrap(), [call.clone(), call]);
    daemon.stop().await;

    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let daemon = start(
        &graph,
        &format!("{}\nupstream = 'http://{closed}'", keys()),
        SYNC,
    )
    .await;
    let event = json!({ "event_type": "Sign Up", "user_id": "user-1", "insert_id": "i1" });
    let (status, answer) = upload(&daemon, &of(&json!([event]))).await;
    assert_eq!((status, &answer["code"]), (503, &json!(503)));
    daemon.stop().await;
}
