//! The socket through which commands reach a running daemon: HTTP with JSON bodies.
//!
//! A command connects to `control.sock` in the queue folder and posts one [`StoreCommand`]. The
//! [`CommandHandler`] performs it, in a daemon as in a command that has opened the store itself. Long lists
//! are read page by page, so that neither side holds more than a page.
//!
//! Only the daemon's own user can connect. Even a broken or hostile peer cannot hold the daemon up: there
//! are few connections at a time, one request on each, bounded bodies, and time-outs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::http::{Work, block_in_place_if_long, json_response};
use crate::queue::Person;
use command::{
    DropDead, DropQueue, FindKnown, ListDead, PushEvents, RetryDead, StoreCommand, TellVersion,
    TraceEvent,
};
use problem::{Problem, ProblemCode};
use socket::Socket;

pub mod client;
pub mod command;
pub mod problem;
pub mod socket;

pub use command::CommandHandler;

/// Connections at a time; others wait.
const CONNECTIONS: usize = 4;
/// How long a peer may take to write the head of its request, the body of it, and to read the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause after a connection that cannot be accepted, such as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest body, in bytes: a piece of a backfill, whose last event may be as large as the largest
/// batch.
const LONGEST_BODY: usize = (16 + 2) << 20;

/// The daemon's end of the socket.
#[derive(Debug)]
pub struct Control {
    socket: Socket,
    listener: UnixListener,
}

impl Control {
    /// Makes the socket in the queue folder, in place of one that a dead daemon left. The caller has the
    /// store, so that no other daemon can listen.
    pub fn bind(folder: &Path) -> std::io::Result<Self> {
        let (socket, listener) = Socket::bind(folder)?;
        Ok(Self { socket, listener })
    }

    /// Answers requests until the stop, which cuts off a request under way. Its changes so far are whole
    /// transactions and remain.
    pub async fn run(self, handler: CommandHandler, stop: CancellationToken) {
        let router = router(handler);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a command's request failed");
                    }
                }
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS => {
                    match accepted {
                        Ok((stream, _)) => {
                            connections.spawn(Box::pin(serve_connection(stream, router.clone())));
                        }
                        Err(error) => {
                            tracing::warn!(%error, "a command could not be let in");
                            sleep(PAUSE).await;
                        }
                    }
                }
            }
        }
        // The next command learns at once that no daemon listens.
        drop(self.socket);
        drop(self.listener);
        connections.shutdown().await;
    }
}

fn router(handler: CommandHandler) -> Router {
    Router::new()
        .route(TellVersion::PATH, post(answer::<TellVersion>))
        .route(ListDead::PATH, post(answer::<ListDead>))
        .route(RetryDead::PATH, post(answer::<RetryDead>))
        .route(DropDead::PATH, post(answer::<DropDead>))
        .route(TraceEvent::PATH, post(answer::<TraceEvent>))
        .route(Person::PATH, post(answer::<Person>))
        .route(DropQueue::PATH, post(answer::<DropQueue>))
        .route(FindKnown::PATH, post(answer::<FindKnown>))
        .route(PushEvents::PATH, post(answer::<PushEvents>))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .with_state(Arc::new(handler))
}

/// Answers one request. Drops a peer that leaves or is slow.
async fn serve_connection(stream: UnixStream, router: Router) {
    let router = TowerToHyperService::new(router);
    let answered = Notify::new();
    let service = service_fn(async |request| {
        let answer = router.call(request).await;
        answered.notify_one();
        answer
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a command left before it had its answer");
            }
        }
        () = async {
            answered.notified().await;
            sleep(PATIENCE).await;
        } => tracing::debug!("a command does not read its answer"),
    }
}

async fn answer<C: StoreCommand>(
    State(handler): State<Arc<CommandHandler>>,
    body: Body,
) -> Response {
    match perform::<C>(&handler, body).await {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err(problem) => json(problem.code.status(), &problem),
    }
}

async fn perform<C: StoreCommand>(
    handler: &CommandHandler,
    body: Body,
) -> Result<C::Answer, Problem> {
    let bad = |message: String| Problem::new(ProblemCode::BadRequest, message);
    let body = timeout(PATIENCE, to_bytes(body, LONGEST_BODY)).await;
    let body = body
        .map_err(|_| bad("the request did not arrive in time".to_owned()))?
        .map_err(|_| bad(format!("the request is longer than {LONGEST_BODY} bytes")))?;
    let command =
        block_in_place_if_long(Work::On(body.len()), || serde_json::from_slice::<C>(&body));
    let command =
        command.map_err(|error| bad(format!("the request is not understood: {error}")))?;
    drop(body);
    Box::pin(command.perform(handler)).await
}

async fn unknown(method: Method, uri: Uri) -> Response {
    let problem = Problem::new(
        ProblemCode::OtherVersion,
        format!(
            "the running daemon (pixel-relay {}) knows no {method} {}; use the daemon's own program",
            env!("CARGO_PKG_VERSION"),
            uri.path()
        ),
    );
    json(problem.code.status(), &problem)
}

fn json(status: StatusCode, content: &impl Serialize) -> Response {
    match serde_json::to_string(content) {
        Ok(json) => json_response(status, json),
        // A damaged record may hold a time that no calendar has.
        Err(error) => {
            tracing::error!(%error, "an answer could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::clock::SystemClock;
    use crate::config::live::LiveConfig;
    use crate::config::load;
    use crate::queue::Queue;

    /// Serves a peer that has written this and then does nothing, until it is let go; gives what it
    /// was answered.
    async fn serve(router: Router, written: &[u8]) -> String {
        let (mut peer, stream) = UnixStream::pair().unwrap();
        peer.write_all(written).await.unwrap();
        let served = timeout(10 * PATIENCE, serve_connection(stream, router));
        served.await.expect("the peer is let go");
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).await.ok();
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stops_writing_is_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[queue]\npath = {:?}\n[ingest]\nsecret = \"0123456789abcdef\"\n\
             [sync.web]\npixel_id = \"1001\"\naccess_token = \"t\"\n",
            folder.path()
        );
        let config = load::from_toml(&text, &[]).unwrap();
        let queue = Queue::open(&config.queue, &[], Arc::new(SystemClock)).unwrap();
        let router = router(CommandHandler::new(queue, LiveConfig::new(config)));
        let head = "POST /v1/dead/list HTTP/1.1\r\nhost: x\r\n";
        assert_eq!(serve(router.clone(), b"").await, "");
        assert_eq!(serve(router.clone(), head.as_bytes()).await, "");
        let body = format!("{head}content-length: 100\r\n\r\n{{");
        let answer = serve(router, body.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("did not arrive in time"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_its_answer_is_let_go() {
        let router = Router::new().fallback(async || vec![b'x'; 8 << 20]);
        let answer = serve(router, b"POST / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "));
        assert!(
            answer.len() < 8 << 20,
            "it had begun to answer, and gave up"
        );
    }
}
