//! Consent, and every other condition on a person's properties: for every form of a property, at every
//! endpoint, with and without user memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};

use forms::{FORMS, Form, Is, OPERATORS};

use crate::process::run;
use crate::support::{Daemon, Graph, client, config_text, now_text};

mod forms;
mod remembering;

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// One sync for each operator, remembering or not. Each event says which sync sent it.
fn syncs() -> String {
    let mut syncs = String::new();
    for (place, (operator, value, _)) in OPERATORS.iter().enumerate() {
        let value = match *value {
            "" => String::new(),
            value => format!(", value = '{value}'"),
        };
        for (name, memory) in [
            ("alone", ""),
            (
                "memory",
                "\nwebhook = true\nkeep_as_is = ['ads']\nmax_bytes = '16MiB'\n",
            ),
        ] {
            let name = format!("{name}{place}");
            let key = if is_consent(place) {
                "consent"
            } else {
                "where"
            };
            writeln!(
                syncs,
                "[sync.{name}]\npixel_id = '1001'\naccess_token = 'test-token'\n\
                 {key} = [{{ property = 'user_properties.ads', op = '{operator}'{value} }}]\n\
                 [sync.{name}.custom_data]\nsync = {{ constant = '{name}' }}\n\
                 [sync.{name}.delivery]\nmax_batch_delay = '10ms'\nrequests_per_second = 'unlimited'"
            )
            .unwrap();
            if !memory.is_empty() {
                writeln!(syncs, "[sync.{name}.user_memory]{memory}").unwrap();
            }
        }
    }
    syncs
}

const ENDPOINTS: [&str; 5] = ["webhook", "httpapi", "batch", "legacy", "old json"];

/// Whether a sync sends an event, by the tables.
fn expected((.., alone, remembered): &Form, place: usize, remembers: bool) -> bool {
    let (name, _, operator) = OPERATORS[place];
    let is_of_all = name.contains("not") || name == "set is";
    let may_be = if remembers { remembered } else { alone };
    may_be.iter().all(|is| match is {
        Is::Unknown => !is_of_all || !is_consent(place),
        Is::Cut => !is_of_all,
        seen => operator.contains(seen),
    })
}

/// Half of the operators stand in `consent`, half in `where`; both read readable properties alike.
const fn is_consent(place: usize) -> bool {
    place.is_multiple_of(2)
}

fn parsed(properties: &str) -> Value {
    serde_json::from_str(properties).unwrap()
}

fn event(name: &str, user: &str, properties: &Value) -> Value {
    json!({ "event_type": name, "user_id": user, "insert_id": name, "user_properties": properties })
}

/// Sends events to an endpoint, which must accept each request.
async fn send(daemon: &Daemon, endpoint: &str, events: &[Value]) {
    let upload = json!({ "api_key": KEY, "events": events }).to_string();
    let form = |fields: [(&str, &str); 2]| {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields).finish()
    };
    let events = Value::from(events);
    let (path, content_type, body) = match endpoint {
        "webhook" => {
            let mut events = events;
            for event in events.as_array_mut().unwrap() {
                event["event_time"] = json!(now_text());
            }
            assert_eq!(daemon.post(events.to_string()).await.0, 200);
            return;
        }
        "httpapi" => ("/2/httpapi", "application/json", upload),
        "batch" => ("/batch", "application/json", upload),
        "old json" => ("/", "application/json", upload),
        "identify" => (
            "/identify",
            "application/x-www-form-urlencoded",
            form([("api_key", KEY), ("identification", &events.to_string())]),
        ),
        _ => (
            "/",
            "application/x-www-form-urlencoded",
            form([("client", KEY), ("e", &events.to_string())]),
        ),
    };
    let request = client().post(format!("{}{path}", daemon.url));
    let request = request.header("content-type", content_type).body(body);
    let answer = request.send().await.unwrap();
    assert_eq!(
        answer.status(),
        200,
        "{endpoint}: {:?}",
        answer.text().await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operator_reads_every_form_at_every_endpoint_with_memory_and_without() {
    let graph = Graph::start().await;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let keys = format!("api_keys = ['{KEY}']\naddress_requests_per_second = 'unlimited'\n[queue]");
    let config = config_text(graph.address, folder.path(), &syncs()).replace("[queue]", &keys);
    let daemon = Daemon::start_on(folder, config).await;
    let mut sent = BTreeSet::new();
    for endpoint in ENDPOINTS {
        let user = |name: &str| format!("user of {name} at {endpoint}");
        let told_before = FORMS.iter().filter(|(_, before, ..)| !before.is_empty());
        let identifies: Vec<Value> = told_before
            .map(|(name, before, ..)| {
                json!({ "user_id": user(name), "user_properties": parsed(before) })
            })
            .collect();
        send(&daemon, "identify", &identifies).await;
        let events: Vec<Value> = FORMS
            .iter()
            .map(|(name, _, properties, ..)| {
                event(
                    &format!("{name} at {endpoint}"),
                    &user(name),
                    &parsed(properties),
                )
            })
            .collect();
        send(&daemon, endpoint, &events).await;
        for form in FORMS {
            for place in 0..OPERATORS.len() {
                for (sync, remembers) in [("alone", false), ("memory", true)] {
                    if expected(form, place, remembers) {
                        sent.insert((
                            format!("{} at {endpoint}", form.0),
                            format!("{sync}{place}"),
                        ));
                    }
                }
            }
        }
    }
    let taken = daemon.metric("pixel_relay_events_taken_total", &[]).await;
    let outcomes = "pixel_relay_outcomes_total";
    let filtered = daemon.metric(outcomes, &["\"filtered\""]).await;
    daemon
        .until(outcomes, &["\"delivered\""], taken - filtered)
        .await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found: BTreeSet<_> = graph
        .accepted()
        .iter()
        .map(|event| {
            (
                text(&event["event_name"]),
                text(&event["custom_data"]["sync"]),
            )
        })
        .collect();
    let wrongly_sent: Vec<_> = found.difference(&sent).map(describe).collect();
    let wrongly_kept: Vec<_> = sent.difference(&found).map(describe).collect();
    assert!(
        wrongly_sent.is_empty() && wrongly_kept.is_empty(),
        "sent: {wrongly_sent:#?}\nnot sent: {wrongly_kept:#?}"
    );
    daemon.stop().await;
}

/// A case, for people.
fn describe((event, sync): &(String, String)) -> String {
    let place: usize = sync
        .trim_start_matches(char::is_alphabetic)
        .parse()
        .unwrap();
    let (operator, value, _) = OPERATORS[place];
    format!("{event}: {operator} {value:?} ({sync})")
}

#[test]
fn the_commands_read_every_form_alike() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pixel-relay.toml");
    std::fs::write(&file, format!("[ingest]\nsecret = 's'\n{}", syncs())).unwrap();
    let config = file.to_str().unwrap();
    let forms: Vec<&Form> = FORMS
        .iter()
        .filter(|(_, before, ..)| before.is_empty())
        .collect();
    let mut input = String::new();
    for (name, _, properties, ..) in &forms {
        let mut event = event(name, &format!("user of {name}"), &parsed(properties));
        event["event_time"] = json!(now_text());
        writeln!(input, "{event}").unwrap();
    }
    let expected_of = |sync: &str, form: &Form, remembers: bool| {
        let place: usize = sync
            .trim_start_matches(char::is_alphabetic)
            .parse()
            .unwrap();
        expected(form, place, remembers)
    };

    let output = run(&["map", "--config", config], &[], &input);
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), forms.len() * OPERATORS.len() * 2);
    for (line, form) in lines
        .chunks(OPERATORS.len() * 2)
        .zip(&forms)
        .flat_map(|(lines, form)| lines.iter().map(move |line| (line, form)))
    {
        let sync = line["sync"].as_str().unwrap();
        let mapped = line["outcome"] == "mapped";
        let remembers = sync.starts_with("memory");
        assert_eq!(
            mapped,
            expected_of(sync, form, remembers),
            "{}: {line}",
            form.0
        );
    }

    // Backfill has no user memory.
    let export = folder.path().join("export.json");
    std::fs::write(&export, &input).unwrap();
    let export = export.to_str().unwrap();
    let arguments = [
        "backfill",
        "--dry-run",
        "--json",
        "--config",
        config,
        export,
    ];
    let output = run(&arguments, &[], "");
    let report = String::from_utf8(output.stdout).unwrap();
    let rows = report
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut mapped: BTreeMap<String, u64> = BTreeMap::new();
    for row in rows {
        *mapped
            .entry(row["sync"].as_str().unwrap().to_owned())
            .or_default() += row["mapped"].as_u64().unwrap();
    }
    for (place, (operator, ..)) in OPERATORS.iter().enumerate() {
        for name in ["alone", "memory"] {
            let sync = format!("{name}{place}");
            let wanted = forms.iter().filter(|form| expected_of(&sync, form, false));
            let found = mapped.get(&sync).copied().unwrap_or_default();
            assert_eq!(found, wanted.count() as u64, "{operator}: {report}");
        }
    }
}
