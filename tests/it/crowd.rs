//! Hostile clients in great number: the real program goes on serving whoever holds the secret.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use pixel_relay::clock::{Clock as _, SystemClock};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::process::{DaemonProcess, command, program};
use crate::support::{Graph, PLAIN_SYNC, SECRET, client, config_text, event};

const KEY: &str = "0123456789abcdef0123456789abcdef";
/// Addresses that the clients come from.
const ADDRESSES: u16 = 8;
/// Longer than anything takes, and shorter than a client of ours would wait for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a hostile client does with its connection.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Sends nothing.
    Silent,
    /// Sends half a head.
    HalfHead,
    /// Announces a body and does not send it.
    Announcing,
    /// Sends a byte of a body now and then.
    Trickling,
    /// Sends requests and reads no answer.
    NotReading,
    /// The same, and says that it has nothing more to send.
    HalfClosed,
}

const MANNERS: [Manner; 6] = [
    Manner::Silent,
    Manner::HalfHead,
    Manner::Announcing,
    Manner::Trickling,
    Manner::NotReading,
    Manner::HalfClosed,
];

/// Raises the number of files that this process may open; returns it.
fn raise_own_limit() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let files = maximum.map_or(16_384, |maximum| maximum.min(16_384));
    let current = Some(files);
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    usize::try_from(files).unwrap()
}

/// Opens a connection from one of some addresses, and behaves. Holds on to it until the daemon ends it.
async fn misbehave(to: SocketAddr, number: u16, manner: Manner) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    let last = u8::try_from(2 + number % ADDRESSES).unwrap();
    socket.bind(([127, 0, 0, last], 0).into())?;
    let mut stream = socket.connect(to).await?;
    let upload = "POST /2/httpapi HTTP/1.1\r\nhost: x\r\ncontent-length: 2000000\r\n\r\n";
    match manner {
        Manner::Silent => {}
        Manner::HalfHead => stream.write_all(b"POST /webhook HTTP/1.1\r\nhost").await?,
        Manner::Announcing => stream.write_all(upload.as_bytes()).await?,
        Manner::Trickling => {
            stream.write_all(upload.as_bytes()).await?;
            loop {
                stream.write_all(b" ").await?;
                sleep(Duration::from_millis(500)).await;
            }
        }
        Manner::NotReading | Manner::HalfClosed => {
            let request = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n".repeat(200);
            for _ in 0..100 {
                // Once nothing more goes through, all that it can fill is full.
                let sent = timeout(Duration::from_secs(1), stream.write_all(&request)).await;
                if sent.is_err() {
                    break;
                }
            }
            if matches!(manner, Manner::HalfClosed) {
                stream.shutdown().await?;
            }
        }
    }
    // Does not read.
    sleep(10 * PATIENCE).await;
    drop(stream);
    Ok(())
}

/// Begins to misbehave in every manner, over so many connections that are begun anew as they end.
fn crowd(to: SocketAddr, connections: u16) -> JoinSet<()> {
    let mut crowd = JoinSet::new();
    for number in 0..connections {
        let manner = MANNERS[usize::from(number) % MANNERS.len()];
        crowd.spawn(async move {
            loop {
                misbehave(to, number, manner).await.ok();
                sleep(Duration::from_millis(200)).await;
            }
        });
    }
    crowd
}

fn address(url: &str) -> SocketAddr {
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

fn config(graph: &Graph, folder: &TempDir) -> PathBuf {
    let text = config_text(graph.address, &folder.path().join("store"), PLAIN_SYNC);
    let text = text.replace("[queue]", &format!("api_keys = ['{KEY}']\n[queue]"));
    let file = folder.path().join("pixel-relay.toml");
    std::fs::write(&file, text).unwrap();
    file
}

/// Posts an event with the secret, over a new connection; a refusal or a broken connection counts as none.
async fn post(daemon: &DaemonProcess, id: &str) -> Option<u16> {
    let sent = client()
        .post(format!("{}/webhook", daemon.public))
        .header("authorization", SECRET)
        .body(event(id).to_string())
        .timeout(PATIENCE)
        .send();
    sent.await.ok().map(|answer| answer.status().as_u16())
}

async fn get(url: String) -> String {
    let answer = client().get(&url).timeout(PATIENCE).send().await;
    answer
        .unwrap()
        .error_for_status()
        .unwrap()
        .text()
        .await
        .unwrap()
}

/// Waits until the daemon's metrics hold a line that begins so and does not end in zero.
async fn until_counted(daemon: &DaemonProcess, line: &str) {
    let counted = async {
        loop {
            let page = get(format!("{}/metrics", daemon.admin)).await;
            let mut lines = page.lines().filter_map(|found| found.strip_prefix(line));
            if lines.any(|count| count.trim() != "0") {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, counted).await.expect(line);
}

/// Asks as a container platform does.
fn health_of(daemon: &DaemonProcess, folder: &TempDir) -> i32 {
    let known = std::fs::read_to_string(folder.path().join("pixel-relay.toml")).unwrap();
    let listen = daemon.public.strip_prefix("http://").unwrap();
    let file = folder.path().join("with-address.toml");
    std::fs::write(&file, known.replacen("127.0.0.1:0", listen, 1)).unwrap();
    command(&file, &["healthcheck"], b"").code
}

fn resident_mebibytes(daemon: &DaemonProcess) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
    kibibytes.unwrap().parse::<usize>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_hostile_connections_do_not_keep_the_webhook_from_being_served() {
    raise_own_limit();
    let graph = Graph::start().await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = DaemonProcess::start(&config(&graph, &folder));
    let _crowd = crowd(address(&daemon.public), 2000);
    let _admin_crowd = crowd(address(&daemon.admin), 200);
    until_counted(
        &daemon,
        "pixel_relay_connections_ended_total{listener=\"public\",reason=\"made_room\"}",
    )
    .await;
    for id in 0..20 {
        assert_eq!(post(&daemon, &format!("e{id}")).await, Some(200), "{id}");
    }
    assert_eq!(
        get(format!("{}/health", daemon.public)).await,
        "{\"status\":\"ok\"}\n"
    );
    assert_eq!(health_of(&daemon, &folder), 0);
    let sample = json!({ "api_key": KEY, "events": [{ "event_type": "A", "user_id": "user-1", "time": SystemClock.now().0 }] });
    let upload = client()
        .post(format!("{}/2/httpapi", daemon.public))
        .body(sample.to_string())
        .timeout(PATIENCE)
        .send();
    let upload = upload.await.map(|answer| answer.status().as_u16());
    // An SDK gets in where an idle connection can make room; otherwise it is told to come again.
    assert!(matches!(upload, Ok(200 | 503)), "{upload:?}");
    timeout(PATIENCE, graph.sandbox.wait_for(20)).await.unwrap();
    let resident = resident_mebibytes(&daemon);
    println!("resident with 2200 hostile connections: {resident} MiB");
    assert!(resident < 200, "{resident} MiB");
    daemon.signal("TERM");
    let (code, _) = daemon.wait();
    assert_eq!(code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn few_open_files_are_kept_for_meta_the_store_and_commands() {
    raise_own_limit();
    let graph = Graph::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = config(&graph, &folder);
    let mut limited = Command::new("/bin/sh");
    limited
        .env_clear()
        .args(["-c", "ulimit -Sn 64; ulimit -Hn 128; exec \"$0\" \"$@\""])
        .arg(program().get_program())
        .args(["run", "--config"])
        .arg(&config);
    let daemon = DaemonProcess::start_as(limited);
    assert!(
        daemon.beginning.contains("few open files"),
        "{}",
        daemon.beginning
    );
    let to = address(&daemon.public);
    let mut idle: Vec<TcpStream> = Vec::new();
    for _ in 0..3000 {
        idle.push(TcpStream::connect(to).await.unwrap());
    }
    let _crowd = crowd(to, 300);
    let _admin_crowd = crowd(address(&daemon.admin), 100);
    until_counted(
        &daemon,
        "pixel_relay_connections_ended_total{listener=\"admin\",reason=\"made_room\"}",
    )
    .await;
    for id in 0..10 {
        assert_eq!(post(&daemon, &format!("e{id}")).await, Some(200), "{id}");
    }
    timeout(PATIENCE, graph.sandbox.wait_for(10)).await.unwrap();
    let listed = command(&config, &["dead", "list", "--json"], b"");
    assert_eq!(listed.code, 0, "{listed:?}");
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.child.id())).unwrap();
    assert!(open.count() < 128);
    drop(idle);
    daemon.signal("TERM");
    let (code, log) = daemon.wait();
    assert_eq!(code, Some(0));
    assert!(!log.contains("Too many open files"), "{log}");
}
