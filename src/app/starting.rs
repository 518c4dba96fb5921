//! The listeners and the control socket while the store is being opened. After a crash, an upgrade or damage that
//! may take minutes; until then every request is told so, and the process counts as alive.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::admin;
use crate::config::LiveConfig;
use crate::control::Control;
use crate::http::{
    AuthRule, Authenticator, ConnectionLimits, HttpError, HttpServer, json_response, unavailable,
};
use crate::queue::OpeningWatch;
use crate::telemetry::{Metrics, PanickedPart};

use super::descriptors::ListenerLimits;

/// What is opened faster than this is not told of: whoever connects waits.
const SOON: Duration = Duration::from_millis(100);
/// How long the last of those who are told so may take to read it.
const GRACE: Duration = Duration::from_millis(500);

/// What answers until the store is open.
#[derive(Debug)]
pub(super) struct Starting<'a> {
    pub(super) public: &'a TcpListener,
    pub(super) admin: &'a TcpListener,
    pub(super) control: Option<&'a Control>,
    pub(super) limits: ListenerLimits,
    pub(super) config: LiveConfig,
    pub(super) metrics: &'a Metrics,
    pub(super) watch: OpeningWatch,
}

impl Starting<'_> {
    /// Waits until the store is open, and answers meanwhile if that takes a while.
    pub(super) async fn until<T>(self, opening: impl Future<Output = T> + Unpin) -> T {
        let mut opening = opening;
        if let Ok(opened) = timeout(SOON, &mut opening).await {
            return opened;
        }
        tracing::info!(
            doing = self.watch.doing(),
            "the store takes a while to be opened; until then all requests are answered 503"
        );
        let stop = CancellationToken::new();
        let server = |router, limits: ConnectionLimits, rule, listener, part| HttpServer {
            router,
            limits: ConnectionLimits {
                grace: GRACE,
                ..limits
            },
            config: self.config.clone(),
            authenticator: Arc::new(Authenticator::new(self.config.clone(), rule)),
            metrics: self.metrics.connections(listener),
            panics: self.metrics.panics_of(part),
        };
        let public = server(
            for_senders(self.watch.clone()),
            self.limits.public,
            AuthRule::to_ingest,
            "public",
            PanickedPart::Request,
        );
        let to_admin = Authenticator::new(self.config.clone(), AuthRule::to_admin);
        let admin = server(
            for_operators(self.watch.clone(), to_admin),
            self.limits.admin,
            AuthRule::to_admin,
            "admin",
            PanickedPart::Admin,
        );
        let answering = async {
            let commands = async {
                match self.control {
                    Some(control) => control.refuse(|| self.watch.doing(), &stop).await,
                    None => stop.cancelled().await,
                }
            };
            tokio::join!(
                public.serve(same(self.public)?, stop.clone()),
                admin.serve(same(self.admin)?, stop.clone()),
                commands,
            );
            io::Result::Ok(())
        };
        let opened = async {
            let opened = opening.await;
            stop.cancel();
            opened
        };
        let (opened, answered) = tokio::join!(opened, answering);
        if let Err(error) = answered {
            tracing::warn!(%error, "requests could not be answered while the store was opened");
        }
        opened
    }
}

/// The same socket once more, to be closed apart.
fn same(listener: &TcpListener) -> io::Result<TcpListener> {
    TcpListener::from_std(listener.as_fd().try_clone_to_owned()?.into())
}

fn for_senders(watch: OpeningWatch) -> Router {
    Router::new()
        .route("/live", get(admin::live))
        .fallback(async |State(watch): State<OpeningWatch>| refusal(&watch))
        .with_state(watch)
}

fn for_operators(watch: OpeningWatch, authenticator: Authenticator) -> Router {
    Router::new()
        .route("/live", get(admin::live))
        .fallback(tell_operator)
        .with_state(Arc::new((watch, authenticator)))
}

async fn tell_operator(
    State(state): State<Arc<(OpeningWatch, Authenticator)>>,
    request: Request,
) -> Response {
    let (watch, authenticator) = &*state;
    if !authenticator.admits(request.headers()) {
        return HttpError::Unauthorized.into_response();
    }
    let refusal = refusal(watch);
    if request.uri().path() != "/health" {
        return refusal;
    }
    let problem = format!("no event is taken for now: {}", watch.doing());
    let report = json!({"status": "failing", "problems": [problem]});
    let mut answer = json_response(refusal.status(), format!("{report:#}\n"));
    if let Some(wait) = refusal.headers().get(RETRY_AFTER) {
        answer.headers_mut().insert(RETRY_AFTER, wait.clone());
    }
    answer
}

fn refusal(watch: &OpeningWatch) -> Response {
    unavailable(
        "store_busy",
        &format!(
            "the store takes no event for now: {}; send this again later",
            watch.doing()
        ),
    )
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    use super::*;
    use crate::clock::SystemClock;
    use crate::config::load;
    use crate::control::client;
    use crate::control::command::TellVersion;
    use crate::control::problem::ProblemCode;
    use crate::queue::Queue;

    async fn ask(listener: &TcpListener, request: &str) -> String {
        let address = listener.local_addr().unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn until_the_store_is_open_every_request_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[queue]\npath = {:?}\n[ingest]\nsecret = \"0123456789abcdef\"\n\
             [sync.web]\npixel_id = \"1001\"\naccess_token = \"t\"\n",
            folder.path()
        );
        let config = load::from_toml(&text, &[]).unwrap();
        let taken = Queue::take(&config.queue, &[], Arc::new(SystemClock)).unwrap();
        let public = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let control = Control::bind(folder.path()).unwrap();
        let (open, opening) = oneshot::channel();
        let starting = Starting {
            public: &public,
            admin: &admin,
            control: Some(&control),
            limits: ListenerLimits::of_process(&config),
            config: LiveConfig::new(config),
            metrics: &Metrics::new(),
            watch: taken.watch(),
        };
        let asking = async {
            for listener in [&public, &admin] {
                let live = ask(listener, "GET /live").await;
                assert!(live.starts_with("HTTP/1.1 200 "), "{live}");
            }
            for (listener, request) in [
                (&public, "POST /webhook"),
                (&public, "GET /health"),
                (&public, "POST /2/httpapi"),
                (&admin, "GET /health"),
                (&admin, "GET /metrics"),
            ] {
                let busy = ask(listener, request).await;
                assert!(busy.starts_with("HTTP/1.1 503 "), "{request}: {busy}");
                assert!(busy.contains("retry-after: 10"), "{request}: {busy}");
                assert!(busy.contains("it is being opened"), "{request}: {busy}");
            }
            let command = client::ask(folder.path(), &TellVersion {}).await;
            let problem = command.unwrap().unwrap_err();
            assert_eq!(problem.code, ProblemCode::Starting);
            assert!(problem.message.contains("it is being opened"), "{problem}");
            open.send(7).unwrap();
        };
        let (opened, ()) = tokio::join!(starting.until(opening), asking);
        assert_eq!(opened.unwrap(), 7);
        // The listeners are free for those who serve the open store.
        let (accepted, connected) = tokio::join!(
            public.accept(),
            TcpStream::connect(public.local_addr().unwrap())
        );
        accepted.unwrap();
        connected.unwrap();
    }
}
