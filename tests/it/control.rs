//! The control socket: who may use it, and what it puts up with.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::process::command;
use crate::support::{Daemon, Graph, HOLDING_SYNC, config_text, event};

const LIST: &[&str] = &["dead", "list"];

fn connect(folder: &Path) -> UnixStream {
    UnixStream::connect(folder.join("control.sock")).unwrap()
}

/// Says one thing and hears the answer.
fn ask(folder: &Path, request: &[u8]) -> Value {
    let mut stream = connect(folder);
    stream.write_all(request).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|_| panic!("no answer but {line:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_the_owners_alone_and_goes_with_the_daemon() {
    let graph = Graph::start().await;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let socket = folder.path().join("control.sock");
    // A daemon that was killed left its socket.
    drop(UnixListener::bind(&socket).unwrap());
    let config = config_text(graph.address, folder.path(), HOLDING_SYNC);
    let daemon = Daemon::start_on(Arc::clone(&folder), config).await;
    let found = fs::metadata(&socket).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    let config = daemon.config_file();
    assert_eq!(command(&config, LIST, b"").code, 0);
    daemon.stop().await;
    assert!(!socket.exists());
    assert_eq!(command(&config, LIST, b"").code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_a_long_path_has_a_socket_too() {
    let graph = Graph::start().await;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let deep = folder.path().join("d".repeat(120)).join("e".repeat(120));
    let config = config_text(graph.address, &deep, HOLDING_SYNC);
    let daemon = Daemon::start_on(Arc::clone(&folder), config).await;
    assert!(deep.join("control.sock").exists());
    assert_eq!(command(&daemon.config_file(), LIST, b"").code, 0);
    daemon.stop().await;
    assert!(!deep.join("control.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_socket_the_daemon_runs_on_and_commands_say_why_they_cannot() {
    let graph = Graph::start().await;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    // Something of somebody else's has the name; it is left alone.
    let there = folder.path().join("control.sock");
    fs::write(&there, "mine").unwrap();
    let config = config_text(graph.address, folder.path(), HOLDING_SYNC);
    let daemon = Daemon::start_on(Arc::clone(&folder), config).await;
    assert_eq!(daemon.post(event("one").to_string()).await.0, 200);
    let config = daemon.config_file();
    let ran = command(&config, LIST, b"");
    assert_eq!(ran.code, 1);
    assert!(
        ran.words.contains("another process has the store"),
        "{ran:?}"
    );
    daemon.stop().await;
    assert_eq!(fs::read_to_string(&there).unwrap(), "mine");
    assert_eq!(command(&config, LIST, b"").code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_answered_and_harms_nobody() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, HOLDING_SYNC).await;
    let folder = daemon.folder.path();
    for request in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"{\"version\":1,\"request\":{\"no_such\":{}}}\n",
        b"{\"version\":1,\"request\":{\"retry\":{\"filter\":{\"everything\":true}}}}\n",
        b"{\"version\":1,\"request\":{\"retry\":{\"filter\":{\"reason\":\"none\"}}}}\n",
        b"\xff\xfe\n",
    ] {
        let answer = ask(folder, request);
        assert_eq!(answer["failed"]["code"], "bad_request", "{answer}");
    }
    let other = ask(folder, b"{\"version\":2,\"request\":{\"new_things\":1}}\n");
    assert_eq!(other["failed"]["code"], "other_version", "{other}");

    // More than any request, and no end.
    let mut endless = connect(folder);
    let piece = vec![b'x'; 1 << 20];
    while endless.write_all(&piece).is_ok() {}
    let mut answer = String::new();
    // The answer may be lost with the connection; what counts is that it was ended.
    endless.read_to_string(&mut answer).ok();

    // Deeply nested.
    let mut nested = b"{\"version\":1,\"request\":".to_vec();
    nested.extend(vec![b'['; 1 << 20]);
    nested.push(b'\n');
    assert_eq!(ask(folder, &nested)["failed"]["code"], "bad_request");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_say_nothing_or_leave_hold_up_neither_work_nor_stop() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, HOLDING_SYNC).await;
    let config = daemon.config_file();
    let folder = daemon.folder.path();
    let mut silent = vec![connect(folder), connect(folder)];
    silent[0].write_all(b"{\"version\":1,").unwrap();
    for _ in 0..50 {
        let mut leaves = connect(folder);
        leaves
            .write_all(b"{\"version\":1,\"request\":{\"trace\":{\"event_id\":\"x\"}}}\n")
            .unwrap();
    }
    assert_eq!(command(&config, LIST, b"").code, 0);
    silent.extend((0..6).map(|_| connect(folder)));
    assert_eq!(daemon.post(event("one").to_string()).await.0, 200);
    daemon.stop().await;
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_for_a_sync_that_the_daemon_does_not_run_are_refused() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, HOLDING_SYNC).await;
    let folder = daemon.folder.path();
    let take = |event: Value| {
        let request = json!({"version": 1, "request": {"take": {"events": [event]}}});
        ask(folder, format!("{request}\n").as_bytes())
    };
    let fate =
        json!({"queue": {"fingerprint": [1, 2], "deadline": 9_999_999_999_i64, "known": false}});
    let good = json!({"sync": "web", "name": "A", "event": {"event_name": "A"}, "fate": fate});
    for (part, wrong, code) in [
        ("sync", json!("blog"), "unknown_sync"),
        ("sync", json!("../web"), "unknown_sync"),
        ("event", json!([1]), "bad_request"),
        ("event", Value::Null, "bad_request"),
        ("name", Value::Null, "bad_request"),
        (
            "fate",
            json!({"ended": {"reason": "bored", "id": null}}),
            "bad_request",
        ),
    ] {
        let mut event = good.clone();
        event[part] = wrong;
        let answer = take(event);
        assert_eq!(answer["failed"]["code"], code, "{part}: {answer}");
    }
    assert_eq!(
        take(good)["done"]["taken"],
        json!({"queued": 1, "duplicates": 0})
    );
    daemon.stop().await;
}
