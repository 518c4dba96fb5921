//! The accept loop of a listener, with a graceful shutdown.
//!
//! A connection on which no whole request head arrives in time is closed, even an idle one, and so is one whose
//! other end does not read. `slots` says who is let in, and who makes room. A shutdown accepts nothing new,
//! answers the requests under way, and cuts off what is not answered by the end of the grace.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::Method;
use axum::http::header::{CONNECTION, HeaderValue};
use axum::response::IntoResponse as _;
use hyper::Request;
use hyper::body::{Frame, Incoming, SizeHint};
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

use crate::config::LiveConfig;
use crate::http::LOG_TARGET;
use crate::http::auth::{Admission, Authenticator};
use crate::http::client_address::{Peer, site_of};
use crate::http::connection_metrics::{ConnectionEnd, ConnectionMetrics};
use crate::http::normal_path::normalized;
use crate::http::reply::{ErrorReply, HttpError};
use crate::http::slots::{AnswerInMaking, ConnectionSlot, SlotLimits, Slots};
use crate::http::write_limit::{LimitedWrites, NotReading};
use crate::panics::caught;

/// Bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// For everyone; one address holds at most half of them.
    pub connections: usize,
    /// On top of them: for those who show the secret, and for `/health` and `/live` alone.
    pub reserve: usize,
    /// On top of them: those that were ended for others and are about to close.
    pub closing: usize,
    /// The longest wait for the whole head of a request, from the end of the request before.
    pub head_timeout: Duration,
    /// The same for the first request of a connection in the reserve.
    pub reserve_head_timeout: Duration,
    /// How long writes may wait while the other end does not read.
    pub write_timeout: Duration,
    pub head_bytes: usize,
    /// How long requests under way may take after the shutdown begins.
    pub grace: Duration,
}

impl ConnectionLimits {
    /// For so many open connections in all; a few at least, whatever is asked for.
    pub fn of(open: usize) -> Self {
        let usual = Self::default();
        let reserve = (open / 4).clamp(1, usual.reserve);
        let closing = (open / 16).clamp(1, usual.closing);
        let connections = open.saturating_sub(reserve + closing);
        Self {
            connections: connections.clamp(2, usual.connections),
            reserve,
            closing,
            ..usual
        }
    }

    /// Most connections that are open at a time.
    pub const fn most_open(&self) -> usize {
        self.connections + self.reserve + self.closing
    }
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            reserve: 64,
            closing: 16,
            head_timeout: Duration::from_secs(30),
            reserve_head_timeout: Duration::from_secs(3),
            write_timeout: Duration::from_secs(30),
            head_bytes: 16 << 10,
            grace: Duration::from_secs(10),
        }
    }
}

/// A listener's server.
#[derive(Debug)]
pub struct HttpServer {
    pub router: Router,
    pub limits: ConnectionLimits,
    /// Holds the trusted proxies.
    pub config: LiveConfig,
    /// Tells who shows the secret of this listener.
    pub authenticator: Arc<Authenticator>,
    pub metrics: ConnectionMetrics,
    /// Counts the requests that end in a panic.
    pub panics: Counter,
}

impl HttpServer {
    /// Serves requests until the shutdown, and finishes those under way. A request that ends in a panic is
    /// counted and answered 500.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let Self {
            router,
            limits,
            config,
            authenticator,
            metrics,
            panics,
        } = self;
        let slots = Slots::new(
            SlotLimits {
                common: limits.connections,
                reserve: limits.reserve,
            },
            metrics,
        );
        let sockets = Arc::new(Semaphore::new(limits.most_open()));
        let mut connections = JoinSet::new();
        loop {
            // In this order, so that every ended connection is removed before the next one comes in.
            let socket = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = connections.join_next() => {
                    if ended.is_err() {
                        panics.inc();
                    }
                    continue;
                }
                socket = Arc::clone(&sockets).acquire_owned() => {
                    socket.expect("the semaphore is never closed")
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
            let address = site_of(peer.ip());
            let config = config.now();
            let mut proxies = config.server.trusted_proxies.iter();
            let is_proxy = proxies.any(|network| network.contains(&peer.ip().to_canonical()));
            let Some(slot) = slots.admit((!is_proxy).then_some(address)) else {
                continue;
            };
            let connection = AcceptedConnection {
                stream,
                peer,
                slot,
                router: router.clone(),
                authenticator: Arc::clone(&authenticator),
                limits,
                panics: panics.clone(),
            };
            let shutdown = shutdown.clone();
            connections.spawn(async move {
                connection.serve(shutdown).await;
                drop(socket);
            });
        }
        drop(listener);
        let finished = timeout(limits.grace, async {
            while connections.join_next().await.is_some() {}
        });
        if finished.await.is_err() {
            tracing::warn!(
                target: LOG_TARGET,
                connections = connections.len(),
                "cutting off requests that did not finish within the grace"
            );
            connections.shutdown().await;
        }
    }
}

/// A connection that was let in.
struct AcceptedConnection {
    stream: TcpStream,
    peer: SocketAddr,
    slot: ConnectionSlot,
    router: Router,
    authenticator: Arc<Authenticator>,
    limits: ConnectionLimits,
    panics: Counter,
}

impl AcceptedConnection {
    /// Answers the requests of the connection. Each learns its sender, and its path is normalised.
    async fn serve(self, shutdown: CancellationToken) {
        let Self {
            stream,
            peer,
            slot,
            router,
            authenticator,
            limits,
            panics,
        } = self;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(target: LOG_TARGET, %error, "a connection closed before it began");
            return;
        }
        let router = TowerToHyperService::new(router);
        let (slot, authenticator, panics) = (&slot, &*authenticator, &panics);
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            if let Some(uri) = normalized(request.uri()) {
                *request.uri_mut() = uri;
            }
            let begun = begin(slot, authenticator, &request);
            let answer = begun.map(|()| router.call(request));
            async move {
                let mut response = match answer {
                    Ok(answer) => match caught(answer).await {
                        Ok(answer) => answer?,
                        Err(_logged) => {
                            panics.inc();
                            HttpError::Internal.into_response()
                        }
                    },
                    Err(_) => ErrorReply::retry_after("1", "busy")
                        .with_message(&"too many connections are open"),
                };
                if begun.is_err() || slot.is_for_one_request() {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(CONNECTION, close);
                }
                let making = slot.answer();
                let response = response.map(|body| Answer {
                    body,
                    _making: making,
                });
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_buf_size(limits.head_bytes)
            .serve_connection(
                TokioIo::new(LimitedWrites::new(stream, limits.write_timeout, || {
                    slot.written();
                })),
                service,
            );
        let mut connection = pin!(connection);
        let is_unused = async {
            sleep(limits.reserve_head_timeout).await;
            if !slot.end_if_unused() {
                std::future::pending::<()>().await;
            }
        };
        // The connection first: a request that has come decides whether it is ended for another.
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = slot.ended() => return,
            () = is_unused, if slot.is_reserve() => return,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            if NotReading::caused(&error) {
                slot.note_not_reading();
            }
            tracing::debug!(target: LOG_TARGET, %error, "a connection ended early");
        }
    }
}

/// The body of an answer. When hyper drops it, all of it has been made.
struct Answer {
    body: Body,
    _making: AnswerInMaking,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Asked for by supervisors, who would end a daemon that does not answer.
const SIGNS_OF_LIFE: [&str; 2] = ["/health", "/live"];

/// Says whether a request is to be answered. The reserve is for signs of life, and for senders with the secret.
fn begin<B>(
    slot: &ConnectionSlot,
    authenticator: &Authenticator,
    request: &Request<B>,
) -> Result<(), ConnectionEnd> {
    let admission = || authenticator.admission(request.headers());
    let is_due = || {
        SIGNS_OF_LIFE.contains(&request.uri().path())
            && matches!(*request.method(), Method::GET | Method::HEAD)
    };
    match slot.begin(|| admission() == Admission::WithSecret, is_due) {
        Err(ConnectionEnd::MadeRoom) if admission() == Admission::WithSecret => {
            slot.answer_last();
            Ok(())
        }
        begun => begun,
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
    tracing::error!(target: LOG_TARGET, %error, "cannot accept connections");
    sleep(Duration::from_secs(1)).await;
}

#[cfg(test)]
mod tests;
