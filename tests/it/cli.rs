//! The commands, run as an operator runs them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use pixel_relay::sandbox::faults::Faults;
use serde_json::{Value, json};

use crate::process::{program, run};
use crate::support::{Graph, TOKEN, event};

const ONE_PIXEL: &[(&str, &str)] = &[
    ("PIXEL_RELAY__INGEST__SECRET", "Bearer very-secret"),
    ("PIXEL_RELAY__SYNC__WEB__PIXEL_ID", "123456789012345"),
    (
        "PIXEL_RELAY__SYNC__WEB__ACCESS_TOKEN",
        "EAAB-very-secret-token",
    ),
    ("PIXEL_RELAY__SYNC__WEB__CONSENT", "not_required"),
];

#[test]
fn the_environment_alone_is_enough_for_one_pixel() {
    let output = run(&["check"], ONE_PIXEL, "");
    let (data, words) = text(&output);
    assert_eq!(output.status.code(), Some(0), "{words}");
    assert!(data.contains("pixel_id = \"123456789012345\""), "{data}");
    assert!(
        !data.contains("very-secret") && !words.contains("very-secret"),
        "{data}{words}"
    );
    // What is printed is TOML, and every secret stands as redacted.
    let effective: toml::Value = toml::from_str(&data).unwrap();
    assert_eq!(
        effective["sync"]["web"]["access_token"].as_str(),
        Some("[redacted]")
    );
}

/// As `pixel-relay map | head -1` does.
#[test]
fn a_reader_that_closes_the_output_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.ndjson");
    let line = event("one").to_string() + "\n";
    // More than a pipe holds.
    fs::write(&file, line.repeat(10_000)).unwrap();
    let mut child = program()
        .arg("map")
        .envs(ONE_PIXEL.iter().copied())
        .stdin(fs::File::open(&file).unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    assert!(first.contains("user_data"), "{first}");
    let output = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*words), (Some(0), ""));
}

#[test]
fn all_mistakes_are_reported_at_once_by_key_with_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong.toml");
    fs::write(
        &file,
        "[ingest]\nsecret = \"s\"\nheadr = \"X-Key\"\n[sync.web]\npixel_id = \"abc\"\n\
         access_token = \"TOP-SECRET\"\nevent_id = \"event_id\"\n\
         [sync.web.user_data]\nemail = \"USD\"\n[sync.web.delivery]\nmax_batch_events = 1.5\n\
         [sync.web.events.Buy]\nsend_as = \"Purchase\"\n\
         [sync.web.events.Buy.custom_data]\nvalue = \"total\"\n\
         contents = { each = \"event_properties.p\", price = \"price\" }\n\
         [queue]\nduplicate_window = \"1h\"\n",
    )
    .unwrap();
    for command in ["check", "run"] {
        let output = program()
            .args([command, "--config"])
            .arg(&file)
            .output()
            .unwrap();
        let (_, words) = text(&output);
        assert_eq!(output.status.code(), Some(2), "{words}");
        for key in [
            "ingest.headr",
            "sync.web.pixel_id",
            "sync.web.event_id",
            "sync.web.user_data.email",
            "sync.web.delivery.max_batch_events",
            "sync.web.events.Buy.custom_data.currency",
            "sync.web.events.Buy.custom_data.contents",
        ] {
            assert!(words.contains(key), "{key} is missing in:\n{words}");
        }
        assert!(words.contains("warning: queue.duplicate_window"), "{words}");
        let value = words
            .matches("sync.web.events.Buy.custom_data.value")
            .count();
        assert_eq!(value, 1, "what cannot be read is not missing too:\n{words}");
        assert!(!words.contains("TOP-SECRET"), "{words}");
    }
}

#[test]
fn a_missing_file_and_a_broken_file_are_one_clear_line() {
    let output = run(&["check", "--config", "no/such/file.toml"], &[], "");
    let (_, words) = text(&output);
    assert_eq!(output.status.code(), Some(2), "{words}");
    assert!(words.contains("no/such/file.toml"), "{words}");
}

#[test]
fn bad_usage_is_exit_code_2() {
    assert_eq!(run(&["no-such-command"], &[], "").status.code(), Some(2));
    assert_eq!(
        run(&["map", "--now", "yesterday"], ONE_PIXEL, "")
            .status
            .code(),
        Some(2)
    );
    assert_eq!(
        run(&["send-test", "--code", "bad code!"], ONE_PIXEL, "")
            .status
            .code(),
        Some(2)
    );
    assert_eq!(
        run(&["sandbox", "--faults", "no_such_fault"], &[], "")
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn map_writes_one_line_per_event_and_sync_in_input_order() {
    let lines = [
        event("first").to_string(),
        "{\"user_id\":\"u\",\"user_properties\":{}}".to_owned(),
        "not json".to_owned(),
        event("last").to_string(),
    ];
    let output = run(&["map"], ONE_PIXEL, &lines.join("\n"));
    let (data, words) = text(&output);
    assert_eq!(output.status.code(), Some(0), "{words}");
    let rows: Vec<Value> = data
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let outcomes: Vec<_> = rows
        .iter()
        .map(|row| row["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["mapped", "filtered", "invalid", "mapped"]);
    assert_eq!(rows[0]["event"]["event_id"], "first");
    assert_eq!(rows[1]["reason"], "user_payload");
    assert_eq!(rows[2]["reason"], "malformed_json");
    assert!(rows.iter().all(|row| row["sync"] == "web"));
}

#[test]
fn map_takes_events_in_every_form_in_which_they_are_printed() {
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap();
    let events = json!({ "events": [event("three"), event("four")] });
    let input = [
        pretty(&event("one")),
        "{\"event_type\":\"cut off".to_owned(),
        "{\"event_type\":\"Cut\",\"n\":1".to_owned(),
        event("two").to_string(),
        pretty(&events),
        pretty(&json!([event("five")])),
        "[]".to_owned(),
        "{".to_owned(),
    ];
    let output = run(&["map"], ONE_PIXEL, &input.join("\n"));
    let (data, words) = text(&output);
    assert_eq!(output.status.code(), Some(0), "{words}");
    let ends: Vec<String> = data
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            let id = row["event"]["event_id"].as_str();
            id.or(row["reason"].as_str()).unwrap().to_owned()
        })
        .collect();
    let broken = "malformed_json";
    assert_eq!(
        ends,
        [
            "one", broken, broken, "two", "three", "four", "five", broken
        ]
    );
}

#[test]
fn map_explains_each_field() {
    let output = run(&["map", "--explain"], ONE_PIXEL, &event("one").to_string());
    let (data, words) = text(&output);
    assert_eq!(output.status.code(), Some(0), "{words}");
    let row: Value = serde_json::from_str(&data).unwrap();
    let explained = row["explain"].to_string();
    assert!(
        explained.contains("external_id") && explained.contains("user_id"),
        "{explained}"
    );
}

#[test]
fn map_explains_why_an_event_goes_no_further() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pixel-relay.toml");
    fs::write(
        &file,
        "[ingest]\nsecret = \"s\"\n[sync.web]\npixel_id = \"1\"\naccess_token = \"t\"\n\
         consent = [{ property = \"user_properties.ads\", op = \"is not\", value = \"denied\" }]\n\
         where = [{ property = \"user_properties.consent\", op = \"is\", value = true }]\n\
         [sync.web.events.\"Sign Up\"]\n\
         where = [{ property = \"event_properties.plan\", op = \"is set\" }]\n",
    )
    .unwrap();
    let explained = |event: Value| {
        let path = file.to_str().unwrap();
        let input = event.to_string();
        let output = run(&["map", "--explain", "--config", path], &[], &input);
        let row: Value = serde_json::from_str(&text(&output).0).unwrap();
        (row["reason"].clone(), row["explain"].clone())
    };
    assert_eq!(
        explained(json!({"event_type": "Sign Up", "user_properties": {"consent": "false"}})),
        (
            json!("sync_condition"),
            json!([{"field": "where", "from": "user_properties.consent", "type": "string",
                    "missing": "not met: user_properties.consent is \"true\"; it is \"false\""}])
        )
    );
    assert_eq!(
        explained(json!({"event_type": "Sign Up", "user_properties": {"$set": {"ads": "denied"}}})),
        (
            json!("no_consent"),
            json!([{"field": "consent", "from": "user_properties.ads", "type": "string",
                    "missing": "not met: user_properties.ads is not \"denied\"; it is \"denied\""}])
        )
    );
    assert_eq!(
        explained(
            json!({"event_type": "Sign Up", "user_properties": {"$setOnce": {"consent": true}}})
        ),
        (
            json!("sync_condition"),
            json!([{"field": "where", "from": "user_properties.consent",
                    "missing": "not met: user_properties.consent is \"true\"; but for what $setOnce and $set give, it is not set"}])
        )
    );
    assert_eq!(
        explained(json!({"event_type": "Sign Up", "user_properties": {"consent": true}})),
        (
            json!("event_condition"),
            json!([{"field": "where", "from": "event_properties.plan",
                    "missing": "not met: event_properties.plan is set; it is not set"}])
        )
    );
    // Of an event without a time nothing was looked at, so nothing is called unmapped.
    assert_eq!(
        explained(json!({
            "event_type": "Sign Up", "event_time": "soon", "user_id": "u-1",
            "user_properties": {"consent": true}, "event_properties": {"plan": "pro"},
        })),
        (json!("no_event_time"), json!([]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn send_test_says_in_plain_words_what_meta_answered() {
    let graph = Graph::start().await;
    let url = format!("http://{}", graph.address);
    let good = [
        ("PIXEL_RELAY__INGEST__SECRET", "Bearer s"),
        ("PIXEL_RELAY__SYNC__WEB__PIXEL_ID", "1001"),
        ("PIXEL_RELAY__SYNC__WEB__ACCESS_TOKEN", TOKEN),
        ("PIXEL_RELAY__META__URL", &url),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let send = move |environment: Vec<(String, String)>, arguments: &'static [&'static str]| {
        tokio::task::spawn_blocking(move || {
            let environment: Vec<_> = environment
                .iter()
                .map(|(name, value)| (&**name, &**value))
                .collect();
            run(arguments, &environment, "")
        })
    };
    let output = send(good.to_vec(), &["send-test", "--code", "TEST1"])
        .await
        .unwrap();
    let (data, words) = text(&output);
    assert_eq!(output.status.code(), Some(0), "{data}{words}");
    assert_eq!(graph.accepted().len(), 1);

    graph
        .sandbox
        .set_faults("next:remark".parse::<Faults>().unwrap());
    let output = send(good.to_vec(), &["send-test", "--code", "TEST1"])
        .await
        .unwrap();
    let (data, words) = text(&output);
    assert_eq!(output.status.code(), Some(0), "{data}{words}");
    assert!(data.contains("Meta says: Simulated remark"), "{data}");

    let mut bad = good.to_vec();
    bad[2].1 = "a-dead-token".to_owned();
    let output = send(bad, &["send-test", "--code", "TEST1"]).await.unwrap();
    let (data, words) = text(&output);
    assert_eq!(output.status.code(), Some(1), "{data}{words}");
    assert!(data.contains("190") && data.contains("token"), "{data}");
    assert!(
        !data.contains("a-dead-token") && !words.contains("a-dead-token"),
        "{data}{words}"
    );

    let output = send(good.to_vec(), &["send-test"]).await.unwrap();
    assert_eq!(output.status.code(), Some(2), "a test event code is needed");
}

#[test]
fn healthcheck_fails_where_nothing_listens() {
    let mut environment = ONE_PIXEL.to_vec();
    environment.push(("PIXEL_RELAY__SERVER__LISTEN", "127.0.0.1:1"));
    assert_eq!(
        run(&["healthcheck"], &environment, "").status.code(),
        Some(1)
    );
}

#[test]
fn every_example_passes_its_own_check() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples/");
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        // It cannot send before it has a token.
        let folder = tempfile::tempdir().unwrap();
        let filled = folder.path().join("pixel-relay.toml");
        let example = fs::read_to_string(&path).unwrap();
        fs::write(&filled, example.replace("REPLACE_ME", "granted-by-meta")).unwrap();
        let output = program()
            .args(["check", "--config"])
            .arg(&filled)
            .output()
            .unwrap();
        let (_, words) = text(&output);
        assert_eq!(output.status.code(), Some(0), "{}: {words}", path.display());
    }
}

#[test]
fn a_placeholder_is_a_mistake_where_it_would_be_sent() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pixel-relay.toml");
    for token in ["REPLACE_ME", "EAAB...", "EAAB…", "<token>"] {
        let written = format!(
            "[ingest]\nsecret = 's'\n[sync.web]\npixel_id = '1'\naccess_token = '{token}'\n"
        );
        fs::write(&config, written).unwrap();
        for (command, code) in [
            (&["check"][..], 2),
            (&["run"], 2),
            (&["send-test", "--code", "TEST1"], 2),
            (&["map"], 0),
        ] {
            let output = program()
                .args(command)
                .arg("--config")
                .arg(&config)
                .stdin(std::process::Stdio::null())
                .output()
                .unwrap();
            let (data, words) = text(&output);
            assert_eq!(
                output.status.code(),
                Some(code),
                "{command:?}: {data}{words}"
            );
            let is_named = words.contains("sync.web.access_token: found a placeholder");
            assert_eq!(is_named, code == 2, "{command:?}: {words}");
        }
    }
}

/// The command in the README.
#[test]
fn map_explains_the_order_of_the_readme() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let command = readme.replace("\\\n", " ");
    let line = command
        .lines()
        .find(|line| line.contains("map --explain --now"))
        .unwrap();
    let (_, arguments) = line.split_once("cargo run --release -- ").unwrap();
    let (arguments, input) = arguments.split_once('<').unwrap();
    let output = program()
        .current_dir(root)
        .args(arguments.split_whitespace())
        .stdin(fs::File::open(root.join(input.trim())).unwrap())
        .output()
        .unwrap();
    let (data, words) = text(&output);
    assert_eq!(output.status.code(), Some(0), "{data}{words}");
    let rows: Vec<Value> = data
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 1, "{data}");
    assert_eq!(rows[0]["outcome"], "mapped", "{data}");
    assert_eq!(rows[0]["event"]["event_name"], "Purchase", "{data}");
    assert_eq!(rows[0]["event"]["custom_data"]["value"], json!(59.9));
}

fn text(output: &std::process::Output) -> (String, String) {
    (
        String::from_utf8(output.stdout.clone()).unwrap(),
        String::from_utf8(output.stderr.clone()).unwrap(),
    )
}

/// The command that a trial prints must work unchanged.
#[test]
fn the_trial_prints_a_line_that_works() {
    use std::io::{BufRead as _, BufReader};

    let mut child = program()
        .args(["run", "--sandbox"])
        .env("PIXEL_RELAY__SERVER__LISTEN", "127.0.0.1:0")
        .env("PIXEL_RELAY__ADMIN__LISTEN", "127.0.0.1:0")
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with("curl "), "{line}");
    let answer = std::process::Command::new("sh")
        .args(["-c", line.trim()])
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&answer.stdout)
        .unwrap_or_else(|_| panic!("{line}\nanswered {answer:?}"));
    assert_eq!(answer["queued"], json!(1), "{answer}");

    let address = line
        .trim()
        .rsplit("http://")
        .next()
        .unwrap()
        .trim_end_matches("/webhook");
    let read =
        format!("curl -sS -H 'Authorization: Bearer sandbox' http://{address}/sandbox/events");
    let accepted = loop {
        let output = std::process::Command::new("sh")
            .args(["-c", &read])
            .output()
            .unwrap();
        let accepted: Value = serde_json::from_slice(&output.stdout).unwrap();
        if accepted.as_array().is_some_and(|events| !events.is_empty()) {
            break accepted;
        }
    };
    child.kill().unwrap();
    child.wait().unwrap();
    let shown = accepted.to_string();
    assert!(
        shown.contains("\"Purchase\"") && shown.contains("SKU-9"),
        "{shown}"
    );
    assert!(
        !shown.contains("Example.com"),
        "an address was not hashed: {shown}"
    );
}
