//! A person is erased, from the bytes on disk too.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use pixel_relay::hash::Hashed;
use serde_json::{Value, json};

use crate::process::command;
use crate::support::{Daemon, Graph, event};

/// Keeps its events queued; maps e-mail addresses, and phone numbers without a calling code.
const SYNC: &str = "[sync.web]\npixel_id = \"1001\"\naccess_token = \"test-token\"\n\
    default_calling_code = \"49\"\n\
    [sync.web.user_data]\nexternal_id = \"user_id\"\nemail = \"user_properties.email\"\n\
    phone = \"user_properties.phone\"\n\
    [sync.web.delivery]\nmax_batch_delay = \"1h\"\n";

/// The hashes that are stored of Mary.
fn hashes_of_mary() -> [String; 3] {
    ["mary@example.com", "491701234567", "mary-1"].map(|text| Hashed::of(text).as_str().to_owned())
}

fn of_mary(id: &str) -> Value {
    let mut event = event(id);
    event["user_id"] = json!("Mary-1");
    event["user_properties"] = json!({"email": "Mary@Example.com", "phone": "0170 1234567"});
    event
}

/// A purchase without a value: invalid, and so a dead letter with all that was mapped.
fn invalid_of_mary(id: &str) -> Value {
    let mut event = of_mary(id);
    event["event_type"] = json!("Purchase");
    event
}

/// Whether any file of the store holds the text.
fn is_on_disk(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        path.is_file() && memchr::memmem::find(&fs::read(&path).unwrap(), text.as_bytes()).is_some()
    })
}

async fn filled(graph: &Graph) -> Daemon {
    let daemon = Daemon::start(graph, SYNC).await;
    for events in [
        json!([event("before"), of_mary("queued"), event("behind")]),
        json!([of_mary("alone in its row")]),
        json!([invalid_of_mary("invalid")]),
    ] {
        assert_eq!(daemon.post(events.to_string()).await.0, 200);
    }
    for hash in hashes_of_mary() {
        assert!(
            is_on_disk(daemon.folder.path(), &hash),
            "the test sees nothing"
        );
    }
    daemon
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_erased_beside_a_running_daemon() {
    for arguments in [
        &["--email", " MARY@example.com"][..],
        &["--phone", "0170/1234567"],
        &["--phone", "+49 170 1234567"],
        &["--external-id", "Mary-1"],
        &["--external-id", &hashes_of_mary()[2]],
        &[
            "--event-id",
            "queued",
            "--event-id",
            "alone in its row",
            "--event-id",
            "invalid",
        ],
    ] {
        let graph = Graph::start().await;
        let daemon = filled(&graph).await;
        let config = daemon.config_file();
        let ran = command(&config, &[&["forget"], arguments].concat(), b"");
        assert_eq!(
            ran.row(),
            json!({"queued": 2, "dead_letters": 1, "profiles": 0, "in_flight": 0}),
            "{arguments:?} {ran:?}"
        );
        fs::remove_file(&config).unwrap();
        for hash in hashes_of_mary() {
            assert!(!is_on_disk(daemon.folder.path(), &hash), "{arguments:?}");
        }
        let erased = daemon
            .metric("pixel_relay_outcomes_total", &["erased", "forgotten"])
            .await;
        let removed = daemon
            .metric("pixel_relay_dead_removed_total", &["forgotten"])
            .await;
        let queued = daemon.metric("pixel_relay_queue_events", &[]).await;
        assert_eq!((erased, removed, queued), (2.0, 1.0, 2.0));
        daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_erased_where_no_daemon_runs() {
    let graph = Graph::start().await;
    let daemon = filled(&graph).await;
    let (config, folder) = (daemon.config_file(), Arc::clone(&daemon.folder));
    let text = fs::read_to_string(&config).unwrap();
    daemon.stop().await;
    let ran = command(&config, &["forget", "--email", "mary@example.com"], b"");
    assert_eq!(
        ran.row(),
        json!({"queued": 2, "dead_letters": 1, "profiles": 0, "in_flight": 0})
    );
    for hash in hashes_of_mary() {
        assert!(!is_on_disk(folder.path(), &hash));
    }
    let daemon = Daemon::start_on(folder, text).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_stored_is_refused_without_repeating_it() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, SYNC).await;
    let config = daemon.config_file();
    let ran = command(&config, &["forget", "--email", "not-an-address"], b"");
    assert_eq!(ran.code, 2);
    assert!(ran.words.contains("not_an_email"), "{ran:?}");
    assert!(!ran.words.contains("not-an-address"), "{ran:?}");
    assert_eq!(command(&config, &["forget"], b"").code, 2);
    // Nobody has this address: that is not a failure.
    let ran = command(&config, &["forget", "--email", "john@example.com"], b"");
    assert_eq!(
        ran.row(),
        json!({"queued": 0, "dead_letters": 0, "profiles": 0, "in_flight": 0})
    );
    daemon.stop().await;
}
