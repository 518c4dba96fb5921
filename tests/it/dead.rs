//! The commands for dead letters.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use clap::Parser as _;
use pixel_relay::cli::{self, Cli, Terminal};
use pixel_relay::clock::{Clock as _, SystemClock, TestClock, UnixMillis};
use pixel_relay::sandbox::faults::Faults;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::process::command;
use crate::support::{Daemon, Graph, PLAIN_SYNC, config_text, event};

/// A daemon with one dead letter that Meta refused ("bad"), and two without a name ("nameless-…").
async fn with_letters(graph: &Graph) -> Daemon {
    graph
        .sandbox
        .set_faults("poison=Poison".parse::<Faults>().unwrap());
    let daemon = Daemon::start(graph, PLAIN_SYNC).await;
    let mut bad = event("bad");
    bad["event_type"] = json!("Poison");
    let mut events = vec![event("good"), bad];
    for number in 0..2 {
        let mut nameless = event(&format!("nameless-{number}"));
        nameless["event_type"] = json!("");
        events.push(nameless);
    }
    let (status, _) = daemon.post(serde_json::to_vec(&events).unwrap()).await;
    assert_eq!(status, 200);
    daemon
        .until("pixel_relay_outcomes_total", &["rejected"], 1.0)
        .await;
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 1.0)
        .await;
    daemon
}

fn list(config: &Path, filters: &[&str]) -> Vec<Value> {
    let ran = command(config, &[&["dead", "list"], filters].concat(), b"");
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.rows()
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_by_every_filter_and_shown_in_full() {
    let graph = Graph::start().await;
    let daemon = with_letters(&graph).await;
    let config = daemon.config_file();

    assert_eq!(list(&config, &[]).len(), 3);
    for (filters, expected) in [
        (&["--sync", "web"][..], 3),
        (&["--sync", "other"], 0),
        (&["--reason", "refused"], 1),
        (&["--reason", "no_event_name", "--sync", "web"], 2),
        (&["--event", "Poison"], 1),
        (&["--event", "Sign Up"], 0),
        (&["--newer-than", "1h"], 3),
        (&["--older-than", "1h"], 0),
    ] {
        assert_eq!(list(&config, filters).len(), expected, "{filters:?}");
    }

    let refused = &list(&config, &["--reason", "refused"])[0];
    assert_eq!(refused["outcome"], "rejected");
    assert_eq!(refused["event_id"], "bad");
    assert!(
        refused["code"].is_i64() && refused["trace_id"].is_string(),
        "{refused}"
    );
    assert!(
        refused["first_try"].is_string() && refused["last_try"].is_string(),
        "{refused}"
    );
    assert!(refused.get("event").is_none(), "a list is short");

    let shown = command(&config, &["dead", "show", &refused["id"].to_string()], b"").row();
    assert_eq!(shown["event"]["event_name"], "Poison");
    let exported = command(&config, &["dead", "export", "--event", "Poison"], b"");
    assert_eq!(exported.row(), shown);

    let missing = command(&config, &["dead", "show", "4711"], b"");
    assert_eq!(missing.code, 1);
    assert!(missing.words.contains("4711"), "{missing:?}");
    let wrong = command(&config, &["dead", "list", "--reason", "accepted"], b"");
    assert_eq!(wrong.code, 2);
    assert!(
        wrong.words.contains("refused"),
        "it names those that exist: {wrong:?}"
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_sends_the_same_bytes_through_the_same_lane() {
    let graph = Graph::start().await;
    let daemon = with_letters(&graph).await;
    let config = daemon.config_file();
    let refused = command(&config, &["dead", "export", "--reason", "refused"], b"").row();

    graph.sandbox.set_faults(Faults::default());
    let ran = command(&config, &["dead", "retry", "--reason", "refused"], b"");
    assert_eq!(ran.row(), json!({"queued": 1, "kept": 0}));
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 2.0)
        .await;
    assert_eq!(graph.accepted().last(), Some(&refused["event"]));
    assert_eq!(
        daemon.metric("pixel_relay_dead_retried_total", &[]).await,
        1.0
    );
    assert_eq!(
        daemon
            .metric("pixel_relay_dead_removed_total", &["why=\"retried\""])
            .await,
        1.0
    );
    // An event that was never mapped cannot be sent.
    let ran = command(&config, &["dead", "retry", "--all"], b"");
    assert_eq!(ran.row(), json!({"queued": 0, "kept": 2}));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_dropped_or_retried_by_accident() {
    let graph = Graph::start().await;
    let daemon = with_letters(&graph).await;
    let config = daemon.config_file();
    for verb in ["drop", "retry"] {
        let ran = command(&config, &["dead", verb], b"");
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.words.contains("--all"), "{ran:?}");
    }
    let both = command(&config, &["dead", "drop", "1", "--reason", "refused"], b"");
    assert_eq!(
        both.code, 2,
        "numbers and filters say different things: {both:?}"
    );
    assert_eq!(list(&config, &[]).len(), 3);

    let first = list(&config, &[])[0]["id"].to_string();
    let ran = command(&config, &["dead", "drop", &first], b"");
    assert_eq!(ran.row(), json!({"dropped": 1}));
    let ran = command(&config, &["dead", "drop", "--all"], b"");
    assert_eq!(ran.row(), json!({"dropped": 2}));
    assert_eq!(list(&config, &[]), Vec::<Value>::new());
    assert_eq!(
        daemon
            .metric("pixel_relay_dead_removed_total", &["why=\"dropped\""])
            .await,
        3.0
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_handled_where_no_daemon_runs() {
    let graph = Graph::start().await;
    let daemon = with_letters(&graph).await;
    let (config, folder) = (daemon.config_file(), Arc::clone(&daemon.folder));
    let text = std::fs::read_to_string(&config).unwrap();
    daemon.stop().await;

    assert_eq!(list(&config, &[]).len(), 3);
    let ran = command(&config, &["dead", "drop", "--reason", "no_event_name"], b"");
    assert_eq!(ran.row(), json!({"dropped": 2}));
    graph.sandbox.set_faults(Faults::default());
    let ran = command(&config, &["dead", "retry", "--all"], b"");
    assert_eq!(ran.row(), json!({"queued": 1, "kept": 0}));
    assert!(ran.words.contains("once the daemon runs"), "{ran:?}");

    let daemon = Daemon::start_on(folder, text).await;
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 2.0)
        .await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_box_is_read_page_by_page() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, PLAIN_SYNC).await;
    let nameless: Vec<Value> = (0..2000)
        .map(|number| json!({"$insert_id": format!("n{number}"), "event_type": "", "user_id": "u"}))
        .collect();
    // One request files no more of a reason.
    for hundred in nameless.chunks(100) {
        let (status, _) = daemon.post(serde_json::to_vec(hundred).unwrap()).await;
        assert_eq!(status, 200);
    }
    let config = daemon.config_file();
    let listed = list(&config, &[]);
    let ids: Vec<i64> = listed
        .iter()
        .map(|row| row["id"].as_i64().unwrap())
        .collect();
    assert!(
        ids.is_sorted_by(|one, next| one < next),
        "each once, in order"
    );
    assert_eq!(ids.len(), 2000);
    let ran = command(&config, &["dead", "drop", "--reason", "no_event_name"], b"");
    assert_eq!(ran.row(), json!({"dropped": 2000}));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_removed_sync_left_is_dropped_and_an_enabled_sync_is_not() {
    let graph = Graph::start().await;
    graph.sandbox.set_faults("hang".parse::<Faults>().unwrap());
    let both = "[sync.web]\npixel_id = \"1\"\naccess_token = \"test-token\"\n\
        [sync.old]\npixel_id = \"2\"\naccess_token = \"test-token\"\n\
        [sync.old.delivery]\nmax_batch_delay = \"1h\"\n";
    let daemon = Daemon::start(&graph, both).await;
    let (status, _) = daemon
        .post_to("/webhook/old", event("left").to_string())
        .await;
    assert_eq!(status, 200);
    let config = daemon.config_file();
    let drop_old = &["queue", "drop", "--sync", "old"];
    let refused = command(&config, drop_old, b"");
    assert_eq!(refused.code, 1);
    assert!(refused.words.contains("--force"), "{refused:?}");
    let unknown = command(&config, &["queue", "drop", "--sync", "older"], b"");
    assert_eq!(unknown.code, 1);
    assert!(unknown.words.contains("it holds: old"), "{unknown:?}");

    let (folder, text) = (
        Arc::clone(&daemon.folder),
        std::fs::read_to_string(&config).unwrap(),
    );
    daemon.stop().await;
    let (without, _) = text.split_once("[sync.old]").unwrap();
    let daemon = Daemon::start_on(folder, without.to_owned()).await;
    let config = daemon.config_file();
    assert_eq!(command(&config, drop_old, b"").row(), json!({"dropped": 1}));
    assert_eq!(
        daemon
            .metric(
                "pixel_relay_outcomes_total",
                &["sync=\"old\"", "erased", "dropped"]
            )
            .await,
        1.0
    );
    daemon.stop().await;
}

#[test]
fn a_folder_without_a_store_is_told_and_none_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pixel-relay.toml");
    let store = folder.path().join("store");
    let graph = "127.0.0.1:9".parse().unwrap();
    std::fs::write(
        &config,
        crate::support::config_text(graph, &store, PLAIN_SYNC),
    )
    .unwrap();
    for arguments in [
        &["dead", "list"][..],
        &["trace", "x"],
        &["forget", "--event-id", "x"],
        &["queue", "drop", "--sync", "web"],
    ] {
        let ran = command(&config, arguments, b"");
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.words.contains("no store"), "{ran:?}");
    }
    assert!(!store.exists());
}

/// Keeps what is written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_get_a_table() {
    let graph = Graph::start().await;
    let daemon = with_letters(&graph).await;
    let config = daemon.config_file();
    let (output, errors) = (Written::default(), Written::default());
    let mut terminal = Terminal {
        input: Box::new(std::io::empty()),
        output: Box::new(output.clone()),
        errors: Box::new(errors.clone()),
        is_interactive: true,
        shows_progress: false,
        environment: Vec::new(),
    };
    let arguments = [
        "pixel-relay",
        "dead",
        "list",
        "--config",
        config.to_str().unwrap(),
    ];
    // The command has a runtime of its own.
    let exit = block_in_place(|| cli::run(Cli::parse_from(arguments), &mut terminal));
    assert_eq!(exit, ExitCode::SUCCESS);
    let text = |written: &Written| String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let table = text(&output);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("ID  FILED"), "{table}");
    assert_eq!(lines.len(), 4, "{table}");
    let column = lines[0].find("EVENT ID").unwrap();
    let ids: Vec<_> = lines
        .iter()
        .map(|line| line.get(column..).unwrap())
        .collect();
    assert_eq!(ids, ["EVENT ID", "-", "-", "bad"]);
    assert_eq!(text(&errors), "3 dead letters\n");
    daemon.stop().await;
}

/// The clock is slow, fast, or as slow as a template that reads UTC as Pacific time would have it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_wrong_clock_refuses_is_delivered_once_it_is_right() {
    const HOUR: i64 = 3600;
    for (seconds, reason) in [
        (-2 * HOUR, "in_future"),
        (9 * 24 * HOUR, "too_old"),
        (-8 * HOUR, "time_zone_trap"),
    ] {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let text = config_text(nowhere, folder.path(), PLAIN_SYNC);
        let wrong = TestClock::at(UnixMillis(SystemClock.now().0 + seconds * 1000));
        let daemon = Daemon::start_at(Arc::clone(&folder), text, Arc::new(wrong)).await;
        let events: Vec<Value> = (0..5)
            .map(|number| event(&format!("id-{number}")))
            .collect();
        let (status, answer) = daemon.post(serde_json::to_vec(&events).unwrap()).await;
        assert_eq!(status, 200);
        assert_eq!(answer["reasons"], json!({ reason: 5 }));
        daemon.assert_law().await;
        // By this clock their time has not come, or is over.
        let config = daemon.config_file();
        let ran = command(&config, &["dead", "retry", "--all"], b"");
        assert_eq!(ran.row(), json!({"queued": 0, "kept": 5}));
        daemon.stop().await;

        let graph = Graph::start().await;
        let text = config_text(graph.address, folder.path(), PLAIN_SYNC);
        let daemon = Daemon::start_on(folder, text).await;
        let config = daemon.config_file();
        // A sender has repeated one of them meanwhile.
        let (_, answer) = daemon.post(serde_json::to_vec(&events[2]).unwrap()).await;
        assert_eq!(answer["queued"], 1);
        let ran = command(&config, &["dead", "retry", "--reason", reason], b"");
        assert_eq!(ran.row(), json!({"queued": 4, "kept": 0, "replaced": 1}));
        daemon
            .until("pixel_relay_outcomes_total", &["delivered"], 5.0)
            .await;
        daemon.assert_law().await;
        let accepted = graph.accepted();
        let mut ids: Vec<&str> = (accepted.iter())
            .filter_map(|event| event["event_id"].as_str())
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, ["id-0", "id-1", "id-2", "id-3", "id-4"]);
        daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_files_a_hundred_letters_of_a_reason() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, PLAIN_SYNC).await;
    let nameless = |number: usize| {
        let mut event = event(&number.to_string());
        event["event_type"] = json!("");
        event
    };
    // More than are stored at once, and of another reason fewer.
    let mut events: Vec<Value> = (0..2500).map(nameless).collect();
    events.extend((0..30).map(|_| json!(7)));
    let (status, answer) = daemon.post(serde_json::to_vec(&events).unwrap()).await;
    assert_eq!(status, 200);
    let reasons = json!({"no_event_name": 2500, "malformed_json": 30});
    assert_eq!(answer["reasons"], reasons);
    assert_eq!(answer["invalid"], 2530);
    daemon.assert_law().await;
    let config = daemon.config_file();
    let all = || command(&config, &["dead", "list"], b"").rows();
    let of = |letters: &[Value], reason: &str| {
        letters.iter().filter(|it| it["reason"] == reason).count()
    };
    let letters = all();
    assert_eq!(of(&letters, "no_event_name"), 100);
    assert_eq!(of(&letters, "malformed_json"), 30);
    // The next request files its own.
    let more: Vec<Value> = (3000..3010).map(nameless).collect();
    daemon.post(serde_json::to_vec(&more).unwrap()).await;
    assert_eq!(of(&all(), "no_event_name"), 110);
    daemon.stop().await;
}
