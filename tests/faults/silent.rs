//! Clients that ask and never read the answer, more of them than there are connections.
//!
//! Others are served meanwhile; and after a while the silent ones are sent away.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::CaseReport;
use crate::account::STANDING_FAULTS;
use crate::events;
use crate::graph::Graph;
use crate::place::{Place, SECRET};
use crate::preload::Shim;

/// More than the daemon takes.
const SILENT: usize = 1100;
/// How much each asks: the answers fill the buffers between it and the daemon many times over.
const REQUESTS: usize = 600;
/// The silent and the others come from two addresses.
const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const OTHERS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
/// With fewer descriptors than this, the daemon has sent the silent away.
const FEW: usize = 100;
/// How long one of the others may have to wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// A write without progress ends a connection after 30 s; the machine may be slow.
const LONGEST: Duration = Duration::from_secs(55);

/// Runs the one case.
pub async fn run() -> CaseReport {
    let mut report = CaseReport {
        what: format!("{SILENT} clients that never read"),
        ..CaseReport::default()
    };
    let wrong = &mut report.wrong;
    let graph = Graph::start(STANDING_FAULTS).await;
    let place = Place::new(graph.address, "20ms");
    let shim = Shim::new(place.path());
    shim.set_send_buffer(8192);
    let daemon = match place.start(Some(&shim)).await {
        Ok(daemon) => daemon,
        Err(refusal) => {
            wrong.push(format!("no start: {}", refusal.said));
            return report;
        }
    };
    let address: SocketAddr = daemon.public.trim_start_matches("http://").parse().unwrap();
    let mut opening = JoinSet::new();
    for _ in 0..SILENT {
        opening.spawn(fall_silent(address));
    }
    let silent: Vec<TcpStream> = opening.join_all().await.into_iter().flatten().collect();
    let begun = Instant::now();
    let mut next = 1;
    // While the silent are there, and after they were sent away.
    let mut gone = false;
    while !gone && begun.elapsed() < LONGEST {
        if let Err(problem) = be_served(address, next).await {
            wrong.push(format!("after {:?}: {problem}", begun.elapsed()));
            break;
        }
        next += 1;
        gone = daemon.descriptors() < FEW;
        sleep(Duration::from_millis(500)).await;
    }
    if !gone && wrong.is_empty() {
        let left = daemon.descriptors();
        wrong.push(format!("{left} descriptors are in use after {LONGEST:?}"));
    }
    // A place that was freed is free for the same peer, too.
    drop(silent);
    if gone && let Err(problem) = ask_health(address, ATTACKER).await {
        wrong.push(format!("after all were sent away: {problem}"));
    }
    report.acknowledged = usize::try_from(next - 1).unwrap();
    daemon.kill().await;
    report
}

/// Connects from an address, with a small buffer for answers.
async fn connect(from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

/// Asks much, and reads nothing.
async fn fall_silent(address: SocketAddr) -> Option<TcpStream> {
    let mut stream = timeout(PATIENCE, connect(ATTACKER, address))
        .await
        .ok()?
        .ok()?;
    let requests = "GET /health HTTP/1.1\r\nhost: x\r\n\r\n".repeat(REQUESTS);
    // The daemon stops reading when it cannot answer.
    timeout(
        Duration::from_secs(1),
        stream.write_all(requests.as_bytes()),
    )
    .await
    .ok();
    Some(stream)
}

/// Asks for health, and sends an event.
async fn be_served(address: SocketAddr, serial: u64) -> Result<(), String> {
    ask_health(address, OTHERS).await?;
    let body = events::body(serial..serial + 1);
    let head = format!(
        "POST /webhook HTTP/1.1\r\nhost: x\r\nauthorization: {SECRET}\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    exchange(address, OTHERS, [head.as_bytes(), &body].concat()).await
}

async fn ask_health(address: SocketAddr, from: IpAddr) -> Result<(), String> {
    let request = "GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    exchange(address, from, request.as_bytes().to_vec()).await
}

/// Sends a request, which must be answered 200.
async fn exchange(address: SocketAddr, from: IpAddr, request: Vec<u8>) -> Result<(), String> {
    let asked = async {
        let mut stream = connect(from, address).await?;
        stream.write_all(&request).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    match timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200") => Ok(()),
        Ok(Ok(answer)) => Err(format!("answered {:?}", answer.lines().next())),
        Ok(Err(error)) => Err(format!("not served: {error}")),
        Err(_) => Err(format!("not served within {PATIENCE:?}")),
    }
}
