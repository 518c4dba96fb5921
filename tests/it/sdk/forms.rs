//! What each SDK writes, the oldest ones included.

use reqwest::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ORIGIN, USER_AGENT};

use super::*;

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
            { "currency": "EUR", "value": 9, "content_ids": ["sku-1"] }]),
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
            (200, "success"),
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
    let nobody = daemon
        .metric("pixel_relay_outcomes_total", &["no_identifier"])
        .await;
    assert_eq!(nobody, 1.0);
    daemon.stop().await;
}

/// Elements of an array of events that cannot be delivered.
const BAD: [&str; 7] = [
    "null",
    "7",
    "\"text\"",
    "[]",
    "{}",
    r#"{"event_type":7,"user_id":"user-1"}"#,
    r#"{"event_type":" ","user_id":"user-1"}"#,
];

/// Events with a broken value.
const ODD: [&str; 6] = [
    r#""event_properties":{"note":"cut \ud83d","n":1e400}"#,
    r#""device_id":7"#,
    r#""event_properties":"not a table""#,
    r#""user_properties":[]"#,
    r#""groups":7,"api_properties":"x""#,
    r#""session_id":"none","library":[],"price":"free""#,
];

fn form(names: [&str; 2], events: &str) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .append_pair(names[0], KEY)
        .append_pair(names[1], events)
        .finish()
}

/// A browser with the oldest SDK repeats its whole queue until it is answered `success`.
#[tokio::test]
async fn a_bad_event_of_a_form_costs_itself() {
    let graph = Graph::start().await;
    let daemon = start(&graph, &keys(), SYNC).await;
    let event = |id: &str, more: &str| {
        format!(r#"{{"event_type":"Sign Up","user_id":"user-1","uuid":"{id}",{more}}}"#)
    };
    let mut elements = vec![event("first", r#""timestamp":null"#)];
    elements.extend(BAD.map(str::to_owned));
    for (number, odd) in ODD.iter().enumerate() {
        elements.push(event(&format!("odd-{number}"), odd));
    }
    elements.push(event("last", r#""timestamp":null"#));
    let events = format!("[{}]", elements.join(","));
    let kind = "application/x-www-form-urlencoded; charset=UTF-8";
    for (path, names, events) in [
        ("/", ["client", "e"], &*events),
        (
            "/httpapi",
            ["api_key", "event"],
            &*events.replace("first", "v1-first"),
        ),
        // So does the only one.
        ("/", ["client", "e"], "[{}]"),
        ("/httpapi", ["api_key", "event"], "[7]"),
        ("/httpapi", ["api_key", "event"], "{}"),
        ("/identify", ["api_key", "identification"], "[7]"),
        ("/identify", ["api_key", "identification"], "{}"),
    ] {
        let answer = send(&daemon, path, kind, form(names, events)).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.text().await.unwrap(), "success", "{path}");
    }
    let good = f64::from(u32::try_from(ODD.len() + 2).unwrap());
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], good + 1.0)
        .await;
    let outcome = async |of: &str| daemon.metric("pixel_relay_outcomes_total", &[of]).await;
    assert_eq!(outcome("duplicate").await, good - 1.0);
    let bad = f64::from(u32::try_from(2 * BAD.len() + 5).unwrap());
    assert_eq!(outcome("invalid").await, bad);
    assert_eq!(outcome("no_event_name").await, 8.0);
    assert_eq!(outcome("no_identifier").await, 1.0);
    // Two have the same bytes, and so make one dead letter.
    let letters = daemon.metric("pixel_relay_dead_letters", &[]).await;
    assert_eq!(letters, bad);
    daemon.stop().await;
}

/// `logRevenue` of the oldest SDKs, and the ids that they keep in the same place.
#[tokio::test]
async fn what_the_oldest_sdks_keep_beside_an_event_is_read() {
    let graph = Graph::start().await;
    let daemon = start(&graph, &keys(), SYNC).await;
    let event = json!([{
        "event_type": "revenue_amount", "user_id": "old", "uuid": "rev-1", "timestamp": now(),
        "api_properties": {
            "special": "revenue_amount", "productId": "sku-1", "quantity": 2, "price": 19.9,
            "tracking_options": { "ip_address": false },
        },
        "event_properties": { "$currency": "EUR" }, "user_properties": {},
    }]);
    let form = form(["client", "e"], &event.to_string());
    let answer = send(&daemon, "/", "application/x-www-form-urlencoded", form).await;
    assert_eq!(answer.text().await.unwrap(), "success");
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 1.0)
        .await;
    let delivered = &graph.accepted()[0];
    assert_eq!(delivered["event_name"], "Purchase");
    let expected = json!({ "currency": "EUR", "value": 39.8, "content_ids": ["sku-1"] });
    assert_eq!(delivered["custom_data"], expected);
    daemon.stop().await;
}

#[tokio::test]
async fn updates_of_groups_and_the_first_http_api_are_taken() {
    let graph = Graph::start().await;
    let daemon = start(&graph, &keys(), SYNC).await;
    let kind = "application/x-www-form-urlencoded";
    let group =
        r#"[{"group_type":"org","group_value":"acme","group_properties":{"$set":{"n":1}}}]"#;
    let event = r#"{"event_type":"Sign Up","user_id":"u","insert_id":"v1","event_properties":{}}"#;
    let mut forms = vec![];
    for (path, names, events) in [
        ("/groupidentify", ["api_key", "identification"], group),
        ("/httpapi", ["api_key", "event"], event),
    ] {
        forms.push((path, form(names, events)));
    }
    for (path, form) in &forms {
        let posted = send(&daemon, path, kind, form.clone()).await;
        assert_eq!(posted.text().await.unwrap(), "success", "{path}");
        let got = client().get(format!("{}{path}?{form}", daemon.url)).send();
        assert_eq!(
            got.await.unwrap().text().await.unwrap(),
            "success",
            "{path}"
        );
    }
    // An SDK of today that was given the old path.
    let today = json!({ "event_type": "Sign Up", "user_id": "user-1", "insert_id": "v2" });
    let answer = send(
        &daemon,
        "/httpapi",
        "application/json",
        of(&json!([today])).to_string(),
    );
    let answer: Value = serde_json::from_slice(&answer.await.bytes().await.unwrap()).unwrap();
    assert_eq!(
        (&answer["code"], &answer["events_ingested"]),
        (&json!(200), &json!(1))
    );
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 2.0)
        .await;
    for (labels, expected) in [
        (["pixel_relay_outcomes_total", "user_payload"], 2.0),
        (["pixel_relay_outcomes_total", "duplicate"], 1.0),
        (["pixel_relay_events_received_total", "groupidentify"], 2.0),
        (["pixel_relay_events_received_total", "httpapi_v1"], 3.0),
    ] {
        assert_eq!(
            daemon.metric(labels[0], &[labels[1]]).await,
            expected,
            "{labels:?}"
        );
    }
    daemon.stop().await;
}
