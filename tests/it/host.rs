//! The machine around the daemon: other users, other processes, too few threads, files that go away.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pixel_relay::sandbox::faults::Faults;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::preload::Shim;
use crate::process::{DaemonProcess, command, program};
use crate::storage::{place, refused};
use crate::support::{Graph, PLAIN_SYNC, SECRET, client, config_text, event};

/// Sends an event to a daemon in its own process.
async fn post(daemon: &DaemonProcess, id: &str) -> u16 {
    let url = format!("{}/webhook", daemon.public);
    let request = client().post(url).header("authorization", SECRET);
    let answer = request.body(event(id).to_string()).send().await;
    answer.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_a_process_that_is_about_to_leave_the_store() {
    let graph = Graph::start().await;
    let (_folder, config) = place(&graph);
    let first = DaemonProcess::start(&config);
    let waiting = config.clone();
    let second = tokio::task::spawn_blocking(move || {
        let second = DaemonProcess::start(&waiting);
        assert!(
            second.beginning.contains("another process has the store"),
            "{}",
            second.beginning
        );
        second
    });
    // The second has no socket and no port yet by which it could be asked how far it is.
    tokio::time::sleep(Duration::from_secs(1)).await;
    first.signal("TERM");
    let (code, log) = tokio::task::spawn_blocking(|| first.wait()).await.unwrap();
    assert_eq!(code, Some(0), "{log}");
    let second = second.await.unwrap();
    assert_eq!(post(&second, "one").await, 200);
    graph.sandbox.wait_for(1).await;
    second.signal("TERM");
    let (code, log) = tokio::task::spawn_blocking(|| second.wait()).await.unwrap();
    assert_eq!(code, Some(0), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_waits_for_the_store_ends_when_it_is_told_to() {
    let graph = Graph::start().await;
    let (_folder, config) = place(&graph);
    let first = DaemonProcess::start(&config);
    let mut second = program();
    let second = second.args(["run", "--config"]).arg(&config);
    let mut second = second.spawn().unwrap();
    let mut log = BufReader::new(second.stderr.take().unwrap());
    let waits = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        while !line.contains("another process has the store") {
            line.clear();
            assert_ne!(
                log.read_line(&mut line).unwrap(),
                0,
                "it waits, and says so"
            );
        }
        log
    });
    let _log = waits.await.unwrap();
    let kill = Command::new("kill").arg(second.id().to_string()).status();
    assert!(kill.unwrap().success());
    assert_eq!(second.wait().unwrap().code(), Some(0));
    first.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_closed_to_others_whatever_it_was() {
    let graph = Graph::start().await;
    let (folder, config) = place(&graph);
    let store = folder.path().join("store");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let open_to_all = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    // As an installation by hand may leave it behind, with files of every kind that lie there at times.
    let daemon = DaemonProcess::start(&config);
    assert_eq!(post(&daemon, "one").await, 200);
    daemon.kill();
    assert_eq!(mode(&store), 0o700);
    fs::write(store.join("salvage-draft.db"), "").unwrap();
    for file in fs::read_dir(&store).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            open_to_all(&file.path(), 0o666);
        }
    }
    for (open, expected) in [(0o755, 1), (0o770, 1), (0o701, 1), (0o700, 0)] {
        open_to_all(&store, open);
        // The shell's usual mask would leave new files readable.
        let mut unmasked = Command::new("sh");
        unmasked
            .env_clear()
            .args(["-c", "umask 0; exec \"$@\"", "sh"]);
        unmasked.arg(program().get_program());
        unmasked.args(["run", "--config"]).arg(&config);
        let daemon = DaemonProcess::start_as(unmasked);
        let said = daemon.beginning.matches("chmod 700").count();
        assert_eq!(said, expected, "{open:o}: {}", daemon.beginning);
        assert_eq!(post(&daemon, &format!("{open:o}")).await, 200);
        for file in fs::read_dir(&store).unwrap() {
            let file = file.unwrap().path();
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
        daemon.kill();
    }
    let check = command(&config, &["check"], b"");
    assert!(!check.words.contains("chmod 700"), "{}", check.words);
    open_to_all(&store, 0o750);
    let check = command(&config, &["check"], b"");
    assert_eq!(check.code, 0, "{}", check.words);
    assert!(check.words.contains("has mode 750"), "{}", check.words);
}

/// The number of threads of a process.
fn threads(daemon: &DaemonProcess) -> usize {
    let tasks = format!("/proc/{}/task", daemon.child.id());
    fs::read_dir(tasks).map_or(0, Iterator::count)
}

/// A request whose body takes long enough to read that its thread is first freed of other work.
fn long_body(round: usize) -> (Vec<String>, String) {
    let ids: Vec<String> = (0..200).map(|number| format!("{round}-{number}")).collect();
    let padding = "x".repeat(2000);
    let events: Vec<Value> = ids
        .iter()
        .map(|id| {
            let mut event = event(id);
            event["event_properties"]["padding"] = json!(padding);
            event
        })
        .collect();
    (ids, serde_json::to_string(&events).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_another_thread_events_are_taken_and_delivered() {
    let graph = Graph::start().await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "test-token").unwrap();
    // By name, so that each connection needs its addresses.
    let config = folder.path().join("pixel-relay.toml");
    let store = folder.path().join("store");
    let text = config_text(graph.address, &store, PLAIN_SYNC)
        .replace("http://127.0.0.1:", "http://localhost:")
        .replace(
            "access_token = \"test-token\"",
            &format!("access_token_file = {token:?}"),
        );
    fs::write(&config, text).unwrap();
    let shim = Shim::new(folder.path());
    let mut command_line = program();
    command_line.args(["run", "--config"]).arg(&config);
    command_line.envs(shim.environment());
    let daemon = DaemonProcess::start_as(command_line);
    let before = threads(&daemon);
    shim.refuse_threads(true);
    // What waits for work must not end while it is wanted.
    tokio::time::sleep(Duration::from_secs(11)).await;
    let url = format!("{}/webhook", daemon.public);
    let mut expected = Vec::new();
    for round in 0..3 {
        let mut requests = JoinSet::new();
        for part in 0..8 {
            let (ids, body) = long_body(round * 8 + part);
            expected.extend(ids);
            let request = client().post(&url).header("authorization", SECRET);
            requests.spawn(request.body(body).send());
        }
        while let Some(answered) = requests.join_next().await {
            assert_eq!(answered.unwrap().unwrap().status(), 200);
        }
        let listed = command(&config, &["dead", "list"], b"");
        assert_eq!(listed.code, 0, "{listed:?}");
    }
    graph.sandbox.wait_for(expected.len() as u64).await;
    assert_eq!(threads(&daemon), before);
    // And so it is when threads can be had again.
    shim.refuse_threads(false);
    assert_eq!(post(&daemon, "after").await, 200);
    graph.sandbox.wait_for(expected.len() as u64 + 1).await;
    assert_eq!(threads(&daemon), before);
    daemon.signal("TERM");
    let (code, log) = tokio::task::spawn_blocking(|| daemon.wait()).await.unwrap();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_program_that_can_have_no_thread_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let shim = Shim::new(folder.path());
    shim.refuse_threads(true);
    let config = folder.path().join("pixel-relay.toml");
    let store = folder.path().join("store");
    let address = "127.0.0.1:1".parse().unwrap();
    fs::write(&config, config_text(address, &store, PLAIN_SYNC)).unwrap();
    fs::create_dir(&store).unwrap();
    fs::write(store.join("queue.db"), "").unwrap();
    for arguments in [&["run"][..], &["dead", "list"]] {
        let mut refused = program();
        refused.args(arguments).arg("--config").arg(&config);
        let refused = refused.envs(shim.environment()).output().unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains("Resource temporarily unavailable"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

/// What happens to a store under the daemon, and what puts it right.
struct Mishap {
    name: &'static str,
    happens: fn(&Path),
    /// `None`: nothing, the daemon mends it by itself.
    mends: Option<fn(&Path)>,
}

fn aside(store: &Path) -> std::path::PathBuf {
    store.with_file_name("aside")
}

const MISHAPS: [Mishap; 8] = [
    Mishap {
        name: "the file is removed",
        happens: |store| fs::remove_file(store.join("queue.db")).unwrap(),
        mends: None,
    },
    Mishap {
        name: "all files are removed",
        happens: |store| {
            for file in fs::read_dir(store).unwrap() {
                fs::remove_file(file.unwrap().path()).unwrap();
            }
        },
        mends: None,
    },
    Mishap {
        name: "the folder is removed",
        happens: |store| fs::remove_dir_all(store).unwrap(),
        mends: None,
    },
    Mishap {
        name: "the log is removed",
        happens: |store| fs::remove_file(store.join("queue.db-wal")).unwrap(),
        mends: None,
    },
    Mishap {
        name: "the file is moved",
        happens: |store| fs::rename(store.join("queue.db"), aside(store)).unwrap(),
        mends: Some(|store| fs::rename(aside(store), store.join("queue.db")).unwrap()),
    },
    Mishap {
        name: "the file is replaced",
        happens: |store| {
            fs::rename(store.join("queue.db"), aside(store)).unwrap();
            fs::copy(aside(store), store.join("queue.db")).unwrap();
        },
        mends: Some(|store| fs::rename(aside(store), store.join("queue.db")).unwrap()),
    },
    Mishap {
        name: "the folder is moved",
        happens: |store| fs::rename(store, aside(store)).unwrap(),
        mends: Some(|store| fs::rename(aside(store), store).unwrap()),
    },
    Mishap {
        name: "another folder takes its place",
        happens: |store| {
            fs::rename(store, aside(store)).unwrap();
            fs::create_dir(store).unwrap();
        },
        mends: Some(|store| {
            fs::remove_dir(store).unwrap();
            fs::rename(aside(store), store).unwrap();
        }),
    },
];

async fn store_report(daemon: &DaemonProcess) -> (u16, String) {
    let url = format!("{}/health", daemon.admin);
    let answer = client().get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn mishap(mishap: &Mishap, kills: bool) {
    let graph = Graph::start().await;
    graph
        .sandbox
        .set_faults("status=503".parse::<Faults>().unwrap());
    let (folder, config) = place(&graph);
    let store = folder.path().join("store");
    let mut daemon = DaemonProcess::start(&config);
    let mut taken = Vec::new();
    for number in 0..20 {
        let id = format!("before-{number}");
        assert_eq!(post(&daemon, &id).await, 200);
        taken.push(id);
    }
    (mishap.happens)(&store);
    assert_eq!(post(&daemon, "meanwhile").await, 503, "{}", mishap.name);
    let (status, report) = store_report(&daemon).await;
    assert_eq!(status, 503, "{report}");
    assert!(report.contains("while the daemon runs"), "{report}");
    match mishap.mends {
        Some(mend) => mend(&store),
        None if kills => {
            // What was saved outlives the daemon.
            daemon.kill();
            daemon = DaemonProcess::start(&config);
        }
        None => {}
    }
    let works = async {
        while post(&daemon, "after").await != 200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let limit = Duration::from_secs(60);
    let in_time = tokio::time::timeout(limit, works).await;
    assert!(in_time.is_ok(), "{}: it works again", mishap.name);
    taken.push("after".to_owned());
    assert_eq!(store_report(&daemon).await.0, 200);
    // All of it is on disk.
    daemon.kill();
    graph.sandbox.set_faults(Faults::default());
    let daemon = DaemonProcess::start(&config);
    let arrived = async {
        for id in &taken {
            while graph.sandbox.times_accepted("1001", "Sign Up", id) == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    let in_time = tokio::time::timeout(limit, arrived).await;
    assert!(
        in_time.is_ok(),
        "{}: all that was taken arrives",
        mishap.name
    );
    daemon.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_goes_away_takes_nothing_until_it_is_put_right_and_loses_nothing() {
    let mut mishaps = JoinSet::new();
    for case in &MISHAPS {
        mishaps.spawn(mishap(case, false));
    }
    for case in MISHAPS.iter().filter(|case| case.mends.is_none()) {
        mishaps.spawn(mishap(case, true));
    }
    while let Some(ended) = mishaps.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_lock_is_made_anew() {
    let graph = Graph::start().await;
    let (folder, config) = place(&graph);
    let lock = folder.path().join("store/lock");
    let daemon = DaemonProcess::start(&config);
    for round in ["one", "two"] {
        fs::remove_file(&lock).unwrap();
        assert_eq!(post(&daemon, round).await, 200);
        assert!(lock.exists());
    }
    let said = refused(&config).await;
    assert!(said.contains("in use by another process"), "{said}");
    graph.sandbox.wait_for(2).await;
    daemon.kill();
}

/// The number of arenas that a daemon's process was given, and how the process is called.
fn arenas(daemon: &DaemonProcess) -> (Option<String>, String, String) {
    let read = |file| {
        let bytes = fs::read(format!("/proc/{}/{file}", daemon.child.id())).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let environment = read("environ");
    let mut all = environment.split('\0');
    let number = all.find_map(|variable| variable.strip_prefix("MALLOC_ARENA_MAX="));
    (number.map(str::to_owned), read("comm"), read("cmdline"))
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_has_few_arenas_unless_the_operator_says_how_many() {
    let graph = Graph::start().await;
    let (_folder, config) = place(&graph);
    let daemon = DaemonProcess::start(&config);
    assert_eq!(daemon.post_event("one").await, 200);
    let (number, name, arguments) = arenas(&daemon);
    let processors = std::thread::available_parallelism().unwrap().get();
    assert_eq!(number, Some((processors + 1).to_string()));
    assert_eq!(name, "pixel-relay\n");
    assert!(arguments.ends_with(&format!("\0run\0--config\0{}\0", config.display())));
    daemon.kill();
    let mut own = program();
    own.args(["run", "--config"]).arg(&config);
    own.env("MALLOC_ARENA_MAX", "7");
    let daemon = DaemonProcess::start_as(own);
    assert_eq!(arenas(&daemon).0.as_deref(), Some("7"));
    daemon.kill();
}
