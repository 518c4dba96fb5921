//! The accept loop of a listener, with a graceful shutdown.
//!
//! A connection on which no whole request head arrives in time is closed, even an idle one, so that slow
//! senders cannot hold all connections. Connections beyond the limit wait in the kernel's queue. A shutdown
//! accepts nothing new, answers the requests under way, and cuts off what is not answered by the end of the
//! grace.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse as _;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::counter::Counter;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::http::client_address::Peer;
use crate::http::normal_path::normalized;
use crate::http::reply::HttpError;
use crate::panics::caught;

/// Users filter the log by what they know: to them a listener belongs to the ingest.
const TARGET: &str = "pixel_relay::ingest";

/// Bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    pub connections: usize,
    /// The longest wait for the whole head of a request, from the end of the request before.
    pub head_timeout: Duration,
    pub head_bytes: usize,
    /// How long requests under way may take after the shutdown begins.
    pub grace: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            head_timeout: Duration::from_secs(30),
            head_bytes: 16 << 10,
            grace: Duration::from_secs(10),
        }
    }
}

/// Serves requests until the shutdown, and finishes those under way. A request that ends in a panic is counted and
/// answered 500.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    panics: Counter,
    shutdown: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        // In this order, so that every ended connection is removed before the next one comes in.
        let slot = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => {
                if ended.is_err() {
                    panics.inc();
                }
                continue;
            }
            slot = Arc::clone(&slots).acquire_owned() => {
                slot.expect("the semaphore is never closed")
            }
        };
        let (stream, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    after_failed_accept(&error).await;
                    continue;
                }
            },
        };
        let (router, panics) = (router.clone(), panics.clone());
        let connection = serve_connection(stream, peer, router, limits, panics, shutdown.clone());
        connections.spawn(async move {
            connection.await;
            drop(slot);
        });
    }
    drop(listener);
    let finished = timeout(limits.grace, async {
        while connections.join_next().await.is_some() {}
    });
    if finished.await.is_err() {
        tracing::warn!(
            target: TARGET,
            connections = connections.len(),
            "cutting off requests that did not finish within the grace"
        );
        connections.shutdown().await;
    }
}

/// Answers the requests of one connection. Each learns its sender, and its path is normalised.
async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: ConnectionLimits,
    panics: Counter,
    shutdown: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(target: TARGET, %error, "a connection closed before it began");
        return;
    }
    let router = TowerToHyperService::new(router);
    let service = service_fn(async |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        if let Some(uri) = normalized(request.uri()) {
            *request.uri_mut() = uri;
        }
        match caught(async { router.call(request).await }).await {
            Ok(answer) => answer,
            Err(_logged) => {
                panics.inc();
                Ok(HttpError::Internal.into_response())
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(target: TARGET, %error, "a connection ended early");
    }
}

/// Waits before the next attempt if that would fail too, usually for want of file descriptors.
async fn after_failed_accept(error: &io::Error) {
    if matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    ) {
        return;
    }
    tracing::error!(target: TARGET, %error, "cannot accept connections");
    sleep(Duration::from_secs(1)).await;
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::mpsc;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    struct Running {
        address: SocketAddr,
        shutdown: CancellationToken,
        panics: Counter,
        task: JoinSet<()>,
    }

    async fn start(router: Router, limits: ConnectionLimits) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let mut task = JoinSet::new();
        let panics = Counter::default();
        task.spawn(serve(
            listener,
            router,
            limits,
            panics.clone(),
            shutdown.clone(),
        ));
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
    async fn connections_past_the_limit_wait_for_their_turn() {
        let limits = ConnectionLimits {
            connections: 1,
            ..ConnectionLimits::default()
        };
        let running = start(Router::new(), limits).await;
        let first = TcpStream::connect(running.address).await.unwrap();
        let mut second = TcpStream::connect(running.address).await.unwrap();
        second.write_all(REQUEST).await.unwrap();
        drop(first);
        let mut begin = [0; 12];
        second.read_exact(&mut begin).await.unwrap();
        assert_eq!(&begin, b"HTTP/1.1 404");
    }
}
