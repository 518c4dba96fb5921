//! The control socket: who may use it, how it answers other versions, and which bad requests it survives.

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use serde_json::{Value, json};

use crate::process::{DaemonProcess, command};
use crate::storage::place;
use crate::support::{Daemon, Graph, HOLDING_SYNC, config_text, event};

const LIST: &[&str] = &["dead", "list"];

fn connect(folder: &Path) -> UnixStream {
    UnixStream::connect(folder.join("control.sock")).unwrap()
}

/// Sends a request and reads the whole answer.
fn say(folder: &Path, request: &[u8]) -> String {
    let mut stream = connect(folder);
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Posts a body; returns the status and the JSON of the answer.
fn post(folder: &Path, path: &str, body: &[u8]) -> (u16, Value) {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    let answer = say(folder, &[head.as_bytes(), body].concat());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: application/json"), "{head}");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_the_owners_alone_and_goes_with_the_daemon() {
    let graph = Graph::start().await;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let socket = folder.path().join("control.sock");
    // A killed daemon left its socket.
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
    // A file of another owner has the name; the daemon leaves it alone.
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
    for (path, body) in [
        ("/v1/dead/list", &b""[..]),
        ("/v1/dead/drop", b"\"all\""),
        ("/v1/dead/list", b"{\"filter\":{},\"page\":1}"),
        ("/v1/dead/retry", b"{\"everything\":true}"),
        ("/v1/dead/drop", b"{\"reason\":\"none\"}"),
        ("/v1/dead/drop", b"{\"sync\":\"../web\"}"),
        ("/v1/dead/drop", b"{\"filed_before\":\"tomorrow\"}"),
        ("/v1/forget", b"{\"e-mails\":[\"a\"]}"),
        ("/v1/trace", b"\xff\xfe"),
        ("/v1/trace", "[".repeat(1 << 20).as_bytes()),
    ] {
        let (status, answer) = post(folder, path, body);
        assert_eq!((status, &answer["code"]), (400, &json!("bad_request")));
    }
    let (status, answer) = post(folder, "/v1/no_such", b"{}");
    assert_eq!((status, &answer["code"]), (404, &json!("other_version")));

    // No end: of the head, of a body of any length, of one that says its length.
    let head = "POST /v1/trace HTTP/1.1\r\nhost: x\r\n";
    for begin in [
        format!("{head}x: "),
        format!("{head}transfer-encoding: chunked\r\n\r\n10000000\r\n"),
        format!("{head}content-length: 100000000\r\n\r\n"),
    ] {
        let mut endless = connect(folder);
        endless.write_all(begin.as_bytes()).unwrap();
        let piece = vec![b'x'; 1 << 20];
        let written = (0..).take_while(|_| endless.write_all(&piece).is_ok());
        assert!(written.count() < 100, "it is ended");
    }
    assert_eq!(command(&daemon.config_file(), LIST, b"").code, 0);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_of_another_version_is_told_so() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, HOLDING_SYNC).await;
    let folder = daemon.folder.path();
    // One from before HTTP reads a line, and shows that it is no JSON.
    let request = b"{\"version\":1,\"request\":{\"trace\":{\"event_id\":\"x\"}}}\n";
    let answer = say(folder, request);
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
    // A newer one shows the message.
    let (status, answer) = post(folder, "/v2/trace", b"{\"event_id\":\"x\"}");
    assert_eq!((status, &answer["code"]), (404, &json!("other_version")));
    let message = answer["message"].as_str().unwrap();
    assert!(
        message.ends_with("use the daemon's own program"),
        "{message}"
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_hangs_is_given_up_and_answers_when_it_goes_on() {
    let graph = Graph::start().await;
    let (_folder, config) = place(&graph);
    let daemon = DaemonProcess::start(&config);
    daemon.signal("STOP");
    let hanging = config.clone();
    let ran = tokio::task::spawn_blocking(move || command(&hanging, LIST, b""));
    let limit = std::time::Duration::from_secs(100);
    let ran = tokio::time::timeout(limit, ran).await.unwrap().unwrap();
    assert_eq!(ran.code, 1);
    assert!(ran.words.contains("has given no sign"), "{ran:?}");
    daemon.signal("CONT");
    assert_eq!(command(&config, LIST, b"").code, 0);
    daemon.kill();
}

/// Simulates a daemon that gives this answer to any request, after the first line.
fn fake_daemon(folder: &Path, answer: &'static str) {
    let listener = UnixListener::bind(folder.join("control.sock")).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            BufReader::new(&stream)
                .read_line(&mut String::new())
                .unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
}

#[test]
fn a_daemon_of_another_version_is_found_out_before_anything_is_sent() {
    // A daemon from before HTTP, and one that knows only a later version.
    for answer in [
        "{\"failed\":{\"code\":\"bad_request\",\"message\":\"the request is none\"}}\n",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 64\r\n\r\n\
         {\"code\":\"other_version\",\"message\":\"use the daemon's own program\"}",
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("queue.db"), "").unwrap();
        fake_daemon(folder.path(), answer);
        let config = folder.path().join("pixel-relay.toml");
        let address = "127.0.0.1:1".parse().unwrap();
        fs::write(&config, config_text(address, folder.path(), HOLDING_SYNC)).unwrap();
        let events: Vec<u8> = (0..20_000)
            .flat_map(|number| format!("{}\n", event(&format!("e{number}"))).into_bytes())
            .collect();
        for (arguments, input) in [(LIST, &b""[..]), (&["backfill", "-"], &events)] {
            let ran = command(&config, arguments, input);
            assert_eq!(ran.code, 1, "{ran:?}");
            assert!(
                ran.words.contains("use the daemon's own program"),
                "{ran:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_can_ask_as_well() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, HOLDING_SYNC).await;
    assert_eq!(daemon.post(event("one").to_string()).await.0, 200);
    let ran = Command::new("curl")
        .args(["--silent", "--show-error", "--unix-socket"])
        .arg(daemon.folder.path().join("control.sock"))
        .args(["http://localhost/v1/trace", "-d", "{\"event_id\":\"one\"}"])
        .output();
    match ran {
        Ok(ran) => {
            let traces: Value = serde_json::from_slice(&ran.stdout).unwrap();
            assert_eq!(traces[0]["sync"], "web", "{traces}");
            assert!(
                traces[0]["place"]["waiting"]["until"].is_string(),
                "{traces}"
            );
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "it is not installed"),
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_say_nothing_or_leave_hold_up_neither_work_nor_stop() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, HOLDING_SYNC).await;
    let config = daemon.config_file();
    let folder = daemon.folder.path();
    let mut silent = vec![connect(folder), connect(folder), connect(folder)];
    let head = b"POST /v1/trace HTTP/1.1\r\nhost: x\r\ncontent-length: 18\r\n\r\n";
    silent[0].write_all(&head[..20]).unwrap();
    silent[1].write_all(head).unwrap();
    for _ in 0..50 {
        let mut leaves = connect(folder);
        leaves.write_all(head).unwrap();
        leaves.write_all(b"{\"event_id\":\"one\"}").unwrap();
    }
    assert_eq!(command(&config, LIST, b"").code, 0);
    silent.extend((0..6).map(|_| connect(folder)));
    assert_eq!(daemon.post(event("one").to_string()).await.0, 200);
    daemon.stop().await;
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_none_or_for_a_sync_that_the_daemon_does_not_run_are_refused() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, HOLDING_SYNC).await;
    let folder = daemon.folder.path();
    let push = |event: &Value, known: Value| {
        let request = json!({"events": [event], "known": known}).to_string();
        post(folder, "/v1/queue/push", request.as_bytes())
    };
    let fingerprint = json!({"id": 1, "whole": 2});
    let payload = json!({
        "json": {"event_name": "A"}, "event_name": "A", "fingerprint": fingerprint,
        "deadline": 9_999_999_999_i64,
    });
    let good = json!({"sync": "web", "mapped": {"Ok": payload}});
    let without = |part: &str| {
        let mut payload = payload.clone();
        payload.as_object_mut().unwrap().remove(part);
        json!({"Ok": payload})
    };
    let mut array = payload.clone();
    array["json"] = json!([1]);
    for (part, wrong, status, code) in [
        ("sync", json!("blog"), 404, "unknown_sync"),
        ("sync", json!("../web"), 400, "bad_request"),
        ("mapped", json!({"Ok": array}), 400, "bad_request"),
        ("mapped", without("json"), 400, "bad_request"),
        ("mapped", without("event_name"), 400, "bad_request"),
        (
            "mapped",
            json!({"Err": {"reason": "bored"}}),
            400,
            "bad_request",
        ),
    ] {
        let mut event = good.clone();
        event[part] = wrong;
        let (refused, answer) = push(&event, json!([]));
        assert_eq!(
            (refused, &answer["code"]),
            (status, &json!(code)),
            "{answer}"
        );
    }
    // An event on several lines would break the export.
    let lines = json!({"events": [good], "known": []}).to_string();
    let lines = lines.replace("{\"event_name\":\"A\"}", "{\"event_name\":\n\"A\"}");
    assert_eq!(post(folder, "/v1/queue/push", lines.as_bytes()).0, 400);

    let pushed = |queued: u32, duplicates: u32| json!({"queued": queued, "duplicates": duplicates, "filtered": 0, "invalid": 0});
    assert_eq!(push(&good, json!([])), (200, pushed(1, 0)));
    assert_eq!(push(&good, json!([])), (200, pushed(0, 1)));
    let body = json!({"fingerprints": [fingerprint, {"id": 3, "whole": 4}]}).to_string();
    let found = post(folder, "/v1/queue/known", body.as_bytes());
    assert_eq!(found, (200, json!([fingerprint])));
    daemon.stop().await;
}
