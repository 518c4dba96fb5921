//! The client: kept-alive connections, prepared bodies, unique ids.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::process::SECRET;

/// How many events a request holds.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// One, as Amplitude sends them.
    Single,
    /// An array of so many.
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

/// Sends single events at a steady pace; gives the seconds that each answer took.
pub fn run_paced(address: SocketAddr, per_second: u32, length: Duration) -> Vec<f64> {
    const CONNECTIONS: u32 = 16;
    runtime().block_on(async {
        let begin = Instant::now();
        let mut connections = tokio::task::JoinSet::new();
        for lane in 0..CONNECTIONS {
            let mut connection = Connection::open(address).await;
            connections.spawn(async move {
                let mut answers = Vec::new();
                let step = Duration::from_secs(1) * CONNECTIONS / per_second;
                let mut due = begin + step * lane / CONNECTIONS;
                for number in 0.. {
                    if due.duration_since(begin) > length {
                        break;
                    }
                    tokio::time::sleep_until(due).await;
                    let body = body(Shape::Single, &format!("paced-{lane}"), number);
                    connection.exchange(&body).await;
                    // Counted from when it was due, so that a stall counts for all it delays.
                    answers.push(due.elapsed().as_secs_f64());
                    due += step;
                }
                answers
            });
        }
        connections.join_all().await.concat()
    })
}

/// Waits until so many events are delivered.
pub fn wait_until_delivered(admin: SocketAddr, events: usize) {
    runtime().block_on(async {
        loop {
            let page = get(admin, "/metrics").await;
            let delivered: f64 = samples(&page, "pixel_relay_outcomes_total")
                .filter(|(labels, _)| labels.contains("outcome=\"delivered\""))
                .map(|(_, value)| value)
                .sum();
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            if delivered >= events as f64 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

/// The share of events that took longer than so many seconds from the door to Meta's answer.
pub fn delivered_later_than(admin: SocketAddr, seconds: f64) -> f64 {
    let page = runtime().block_on(get(admin, "/metrics"));
    let bound = format!("le=\"{seconds}\"");
    let within: f64 = samples(&page, "pixel_relay_end_to_end_seconds_bucket")
        .filter(|(labels, _)| labels.contains(&bound))
        .map(|(_, value)| value)
        .sum();
    let all: f64 = samples(&page, "pixel_relay_end_to_end_seconds_count")
        .map(|(_, value)| value)
        .sum();
    1.0 - within / all
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
                "POST /webhook HTTP/1.1\r\nhost: localhost\r\nauthorization: {SECRET}\r\n\
                 content-type: application/json\r\nuser-agent: Amplitude/Webhook/1.0\r\n\
                 content-length: {}\r\n\r\n",
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

/// Whether an answer has come to its end.
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

/// Amplitude's export format, 1.6 kB: a purchase in a browser.
fn body(shape: Shape, prefix: &str, number: usize) -> Vec<u8> {
    let events = shape.events();
    let mut body = Vec::with_capacity(1700 * events);
    if events > 1 {
        body.push(b'[');
    }
    for event in 0..events {
        if event > 0 {
            body.push(b',');
        }
        body.extend_from_slice(one_event(&format!("{prefix}-{number}-{event}")).as_bytes());
    }
    if events > 1 {
        body.push(b']');
    }
    body
}

fn one_event(id: &str) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_millis();
    format!(
        "{{\"$insert_id\":\"{id}\",\"$insert_key\":null,\"$schema\":null,\"adid\":null,\
         \"amplitude_attribution_ids\":null,\"amplitude_event_type\":null,\"amplitude_id\":1184022317745,\
         \"app\":512345,\"city\":\"Portland\",\"client_event_time\":{now},\"client_upload_time\":{now},\
         \"country\":\"United States\",\"data\":{{\"path\":\"/2/httpapi\",\"user_properties_updated\":true,\
         \"group_ids\":{{}},\"group_first_event\":{{}}}},\"data_type\":\"event\",\"device_brand\":null,\
         \"device_carrier\":null,\"device_family\":\"Mac OS X\",\"device_id\":\"{id}-b7b0f6a1-94c5-4c06\",\
         \"device_manufacturer\":\"Apple Inc.\",\"device_model\":null,\"device_type\":\"Apple Macintosh\",\
         \"dma\":\"Portland, OR\",\"event_id\":42,\"event_properties\":{{\"[Amplitude] Page Location\":\
         \"https://shop.example.com/thanks?order=A-1009\",\"[Amplitude] Page URL\":\
         \"https://shop.example.com/thanks\",\"order_id\":\"A-1009\",\"value\":59.90,\"currency\":\"USD\",\
         \"products\":[{{\"sku\":\"SKU-1\",\"qty\":2,\"price\":19.95}},{{\"sku\":\"SKU-9\",\"qty\":1,\
         \"price\":20.00}}]}},\"event_time\":{now},\"event_type\":\"Order Completed\",\
         \"global_user_properties\":null,\"group_properties\":{{}},\"groups\":{{}},\"idfa\":null,\
         \"ip_address\":\"203.0.113.24\",\"is_attribution_event\":false,\"language\":\"English\",\
         \"library\":\"amplitude-ts/2.45.6\",\"location_lat\":null,\"location_lng\":null,\
         \"os_name\":\"Chrome\",\"os_version\":\"142\",\"partner_id\":null,\"paying\":null,\"plan\":null,\
         \"platform\":\"Web\",\"region\":\"Oregon\",\"sample_rate\":null,\"session_id\":1795197600000,\
         \"source_id\":null,\"start_version\":null,\"user_creation_time\":\"2026-10-02 09:15:44.001000\",\
         \"user_id\":\"customer-{id}\",\"user_properties\":{{\"email\":\"{id}@example.com\",\
         \"phone\":\"+1 503 555 0100\",\"first_name\":\"Pat\",\"last_name\":\"Doe\",\
         \"fbp\":\"fb.1.1790000000000.1234567890\",\"initial_utm_source\":\"facebook\",\
         \"utm_source\":\"facebook\"}},\"uuid\":\"{id}-2f9d2c2c\",\"version_name\":null}}"
    )
}
