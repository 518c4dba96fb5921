//! The sender's clock: what a request says of it corrects the times of its events.

use pixel_relay::clock::UnixMillis;

use super::*;

const HOUR: i64 = 3_600_000;

/// A click whose time is made from the event's.
const CLICKS: &str = r#"
    [sync.web]
    pixel_id = "1001"
    access_token = "test-token"
    [sync.web.user_data]
    external_id = "user_id"
    click_id = "user_properties.fbclid"
    [sync.web.delivery]
    max_batch_delay = "10ms"
    requests_per_second = "unlimited"
"#;

/// An event that its sender's clock, so far ahead, has three seconds before the upload.
fn three_seconds_old(id: &str, ahead: i64) -> Value {
    json!({
        "event_type": "Sign Up", "user_id": "user-1", "insert_id": id, "time": now() + ahead - 3000,
        "user_properties": { "fbclid": format!("IwAR0{id}") },
    })
}

fn form(events: &Value, upload_time: &str) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .append_pair("client", KEY)
        .append_pair("e", &events.to_string())
        .append_pair("upload_time", upload_time)
        .finish()
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_at_every_endpoint_that_names_it() {
    let graph = Graph::start().await;
    let daemon = start(&graph, &keys(), CLICKS).await;
    let mut ids = Vec::new();
    for (name, ahead) in [
        ("ahead", 48 * HOUR),
        ("behind", -200 * HOUR),
        ("trap", 7 * HOUR),
    ] {
        for path in ["/2/httpapi", "/batch", "/"] {
            let id = format!("{name}{}", path.replace('/', "-"));
            let upload_time = UnixMillis(now() + ahead).to_string();
            let event = three_seconds_old(&id, ahead);
            let body = json!({
                "api_key": KEY, "events": [event], "options": {}, "client_upload_time": upload_time,
            });
            let answer = send(&daemon, path, "application/json", body.to_string()).await;
            assert_eq!(answer.status(), 200, "{id}");
            ids.push(id);
        }
        let id = format!("{name}-form");
        let mut event = three_seconds_old(&id, ahead);
        event["timestamp"] = event["time"].take();
        let form = form(&json!([event]), &(now() + ahead).to_string());
        let answer = send(&daemon, "/", "application/x-www-form-urlencoded", form).await;
        assert_eq!(answer.text().await.unwrap(), "success", "{id}");
        ids.push(id);
    }
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 12.0)
        .await;
    let accepted = graph.accepted();
    let mut found: Vec<&str> = Vec::new();
    for event in &accepted {
        found.push(event["event_id"].as_str().unwrap());
        let ago = now() / 1000 - event["event_time"].as_i64().unwrap();
        assert!((2..60).contains(&ago), "{event}");
        // The click was first seen with the event.
        let click = event["user_data"]["fbc"].as_str().unwrap();
        let clicked: i64 = click.split('.').nth(2).unwrap().parse().unwrap();
        assert!(
            (0..2000).contains(&(clicked - event["event_time"].as_i64().unwrap() * 1000)),
            "{event}"
        );
    }
    found.sort_unstable();
    ids.sort_unstable();
    assert_eq!(found, ids);
    daemon.stop().await;
}

#[tokio::test]
async fn a_click_is_moved_with_the_events_of_its_browser() {
    let graph = Graph::start().await;
    let sync = CLICKS.replace("user_properties.fbclid", "user_properties.fbc");
    let daemon = start(&graph, &keys(), &sync).await;
    let ahead = 72 * HOUR;
    let mut event = three_seconds_old("i1", ahead);
    let clicked = now() + ahead - 8000;
    event["user_properties"] = json!({ "fbc": format!("fb.1.{clicked}.IwAR0abc") });
    let body = json!({
        "api_key": KEY, "events": [event], "client_upload_time": now() + ahead,
    });
    assert_eq!(upload(&daemon, &body).await.0, 200);
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 1.0)
        .await;
    let accepted = graph.accepted();
    let click = accepted[0]["user_data"]["fbc"].as_str().unwrap();
    let clicked: i64 = click.split('.').nth(2).unwrap().parse().unwrap();
    let happened = accepted[0]["event_time"].as_i64().unwrap() * 1000;
    assert!((4000..7000).contains(&(happened - clicked)), "{click}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_time_that_cannot_be_corrected_stays_as_it_is() {
    let graph = Graph::start().await;
    let daemon = start(&graph, &keys(), PLAIN_SYNC).await;
    for (number, upload_time) in [
        json!("yesterday"),
        json!(""),
        json!(null),
        json!(0),
        json!(-1),
        json!({}),
        json!("0001-01-01T00:00:00Z"),
        json!("9999-12-31T23:59:59Z"),
        json!("1970-01-01T00:00:00Z"),
        json!(now() + 30_000),
    ]
    .into_iter()
    .enumerate()
    {
        let event = three_seconds_old(&format!("i{number}"), 0);
        let body = json!({ "api_key": KEY, "events": [event], "client_upload_time": upload_time });
        assert_eq!(upload(&daemon, &body).await.0, 200, "{upload_time}");
    }
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 10.0)
        .await;
    for event in graph.accepted() {
        let ago = now() / 1000 - event["event_time"].as_i64().unwrap();
        assert!((2..60).contains(&ago), "{event}");
    }
    daemon.stop().await;
}

/// Amplitude has corrected what its webhook sends, and only its templates fall into the trap.
#[tokio::test]
async fn the_webhook_is_not_corrected_and_only_it_is_told_of_time_zones() {
    let graph = Graph::start().await;
    let daemon = start(&graph, &keys(), PLAIN_SYNC).await;
    let ahead = |id| {
        json!({
            "event_type": "Sign Up", "user_id": "user-1", "insert_id": id, "time": now() + 8 * HOUR,
        })
    };
    let body = json!({
        "client_upload_time": UnixMillis(now() + 8 * HOUR).to_string(), "events": [ahead("i1")],
    });
    let (_, answer) = daemon.post(body.to_string()).await;
    assert_eq!(answer["reasons"], json!({ "time_zone_trap": 1 }));
    assert_eq!(upload(&daemon, &of(&json!([ahead("i2")]))).await.0, 200);
    let in_future = daemon
        .metric("pixel_relay_outcomes_total", &["in_future"])
        .await;
    assert_eq!(in_future, 1.0);
    daemon.stop().await;
}
