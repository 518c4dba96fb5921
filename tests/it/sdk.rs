//! The endpoints of Amplitude's SDKs: what each SDK writes, what it is answered, and what becomes of it.

use std::sync::Arc;

use pixel_relay::clock::{Clock, SystemClock};
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Daemon, Graph, PLAIN_SYNC, client, config_text};

mod answers;
mod clock;
mod forms;
mod law;
mod limits;
mod pages;
mod paths;
mod upstream;

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
