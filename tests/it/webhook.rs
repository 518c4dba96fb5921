//! The webhook in the field: every form in which Amplitude and its templates write an event.

use std::time::Duration;

use pixel_relay::clock::{Clock, SystemClock};
use pixel_relay::event::SECTIONS;
use pixel_relay::expr::path::is_field;
use serde_json::{Value, json};

use crate::process::DaemonProcess;
use crate::support::{Daemon, Graph, PLAIN_SYNC, SECRET, client, config_text, event};

const SYNC: &str = r#"
    [sync.web]
    pixel_id = "1001"
    access_token = "test-token"
    where = [{ property = "user_properties.consent", op = "is", value = "true" }]
    [sync.web.user_data]
    email = "user_properties.email"
    [sync.web.custom_data]
    tier = ["derived_properties.tier", "lookup_properties.tier"]
    content_ids = "event_properties.skus"
    num_items = "event_properties.count"
    [sync.web.delivery]
    max_batch_delay = "10ms"
    requests_per_second = "unlimited"
"#;

fn with(id: &str, changes: &Value) -> String {
    let mut event = event(id);
    for (name, value) in changes.as_object().unwrap() {
        event[name] = value.clone();
    }
    event.to_string()
}

#[tokio::test]
async fn every_form_of_the_time_is_the_same_moment() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, PLAIN_SYNC).await;
    let moment = SystemClock.now();
    let text = moment.to_string();
    let bare = text.trim_end_matches('Z');
    let forms = [
        json!(format!("{}000", bare.replace('T', " "))),
        json!(bare.replace('T', " ")),
        json!(bare),
        json!(text),
        json!(format!("{bare}+00:00")),
        json!(moment.0),
        json!(moment.0.to_string()),
        json!(moment.seconds()),
        json!(moment.seconds().to_string()),
    ];
    for (at, form) in forms.iter().enumerate() {
        for name in ["event_time", "time"] {
            let mut event = event(&format!("{name}-{at}"));
            event.as_object_mut().unwrap().remove("event_time");
            event[name] = form.clone();
            let (status, answer) = daemon.post(event.to_string()).await;
            assert_eq!(
                (status, &answer["queued"]),
                (200, &json!(1)),
                "{name}: {form}"
            );
        }
    }
    let all = 18.0;
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], all)
        .await;
    for event in graph.accepted() {
        assert_eq!(event["event_time"], moment.seconds());
    }
    daemon.stop().await;
}

#[tokio::test]
async fn texts_stand_for_numbers_flags_and_lists_and_empty_ones_for_nothing() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, SYNC).await;
    let texts = with(
        "texts",
        &json!({
            "event_properties": { "skus": "[\"sku-1\",\"sku-2\"]", "count": "3" },
            "user_properties": { "email": "", "consent": "true" },
            "derived_properties": { "tier": "" },
            "lookup_properties": { "tier": "gold" },
            "idfa": "", "platform": "", "groups": "",
        }),
    );
    let values = with(
        "values",
        &json!({
            "event_properties": { "skus": ["sku-1", "sku-2"], "count": 3 },
            "user_properties": { "consent": true },
            "derived_properties": { "tier": "gold" },
        }),
    );
    for body in [texts, values] {
        assert_eq!(daemon.post(body).await.1["queued"], 1);
    }
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 2.0)
        .await;
    let expected = json!({ "tier": "gold", "content_ids": ["sku-1", "sku-2"], "num_items": 3 });
    for event in graph.accepted() {
        assert_eq!(event["custom_data"], expected, "{}", event["event_id"]);
        assert_eq!(event["user_data"]["em"], Value::Null);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_grouped_number_is_named_wherever_it_stands() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, PLAIN_SYNC).await;
    // Bare, the body is no JSON, and its sender is told how to mend the template.
    let bare = with("bare", &json!({ "event_time": 1_396_381_378_123_i64 }));
    let bare = bare.replace("1396381378123", "1,396,381,378,123");
    let (status, answer) = daemon.post(bare.clone()).await;
    assert_eq!(
        (status, &answer["error"]),
        (400, &json!("not_json")),
        "{answer}"
    );
    assert!(
        answer["message"].as_str().unwrap().contains("${x?c}"),
        "{answer}"
    );
    // Among others it costs no other event, and inside a string it costs its own.
    let text = with("text", &json!({ "event_time": "1,396,381,378,123" }));
    let good = event("good");
    let (status, answer) = daemon.post(format!("[{bare},{good},{text}]")).await;
    assert_eq!(status, 200);
    assert_eq!(answer["queued"], 1);
    assert_eq!(answer["reasons"], json!({ "grouped_number": 2 }));
    daemon.stop().await;
}

#[tokio::test]
async fn users_are_told_from_events() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, PLAIN_SYNC).await;
    for user in [
        json!({ "user_id": "user-1", "user_properties": { "plan": "pro" }, "event_time": "2026-11-20 18:05:00" }),
        json!({ "event_type": "$identify", "user_id": "user-1", "user_properties": { "$set": {} } }),
        json!({ "event_type": "_identify", "user_id": "user-1" }),
        json!({ "event_type": "$groupidentify", "groups": { "org": "acme" } }),
    ] {
        let (status, answer) = daemon.post(user.to_string()).await;
        assert_eq!(
            (status, &answer["reasons"]),
            (200, &json!({ "user_payload": 1 }))
        );
    }
    daemon.stop().await;
}

#[tokio::test]
async fn the_time_zone_trap_is_named_in_the_reason_and_in_the_log() {
    let graph = Graph::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pixel-relay.toml");
    std::fs::write(
        &config,
        config_text(graph.address, folder.path(), PLAIN_SYNC),
    )
    .unwrap();
    let mut daemon = DaemonProcess::start(&config);
    let ahead = SystemClock.now().plus(Duration::from_secs(8 * 60 * 60));
    let answer = post(&daemon, with("ahead", &json!({ "event_time": ahead.0 }))).await;
    assert_eq!(answer["reasons"], json!({ "time_zone_trap": 1 }));
    daemon.wait_for_line("read UTC as US Pacific time");
    daemon.kill();
}

#[tokio::test]
async fn silence_is_logged_when_it_begins_and_when_it_ends() {
    let graph = Graph::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pixel-relay.toml");
    let text = config_text(graph.address, folder.path(), PLAIN_SYNC)
        .replace("[queue]", "silence_after = '1s'\n[queue]");
    std::fs::write(&config, text).unwrap();
    let mut daemon = DaemonProcess::start(&config);
    daemon.wait_for_line("no event has come in for longer than ingest.silence_after");
    let page = async |path| {
        let answer = client().get(format!("{}{path}", daemon.admin)).send().await;
        answer.unwrap().text().await.unwrap()
    };
    let metrics = page("/metrics").await;
    assert!(
        metrics.contains("pixel_relay_silence_warning{sync=\"web\"} 1"),
        "{metrics}"
    );
    let health: Value = serde_json::from_str(&page("/health").await).unwrap();
    assert_eq!(health["status"], "warning");
    assert_eq!(health["syncs"]["web"]["silence_warning"], true);
    post(&daemon, event("after").to_string()).await;
    daemon.wait_for_line("events come in again");
    daemon.kill();
}

async fn post(daemon: &DaemonProcess, body: String) -> Value {
    let answer = client()
        .post(format!("{}/webhook", daemon.public))
        .header("authorization", SECRET)
        .body(body)
        .send()
        .await
        .unwrap();
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

#[test]
fn the_shipped_template_names_what_a_path_can_begin_with() {
    let template = include_str!("../../config/amplitude-webhook.ftl");
    let (_, list) = template.split_once("<#list [").unwrap();
    let (list, _) = list.split_once("] as name>").unwrap();
    let names: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(is_field(name) || SECTIONS.contains(&name), "{name}");
    }
}
