//! The law at every endpoint: each element of a request that is answered 2xx is taken for every sync that it
//! was sent to, whatever is wrong with it.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

use super::upstream::amplitude;
use super::*;

/// One that delivers, one with user memory, and one that is disabled.
const SYNCS: &str = r#"
    [sync.web]
    pixel_id = "1001"
    access_token = "test-token"
    [sync.web.delivery]
    max_batch_delay = "10ms"
    requests_per_second = "unlimited"
    [sync.app]
    pixel_id = "1002"
    access_token = "test-token"
    events = { "Sign Up" = {} }
    [sync.app.user_data]
    email = "user_properties.email"
    [sync.app.user_memory]
    webhook = true
    [sync.app.delivery]
    max_batch_delay = "10ms"
    requests_per_second = "unlimited"
    [sync.off]
    enabled = false
    pixel_id = "1003"
    access_token = "test-token"
"#;

const ALL: &[&str] = &["web", "app", "off"];

/// How a request is sent, and the syncs that it is for.
#[derive(Clone, Copy, Debug)]
enum Target {
    Webhook(&'static str, &'static [&'static str]),
    Json(&'static str, &'static str, &'static [&'static str]),
    Form(&'static str, [&'static str; 2]),
}

const TARGETS: &[Target] = &[
    Target::Webhook("/webhook", ALL),
    Target::Webhook("/webhook/app", &["app"]),
    Target::Webhook("/webhook/off/", &["off"]),
    Target::Json("/2/httpapi", KEY, ALL),
    Target::Json("/2/httpapi/", "of-two", &["app", "off"]),
    Target::Json("/batch", KEY, ALL),
    Target::Json("/", KEY, ALL),
    Target::Json("/httpapi", KEY, ALL),
    Target::Form("/", ["client", "e"]),
    Target::Form("/httpapi", ["api_key", "event"]),
    Target::Form("/identify", ["api_key", "identification"]),
    Target::Form("/groupidentify", ["api_key", "identification"]),
];

/// Elements in place of an event.
fn element() -> impl Strategy<Value = Vec<u8>> {
    let id = select(vec![
        r#""user_id":"user-1""#,
        r#""user_id":1795197"#,
        r#""user_id":"abc""#,
        r#""user_id":"none","device_id":"device-1""#,
        r#""device_id":{}"#,
        r#""user_id":"user-1","user_id":"user-2""#,
        r#""x":1"#,
    ]);
    let name = select(vec![
        r#""event_type":"Sign Up""#,
        r#""event_type":"Other""#,
        r#""event_type":"$identify""#,
        r#""event_type":" ""#,
        r#""event_type":7"#,
        r#""y":1"#,
    ]);
    let more = select(vec![
        &br#""z":1"#[..],
        br#""time":"noon""#,
        br#""time":-5"#,
        br#""event_time":"2026-11-20 18:04:09.412000""#,
        br#""timestamp":"later""#,
        br#""event_properties":"text""#,
        br#""user_properties":{"$set":{"email":"a@example.com"}}"#,
        br#""user_properties":{"$unset":7}"#,
        br#""n":1e400"#,
        br#""title":"cut \ud83d""#,
        b"\"title\":\"\xff\xfe\"",
        br#""insert_id":7,"$insert_id":[]"#,
        br#""api_properties":[],"groups":null"#,
        br#""ip":"$remote""#,
        br#""a":1,,"#,
        br#""b":${x}"#,
    ]);
    let object = (id, name, more).prop_map(|(id, name, more)| {
        [b"{", id.as_bytes(), b",", name.as_bytes(), b",", more, b"}"].concat()
    });
    let other = select(vec!["null", "7", "\"text\"", "[]", "{}", "[{}]", "true"]);
    prop_oneof![4 => object, 1 => other.prop_map(|text| text.as_bytes().to_vec())]
}

async fn ask(daemon: &Daemon, target: Target, elements: &[Vec<u8>]) -> u16 {
    let array = [&b"["[..], &elements.join(&b','), b"]"].concat();
    let (path, kind, body) = match target {
        Target::Webhook(path, _) => (path, "application/json", array),
        Target::Json(path, key, _) => {
            let head = format!(r#"{{"api_key":"{key}","client_upload_time":7,"events":"#);
            (
                path,
                "application/json",
                [head.as_bytes(), &array, b"}"].concat(),
            )
        }
        Target::Form(path, [key, events]) => {
            let coded = url::form_urlencoded::byte_serialize(&array).collect::<String>();
            let form = format!("{key}={KEY}&{events}={coded}");
            (path, "application/x-www-form-urlencoded", form.into_bytes())
        }
    };
    let answer = client()
        .post(format!("{}{path}", daemon.url))
        .header("authorization", crate::support::SECRET)
        .header(CONTENT_TYPE, kind)
        .body(body);
    answer.send().await.unwrap().status().as_u16()
}

async fn taken(daemon: &Daemon) -> Vec<f64> {
    let mut taken = Vec::new();
    for sync in ALL {
        let label = format!("sync=\"{sync}\"");
        taken.push(
            daemon
                .metric("pixel_relay_events_taken_total", &[&label])
                .await,
        );
    }
    taken
}

/// Sends broken elements to every endpoint, and compares what was taken.
fn drive(ingest: &str, refused_takes_nothing: bool, runtime: &Runtime) {
    let graph = runtime.block_on(Graph::start());
    let ingest = format!(
        "api_keys = ['{KEY}', {{ key = 'of-two', syncs = ['app', 'off'] }}]\n\
         address_requests_per_second = 'unlimited'\n{ingest}"
    );
    let daemon = runtime.block_on(start(&graph, &ingest, SYNCS));
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(96)
    });
    let requests = (select(TARGETS), proptest::collection::vec(element(), 0..5));
    let outcome = runner.run(&requests, |(target, elements)| {
        runtime.block_on(async {
            let before = taken(&daemon).await;
            let status = ask(&daemon, target, &elements).await;
            let after = taken(&daemon).await;
            let syncs = match target {
                Target::Webhook(_, syncs) | Target::Json(_, _, syncs) => syncs,
                Target::Form(..) => ALL,
            };
            prop_assert!(status < 500, "{}", status);
            for ((sync, before), after) in ALL.iter().zip(before).zip(after) {
                let due = if syncs.contains(sync) {
                    f64::from(u32::try_from(elements.len()).unwrap())
                } else {
                    0.0
                };
                if (200..300).contains(&status) {
                    prop_assert_eq!(after - before, due, "{} at {:?}", sync, target);
                } else if refused_takes_nothing {
                    prop_assert_eq!(after - before, 0.0, "{} at {:?}", sync, target);
                } else {
                    prop_assert!(after - before <= due, "{} at {:?}", sync, target);
                }
            }
            let oldest = matches!(target, Target::Webhook(..) | Target::Form("/", _));
            prop_assert!(!oldest || status == 200, "{:?} answered {}", target, status);
            Ok(())
        })
    });
    outcome.unwrap();
    runtime.block_on(async {
        let metrics = daemon.metrics().await;
        for (name, value) in metrics {
            let of_off = name.contains("sync=\"off\"") && name.contains("outcomes_total");
            assert!(
                !of_off || value == 0.0 || name.contains("sync_disabled"),
                "{name}"
            );
        }
        daemon.stop().await;
    });
}

#[test]
fn each_element_of_an_accepted_request_is_taken() {
    drive("", true, &Runtime::new().unwrap());
}

#[test]
fn each_element_that_amplitude_takes_is_taken() {
    let runtime = Runtime::new().unwrap();
    let (url, _) = runtime.block_on(amplitude(vec![(200, "success")]));
    drive(&format!("upstream = '{url}'"), false, &runtime);
}

#[test]
fn what_amplitude_refuses_is_taken_at_most_once_a_request() {
    let runtime = Runtime::new().unwrap();
    let (url, _) = runtime.block_on(amplitude(vec![(400, "{\"code\":400}")]));
    let graph = runtime.block_on(Graph::start());
    let ingest = format!("api_keys = ['{KEY}']\nupstream = '{url}'");
    let daemon = runtime.block_on(start(&graph, &ingest, SYNCS));
    runtime.block_on(async {
        let good = br#"{"event_type":"Sign Up","user_id":"user-1","insert_id":"i1"}"#.to_vec();
        for _ in 0..2 {
            let target = Target::Json("/batch", KEY, ALL);
            assert_eq!(
                ask(&daemon, target, &[good.clone(), b"7".to_vec()]).await,
                400
            );
        }
        assert_eq!(taken(&daemon).await, [2.0; 3]);
        daemon.stop().await;
    });
}
