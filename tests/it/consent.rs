//! Consent, and every other condition on a person's properties: whatever the form in which an event
//! tells of them, the door by which it comes, and whether the sync remembers people.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::process::run;
use crate::support::{Daemon, Graph, client, config_text, now_text};

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// What a property may be, by the reader's view of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Absent,
    Denied,
    Granted,
    Five,
}
use Is::{Absent, Denied, Five, Granted};

/// Every operator with its value, and of which properties it holds.
const OPERATORS: [(&str, &str, &[Is]); 18] = [
    ("is", "denied", &[Denied]),
    ("is not", "denied", &[Absent, Granted, Five]),
    ("contains", "ENIE", &[Denied]),
    ("does not contain", "ENIE", &[Absent, Granted, Five]),
    ("starts with", "Den", &[Denied]),
    ("does not start with", "Den", &[Absent, Granted, Five]),
    ("less", "e", &[Denied]),
    ("less or equal", "denied", &[Denied]),
    ("greater", "e", &[Granted]),
    ("greater or equal", "5", &[Five]),
    ("is set", "", &[Denied, Granted, Five]),
    ("is not set", "", &[Absent]),
    ("set is", "denied", &[Denied]),
    ("set is not", "denied", &[Absent, Granted, Five]),
    ("set contains", "denied", &[Denied]),
    ("set does not contain", "denied", &[Absent, Granted, Five]),
    ("glob match", "den*", &[Denied]),
    ("glob does not match", "den*", &[Absent, Granted, Five]),
];

/// A form in which an event tells of the property `ads`.
struct Form {
    name: &'static str,
    /// What an identify call told before.
    before: Value,
    properties: Value,
    /// What the property may be by the event alone: a condition holds only if it holds of each.
    alone: &'static [Is],
    /// What it is where people are remembered.
    remembered: &'static [Is],
}

fn forms() -> Vec<Form> {
    let mut forms = Vec::new();
    let mut add = |name, before: Value, properties: Value, alone, remembered| {
        forms.push(Form {
            name,
            before,
            properties,
            alone,
            remembered,
        });
    };
    let ads = |value: &str| json!({ "ads": value });
    let by = |operation: &str, value: Value| json!({ operation: { "ads": value } });
    let nothing = Value::Null;
    add("none", nothing.clone(), json!({}), &[Absent], &[Absent]);
    add(
        "plain",
        nothing.clone(),
        ads("denied"),
        &[Denied],
        &[Denied],
    );
    add(
        "plain yes",
        nothing.clone(),
        ads("granted"),
        &[Granted],
        &[Granted],
    );
    add(
        "set",
        nothing.clone(),
        by("$set", json!("denied")),
        &[Denied],
        &[Denied],
    );
    add(
        "set yes",
        nothing.clone(),
        by("$set", json!("granted")),
        &[Granted],
        &[Granted],
    );
    add(
        "set list",
        nothing.clone(),
        by("$set", json!(["denied"])),
        &[Denied],
        &[Denied],
    );
    add(
        "set text",
        nothing.clone(),
        json!({ "$set": "{\"ads\":\"denied\"}" }),
        &[Denied],
        &[Denied],
    );
    add(
        "beside",
        nothing.clone(),
        json!({ "$add": { "n": 1 }, "ads": "denied" }),
        &[Denied],
        &[Denied],
    );
    // Both cannot be right, and none hides the other. What is remembered is what `$set` says.
    add(
        "both",
        nothing.clone(),
        json!({ "$set": { "ads": "granted" }, "ads": "denied" }),
        &[Granted, Denied],
        &[Granted, Denied],
    );
    add(
        "once",
        nothing.clone(),
        by("$setOnce", json!("denied")),
        &[Denied, Absent],
        &[Denied],
    );
    add(
        "once yes",
        nothing.clone(),
        by("$setOnce", json!("granted")),
        &[Granted, Absent],
        &[Granted],
    );
    add(
        "once and set",
        nothing.clone(),
        json!({ "$setOnce": { "ads": "granted" }, "$set": { "ads": "denied" } }),
        &[Denied],
        &[Denied],
    );
    for operation in ["$append", "$prepend", "$preInsert", "$postInsert"] {
        let one = by(operation, json!("denied"));
        add(operation, nothing.clone(), one, &[Denied], &[Denied]);
        let name = match operation {
            "$append" => "append list",
            "$prepend" => "prepend list",
            "$preInsert" => "preInsert list",
            _ => "postInsert list",
        };
        let list = by(operation, json!(["denied"]));
        add(name, nothing.clone(), list, &[Denied], &[Denied]);
    }
    add(
        "add",
        nothing.clone(),
        by("$add", json!(5)),
        &[Absent],
        &[Five],
    );
    add(
        "unset",
        nothing.clone(),
        by("$unset", json!("-")),
        &[Absent],
        &[Absent],
    );
    add(
        "remove",
        nothing.clone(),
        by("$remove", json!("denied")),
        &[Absent],
        &[Absent],
    );
    add(
        "clear",
        nothing.clone(),
        json!({ "$clearAll": "-" }),
        &[Absent],
        &[Absent],
    );
    add(
        "unset and set",
        nothing.clone(),
        json!({ "$unset": { "ads": "-" }, "$set": { "ads": "denied" } }),
        &[Denied],
        &[Denied],
    );
    add(
        "clear and set",
        nothing,
        json!({ "$clearAll": "-", "$set": { "ads": "denied" } }),
        &[Denied],
        &[Denied],
    );
    // What an earlier call told counts where people are remembered, and nowhere else.
    let no = json!({ "$set": { "ads": "denied" } });
    add("later", no.clone(), json!({}), &[Absent], &[Denied]);
    add(
        "later once",
        no.clone(),
        by("$setOnce", json!("granted")),
        &[Granted, Absent],
        &[Denied],
    );
    add(
        "later set",
        no.clone(),
        by("$set", json!("granted")),
        &[Granted],
        &[Granted],
    );
    add(
        "later unset",
        no.clone(),
        by("$unset", json!("-")),
        &[Absent],
        &[Absent],
    );
    add(
        "later remove",
        no.clone(),
        by("$remove", json!("denied")),
        &[Absent],
        &[Absent],
    );
    add(
        "later clear",
        no,
        json!({ "$clearAll": "-" }),
        &[Absent],
        &[Absent],
    );
    forms
}

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
            // Half of the operators stand in `consent`, half in `where`: both read alike.
            let key = if place % 2 == 0 { "consent" } else { "where" };
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

const DOORS: [&str; 5] = ["webhook", "httpapi", "batch", "legacy", "old json"];

/// Which of them a sync sends, by the table.
fn expected(form: &Form, operator: &[Is], remembers: bool) -> bool {
    let may_be = if remembers {
        form.remembered
    } else {
        form.alone
    };
    may_be.iter().all(|is| operator.contains(is))
}

fn event(name: &str, user: &str, properties: &Value) -> Value {
    json!({ "event_type": name, "user_id": user, "insert_id": name, "user_properties": properties })
}

/// Sends events by a door; each request must be taken.
async fn send(daemon: &Daemon, door: &str, events: &[Value]) {
    let upload = json!({ "api_key": KEY, "events": events }).to_string();
    let form = |fields: [(&str, &str); 2]| {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields).finish()
    };
    let events = Value::from(events);
    let (path, content_type, body) = match door {
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
    assert_eq!(answer.status(), 200, "{door}: {:?}", answer.text().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operator_reads_every_form_at_every_door_with_memory_and_without() {
    let graph = Graph::start().await;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let keys = format!("api_keys = ['{KEY}']\naddress_requests_per_second = 'unlimited'\n[queue]");
    let config = config_text(graph.address, folder.path(), &syncs()).replace("[queue]", &keys);
    let daemon = Daemon::start_on(folder, config).await;
    let forms = forms();
    let mut sent = BTreeSet::new();
    for door in DOORS {
        let user = |form: &Form| format!("user of {} at {door}", form.name);
        let told_before = forms.iter().filter(|form| !form.before.is_null());
        let identifies: Vec<Value> = told_before
            .map(|form| json!({ "user_id": user(form), "user_properties": form.before }))
            .collect();
        send(&daemon, "identify", &identifies).await;
        let events: Vec<Value> = forms
            .iter()
            .map(|form| {
                event(
                    &format!("{} at {door}", form.name),
                    &user(form),
                    &form.properties,
                )
            })
            .collect();
        send(&daemon, door, &events).await;
        for form in &forms {
            for (place, (_, _, operator)) in OPERATORS.iter().enumerate() {
                for (name, remembers) in [("alone", false), ("memory", true)] {
                    if expected(form, operator, remembers) {
                        sent.insert((format!("{} at {door}", form.name), format!("{name}{place}")));
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
    let forms: Vec<Form> = forms()
        .into_iter()
        .filter(|form| form.before.is_null())
        .collect();
    let mut input = String::new();
    for form in &forms {
        let mut event = event(
            form.name,
            &format!("user of {}", form.name),
            &form.properties,
        );
        event["event_time"] = json!(now_text());
        writeln!(input, "{event}").unwrap();
    }
    let expected_of = |sync: &str, form: &Form, remembers: bool| {
        let place: usize = sync
            .trim_start_matches(char::is_alphabetic)
            .parse()
            .unwrap();
        expected(form, OPERATORS[place].2, remembers)
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
            form.name
        );
    }

    // Backfill never remembers.
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

#[tokio::test]
async fn nothing_of_a_person_is_remembered_without_consent() {
    let graph = Graph::start().await;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let syncs = "[sync.web]\npixel_id = '1001'\naccess_token = 'test-token'\n\
        consent = [{ property = 'user_properties.ads', op = 'is', value = 'granted' }]\n\
        [sync.web.user_data]\nemail = 'user_properties.email'\nphone = 'user_properties.phone'\n\
        client_user_agent = 'user_agent'\nclick_id = 'user_properties.fbclid'\n\
        [sync.web.user_memory]\nkeep_as_is = ['ads']\n\
        [sync.web.events]\nBuy = {}\n\
        [sync.web.delivery]\nmax_batch_delay = '10ms'\nrequests_per_second = 'unlimited'\n";
    let keys = format!("api_keys = ['{KEY}']\n[queue]");
    let config = config_text(graph.address, folder.path(), syncs).replace("[queue]", &keys);
    let daemon = Daemon::start_on(folder, config).await;
    let of = |name: &str, properties: Value| {
        json!({
            "event_type": name, "user_id": "user-1", "ip": "203.0.113.9", "user_agent": "Mozilla/5.0",
            "user_properties": properties,
        })
    };
    let mut ids = 0;
    let mut buy = |properties: Value| {
        ids += 1;
        let mut buy = event(&format!("i-{ids}"), "user-1", &properties);
        buy["event_type"] = json!("Buy");
        buy
    };
    let before = [
        of(
            "$identify",
            json!({ "$set": { "email": "pat@example.com", "fbclid": "AbC" } }),
        ),
        of(
            "Not in the table",
            json!({ "$set": { "phone": "+16505551212" } }),
        ),
        of(
            "Buy",
            json!({ "$set": { "ads": "denied", "email": "pat@example.com" } }),
        ),
        buy(json!({})),
    ];
    send(&daemon, "httpapi", &before).await;
    let filtered = daemon
        .metric("pixel_relay_outcomes_total", &["no_consent"])
        .await;
    assert_eq!(filtered, 2.0);
    // With consent, only what is said from now on is there.
    send(
        &daemon,
        "httpapi",
        &[buy(json!({ "$set": { "ads": "granted" } }))],
    )
    .await;
    let known = of("$identify", json!({ "$set": { "phone": "+16505551212" } }));
    send(&daemon, "httpapi", &[known, buy(json!({}))]).await;
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 2.0)
        .await;
    let mut fields: Vec<Vec<String>> = graph
        .accepted()
        .iter()
        .map(|event| {
            event["user_data"]
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect()
        })
        .collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            vec![
                "client_ip_address",
                "client_user_agent",
                "external_id",
                "ph"
            ],
            vec!["external_id"],
        ]
    );
    // What takes away counts without consent.
    let no = of(
        "$identify",
        json!({ "$set": { "ads": "denied" }, "$unset": { "phone": "-" } }),
    );
    let yes = of("$identify", json!({ "$set": { "ads": "granted" } }));
    send(&daemon, "httpapi", &[no, yes, buy(json!({}))]).await;
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 3.0)
        .await;
    let with_phone = graph
        .accepted()
        .iter()
        .filter(|event| event["user_data"]["ph"].is_string())
        .count();
    assert_eq!(with_phone, 1);
    daemon.stop().await;
}
