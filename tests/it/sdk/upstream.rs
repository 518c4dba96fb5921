//! What the daemon passes on to Amplitude, and what it takes meanwhile.

use std::collections::VecDeque;
use std::sync::Mutex;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use tokio::net::TcpListener;

use super::*;

/// The requests to the simulated Amplitude: path, forwarded address, body.
pub type Seen = Arc<Mutex<Vec<(String, String, String)>>>;

/// A simulated Amplitude that gives these answers, one after the other, and then repeats the last one.
pub async fn amplitude(answers: Vec<(u16, &'static str)>) -> (String, Seen) {
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
            String::from_utf8_lossy(&body).into_owned(),
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

/// Amplitude's answer for three events.
const TAKEN: &str = r#"{"code":200,"events_ingested":3}"#;

/// A request with a good event, one that Amplitude may refuse, and an element that is not an event.
fn good_and_bad(number: usize) -> String {
    format!(
        r#"{{"api_key":"{KEY}","events":[{{"event_type":"Sign Up","user_id":"user-1","insert_id":"g{number}"}},{{"event_type":"","user_id":"user-{number}"}},7]}}"#
    )
}

#[tokio::test]
async fn what_only_amplitude_takes_is_counted_once_it_has_taken_it() {
    let graph = Graph::start().await;
    let (url, _) = amplitude(vec![
        (400, "{\"code\":400}"),
        (429, "{}"),
        (500, ""),
        (200, TAKEN),
    ])
    .await;
    let ingest = format!("{}\nupstream = '{url}'", keys());
    let daemon = start(&graph, &ingest, SYNC).await;
    let count = async |labels: &[&str]| daemon.metric("pixel_relay_outcomes_total", labels).await;
    for (status, invalid) in [(400, 0.0), (429, 0.0), (503, 0.0), (200, 2.0), (200, 4.0)] {
        let body = good_and_bad(1);
        let answer = send(&daemon, "/2/httpapi", "application/json", body).await;
        assert_eq!(answer.status(), status);
        assert_eq!(count(&["invalid"]).await, invalid);
    }
    assert_eq!(count(&["no_event_name"]).await, 2.0);
    assert_eq!(count(&["malformed_json"]).await, 2.0);
    assert_eq!(count(&["duplicate"]).await, 4.0);
    assert_eq!(daemon.metric("pixel_relay_dead_letters", &[]).await, 4.0);
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 1.0)
        .await;
    daemon.stop().await;
}

/// Starts a daemon whose disk is nearly full, as it sees it.
async fn without_disk(graph: &Graph, ingest: &str) -> Daemon {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let ingest = format!("{ingest}\n[queue]");
    let config = config_text(graph.address, folder.path(), SYNC)
        .replace("[queue]", &ingest)
        .replace("min_free_disk = \"1MiB\"", "min_free_disk = \"1000000TiB\"");
    Daemon::start_on(folder, config).await
}

#[tokio::test]
async fn what_cannot_be_stored_is_passed_on_and_missed() {
    let graph = Graph::start().await;
    let (url, seen) = amplitude(vec![(500, ""), (200, TAKEN)]).await;
    let daemon = without_disk(&graph, &format!("{}\nupstream = '{url}'", keys())).await;
    for (status, missed) in [(503, 0.0), (200, 3.0), (200, 6.0)] {
        let answer = send(&daemon, "/2/httpapi", "application/json", good_and_bad(1)).await;
        assert_eq!(answer.status(), status);
        let counted = daemon
            .metric(
                "pixel_relay_events_missed_total",
                &["sync=\"web\"", "reason=\"disk_low\""],
            )
            .await;
        assert_eq!(counted, missed);
    }
    assert_eq!(seen.lock().unwrap().len(), 3);
    assert_eq!(
        daemon.metric("pixel_relay_events_taken_total", &[]).await,
        0.0
    );
    // The webhook's sender keeps its events; a balancer must not turn the SDKs away.
    assert_eq!(
        daemon.post(crate::support::event("e").to_string()).await.0,
        503
    );
    let health = client()
        .get(format!("{}/health", daemon.url))
        .send()
        .await
        .unwrap();
    assert_eq!(health.status(), 200);
    let health = health.text().await.unwrap();
    assert_eq!(
        health,
        "{\"status\":\"passing_on\",\"reason\":\"disk_low\"}\n"
    );
    let report: Value = serde_json::from_str(&daemon.admin_text("/health").await).unwrap();
    let problems = report["problems"].to_string();
    assert!(
        problems.contains("6 events of SDKs went on to ingest.upstream"),
        "{problems}"
    );
}

#[tokio::test]
async fn the_operator_may_want_them_refused() {
    let graph = Graph::start().await;
    let (url, seen) = amplitude(vec![(200, TAKEN)]).await;
    let ingest = format!(
        "{}\nupstream = '{url}'\nupstream_when_full = 'refuse'",
        keys()
    );
    let daemon = without_disk(&graph, &ingest).await;
    let answer = send(&daemon, "/2/httpapi", "application/json", good_and_bad(1)).await;
    assert_eq!(answer.status(), 503);
    assert!(seen.lock().unwrap().is_empty());
    assert_eq!(
        daemon.metric("pixel_relay_events_missed_total", &[]).await,
        0.0
    );
    let health = client()
        .get(format!("{}/health", daemon.url))
        .send()
        .await
        .unwrap();
    assert_eq!(health.status(), 503);
}

#[tokio::test]
async fn a_full_sync_misses_and_the_others_take() {
    let graph = Graph::start().await;
    let (url, _) = amplitude(vec![(200, "{\"code\":200}")]).await;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let syncs = "[sync.full]\npixel_id = '1'\naccess_token = 'token-of-another'\nproperties = ['text']\n\
        [sync.full.delivery]\nmax_batch_delay = '1h'\n[sync.app]\npixel_id = '2'\naccess_token = 'test-token'\n\
        [sync.app.delivery]\nmax_batch_delay = '1h'\n";
    let config = config_text(graph.address, folder.path(), syncs).replace(
        "[queue]",
        &format!(
            "{}\nupstream = '{url}'\n[queue]\nmax_bytes = '4MiB'\ndead_letter_max_bytes = '1MiB'",
            keys()
        ),
    );
    let daemon = Daemon::start_on(folder, config).await;
    let missed = "pixel_relay_events_missed_total";
    let mut sent = 0.0;
    while daemon.metric(missed, &[]).await == 0.0 {
        assert!(
            sent < 300.0,
            "the sync never fills up: {:#?}",
            daemon.metrics().await
        );
        // Bytes that do not compress.
        let text = || -> String {
            std::iter::repeat_with(fastrand::alphabetic)
                .take(30_000)
                .collect()
        };
        let event = |text| json!({ "event_type": "Sign Up", "user_id": "user-1", "event_properties": { "text": text } });
        let events: Vec<Value> = (0..5).map(|_| event(text())).collect();
        assert_eq!(upload(&daemon, &of(&json!(events))).await.0, 200);
        sent += 5.0;
    }
    let taken = async |sync| {
        daemon
            .metric("pixel_relay_events_taken_total", &[sync])
            .await
    };
    assert_eq!(daemon.metric(missed, &["app"]).await, 0.0);
    assert_eq!(taken("app").await, sent);
    let of_full = daemon.metric(missed, &["full", "queue_full"]).await;
    assert_eq!(taken("full").await + of_full, sent);
    daemon.stop().await;
}
