//! The client of the socket.
//!
//! No wait is without an end: a daemon that gives no sign for a while is given up. One that works on a command gives
//! one every few seconds.

use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::time::Duration;

use axum::BoxError;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::NDJSON;
use super::answering::AnswerLine;
use super::command::StoreCommand;
use super::problem::Problem;
use super::socket;

/// The longest wait for a sign of the daemon's.
const SILENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("the command cannot be written as JSON")]
    Unwritable(#[source] BoxError),
    #[error("no daemon listens on the control socket")]
    NoDaemon(#[source] io::Error),
    #[error(
        "the control socket belongs to another user; run the command as the user of the daemon"
    )]
    Denied(#[source] io::Error),
    #[error("the daemon left before it answered; run the command again")]
    Left(#[source] BoxError),
    /// It hangs, is stopped, or has too many commands to answer.
    #[error(
        "the daemon has given no sign for {} s{}; what was done stays done: look at the daemon, and run the command again",
        SILENCE.as_secs(),
        so_far(*.done)
    )]
    Silent {
        /// How much it had done by its last sign.
        done: Option<u64>,
    },
    /// A daemon of another version answers.
    #[error("the daemon's answer cannot be understood; use the daemon's own program")]
    Garbled(#[source] BoxError),
}

fn so_far(done: Option<u64>) -> String {
    done.map_or_else(String::new, |done| {
        format!(", after it had dealt with {done}")
    })
}

/// Sends a command to the daemon that has this queue folder, and waits for the answer as long as the daemon gets on.
pub async fn ask<C: StoreCommand>(
    folder: &Path,
    command: &C,
) -> Result<Result<C::Answer, Problem>, AskError> {
    let stream = in_time(connect(folder), None).await??;
    let body = serde_json::to_vec(command).map_err(|error| AskError::Unwritable(error.into()))?;
    let request = Request::post(C::PATH)
        .header(HOST, "localhost")
        .body(Body::from(body))
        .expect("the path is a constant");
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| AskError::Left(error.into()))?;
    let exchange = async move {
        let answer = in_time(sender.send_request(request), None).await?;
        let answer = answer.map_err(|error| {
            if error.is_parse() {
                AskError::Garbled(error.into())
            } else {
                AskError::Left(error.into())
            }
        })?;
        let is_done = answer.status().is_success();
        let is_long = answer.headers().get(CONTENT_TYPE) == Some(&NDJSON);
        let mut body = answer.into_body();
        if is_long {
            return read_lines(&mut body).await;
        }
        let mut whole = Vec::new();
        while let Some(part) = read(&mut body, None).await? {
            whole.extend_from_slice(&part);
        }
        let answer = if is_done {
            serde_json::from_slice(&whole).map(Ok)
        } else {
            serde_json::from_slice(&whole).map(Err)
        };
        answer.map_err(|error| AskError::Garbled(error.into()))
    };
    let mut exchange = pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // An error of the connection is one of the exchange too.
        _ended = connection => exchange.await,
    }
}

/// Reads the lines of a long answer up to the last one.
async fn read_lines<A: serde::de::DeserializeOwned>(
    body: &mut Incoming,
) -> Result<Result<A, Problem>, AskError> {
    let (mut unread, mut done) = (Vec::new(), None);
    while let Some(part) = read(body, done).await? {
        unread.extend_from_slice(&part);
        while let Some(end) = memchr::memchr(b'\n', &unread) {
            let line: Vec<u8> = unread.drain(..=end).collect();
            let line = serde_json::from_slice(&line);
            match line.map_err(|error| AskError::Garbled(error.into()))? {
                AnswerLine::Done(so_far) => done = Some(so_far),
                AnswerLine::Answer(answer) => return Ok(Ok(answer)),
                AnswerLine::Problem(problem) => return Ok(Err(problem)),
            }
        }
    }
    Err(AskError::Left("the answer has no last line".into()))
}

/// Reads the next part of a body; `None` at its end.
async fn read(body: &mut Incoming, done: Option<u64>) -> Result<Option<Vec<u8>>, AskError> {
    let next = poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
    match in_time(next, done).await? {
        None => Ok(None),
        Some(Ok(frame)) => Ok(Some(
            frame.into_data().map_or_else(|_| Vec::new(), Into::into),
        )),
        Some(Err(error)) => Err(AskError::Left(error.into())),
    }
}

async fn in_time<T>(sign: impl Future<Output = T>, done: Option<u64>) -> Result<T, AskError> {
    let sign = timeout(SILENCE, sign).await;
    sign.map_err(|_| AskError::Silent { done })
}

async fn connect(folder: &Path) -> Result<UnixStream, AskError> {
    let connected = socket::connect(folder).await;
    connected.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => AskError::Denied(error),
        // More wait for the daemon than it lets wait.
        io::ErrorKind::WouldBlock => AskError::Silent { done: None },
        _ => AskError::NoDaemon(error),
    })
}
