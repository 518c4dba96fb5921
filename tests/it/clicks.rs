//! A click id keeps the time at which it was first seen, in every sync and without any user memory.

use pixel_relay::clock::{Clock as _, SystemClock, UnixMillis};
use serde_json::{Value, json};

use crate::process::{DaemonProcess, command};
use crate::support::{Daemon, Graph, SECRET, client, config_text, event};

/// Two syncs; the second asks for consent.
const SYNCS: &str = r#"
    [sync.web]
    pixel_id = "1001"
    access_token = "test-token"
    [sync.web.user_data]
    click_id = ["user_properties.fbc", "event_properties.fbclid", 'event_properties["[Amplitude] Page URL"]']
    [sync.web.delivery]
    max_batch_delay = "10ms"
    requests_per_second = "unlimited"
    [sync.asking]
    pixel_id = "1002"
    access_token = "test-token"
    where = [{ property = "event_properties.consent", op = "is", value = "yes" }]
    [sync.asking.user_data]
    click_id = "event_properties.fbclid"
    [sync.asking.delivery]
    max_batch_delay = "10ms"
    requests_per_second = "unlimited"
"#;

/// An event of this many hours ago.
fn at(id: &str, hours: i64, properties: &Value) -> (Value, i64) {
    let happened = UnixMillis(SystemClock.now().0 - hours * 3_600_000);
    let mut event = event(id);
    event["event_time"] = json!(happened.to_string());
    event["event_properties"] = properties.clone();
    (event, happened.0)
}

/// The `fbc` of an event that Meta received for a pixel.
fn fbc(graph: &Graph, pixel: &str, id: &str) -> Option<String> {
    let records = graph.sandbox.records(1000, Some(pixel));
    let mut events = records.iter().map(|record| &record.event);
    let event = events.find(|event| event["event_id"] == id);
    let event = event.unwrap_or_else(|| panic!("{id} was not delivered"));
    event["user_data"]["fbc"].as_str().map(str::to_owned)
}

async fn take(daemon: &Daemon, event: &Value) {
    let (status, answer) = daemon.post(event.to_string()).await;
    assert_eq!(status, 200, "{answer}");
}

async fn delivered(daemon: &Daemon, count: u32) {
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], count.into())
        .await;
}

#[tokio::test]
async fn each_days_event_gives_the_same_click_over_a_restart() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, SYNCS).await;
    let url = json!({ "[Amplitude] Page URL": "https://shop.example.com/?fbclid=IwAR0aBc" });
    let bare = json!({ "fbclid": "IwAR0aBc" });
    let (first, landed) = at("first", 72, &url);
    take(&daemon, &first).await;
    delivered(&daemon, 1).await;
    let daemon = daemon.restart().await;
    let (second, _) = at("second", 48, &bare);
    let (third, _) = at("third", 1, &bare);
    let (other, clicked) = at("other", 1, &json!({ "fbclid": "iwar0abc" }));
    // It came too late to be the first that told, and cannot have carried a click of later.
    let (earlier, before) = at("earlier", 96, &bare);
    let (last, _) = at("last", 0, &bare);
    // All in one request, with what it tells itself.
    let events = json!([second, third, other, earlier, last]);
    take(&daemon, &events).await;
    delivered(&daemon, 6).await;
    for (id, seen, click) in [
        ("first", landed, "IwAR0aBc"),
        ("second", landed, "IwAR0aBc"),
        ("third", landed, "IwAR0aBc"),
        ("other", clicked, "iwar0abc"),
        ("earlier", before, "IwAR0aBc"),
        ("last", landed, "IwAR0aBc"),
    ] {
        let expected = format!("fb.1.{seen}.{click}");
        assert_eq!(fbc(&graph, "1001", id), Some(expected), "{id}");
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_keeps_its_first_time_although_the_program_is_killed() {
    let graph = Graph::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pixel-relay.toml");
    let store = folder.path().join("store");
    std::fs::write(&config, config_text(graph.address, &store, SYNCS)).unwrap();
    let bare = json!({ "fbclid": "IwAR0aBc" });
    let (first, landed) = at("first", 72, &bare);
    let (second, _) = at("second", 1, &bare);
    for (place, event) in [first, second].into_iter().enumerate() {
        let daemon = DaemonProcess::start(&config);
        let request = client()
            .post(format!("{}/webhook", daemon.public))
            .header("authorization", SECRET);
        let answer = request.body(event.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        // The first is acknowledged, and so on disk. The second must arrive, so that it can be checked.
        if place > 0 {
            graph.sandbox.wait_for(2).await;
        }
        daemon.kill();
    }
    let expected = format!("fb.1.{landed}.IwAR0aBc");
    assert_eq!(fbc(&graph, "1001", "second"), Some(expected));
}

#[tokio::test]
async fn a_cookie_keeps_its_time_and_tells_of_it() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, SYNCS).await;
    let (mut browser, happened) = at("browser", 24, &json!({}));
    let cookie = format!("fb.1.{}.IwAR0aBc", happened - 5_000);
    browser["user_properties"] = json!({ "fbc": cookie });
    take(&daemon, &browser).await;
    let (server, _) = at("server", 1, &json!({ "fbclid": "IwAR0aBc" }));
    take(&daemon, &server).await;
    delivered(&daemon, 2).await;
    for id in ["browser", "server"] {
        assert_eq!(fbc(&graph, "1001", id).as_ref(), Some(&cookie), "{id}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn who_does_not_consent_teaches_nothing() {
    let graph = Graph::start().await;
    let (_, asking) = SYNCS.split_once("[sync.asking]").unwrap();
    let daemon = Daemon::start(&graph, &format!("[sync.asking]{asking}")).await;
    let (denied, _) = at(
        "denied",
        24,
        &json!({ "consent": "no", "fbclid": "IwAR0aBc" }),
    );
    take(&daemon, &denied).await;
    let (granted, clicked) = at(
        "granted",
        1,
        &json!({ "consent": "yes", "fbclid": "IwAR0aBc" }),
    );
    take(&daemon, &granted).await;
    delivered(&daemon, 1).await;
    let expected = format!("fb.1.{clicked}.IwAR0aBc");
    assert_eq!(fbc(&graph, "1002", "granted"), Some(expected));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_map_share_what_they_tell() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, SYNCS).await;
    let bare = json!({ "fbclid": "IwAR0aBc" });
    let (first, clicked) = at("first", 24, &bare);
    let (second, _) = at("second", 1, &bare);
    let input = format!("{first}\n{second}\n");
    let ran = command(&daemon.config_file(), &["map"], input.as_bytes());
    let rows = ran.rows();
    let mapped: Vec<&Value> = rows
        .iter()
        .filter(|row| row["sync"] == "web")
        .map(|row| &row["event"]["user_data"]["fbc"])
        .collect();
    let expected = json!(format!("fb.1.{clicked}.IwAR0aBc"));
    assert_eq!(mapped, [&expected, &expected]);
    daemon.stop().await;
}
