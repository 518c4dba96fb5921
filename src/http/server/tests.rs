//! A listener through real sockets.

use std::collections::BTreeMap;
use std::future::pending;

use axum::routing::get;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::mpsc;

use super::*;
use crate::config::load::from_toml;
use crate::http::auth::AuthRule;

const CONFIG: &str =
    "[ingest]\nsecret = \"s\"\n[sync.web]\npixel_id = \"1\"\naccess_token = \"t\"\n";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    panics: Counter,
    task: JoinSet<()>,
}

fn server(router: Router, limits: ConnectionLimits, config: &str) -> HttpServer {
    let config = LiveConfig::new(from_toml(config, &[]).unwrap());
    HttpServer {
        router,
        limits,
        authenticator: Arc::new(Authenticator::new(config.clone(), AuthRule::to_ingest)),
        config,
        metrics: ConnectionMetrics::new("test", Gauge::default(), |_| Counter::default()),
        panics: Counter::default(),
    }
}

async fn start(router: Router, limits: ConnectionLimits) -> Running {
    start_server(server(router, limits, CONFIG)).await
}

async fn start_server(server: HttpServer) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let panics = server.panics.clone();
    let mut task = JoinSet::new();
    task.spawn(server.serve(listener, shutdown.clone()));
    Running {
        address,
        shutdown,
        panics,
        task,
    }
}

async fn all_from(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_request_under_way_is_answered_before_the_end() {
    let (begun, mut begins) = mpsc::channel(1);
    let (finish, finishes) = mpsc::channel::<()>(1);
    let finishes = Arc::new(tokio::sync::Mutex::new(finishes));
    let router = Router::new().route(
        "/",
        get(async move || {
            begun.send(()).await.unwrap();
            finishes.lock().await.recv().await.unwrap();
            "done"
        }),
    );
    let mut running = start(router, ConnectionLimits::default()).await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    begins.recv().await.unwrap();
    running.shutdown.cancel();
    // An idle connection is closed at once.
    assert_eq!(all_from(&mut idle).await, "");
    finish.send(()).await.unwrap();
    let answer = all_from(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("done"), "{answer}");
    running.task.join_next().await.unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn a_request_that_outlasts_the_grace_is_cut_off() {
    let (begun, mut begins) = mpsc::channel(1);
    let router = Router::new().route(
        "/",
        get(async move || {
            begun.send(()).await.unwrap();
            pending::<()>().await;
        }),
    );
    let limits = ConnectionLimits {
        grace: Duration::ZERO,
        ..ConnectionLimits::default()
    };
    let mut running = start(router, limits).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    begins.recv().await.unwrap();
    running.shutdown.cancel();
    running.task.join_next().await.unwrap().unwrap();
    assert_eq!(all_from(&mut stream).await, "");
}

#[tokio::test]
async fn a_panic_costs_its_request_alone() {
    async fn fails() -> &'static str {
        panic!("as the test wants it")
    }
    let router = Router::new()
        .route("/", get(fails))
        .route("/well", get(async || "well"));
    let running = start(router, ConnectionLimits::default()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    // On the same connection.
    let next = b"GET /well HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(next).await.unwrap();
    let answers = all_from(&mut stream).await;
    assert!(answers.starts_with("HTTP/1.1 500"), "{answers}");
    assert!(answers.contains(r#""error":"internal""#), "{answers}");
    assert!(!answers.contains("as the test"), "{answers}");
    assert!(answers.ends_with("well"), "{answers}");
    assert_eq!(running.panics.get(), 1);
}

#[tokio::test]
async fn a_head_that_does_not_come_to_an_end_is_given_up() {
    let limits = ConnectionLimits {
        head_timeout: Duration::from_millis(20),
        ..ConnectionLimits::default()
    };
    let running = start(Router::new(), limits).await;
    for sent in [&b""[..], b"GET / HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        assert_eq!(all_from(&mut stream).await, "");
    }
}

#[tokio::test]
async fn a_connection_past_the_limit_takes_the_place_of_an_idle_one() {
    let limits = ConnectionLimits {
        connections: 1,
        ..ConnectionLimits::default()
    };
    let running = start(Router::new(), limits).await;
    let mut first = TcpStream::connect(running.address).await.unwrap();
    let mut second = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(all_from(&mut first).await, "");
    second.write_all(REQUEST).await.unwrap();
    let mut begin = [0; 12];
    second.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 404");
}

/// A listener of which tests read the counters.
struct Counted {
    running: Running,
    open: Gauge,
    ended: BTreeMap<ConnectionEnd, Counter>,
    /// Requests that have begun and get no answer.
    slow: Counter,
}

impl Counted {
    /// Serves `/` and `/health` at once, `/large` with many megabytes, and `/slow` never.
    async fn start(limits: ConnectionLimits, config: &str) -> Self {
        let slow = Counter::default();
        let begun = slow.clone();
        let router = Router::new()
            .route("/", get("done"))
            .route("/health", get("well"))
            .route("/large", get(async || vec![b'x'; 32 << 20]))
            .route(
                "/slow",
                get(async move || {
                    begun.inc();
                    pending::<()>().await;
                }),
            );
        let open = Gauge::default();
        let ended: BTreeMap<_, _> = (ConnectionEnd::ALL.iter())
            .map(|end| (*end, Counter::default()))
            .collect();
        let count = |end| ended[&end].clone();
        let server = HttpServer {
            metrics: ConnectionMetrics::new("test", open.clone(), count),
            ..server(router, limits, config)
        };
        Self {
            running: start_server(server).await,
            open,
            ended,
            slow,
        }
    }

    /// Sends a request from an address of the loopback network.
    async fn ask(&self, from: [u8; 4], path: &str, header: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let mut stream = socket.connect(self.running.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{header}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Sends a request, and returns the whole answer.
    async fn answer(&self, from: [u8; 4], path: &str, header: &str) -> String {
        let header = format!("{header}connection: close\r\n");
        all_from(&mut self.ask(from, path, &header).await).await
    }

    /// Holds a connection with a request that gets no answer.
    async fn hold(&self, from: [u8; 4], header: &str) -> TcpStream {
        let before = self.slow.get();
        let stream = self.ask(from, "/slow", header).await;
        while self.slow.get() == before {
            sleep(Duration::from_millis(1)).await;
        }
        stream
    }

    async fn until_open(&self, number: i64) {
        while self.open.get() != number {
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn ended(&self, end: ConnectionEnd) -> u64 {
        self.ended[&end].get()
    }
}

const ONE: [u8; 4] = [127, 0, 0, 1];
const OTHER: [u8; 4] = [127, 0, 0, 2];
const THIRD: [u8; 4] = [127, 0, 0, 3];
const SECRET: &str = "authorization: s\r\n";

/// Four connections, and two in the reserve.
fn few() -> ConnectionLimits {
    ConnectionLimits {
        connections: 4,
        reserve: 2,
        ..ConnectionLimits::default()
    }
}

#[track_caller]
fn is_busy(answer: &str) {
    let answer = answer.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 503"), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    assert!(answer.contains("\"error\":\"busy\""), "{answer}");
}

#[track_caller]
fn is_done(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_read_is_cut_off() {
    let limits = ConnectionLimits {
        write_timeout: Duration::from_millis(300),
        ..ConnectionLimits::default()
    };
    let counted = Counted::start(limits, CONFIG).await;
    // One stops in the middle of a large answer, one goes on to send requests, and one closes its half.
    let _large = counted.ask(ONE, "/large", "").await;
    let mut many = counted.ask(ONE, "/large", "").await;
    let mut half = counted.ask(ONE, "/large", "").await;
    many.write_all(&REQUEST.repeat(1000)).await.unwrap();
    half.shutdown().await.unwrap();
    while counted.ended(ConnectionEnd::NotReading) < 2 {
        sleep(Duration::from_millis(1)).await;
    }
    counted.until_open(0).await;
    is_done(&counted.answer(ONE, "/", "").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn tiny_requests_without_end_are_honest_use() {
    let limits = ConnectionLimits {
        write_timeout: Duration::from_millis(20),
        ..few()
    };
    let counted = Counted::start(limits, CONFIG).await;
    let mut stream = TcpStream::connect(counted.running.address).await.unwrap();
    let mut answer = [0; 1024];
    for _ in 0..100 {
        stream.write_all(REQUEST).await.unwrap();
        let read = stream.read(&mut answer).await.unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(counted.open.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_holds_half_and_leaves_the_rest_to_others() {
    let counted = Counted::start(few(), CONFIG).await;
    let mut held = vec![counted.hold(ONE, "").await, counted.hold(ONE, "").await];
    is_busy(&counted.answer(ONE, "/", "").await);
    assert_eq!(counted.ended(ConnectionEnd::AddressShare), 1);
    is_done(&counted.answer(ONE, "/health", "").await);
    is_done(&counted.answer(ONE, "/", SECRET).await);
    is_busy(&counted.answer(ONE, "/", "authorization: t\r\n").await);
    is_done(&counted.answer(OTHER, "/", "").await);
    counted.until_open(2).await;
    // With the secret it may hold as many as there are.
    for _ in 0..4 {
        held.push(counted.hold(ONE, SECRET).await);
    }
    assert_eq!(counted.open.get(), 6);
    assert_eq!(counted.ended(ConnectionEnd::Limit), 0);
    drop(held);
    counted.until_open(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_and_health_are_heard_when_strangers_hold_all_else() {
    let counted = Counted::start(few(), CONFIG).await;
    let mut held = Vec::new();
    for from in [ONE, ONE, OTHER, OTHER] {
        held.push(counted.hold(from, "").await);
    }
    // Strangers that say nothing do not keep the reserve.
    for last in 10..60 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, last], 0).into()).unwrap();
        held.push(socket.connect(counted.running.address).await.unwrap());
    }
    is_busy(&counted.answer(THIRD, "/", "").await);
    is_done(&counted.answer(THIRD, "/health", "").await);
    is_done(&counted.answer(THIRD, "/", SECRET).await);
    assert!(counted.ended(ConnectionEnd::Limit) >= 1);
    assert!(counted.ended(ConnectionEnd::MadeRoom) >= 48);
    // In the reserve a stranger has one request.
    let mut health = counted.ask(THIRD, "/health", "").await;
    is_done(&all_from(&mut health).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_in_the_reserve_ends_soon() {
    let limits = ConnectionLimits {
        connections: 1,
        reserve_head_timeout: Duration::from_millis(50),
        ..few()
    };
    let counted = Counted::start(limits, CONFIG).await;
    let _held = counted.hold(ONE, "").await;
    let mut silent = TcpStream::connect(counted.running.address).await.unwrap();
    assert_eq!(all_from(&mut silent).await, "");
    let _known = counted.hold(OTHER, SECRET).await;
    counted.until_open(2).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(counted.open.get(), 2, "who has shown the secret stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_has_no_share() {
    let config = format!("[server]\ntrusted_proxies = [\"127.0.0.1\"]\n{CONFIG}");
    let counted = Counted::start(few(), &config).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(counted.hold(ONE, "").await);
    }
    assert_eq!(counted.ended(ConnectionEnd::AddressShare), 0);
    is_busy(&counted.answer(OTHER, "/", "").await);
    assert_eq!(counted.ended(ConnectionEnd::Limit), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_secret_is_asked_for_the_reserve_is_for_health_alone() {
    let config = CONFIG.replace("secret = \"s\"", "allow_unauthenticated = true");
    let counted = Counted::start(few(), &config).await;
    let mut held = Vec::new();
    for from in [ONE, ONE, OTHER, OTHER] {
        held.push(counted.hold(from, "").await);
    }
    for from in [ONE, OTHER, THIRD] {
        is_busy(&counted.answer(from, "/", "").await);
        is_busy(&counted.answer(from, "/slow", "").await);
        is_done(&counted.answer(from, "/health", "").await);
    }
    assert_eq!(counted.slow.get(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_an_answer_slowly_gets_all_of_it() {
    let counted = Counted::start(few(), CONFIG).await;
    let mut slow = counted.ask(ONE, "/large", "connection: close\r\n").await;
    let mut begin = [0; 1000];
    slow.read_exact(&mut begin).await.unwrap();
    // Its answer was made long ago, and is not written.
    let mut others = vec![counted.hold(ONE, "").await];
    for _ in 0..2 {
        others.push(counted.hold(OTHER, "").await);
    }
    is_busy(&counted.answer(THIRD, "/", "").await);
    assert_eq!(counted.ended(ConnectionEnd::MadeRoom), 0);
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() > 31 << 20, "{}", rest.len());
}
