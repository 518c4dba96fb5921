//! The socket through which commands reach a running daemon: HTTP with JSON bodies.
//!
//! A command connects to `control.sock` in the queue folder and posts one [`StoreCommand`]. The
//! [`CommandHandler`] performs it, in a daemon as in a command that has opened the store itself. Long lists
//! are read page by page, so that neither side holds more than a page.
//!
//! Only the daemon's own user can connect. Even a broken or hostile peer cannot hold the daemon up: there
//! are few connections at a time, one request on each, bounded bodies, and time-outs. Commands that take long hold
//! up no others (`turns`).

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::http::{Work, json_response};
use crate::panics::caught;
use crate::queue::Person;
use answering::{AnswerLine, BEAT, LongAnswer, line};
use command::{
    DropDead, DropQueue, FindKnown, ListDead, ListSetAside, MendStore, PushEvents, RetryDead,
    StoreCommand, TellDamage, TellVersion, TraceEvent, VerifyStore,
};
use problem::{Problem, ProblemCode};
use socket::Socket;
use turns::Turns;

mod answering;
pub mod client;
pub mod command;
pub mod problem;
pub mod socket;
mod turns;

pub use command::CommandHandler;

/// The type of an answer in lines.
const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");
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

    /// Tells every command that the daemon is still opening the store, and what it does, until the stop.
    pub async fn refuse(&self, doing: impl Fn() -> &'static str, stop: &CancellationToken) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                sleep(PAUSE).await;
                continue;
            };
            let message = format!(
                "the daemon is still opening the store: {}; run the command again later",
                doing()
            );
            let problem = Problem::new(ProblemCode::Starting, message);
            let refusal = move || {
                let answer = json(problem.code.status(), &problem);
                async { answer }
            };
            let router = Router::new().fallback(refusal);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = serve_connection(stream, router, Counter::default()) => {}
            }
        }
    }

    /// Answers requests until the stop, which cuts off a request under way. Its changes so far are whole
    /// transactions and remain.
    pub async fn run(self, handler: CommandHandler, panics: Counter, stop: CancellationToken) {
        let router = router(handler);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next() => {
                    if ended.is_err() {
                        panics.inc();
                    }
                }
                accepted = self.listener.accept(), if connections.len() < turns::MOST => {
                    match accepted {
                        Ok((stream, _)) => {
                            let (router, panics) = (router.clone(), panics.clone());
                            let connection = serve_connection(stream, router, panics);
                            connections.spawn(Box::pin(connection));
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
        .route(VerifyStore::PATH, post(answer::<VerifyStore>))
        .route(ListSetAside::PATH, post(answer::<ListSetAside>))
        .route(TellDamage::PATH, post(answer::<TellDamage>))
        .route(MendStore::PATH, post(answer::<MendStore>))
        .route(FindKnown::PATH, post(answer::<FindKnown>))
        .route(PushEvents::PATH, post(answer::<PushEvents>))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .with_state(Arc::new(CommandState {
            handler: Arc::new(handler),
            turns: Turns::default(),
        }))
}

/// What performs commands.
#[derive(Debug)]
struct CommandState {
    handler: Arc<CommandHandler>,
    turns: Turns,
}

/// Answers one request. Drops a peer that leaves or is slow.
async fn serve_connection(stream: UnixStream, router: Router, panics: Counter) {
    let router = TowerToHyperService::new(router);
    // What is notified when the answer has been made.
    let (answered, made) = (Notify::new(), Mutex::new(None));
    let service = service_fn(async |request| {
        let answer = caught(async { router.call(request).await }).await;
        let mut answer: Result<Response, Infallible> = answer.unwrap_or_else(|_logged| {
            panics.inc();
            let message = "the daemon failed on this command; its log says where";
            let problem = Problem::new(ProblemCode::Internal, message);
            Ok(json(problem.code.status(), &problem))
        });
        if let Ok(answer) = &mut answer {
            let over = answer.extensions_mut().remove::<AnswerOver>();
            *made.lock().expect("no holder of this lock panics") = over;
        }
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
            let over = made.lock().expect("no holder of this lock panics").take();
            if let Some(AnswerOver(over)) = over {
                over.notified().await;
            }
            sleep(PATIENCE).await;
        } => tracing::debug!("a command does not read its answer"),
    }
}

/// Is notified when all of a long answer has been made.
#[derive(Clone, Debug)]
struct AnswerOver(Arc<Notify>);

/// Performs a command. If that takes long, the answer begins before its end.
async fn answer<C: StoreCommand>(State(state): State<Arc<CommandState>>, body: Body) -> Response {
    let turn = match state.turns.take(C::IS_LONG).await {
        Ok(turn) => turn,
        Err(problem) => return json(problem.code.status(), &problem),
    };
    let handler = Arc::clone(&state.handler);
    let command = match read::<C>(&handler, body).await {
        Ok(command) => command,
        Err(problem) => return json(problem.code.status(), &problem),
    };
    let before = handler.dealt_with::<C>();
    let performing = Arc::clone(&handler);
    let mut work = Box::pin(async move { command.perform(&performing).await });
    match timeout(BEAT, &mut work).await {
        Ok(Ok(answer)) => return json(StatusCode::OK, &answer),
        Ok(Err(problem)) => return json(problem.code.status(), &problem),
        Err(_takes_long) => {}
    }
    let last_line = async move {
        let done = work.await;
        drop(turn);
        match done {
            Ok(answer) => line(&AnswerLine::Answer(answer)),
            Err(problem) => line(&AnswerLine::<()>::Problem(problem)),
        }
    };
    let done = move || handler.dealt_with::<C>().saturating_sub(before);
    let long = LongAnswer::new(Box::pin(last_line), done);
    let over = AnswerOver(long.over());
    let mut answer = ([(CONTENT_TYPE, NDJSON)], Body::new(long)).into_response();
    answer.extensions_mut().insert(over);
    answer
}

async fn read<C: StoreCommand>(handler: &CommandHandler, body: Body) -> Result<C, Problem> {
    let bad = |message: String| Problem::new(ProblemCode::BadRequest, message);
    let body = timeout(PATIENCE, to_bytes(body, LONGEST_BODY)).await;
    let body = body
        .map_err(|_| bad("the request did not arrive in time".to_owned()))?
        .map_err(|_| bad(format!("the request is longer than {LONGEST_BODY} bytes")))?;
    let parse = || serde_json::from_slice::<C>(&body);
    let command = handler.long_work.perform(Work::On(body.len()), parse).await;
    command.map_err(|error| bad(format!("the request is not understood: {error}")))
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
    use std::future::pending;
    use std::sync::Arc;

    use serde::Deserialize;
    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::Instant;

    use super::client::AskError;
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
        let connection = serve_connection(stream, router, Counter::default());
        let served = timeout(10 * PATIENCE, connection);
        served.await.expect("the peer is let go");
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).await.ok();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn handler() -> (TempDir, CommandHandler) {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[queue]\npath = {:?}\n[ingest]\nsecret = \"0123456789abcdef\"\n\
             [sync.web]\npixel_id = \"1001\"\naccess_token = \"t\"\n",
            folder.path()
        );
        let config = load::from_toml(&text, &[]).unwrap();
        let queue = Queue::open(&config.queue, &[], Arc::new(SystemClock)).unwrap();
        let handler = CommandHandler::new(queue, LiveConfig::new(config));
        (folder, handler)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stops_writing_is_let_go() {
        let (_folder, handler) = handler();
        let router = router(handler);
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

    /// A command that takes a step a minute, and then no more.
    #[derive(Debug, Serialize, Deserialize)]
    struct Slow {
        steps: usize,
        ends: bool,
    }

    impl StoreCommand for Slow {
        const PATH: &'static str = "/v1/slow";
        type Answer = usize;

        async fn perform(self, _handler: &CommandHandler) -> Result<usize, Problem> {
            for _ in 0..self.steps {
                sleep(Duration::from_secs(60)).await;
            }
            if self.ends {
                return Ok(self.steps);
            }
            pending().await
        }
    }

    /// A store, and a daemon's socket beside it that answers slow commands.
    fn serve_slow(commands: usize) -> (TempDir, JoinSet<()>) {
        let (folder, handler) = handler();
        let (socket, listener) = Socket::bind(folder.path()).unwrap();
        let slow = Router::new()
            .route(Slow::PATH, post(answer::<Slow>))
            .with_state(Arc::new(CommandState {
                handler: Arc::new(handler),
                turns: Turns::default(),
            }));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let _socket = socket;
            for _ in 0..commands {
                let (stream, _) = listener.accept().await.unwrap();
                serve_connection(stream, slow.clone(), Counter::default()).await;
            }
        });
        (folder, serving)
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_may_take_as_long_as_it_gets_on() {
        let (folder, mut serving) = serve_slow(3);
        for steps in [0, 1, 100] {
            let ends = true;
            let answer = client::ask(folder.path(), &Slow { steps, ends }).await;
            assert_eq!(answer.unwrap(), Ok(steps));
        }
        serving.join_next().await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_gets_no_further_is_given_up() {
        let (folder, mut serving) = serve_slow(1);
        let (steps, ends) = (20, false);
        let begun = Instant::now();
        let answer = client::ask(folder.path(), &Slow { steps, ends }).await;
        let problem = answer.unwrap().unwrap_err();
        assert_eq!(problem.code, ProblemCode::Stuck);
        let minutes = begun.elapsed().as_secs() / 60;
        assert!((25..27).contains(&minutes), "after {minutes} minutes");
        serving.join_next().await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_gives_no_sign_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let (_socket, listener) = Socket::bind(folder.path()).unwrap();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n\r\n";
        let begun = format!("{head}{{\"done\":5}}\n{{\"done\":7}}\n{{\"do");
        for (said, expected) in [("", None), (head, None), (&begun, Some(7))] {
            let answering = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                // What is said before the request is no answer.
                stream.read_u8().await.unwrap();
                stream.write_all(said.as_bytes()).await.unwrap();
                stream
            };
            let command = TellVersion {};
            let asking = client::ask(folder.path(), &command);
            let (_stream, answer) = tokio::join!(answering, asking);
            let error = answer.unwrap_err();
            let AskError::Silent { done } = error else {
                panic!("{error}");
            };
            assert_eq!(done, expected);
        }
    }
}
