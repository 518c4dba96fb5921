//! A disk or a file system that hangs: what needs it waits, and nothing else.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use crate::preload::{Fault, FileOperation, Shim, StoreFile, Strike};
use crate::process::{DaemonProcess, command, program};
use crate::support::{Graph, PLAIN_SYNC, SECRET, client, config_text, event};

const KEY: &str = "0123456789abcdef0123456789abcdef";
/// More than there are threads for blocking work without those of the files.
const SYNCS: usize = 20;
/// Longer than anything takes that does not hang.
const PATIENCE: Duration = Duration::from_secs(30);

fn post(daemon: &DaemonProcess, path: &str, body: String) -> reqwest::RequestBuilder {
    client()
        .post(format!("{}{path}", daemon.public))
        .header("authorization", SECRET)
        .body(body)
        .timeout(PATIENCE)
}

async fn status(request: reqwest::RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

/// Asks for all pages, as operators and platforms do.
async fn pages_answer(daemon: &DaemonProcess, admin_secret: &str) {
    for page in [
        format!("{}/health", daemon.public),
        format!("{}/health", daemon.admin),
        format!("{}/metrics", daemon.admin),
    ] {
        let asked = client().get(&page).timeout(PATIENCE);
        let asked = asked.header("authorization", format!("Bearer {admin_secret}"));
        assert_eq!(status(asked).await, 200, "{page}");
    }
}

async fn stops_well(daemon: DaemonProcess) -> String {
    daemon.signal("TERM");
    let ended = tokio::task::spawn_blocking(|| daemon.wait());
    let ended = tokio::time::timeout(2 * PATIENCE, ended).await;
    let (code, log) = ended.expect("it ends").unwrap();
    assert_eq!(code, Some(0), "{log}");
    log
}

/// Whoever opens this file to read waits for ever.
fn let_hang(file: &Path) {
    let pipe = file.with_extension("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    fs::rename(pipe, file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_secrets_that_hang_hold_up_neither_delivery_nor_the_stop() {
    let graph = Graph::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let mut files = vec![file("ingest", SECRET), file("admin", "operator")];
    let mut syncs = String::new();
    for number in 0..SYNCS {
        let token = file(&format!("token-{number}"), "test-token");
        writeln!(
            syncs,
            "[sync.s{number}]\npixel_id = \"{}\"\naccess_token_file = {token:?}\n\
             delivery = {{ max_batch_delay = \"10ms\", requests_per_second = \"unlimited\" }}",
            1001 + number
        )
        .unwrap();
        files.push(token);
    }
    let text = config_text(graph.address, &folder.path().join("store"), &syncs)
        .replace(
            &format!("secret = \"{SECRET}\""),
            &format!("secret_file = {:?}", files[0]),
        )
        .replace(
            "[ingest]",
            &format!("secret_file = {:?}\n[ingest]", files[1]),
        );
    let config = folder.path().join("pixel-relay.toml");
    fs::write(&config, text).unwrap();
    let mut daemon = DaemonProcess::start(&config);
    assert_eq!(
        status(post(&daemon, "/webhook", event("before").to_string())).await,
        200
    );
    let syncs = u64::try_from(SYNCS).unwrap();
    graph.sandbox.wait_for(syncs).await;
    for file in &files {
        let_hang(file);
    }
    // A lane looks at its file when it sends.
    for round in 1..=8 {
        let id = format!("round-{round}");
        assert_eq!(
            status(post(&daemon, "/webhook", event(&id).to_string())).await,
            200
        );
        let arrived = graph.sandbox.wait_for(syncs * (round + 1));
        let in_time = tokio::time::timeout(PATIENCE, arrived).await;
        assert!(in_time.is_ok(), "{id} arrives");
        pages_answer(&daemon, "operator").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let lines = tokio::task::spawn_blocking(move || {
        daemon.wait_for_line("its file system hangs");
        daemon
    });
    stops_well(lines.await.unwrap()).await;
}

fn dead_list(config: &Path) -> Child {
    program()
        .args(["dead", "list", "--config"])
        .arg(config)
        .spawn()
        .unwrap()
}

fn with_address(config: &Path, daemon: &DaemonProcess) -> PathBuf {
    let listen = daemon.public.strip_prefix("http://").unwrap();
    let known = fs::read_to_string(config).unwrap();
    let file = config.with_extension("address.toml");
    fs::write(&file, known.replacen("127.0.0.1:0", listen, 1)).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_the_store_that_hang_hold_up_neither_health_nor_delivery() {
    let graph = Graph::start().await;
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let delivery = "delivery = { max_batch_delay = \"10ms\", requests_per_second = \"unlimited\" }";
    let syncs = format!(
        "[sync.people]\npixel_id = \"1001\"\naccess_token = \"test-token\"\n{delivery}\n\
         user_data = {{ email = \"user_properties.email\" }}\nuser_memory = {{}}\n\
         [sync.plain]\npixel_id = \"1002\"\naccess_token = \"test-token\"\n{delivery}\n"
    );
    let text = config_text(graph.address, &store, &syncs)
        .replace("[queue]", &format!("api_keys = ['{KEY}']\n[queue]"));
    let config = folder.path().join("pixel-relay.toml");
    fs::write(&config, text).unwrap();
    let shim = Shim::new(folder.path()).watching(&store);
    let mut command_line = program();
    command_line.args(["run", "--config"]).arg(&config);
    command_line.envs(shim.environment());
    let daemon = DaemonProcess::start_as(command_line);
    let address = with_address(&config, &daemon);
    let upload = |user: String| {
        let event = json!({ "event_type": "A", "user_id": user, "insert_id": user });
        let body = json!({ "api_key": KEY, "events": [event] }).to_string();
        post(&daemon, "/2/httpapi", body)
    };
    assert_eq!(status(upload("first-user".to_owned())).await, 200);
    graph.sandbox.wait_for(2).await;

    shim.strike(&Strike {
        fault: Fault::Hangs,
        operation: FileOperation::Read,
        file: StoreFile::Any,
        nth: 1,
        times: 1_000_000,
        bit: 0,
    });
    // More than there are threads.
    let mut commands: Vec<Child> = (0..20).map(|_| dead_list(&config)).collect();
    let mut uploads = JoinSet::new();
    for number in 0..40 {
        uploads.spawn(upload(format!("user-{number}")).send());
    }
    while shim.struck() < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for round in 0..3 {
        pages_answer(&daemon, "none").await;
        assert_eq!(command(&address, &["healthcheck"], b"").code, 0);
        let id = format!("plain-{round}");
        let plain = post(&daemon, "/webhook/plain", event(&id).to_string());
        assert_eq!(status(plain).await, 200, "{id}");
        let arrived = async {
            while graph.sandbox.times_accepted("1002", "Sign Up", &id) == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, arrived).await;
        assert!(in_time.is_ok(), "{id} arrives");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    shim.heal();
    while let Some(answered) = uploads.join_next().await {
        let status = answered.unwrap().unwrap().status().as_u16();
        assert!(matches!(status, 200 | 503), "{status}");
    }
    for command in &mut commands {
        command.wait().unwrap();
    }
    assert_eq!(status(upload("last-user".to_owned())).await, 200);
    let listed = command(&config, &["dead", "list"], b"");
    assert_eq!(listed.code, 0, "{listed:?}");
    let log = stops_well(daemon).await;
    assert!(!log.contains("panicked"), "{log}");
}

/// A daemon whose disk can be made to hang; it has delivered one event.
async fn begin(graph: &Graph, folder: &Path) -> (Shim, PathBuf, DaemonProcess) {
    let store = folder.join("store");
    let config = folder.join("pixel-relay.toml");
    fs::write(&config, config_text(graph.address, &store, PLAIN_SYNC)).unwrap();
    let shim = Shim::new(folder).watching(&store);
    let mut command_line = program();
    command_line.args(["run", "--config"]).arg(&config);
    command_line.envs(shim.environment());
    let daemon = DaemonProcess::start_as(command_line);
    assert_eq!(daemon.post_event("before").await, 200);
    graph.sandbox.wait_for(1).await;
    (shim, config, daemon)
}

fn let_writes_hang(shim: &Shim) {
    shim.strike(&Strike {
        fault: Fault::Hangs,
        operation: FileOperation::Sync,
        file: StoreFile::Any,
        nth: 1,
        times: 1_000_000,
        bit: 0,
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_of_the_store_that_hang_are_told_and_lose_nothing() {
    let graph = Graph::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (shim, _, daemon) = begin(&graph, folder.path()).await;
    let_writes_hang(&shim);
    // Whoever waits is told after a while, and whoever comes then at once.
    for id in ["waits", "comes"] {
        let refused = post(&daemon, "/webhook", event(id).to_string());
        let refused = refused.send().await.unwrap();
        assert_eq!(refused.status(), 503, "{id}");
        assert!(refused.headers().contains_key("retry-after"), "{id}");
    }
    let live = client().get(format!("{}/live", daemon.public));
    assert_eq!(status(live.timeout(PATIENCE)).await, 200);
    let health = client().get(format!("{}/health", daemon.admin));
    let health = health.timeout(PATIENCE).send().await.unwrap();
    assert_eq!(health.status(), 503);
    let report = health.text().await.unwrap();
    assert!(report.contains("has hung for"), "{report}");

    shim.heal();
    let taken = async {
        while daemon.post_event("comes").await != 200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, taken).await.unwrap();
    assert_eq!(daemon.post_event("waits").await, 200);
    graph.sandbox.wait_for(3).await;
    for id in ["waits", "comes"] {
        assert_eq!(graph.sandbox.times_accepted("1001", "Sign Up", id), 1);
    }
    stops_well(daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_holds_up_the_stop_for_a_while_and_loses_nothing() {
    let graph = Graph::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (shim, config, daemon) = begin(&graph, folder.path()).await;
    let_writes_hang(&shim);
    let mut sender = JoinSet::new();
    sender.spawn(post(&daemon, "/webhook", event("during").to_string()).send());
    while shim.struck() < 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    daemon.signal("TERM");
    let ended = tokio::task::spawn_blocking(|| daemon.wait());
    let ended = tokio::time::timeout(2 * PATIENCE, ended).await;
    let (code, log) = ended.expect("it ends").unwrap();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("the stop was cut off"), "{log}");
    sender.shutdown().await;

    shim.heal();
    let daemon = DaemonProcess::start(&config);
    assert_eq!(daemon.post_event("after").await, 200);
    let arrived = async {
        while ["before", "after"]
            .iter()
            .any(|id| graph.sandbox.times_accepted("1001", "Sign Up", id) == 0)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, arrived).await;
    assert!(in_time.is_ok(), "what was acknowledged arrives");
    stops_well(daemon).await;
}
