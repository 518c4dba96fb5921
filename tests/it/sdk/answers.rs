//! The exact answers to SDKs.

use super::*;

#[tokio::test]
async fn the_endpoints_are_off_until_a_project_is_listed() {
    let graph = Graph::start().await;
    let daemon = start(&graph, "", PLAIN_SYNC).await;
    for path in ["/2/httpapi", "/batch", "/identify", "/"] {
        let response = send(&daemon, path, "application/json", "{}").await;
        assert_eq!(response.status(), 404, "{path}");
    }
    assert_eq!(daemon.post("[]").await.0, 200);
    daemon.stop().await;
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
                "no event",
            ])),
            json!({
                "code": 400, "error": "Invalid field values on some events",
                "events_with_missing_fields": { "event_type": [4], "user_id": [2] },
                "events_with_invalid_fields": { "device_id": [3], "event": [7], "time": [5] },
                "events_with_invalid_id_lengths": { "user_id": [1, 6] },
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
async fn an_address_that_calls_too_often_is_told_to_rest() {
    let graph = Graph::start().await;
    let ingest = format!("{}\naddress_requests_per_second = 0.001", keys());
    let daemon = start(&graph, &ingest, SYNC).await;
    let event = |id| json!({ "event_type": "Sign Up", "user_id": "user-1", "insert_id": id });
    let body = of(&json!([event("i1"), event("i2")]));
    assert_eq!(upload(&daemon, &body).await.0, 200);
    // The body is not read: as many are named as it can hold.
    let most = body.to_string().len() / 30;
    let expected = json!({
        "code": 429, "error": "Too many requests for some devices and users", "eps_threshold": 0.001,
        "throttled_devices": {}, "throttled_users": {}, "throttled_events": (0..most).collect::<Value>(),
        "exceeded_daily_quota_devices": {}, "exceeded_daily_quota_users": {},
    });
    assert_eq!(upload(&daemon, &body).await, (429, expected));
    daemon.stop().await;
}
