//! User memory: from one event to a later one, over restarts, and to no other person.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use pixel_relay::clock::{Clock, SystemClock};
use pixel_relay::profile::ProfileKey;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::process::{DaemonProcess, command};
use crate::support::{Daemon, Graph, client, config_text, now_text};

mod operations;

const KEY: &str = "0123456789abcdef0123456789abcdef";

const SYNC: &str = r#"
    [sync.web]
    pixel_id = "1001"
    access_token = "test-token"
    [sync.web.user_data]
    email = "user_properties.email"
    phone = "user_properties.phone"
    city = "user_properties.address.city"
    client_user_agent = "user_agent"
    click_id = ["user_properties.fbc", "user_properties.fbclid", 'event_properties["[Amplitude] Page URL"]']
    browser_id = "user_properties.fbp"
    [sync.web.custom_data]
    plan = "user_properties.plan"
    [sync.web.user_memory]
    [sync.web.delivery]
    max_batch_delay = "10ms"
    requests_per_second = "unlimited"
"#;

/// The sync takes events with consent only.
const CONSENT: &str = r#"access_token = "test-token"
    where = [{ property = "event_properties.consent", op = "is", value = "true" }]"#;

const FBP: &str = "fb.1.1790000000000.1098115397";

/// A daemon that takes events of SDKs.
async fn start(graph: &Graph, syncs: &str) -> Daemon {
    start_with(graph, syncs, &format!("api_keys = ['{KEY}']")).await
}

async fn start_with(graph: &Graph, syncs: &str, ingest: &str) -> Daemon {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let config = config_text(graph.address, folder.path(), syncs)
        .replace("[queue]", &format!("{ingest}\n[queue]"));
    Daemon::start_on(folder, config).await
}

async fn upload(daemon: &Daemon, events: Value) {
    upload_as(daemon, KEY, events).await;
}

async fn upload_as(daemon: &Daemon, key: &str, events: Value) {
    let body = json!({ "api_key": key, "events": events });
    let (status, answer) = daemon.post_to("/2/httpapi", body.to_string()).await;
    assert_eq!(status, 200, "{answer}");
}

fn track(name: &str, who: &Value) -> Value {
    with(who, &json!({ "event_type": name }))
}

fn identify(who: &Value, operations: &Value) -> Value {
    with(
        who,
        &json!({ "event_type": "$identify", "user_properties": operations }),
    )
}

fn with(who: &Value, more: &Value) -> Value {
    let mut event = who.clone();
    let more = more.as_object().unwrap().clone();
    event.as_object_mut().unwrap().extend(more);
    event
}

fn user(id: &str) -> Value {
    json!({ "user_id": id })
}

fn device(id: &str) -> Value {
    json!({ "device_id": id })
}

fn both(user: &str, device: &str) -> Value {
    json!({ "user_id": user, "device_id": device })
}

fn hashed(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

fn now() -> i64 {
    SystemClock.now().0
}

/// The events of a name that Meta received, once this many have arrived in all.
async fn delivered(graph: &Graph, daemon: &Daemon, all: u32, name: &str) -> Vec<Value> {
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], all.into())
        .await;
    let accepted = graph.accepted().into_iter();
    accepted
        .filter(|event| event["event_name"] == name)
        .collect()
}

#[tokio::test]
async fn an_identify_serves_later_events_in_the_same_batch_and_in_another() {
    let graph = Graph::start().await;
    let daemon = start(&graph, SYNC).await;
    let who = both("user-1", "device-1");
    let traits = json!({ "$set": { "email": "Pat@Example.com", "phone": "+1 650 555 1212" } });
    upload(
        &daemon,
        json!([
            track("Before", &who),
            identify(&who, &traits),
            track("Same", &who)
        ]),
    )
    .await;
    upload(&daemon, json!([track("Other", &who)])).await;
    upload(
        &daemon,
        json!([track("Stranger", &both("user-2", "device-2"))]),
    )
    .await;
    let email = json!(hashed("pat@example.com"));
    let phone = json!(hashed("16505551212"));
    for name in ["Same", "Other"] {
        let events = delivered(&graph, &daemon, 4, name).await;
        assert_eq!(events[0]["user_data"]["em"], email, "{name}");
        assert_eq!(events[0]["user_data"]["ph"], phone, "{name}");
    }
    for name in ["Before", "Stranger"] {
        let events = delivered(&graph, &daemon, 4, name).await;
        assert_eq!(events[0]["user_data"]["em"], Value::Null, "{name}");
    }
    // The identify is counted as it always was.
    let filtered = daemon
        .metric("pixel_relay_outcomes_total", &["user_payload"])
        .await;
    assert_eq!(filtered, 1.0);
    assert_eq!(
        daemon.metric("pixel_relay_user_memory_profiles", &[]).await,
        2.0
    );
    daemon.stop().await;
}

#[tokio::test]
async fn without_the_table_nothing_is_remembered() {
    let graph = Graph::start().await;
    let daemon = start(&graph, &SYNC.replace("[sync.web.user_memory]", "")).await;
    let who = user("user-1");
    let traits = json!({ "$set": { "email": "pat@example.com" } });
    upload(&daemon, json!([identify(&who, &traits), track("A", &who)])).await;
    let events = delivered(&graph, &daemon, 1, "A").await;
    assert_eq!(events[0]["user_data"]["em"], Value::Null);
    assert_eq!(
        daemon.metric("pixel_relay_user_memory_profiles", &[]).await,
        0.0
    );
    daemon.stop().await;
}

#[tokio::test]
async fn the_identify_api_feeds_it() {
    let graph = Graph::start().await;
    let daemon = start(&graph, SYNC).await;
    let identification =
        json!([{ "user_id": "user-1", "user_properties": { "email": "pat@example.com" } }]);
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("api_key", KEY)
        .append_pair("identification", &identification.to_string())
        .finish();
    let answer = client()
        .post(format!("{}/identify", daemon.url))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.text().await.unwrap(), "success");
    upload(&daemon, json!([track("A", &user("user-1"))])).await;
    let events = delivered(&graph, &daemon, 1, "A").await;
    assert_eq!(
        events[0]["user_data"]["em"],
        json!(hashed("pat@example.com"))
    );
    daemon.stop().await;
}

#[tokio::test]
async fn the_webhook_takes_part_only_where_it_is_told_to() {
    let graph = Graph::start().await;
    for (webhook, expected) in [
        (false, Value::Null),
        (true, json!(hashed("pat@example.com"))),
    ] {
        let table = format!("[sync.web.user_memory]\nwebhook = {webhook}");
        let daemon = start(&graph, &SYNC.replace("[sync.web.user_memory]", &table)).await;
        let name = format!("Webhook {webhook}");
        let payload =
            json!({ "user_id": "user-1", "user_properties": { "email": "pat@example.com" } });
        let event = json!({
            "event_type": name, "event_time": now_text(), "$insert_id": name, "user_id": "user-1",
        });
        assert_eq!(daemon.post(payload.to_string()).await.0, 200);
        assert_eq!(daemon.post(event.to_string()).await.0, 200);
        let events = delivered(&graph, &daemon, 1, &name).await;
        assert_eq!(events[0]["user_data"]["em"], expected);
        daemon.stop().await;
    }
}

#[tokio::test]
async fn a_device_that_becomes_a_user_keeps_its_click_and_another_user_gets_nothing() {
    let graph = Graph::start().await;
    let daemon = start(&graph, SYNC).await;
    let landed = now() - 60_000;
    let browser = json!({
        "device_id": "device-1", "ip": "203.0.113.9", "user_agent": "Mozilla/5.0", "time": landed,
        "event_properties": { "[Amplitude] Page URL": "https://x.de/?fbclid=AbC" },
        "user_properties": { "$set": { "fbp": FBP } },
    });
    upload(&daemon, json!([track("Landed", &browser)])).await;
    let known = both("user-1", "device-1");
    let traits = json!({ "$set": { "email": "pat@example.com" } });
    upload(&daemon, json!([identify(&known, &traits)])).await;
    // A server knows only the user; its own address is not the person's.
    upload(&daemon, json!([track("Paid", &user("user-1"))])).await;
    upload(&daemon, json!([track("Anonymous", &device("device-1"))])).await;
    let mut from_server = track("Own address", &user("user-1"));
    from_server["ip"] = json!("198.51.100.1");
    upload(&daemon, json!([from_server])).await;
    upload(
        &daemon,
        json!([track("Other", &both("user-2", "device-1"))]),
    )
    .await;
    upload(
        &daemon,
        json!([track("Anonymous again", &device("device-1"))]),
    )
    .await;
    upload(&daemon, json!([track("Still", &user("user-1"))])).await;
    let fbc = format!("fb.1.{landed}.AbC");
    for name in ["Paid", "Anonymous", "Still"] {
        let data = delivered(&graph, &daemon, 6, name).await[0]["user_data"].clone();
        assert_eq!(data["fbc"], json!(fbc), "{name}");
        assert_eq!(data["fbp"], FBP, "{name}");
        assert_eq!(data["em"], json!(hashed("pat@example.com")), "{name}");
        assert_eq!(data["client_ip_address"], "203.0.113.9", "{name}");
        assert_eq!(data["client_user_agent"], "Mozilla/5.0", "{name}");
    }
    let own = delivered(&graph, &daemon, 6, "Own address").await[0]["user_data"].clone();
    assert_eq!(own["client_ip_address"], "198.51.100.1");
    assert_eq!(own["client_user_agent"], Value::Null);
    let other = delivered(&graph, &daemon, 6, "Other").await[0]["user_data"].clone();
    let fields: BTreeSet<_> = other.as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields, BTreeSet::from(["external_id".to_owned()]));
    // Without anything of the other user there is nobody to match: Meta would refuse it.
    let nobody = delivered(&graph, &daemon, 6, "Anonymous again").await;
    assert_eq!(nobody.len(), 0);
    daemon.stop().await;
}

#[tokio::test]
async fn a_click_keeps_its_first_time_until_another_or_a_cookie_comes() {
    let graph = Graph::start().await;
    let daemon = start(&graph, SYNC).await;
    let who = both("user-1", "device-1");
    let first = now() - 3_600_000;
    let clicked = |name: &str, time: i64, operations: Value| {
        let mut event = track(name, &who);
        event["time"] = json!(time);
        event["user_properties"] = operations;
        event
    };
    upload(
        &daemon,
        json!([clicked(
            "First",
            first,
            json!({ "$set": { "fbclid": "One" } })
        )]),
    )
    .await;
    let daemon = daemon.restart().await;
    let unset = json!({ "$unset": { "fbclid": "-" } });
    let cookie = format!("fb.1.{}.Two", first + 2);
    upload(
        &daemon,
        json!([
            clicked(
                "Again",
                first + 1000,
                json!({ "$set": { "fbclid": "One" } })
            ),
            clicked("Unset", first + 2000, unset),
            clicked("Next", first + 3000, json!({ "$set": { "fbclid": "Two" } })),
            clicked("Late", first + 500, json!({ "$set": { "fbclid": "Lost" } })),
            clicked("After", first + 4000, json!({})),
            clicked("Cookie", first + 5000, json!({ "$set": { "fbc": cookie } })),
            clicked(
                "End",
                first + 6000,
                json!({ "$set": { "fbclid": "Two" }, "$unset": { "fbc": "-" } })
            ),
        ]),
    )
    .await;
    let one = format!("fb.1.{first}.One");
    let two = format!("fb.1.{}.Two", first + 3000);
    let lost = format!("fb.1.{}.Lost", first + 500);
    for (name, fbc) in [
        ("First", &one),
        ("Again", &one),
        ("Unset", &one),
        ("Next", &two),
        ("Late", &lost),
        ("After", &two),
        ("Cookie", &cookie),
        ("End", &cookie),
    ] {
        let events = delivered(&graph, &daemon, 8, name).await;
        assert_eq!(events[0]["user_data"]["fbc"], json!(fbc), "{name}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn what_was_answered_is_remembered_although_the_daemon_is_killed() {
    let graph = Graph::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pixel-relay.toml");
    let config = config_text(graph.address, &folder.path().join("store"), SYNC);
    let keys = format!("api_keys = ['{KEY}']\n[queue]");
    std::fs::write(&file, config.replace("[queue]", &keys)).unwrap();
    let who = both("user-1", "device-1");
    let send = async |daemon: &DaemonProcess, event: Value| {
        let body = json!({ "api_key": KEY, "events": [event] }).to_string();
        let url = format!("{}/2/httpapi", daemon.public);
        let answer = client().post(url).body(body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    };
    let mut expected = Vec::new();
    for round in 0..4 {
        let daemon = DaemonProcess::start(&file);
        let clicked = now() - 60_000 + round;
        let mut landed = identify(
            &who,
            &json!({ "$set": { "fbclid": format!("Click{round}") } }),
        );
        landed["time"] = json!(clicked);
        send(&daemon, landed).await;
        expected.push(format!("fb.1.{clicked}.Click{round}"));
        daemon.kill();
        let daemon = DaemonProcess::start(&file);
        send(&daemon, track(&format!("E{round}"), &user("user-1"))).await;
        daemon.kill();
    }
    let daemon = DaemonProcess::start(&file);
    // An event under way at a kill may arrive twice.
    let arrived = |round: usize| {
        let mut events = graph.accepted().into_iter();
        events.find(|event| event["event_name"] == format!("E{round}"))
    };
    let all_arrived = async {
        while (0..expected.len()).any(|round| arrived(round).is_none()) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let limit = std::time::Duration::from_secs(60);
    tokio::time::timeout(limit, all_arrived).await.unwrap();
    for (round, fbc) in expected.iter().enumerate() {
        let event = arrived(round).unwrap();
        assert_eq!(event["user_data"]["fbc"], json!(fbc), "{round}");
    }
    daemon.kill();
}

#[tokio::test]
async fn a_key_that_is_bound_to_a_sync_reaches_no_other_memory() {
    let graph = Graph::start().await;
    let syncs = format!("{SYNC}{}", SYNC.replace("sync.web", "sync.app"));
    let other = "f".repeat(32);
    let ingest = format!(
        "api_keys = [{{ key = '{KEY}', syncs = ['web'] }}, {{ key = '{other}', syncs = ['app'] }}]"
    );
    let daemon = start_with(&graph, &syncs, &ingest).await;
    let who = user("user-1");
    let traits = json!({ "$set": { "email": "pat@example.com" } });
    upload(&daemon, json!([identify(&who, &traits)])).await;
    upload_as(&daemon, &other, json!([track("A", &who)])).await;
    let events = delivered(&graph, &daemon, 1, "A").await;
    assert_eq!(events[0]["user_data"]["em"], Value::Null);
    daemon.stop().await;
}

/// Every byte of the files of a folder.
fn bytes(folder: &Path) -> Vec<u8> {
    let files = std::fs::read_dir(folder).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    paths
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("queue"))
        })
        .flat_map(|path| std::fs::read(path).unwrap())
        .collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

#[tokio::test]
async fn nothing_raw_is_on_the_disk_but_what_is_kept_as_it_came() {
    let graph = Graph::start().await;
    let table = "[sync.web.user_memory]\nkeep_as_is = [\"plan\"]";
    let daemon = start(&graph, &SYNC.replace("[sync.web.user_memory]", table)).await;
    let traits = json!({ "$set": {
        "email": "pat@example.com", "phone": "+16505551212", "plan": "gold-plan", "secret": "hidden-one",
    } });
    upload(
        &daemon,
        json!([identify(&both("user-plain", "device-plain"), &traits)]),
    )
    .await;
    let folder = Arc::clone(&daemon.folder);
    let check = || {
        let bytes = bytes(folder.path());
        assert!(holds(&bytes, &hashed("pat@example.com")));
        assert!(holds(&bytes, "gold-plan"));
        for raw in [
            "pat@example",
            "5551212",
            "user-plain",
            "device-plain",
            "hidden-one",
        ] {
            assert!(!holds(&bytes, raw), "{raw}");
        }
    };
    check();
    daemon.stop().await;
    check();
}

#[tokio::test]
async fn a_person_is_forgotten_by_id_and_by_address() {
    let graph = Graph::start().await;
    for (at, arguments) in [["--external-id", "user-1"], ["--email", "Pat@example.com"]]
        .into_iter()
        .enumerate()
    {
        let daemon = start(&graph, SYNC).await;
        let traits = json!({ "$set": { "email": "pat@example.com" } });
        upload(
            &daemon,
            json!([identify(&both("user-1", "device-1"), &traits)]),
        )
        .await;
        let others = json!({ "$set": { "email": "else@example.com" } });
        upload(&daemon, json!([identify(&user("user-2"), &others)])).await;
        let config = daemon.config_file();
        let ran = tokio::task::spawn_blocking(move || {
            command(&config, &[&["forget"][..], &arguments].concat(), b"")
        })
        .await
        .unwrap();
        assert_eq!(ran.row()["profiles"], 2);
        let bytes = bytes(daemon.folder.path());
        let web = pixel_relay::config::SyncName::new("web").unwrap();
        for gone in [
            ProfileKey::user(&web, "user-1"),
            ProfileKey::device(&web, "device-1"),
        ] {
            assert!(memchr::memmem::find(&bytes, gone.as_bytes()).is_none());
        }
        assert!(!holds(&bytes, &hashed("pat@example.com")));
        assert!(holds(&bytes, &hashed("else@example.com")));
        let name = format!("Forgotten {at}");
        upload(&daemon, json!([track(&name, &user("user-1"))])).await;
        let events = delivered(&graph, &daemon, 1, &name).await;
        assert_eq!(events[0]["user_data"]["em"], Value::Null);
        daemon.stop().await;
    }
}

#[test]
fn the_map_command_remembers_from_line_to_line_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pixel-relay.toml");
    let nowhere = "127.0.0.1:9".parse().unwrap();
    std::fs::write(&file, config_text(nowhere, folder.path(), SYNC)).unwrap();
    let who = both("user-1", "device-1");
    let mut bought = track("Bought", &who);
    bought["time"] = json!(now());
    let traits = json!({ "$set": { "email": "pat@example.com", "fbclid": "One" } });
    let mut told = identify(&who, &traits);
    told["time"] = json!(now() - 60_000);
    let input = format!("{told}\n{bought}\n");
    let ran = command(&file, &["map", "--explain"], input.as_bytes());
    let rows = ran.rows();
    assert_eq!(rows[0]["reason"], "user_payload");
    assert_eq!(
        rows[1]["event"]["user_data"]["em"],
        json!(hashed("pat@example.com"))
    );
    let explained = rows[1]["explain"].as_array().unwrap();
    let from = |field: &str| {
        let mut rows = explained.iter();
        rows.find(|row| row["field"] == field).unwrap()["from"].clone()
    };
    assert_eq!(from("user_data.em"), "remembered user_properties.email");
    assert_eq!(from("user_data.fbc"), "remembered click");
    let ran = command(&file, &["map"], input.as_bytes());
    assert_eq!(ran.rows()[1]["event"], rows[1]["event"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_browser_sends_is_not_kept_without_consent() {
    let graph = Graph::start().await;
    let syncs = SYNC.replace("access_token = \"test-token\"", CONSENT);
    let daemon = start(&graph, &syncs).await;
    for (who, consent) in [("reluctant-1", "false"), ("willing-1", "true")] {
        let page = "https://shop.example.com/?fbclid=IwAR0consent";
        let visit = json!({
            "event_type": "Visit", "ip": "203.0.113.7", "user_agent": "Mozilla/5.0 (Consent)",
            "event_properties": { "[Amplitude] Page URL": page, "consent": consent },
        });
        let order = json!({ "event_type": "Order", "event_properties": { "consent": "true" } });
        upload(&daemon, json!([with(&user(who), &visit)])).await;
        upload(&daemon, json!([with(&user(who), &order)])).await;
    }
    let orders = delivered(&graph, &daemon, 3, "Order").await;
    let kept: BTreeSet<(String, bool, bool)> = orders
        .iter()
        .map(|order| {
            let user_data = &order["user_data"];
            let id = user_data["external_id"].to_string();
            (
                id,
                user_data["fbc"].is_string(),
                user_data["client_user_agent"].is_string(),
            )
        })
        .collect();
    let expected = [("reluctant-1", false), ("willing-1", true)]
        .map(|(who, is_kept)| (json!(hashed(who)).to_string(), is_kept, is_kept));
    assert_eq!(kept, BTreeSet::from(expected));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_that_comes_in_the_same_request_keeps_what_comes_with_it_and_nothing_before() {
    let graph = Graph::start().await;
    let syncs = SYNC.replace("access_token = \"test-token\"", CONSENT);
    let daemon = start(&graph, &syncs).await;
    let visit = |page: &str, consent: &str| {
        let page = format!("https://shop.example.com/?fbclid={page}");
        json!({
            "event_type": "Visit", "ip": "203.0.113.7", "user_agent": "Mozilla/5.0 (Consent)",
            "event_properties": { "[Amplitude] Page URL": page, "consent": consent },
        })
    };
    let order = json!({ "event_type": "Order", "event_properties": { "consent": "true" } });
    let (before, after) = (user("before-1"), user("after-1"));
    let refused = visit("IwAR0refused", "false");
    let same = visit("IwAR0refused", "true");
    let batch = [with(&before, &refused), with(&before, &order)];
    upload(&daemon, json!(batch)).await;
    let batch = [with(&after, &refused), with(&after, &same)];
    upload(&daemon, json!(batch)).await;
    upload(&daemon, json!([with(&after, &order)])).await;
    let orders = delivered(&graph, &daemon, 3, "Order").await;
    let kept: BTreeSet<(String, bool)> = orders
        .iter()
        .map(|order| &order["user_data"])
        .map(|data| (data["external_id"].to_string(), data["fbc"].is_string()))
        .collect();
    let expected = [("before-1", false), ("after-1", true)]
        .map(|(who, is_kept)| (json!(hashed(who)).to_string(), is_kept));
    assert_eq!(kept, BTreeSet::from(expected));
    daemon.stop().await;
}
