//! The files of a store: what stands in their place, what is kept beside them, and who may look at them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pixel_relay::sandbox::faults::Faults;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::process::{DaemonProcess, command};
use crate::storage::place;
use crate::support::{Graph, PLAIN_SYNC, config_text};

/// Stops a daemon, however well it ends.
fn stop(mut daemon: DaemonProcess) {
    daemon.signal("TERM");
    daemon.child.wait().unwrap();
}

/// A place for a store while Meta takes nothing.
async fn undelivered() -> (Graph, TempDir, PathBuf) {
    let graph = Graph::start().await;
    graph
        .sandbox
        .set_faults("status=503".parse::<Faults>().unwrap());
    let (folder, config) = place(&graph);
    (graph, folder, config)
}

/// The number of events that a store's file holds.
fn events_in(file: &Path) -> i64 {
    let store = Connection::open(file).unwrap();
    let select = "SELECT coalesce(sum(events), 0) FROM row";
    store.query_row(select, [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_put_back_is_not_overwritten_by_what_was_saved_of_a_removed_file() {
    let (_graph, folder, config) = undelivered().await;
    let store = folder.path().join("store");
    let file = store.join("queue.db");
    let backup = folder.path().join("backup.db");
    let daemon = DaemonProcess::start(&config);
    assert_eq!(daemon.post_event("old").await, 200);
    stop(daemon);
    fs::copy(&file, &backup).unwrap();
    // The backup comes back while the daemon runs, or once it has ended, or it overwrites the file.
    for case in ["running", "stopped", "killed", "overwritten"] {
        let daemon = DaemonProcess::start(&config);
        for number in 0..3 {
            assert_eq!(daemon.post_event(&format!("{case}-{number}")).await, 200);
        }
        if case == "overwritten" {
            let new = folder.path().join("new");
            fs::copy(&backup, &new).unwrap();
            fs::rename(&new, &file).unwrap();
        } else {
            fs::remove_file(&file).unwrap();
        }
        assert_eq!(daemon.post_event("meanwhile").await, 503);
        if case == "running" {
            fs::copy(&backup, &file).unwrap();
            // Longer than a removed file waits for what was saved of it.
            tokio::time::sleep(Duration::from_secs(12)).await;
            assert_eq!(daemon.post_event("meanwhile").await, 503);
            assert!(
                daemon
                    .admin_text("/health")
                    .await
                    .contains("was overwritten")
            );
        }
        if matches!(case, "running" | "stopped") {
            stop(daemon);
        } else {
            daemon.kill();
        }
        if matches!(case, "stopped" | "killed") {
            fs::copy(&backup, &file).unwrap();
        }
        let verified = command(&config, &["queue", "verify"], b"");
        assert_eq!(verified.code, 1, "{verified:?}");
        assert!(verified.data.contains("salvage.db"), "{verified:?}");
        assert_eq!(events_in(&file), 1, "it is the backup");

        let daemon = DaemonProcess::start(&config);
        let begun = daemon.beginning.contains("is kept as");
        assert!(begun, "{}", daemon.beginning);
        assert!(daemon.admin_text("/health").await.contains("is kept as"));
        let verified = command(&config, &["queue", "verify"], b"");
        assert_eq!(verified.code, 0, "{verified:?}");
        assert!(verified.words.contains("rescued-"), "{verified:?}");
        daemon.kill();
        assert_eq!(events_in(&file), 1, "it is the backup");
        let kept = fs::read_dir(&store).unwrap().flatten();
        let kept: Vec<PathBuf> = kept
            .map(|file| file.path())
            .filter(|path| path.to_string_lossy().contains("rescued-"))
            .collect();
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert_eq!(events_in(&kept[0]), 4);
        fs::remove_file(&kept[0]).unwrap();
    }
}

/// All that a look could change: names, sizes, modes, times and bytes.
fn state_of(folder: &Path) -> BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)> {
    let mut state = BTreeMap::new();
    let own = fs::metadata(folder).unwrap();
    state.insert(
        folder.to_owned(),
        (own.mode(), own.mtime(), own.mtime_nsec(), Vec::new()),
    );
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let found = fs::symlink_metadata(&path).unwrap();
        let bytes = if found.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        let about = (found.mode(), found.mtime(), found.mtime_nsec(), bytes);
        state.insert(path, about);
    }
    state
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_changes_no_file() {
    let (_graph, folder, config) = undelivered().await;
    let store = folder.path().join("store");
    let unchanged = |what: &str, code: i32| {
        let before = state_of(&store);
        let export = folder.path().join("export");
        for arguments in [&["queue", "verify"][..], &["queue", "verify", "--json"]] {
            let mut arguments = arguments.to_vec();
            arguments.extend(["--export", export.to_str().unwrap()]);
            let verified = command(&config, &arguments, b"");
            assert_eq!(verified.code, code, "{what}: {verified:?}");
        }
        assert!(state_of(&store) == before, "{what}");
    };
    let daemon = DaemonProcess::start(&config);
    for number in 0..20 {
        assert_eq!(daemon.post_event(&format!("e{number}")).await, 200);
    }
    daemon.kill();
    unchanged("a log that a kill has left", 0);
    for mode in [0o755, 0o555, 0o500] {
        fs::set_permissions(&store, fs::Permissions::from_mode(mode)).unwrap();
        unchanged("a folder that is open to others, or read-only", 0);
    }
    fs::set_permissions(&store, fs::Permissions::from_mode(0o700)).unwrap();
    let index = store.join("queue.db-shm");
    let whole = fs::read(&index).unwrap();
    fs::remove_file(&index).unwrap();
    unchanged("a log without its index", 0);
    fs::write(&index, &whole).unwrap();
    fs::remove_file(store.join("lock")).unwrap();
    unchanged("no lock file", 0);

    stop(DaemonProcess::start(&config));
    unchanged("a closed store", 0);
    let file = store.join("queue.db");
    let whole = fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    damaged[4096 * 2..].fill(0xa5);
    fs::write(&file, damaged).unwrap();
    unchanged("a damaged store", 1);
    fs::write(&file, "").unwrap();
    unchanged("an empty file", 0);
}

/// What stands where the store's file belongs.
struct Stranger {
    name: &'static str,
    put: fn(&Path),
    /// What is said of it.
    said: &'static str,
}

fn own_store(file: &Path) -> Connection {
    let store = Connection::open(file).unwrap();
    store.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    store
}

const STRANGERS: [Stranger; 7] = [
    Stranger {
        name: "a folder",
        put: |file| fs::create_dir(file).unwrap(),
        said: "is a folder, not a file",
    },
    Stranger {
        name: "a pipe",
        put: |file| {
            let made = Command::new("mkfifo").arg(file).status().unwrap();
            assert!(made.success());
        },
        said: "is a pipe, not a file",
    },
    Stranger {
        name: "a link",
        put: |file| {
            let elsewhere = file.with_file_name("elsewhere.db");
            fs::write(&elsewhere, "").unwrap();
            symlink(elsewhere, file).unwrap();
        },
        said: "is a symbolic link, not a file",
    },
    Stranger {
        name: "a text",
        put: |file| fs::write(file, "a text of some length\n".repeat(1000)).unwrap(),
        said: "is not a store of pixel-relay",
    },
    Stranger {
        name: "a store of another program",
        put: |file| {
            own_store(file)
                .execute_batch("CREATE TABLE row (id INTEGER); INSERT INTO row VALUES (7)")
                .unwrap();
        },
        said: "is not a store of pixel-relay",
    },
    Stranger {
        name: "an empty store of another program",
        put: |file| {
            own_store(file)
                .execute_batch("PRAGMA application_id = 77")
                .unwrap();
        },
        said: "is not a store of pixel-relay",
    },
    Stranger {
        name: "a store of a later version",
        put: |file| {
            own_store(file)
                .execute_batch(
                    "CREATE TABLE later (id INTEGER); PRAGMA application_id = 0x5078526c;
                     PRAGMA user_version = 6",
                )
                .unwrap();
        },
        said: "written by a newer pixel-relay",
    },
];

#[test]
fn what_is_no_store_is_named_in_one_sentence_and_left_as_it_is() {
    for stranger in &STRANGERS {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        fs::create_dir(&store).unwrap();
        fs::set_permissions(&store, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(store.join("lock"), "").unwrap();
        (stranger.put)(&store.join("queue.db"));
        for file in fs::read_dir(&store).unwrap().flatten() {
            if file.file_type().unwrap().is_file() {
                let mode = fs::Permissions::from_mode(0o600);
                fs::set_permissions(file.path(), mode).unwrap();
            }
        }
        let config = folder.path().join("pixel-relay.toml");
        let address = "127.0.0.1:1".parse().unwrap();
        fs::write(&config, config_text(address, &store, PLAIN_SYNC)).unwrap();
        let before = state_of(&store);
        for arguments in [
            &["queue", "verify"][..],
            &["queue", "repair"],
            &["queue", "repair", "--no-copy"],
            &["dead", "list"],
            &["forget", "--event-id", "x"],
            &["run"],
        ] {
            let refused = command(&config, arguments, b"");
            let what = format!("{}, {arguments:?}: {refused:?}", stranger.name);
            assert_eq!(refused.code, 1, "{what}");
            assert!(refused.words.contains(stranger.said), "{what}");
            assert!(refused.words.contains("left as it is"), "{what}");
        }
        let content = |state: &BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)>| {
            let files = state.iter().filter(|(path, _)| **path != store);
            let files = files.map(|(path, about)| (path.clone(), about.3.clone()));
            files.collect::<Vec<_>>()
        };
        assert!(
            content(&state_of(&store)) == content(&before),
            "{}: it was changed",
            stranger.name
        );
    }
}
