//! The client: kept-alive connections, prepared bodies, unique ids.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::sample;

/// The secret of the sample's rules.
const SECRET: &str = "Bearer load";

/// How many events a request holds.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// One, as Amplitude sends them.
    Single,
    /// An array of this many events.
    Array(usize),
}

impl Shape {
    /// Events per request.
    pub fn events(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Array(events) => events,
        }
    }
}

/// What is sent.
#[derive(Clone, Debug)]
pub struct Load {
    pub shape: Shape,
    pub requests: usize,
    pub connections: usize,
    /// Makes the ids of this load unlike those of any other.
    pub prefix: String,
}

/// Sends a load as fast as the server answers.
pub fn run(address: SocketAddr, load: &Load) {
    runtime().block_on(async {
        let next = Arc::new(AtomicUsize::new(0));
        let mut connections = tokio::task::JoinSet::new();
        for _ in 0..load.connections {
            let (next, load) = (Arc::clone(&next), load.clone());
            let mut connection = Connection::open(address).await;
            connections.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= load.requests {
                        return;
                    }
                    let body = body(load.shape, &load.prefix, number);
                    connection.exchange(&body).await;
                }
            });
        }
        connections.join_all().await;
    });
}

/// Sends single events at a steady pace; returns the seconds that each answer took, shortest first.
pub fn run_paced(address: SocketAddr, name: &str, per_second: u32, length: Duration) -> Vec<f64> {
    const CONNECTIONS: u32 = 64;
    runtime().block_on(async {
        let begin = Instant::now();
        let mut connections = tokio::task::JoinSet::new();
        for lane in 0..CONNECTIONS {
            let mut connection = Connection::open(address).await;
            let prefix = format!("{name}-{lane}");
            connections.spawn(async move {
                let mut answers = Vec::new();
                let step = Duration::from_secs(1) * CONNECTIONS / per_second;
                let mut due = begin + step * lane / CONNECTIONS;
                for number in 0.. {
                    if due.duration_since(begin) > length {
                        break;
                    }
                    tokio::time::sleep_until(due).await;
                    let body = body(Shape::Single, &prefix, number);
                    connection.exchange(&body).await;
                    // Counted from when it was due, so that a stall counts for all it delays.
                    answers.push(due.elapsed().as_secs_f64());
                    due += step;
                }
                answers
            });
        }
        let mut answers = connections.join_all().await.concat();
        answers.sort_by(f64::total_cmp);
        answers
    })
}

/// Waits until this many events in all are delivered; returns the number by then.
pub fn wait_until_delivered(admin: SocketAddr, events: usize) -> usize {
    runtime().block_on(async {
        loop {
            let page = get(admin, "/metrics").await;
            let delivered: f64 = samples(&page, "pixel_relay_outcomes_total")
                .filter(|(labels, _)| labels.contains("outcome=\"delivered\""))
                .map(|(_, value)| value)
                .sum();
            if delivered >= events as f64 {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a count"
                )]
                return delivered as usize;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
}

/// The bounds of the histogram of end-to-end seconds, and the share of events within each.
pub fn delivered_within(admin: SocketAddr) -> Vec<(f64, f64)> {
    let page = runtime().block_on(get(admin, "/metrics"));
    let all: f64 = samples(&page, "pixel_relay_end_to_end_seconds_count")
        .map(|(_, value)| value)
        .sum();
    samples(&page, "pixel_relay_end_to_end_seconds_bucket")
        .filter_map(|(labels, value)| {
            let (_, bound) = labels.split_once("le=\"")?;
            let (bound, _) = bound.split_once('"')?;
            Some((bound.parse().ok()?, value / all))
        })
        .collect()
}

fn samples<'a>(page: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    page.lines().filter_map(move |line| {
        let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
        labels
            .starts_with('{')
            .then(|| Some((labels, value.parse().ok()?)))?
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address)
            .await
            .expect("the server listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Self {
            stream,
            request: Vec::new(),
            answer: Vec::new(),
        }
    }

    async fn exchange(&mut self, body: &[u8]) {
        self.request.clear();
        self.request.extend_from_slice(
            format!(
                "POST /webhook HTTP/1.1\r\nhost: localhost\r\nauthorization: {}\r\n\
                 content-type: application/json\r\nuser-agent: Amplitude/Webhook/1.0\r\n\
                 content-length: {}\r\n\r\n",
                SECRET,
                body.len()
            )
            .as_bytes(),
        );
        self.request.extend_from_slice(body);
        self.stream
            .write_all(&self.request)
            .await
            .expect("the server reads");
        self.answer.clear();
        loop {
            let read = self
                .stream
                .read_buf(&mut self.answer)
                .await
                .expect("the server answers");
            assert!(read > 0, "the server closed the connection");
            if is_whole(&self.answer) {
                break;
            }
        }
        let text = String::from_utf8_lossy(&self.answer);
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    }
}

/// Whether an answer is complete.
fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = memchr::memmem::find(answer, b"\r\n\r\n") else {
        return false;
    };
    let length = String::from_utf8_lossy(&answer[..head])
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .expect("the answer has a length");
    answer.len() >= head + 4 + length
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address)
        .await
        .expect("the server listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("the server reads");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("the server answers");
    answer
}

/// A body of this many events, each with its own id.
fn body(shape: Shape, prefix: &str, number: usize) -> Vec<u8> {
    let events = shape.events();
    let millis = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_millis();
    let mut body = Vec::with_capacity(1800 * events);
    if events > 1 {
        body.push(b'[');
    }
    for event in 0..events {
        if event > 0 {
            body.push(b',');
        }
        let id = format!("{prefix}-{number}-{event}");
        body.extend_from_slice(sample::event(&id, millis).as_bytes());
    }
    if events > 1 {
        body.push(b']');
    }
    body
}
