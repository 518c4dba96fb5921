//! What a browser's own request tells: its user agent, Meta's cookies, its wish for privacy.

use std::sync::Arc;

use reqwest::header::{AUTHORIZATION, COOKIE, ORIGIN, USER_AGENT};
use serde_json::{Value, json};

use crate::support::{Daemon, Graph, SECRET, client, config_text, event};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const SHOP: &str = "https://shop.example.com";
const AGENT: &str = "Mozilla/5.0 (cookies)";
const FBP: &str = "fb.1.1790000000000.1234567890";
const FBC: &str = "fb.1.1790000000000.AbCd";

async fn start(graph: &Graph, of_sync: &str) -> Daemon {
    let sync = format!(
        "[sync.web]\npixel_id = \"1001\"\naccess_token = \"test-token\"\n{of_sync}\n\
         [sync.web.delivery]\nmax_batch_delay = \"10ms\"\nrequests_per_second = \"unlimited\"\n"
    );
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let config = config_text(graph.address, folder.path(), &sync)
        .replace("[server]", &format!("[server]\ncors_origins = ['{SHOP}']"))
        .replace("[queue]", &format!("api_keys = ['{KEY}']\n[queue]"));
    Daemon::start_on(folder, config).await
}

/// Sends an event to an endpoint of SDKs: from a page with its cookies, or from a server that has them too.
async fn send(daemon: &Daemon, origin: Option<&str>, event: Value) -> u16 {
    let mut request = client()
        .post(format!("{}/2/httpapi", daemon.url))
        .header(USER_AGENT, AGENT)
        .header(
            COOKIE,
            format!("session=very-secret; _fbp={FBP}; _fbc={FBC}"),
        )
        .header("sec-gpc", "1")
        .body(json!({ "api_key": KEY, "events": [event] }).to_string());
    if let Some(origin) = origin {
        request = request.header(ORIGIN, origin);
    }
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn it_stands_in_where_what_an_event_tells_is_of_no_use() {
    let graph = Graph::start().await;
    let mapped = "[sync.web.user_data]\nbrowser_id = \"user_properties.fbp\"\n\
                  click_id = [\"user_properties.fbc\", 'event_properties[\"[Amplitude] Page Location\"]']";
    let daemon = start(&graph, mapped).await;
    let mut event = claiming("useless");
    event["event_properties"] = json!({ "[Amplitude] Page Location": "https://shop.example.com/" });
    event["user_properties"] = json!({ "fbp": "x", "fbc": "fb.1.1500000000000.Old" });
    let request = client()
        .post(format!("{}/2/httpapi", daemon.url))
        .header(ORIGIN, SHOP)
        .header(
            COOKIE,
            format!("_fbp=broken; _fbp={FBP}; _fbc=fb.1.1500000000000.Old; _fbc={FBC}"),
        )
        .body(json!({ "api_key": KEY, "events": [event] }).to_string());
    assert_eq!(request.send().await.unwrap().status(), 200);
    let delivered = "pixel_relay_outcomes_total";
    daemon.until(delivered, &["delivered"], 1.0).await;
    let [_, fbp, fbc] = told(&graph, "useless");
    assert_eq!(json!([fbp, fbc]), json!([FBP, FBC]));
    daemon.stop().await;
}

/// An event with this id. It holds a forged request, as any sender could write one.
fn claiming(id: &str) -> Value {
    json!({
        "event_type": "Sign Up", "user_id": "user-1", "insert_id": id,
        "request": { "user_agent": "claimed", "gpc": "claimed", "cookies": { "_fbp": "fb.1.1790000000000.666", "_fbc": "fb.1.1790000000000.Bad" } },
    })
}

/// User agent, browser id and click id of the delivered event of that id.
fn told(graph: &Graph, id: &str) -> [Value; 3] {
    let accepted = graph.accepted();
    let event = accepted.iter().find(|event| event["event_id"] == id);
    let user_data = &event.unwrap()["user_data"];
    ["client_user_agent", "fbp", "fbc"].map(|field| user_data[field].clone())
}

#[tokio::test]
async fn it_stands_in_where_an_event_of_the_browser_tells_nothing() {
    let graph = Graph::start().await;
    let mapped = "[sync.web.user_data]\nbrowser_id = \"event_properties.fbp\"\nclick_id = []\n\
                  client_user_agent = { from = \"event_properties.agent\", default = \"unknown\" }";
    let bare = start(&graph, "").await;
    let own = start(&graph, mapped).await;
    for (daemon, name) in [(&bare, "bare"), (&own, "own")] {
        let page = format!("{name}-page");
        assert_eq!(send(daemon, Some(SHOP), claiming(&page)).await, 200);
        let server = format!("{name}-server");
        assert_eq!(send(daemon, None, claiming(&server)).await, 200);
    }
    let mut full = claiming("own-full");
    full["event_properties"] = json!({ "fbp": "fb.1.1795000000000.77", "agent": "Own" });
    assert_eq!(send(&own, Some(SHOP), full).await, 200);
    assert_eq!(
        send(&own, Some("https://evil.example.net"), claiming("evil")).await,
        403
    );
    // The webhook is not a browser, whatever its request looks like.
    let mut of_webhook = event("webhook");
    of_webhook["request"] = claiming("")["request"].clone();
    let answer = client()
        .post(format!("{}/webhook", bare.url))
        .header(AUTHORIZATION, SECRET)
        .header(ORIGIN, SHOP)
        .header(USER_AGENT, AGENT)
        .header(COOKIE, format!("_fbp={FBP}"))
        .body(of_webhook.to_string())
        .send();
    assert_eq!(answer.await.unwrap().status(), 200);
    for (daemon, count) in [(&bare, 3.0), (&own, 3.0)] {
        let delivered = "pixel_relay_outcomes_total";
        daemon.until(delivered, &["delivered"], count).await;
        daemon.assert_law().await;
    }
    for (id, expected) in [
        ("bare-page", json!([AGENT, FBP, FBC])),
        ("bare-server", json!([null, null, null])),
        ("own-page", json!([AGENT, FBP, null])),
        ("own-server", json!(["unknown", null, null])),
        ("own-full", json!(["Own", "fb.1.1795000000000.77", null])),
    ] {
        assert_eq!(json!(told(&graph, id)), expected, "{id}");
    }
    let accepted = graph.accepted();
    let of_webhook = accepted.iter().find(|event| event["event_id"] == "webhook");
    assert_eq!(of_webhook.unwrap()["user_data"]["fbp"], Value::Null);
    bare.stop().await;
    own.stop().await;
}

#[tokio::test]
async fn its_paths_are_read_by_conditions_and_values_and_no_body_poses_as_it() {
    let graph = Graph::start().await;
    let rules = "where = [{ property = \"request.gpc\", op = \"is not set\" }]\n\
                 [sync.web.user_data]\nbrowser_id = '[\"request\"].cookies._fbp'\n\
                 [sync.web.custom_data]\nagent = \"request.user_agent\"";
    let daemon = start(&graph, rules).await;
    assert_eq!(send(&daemon, Some(SHOP), claiming("gpc")).await, 200);
    assert_eq!(send(&daemon, None, claiming("server")).await, 200);
    let outcomes = "pixel_relay_outcomes_total";
    daemon.until(outcomes, &["sync_condition"], 1.0).await;
    daemon.until(outcomes, &["delivered"], 1.0).await;
    let accepted = graph.accepted();
    assert_eq!(accepted[0]["event_id"], "server");
    assert_eq!(accepted[0]["custom_data"]["agent"], Value::Null);
    // A key of the event's own is named in brackets, as any other.
    assert_eq!(accepted[0]["user_data"]["fbp"], "fb.1.1790000000000.666");
    daemon.stop().await;
}

#[tokio::test]
async fn a_server_s_event_of_a_remembered_person_has_what_the_browser_told() {
    let graph = Graph::start().await;
    let daemon = start(&graph, "[sync.web.user_memory]").await;
    assert_eq!(send(&daemon, Some(SHOP), claiming("page")).await, 200);
    assert_eq!(send(&daemon, None, claiming("server")).await, 200);
    let delivered = "pixel_relay_outcomes_total";
    daemon.until(delivered, &["delivered"], 2.0).await;
    let [_, fbp, fbc] = told(&graph, "server");
    assert_eq!(json!([fbp, fbc]), json!([FBP, FBC]));
    let folder = Arc::clone(&daemon.folder);
    daemon.stop().await;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("very-secret"));
    }
}
