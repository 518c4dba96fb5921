//! The client of the socket.

use std::io;
use std::path::Path;

use axum::BoxError;
use axum::body::{Body, to_bytes};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::command::StoreCommand;
use super::problem::Problem;
use super::socket;

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
    /// A daemon of another version answers.
    #[error("the daemon's answer cannot be understood; use the daemon's own program")]
    Garbled(#[source] BoxError),
}

/// Sends a command to the daemon that has this queue folder, and waits for the answer without a limit.
pub async fn ask<C: StoreCommand>(
    folder: &Path,
    command: &C,
) -> Result<Result<C::Answer, Problem>, AskError> {
    let stream = connect(folder).await?;
    let body = serde_json::to_vec(command).map_err(|error| AskError::Unwritable(error.into()))?;
    let request = Request::post(C::PATH)
        .header(HOST, "localhost")
        .body(Body::from(body))
        .expect("the path is a constant");
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| AskError::Left(error.into()))?;
    let exchange = async move {
        let answer = sender.send_request(request).await.map_err(|error| {
            if error.is_parse() {
                AskError::Garbled(error.into())
            } else {
                AskError::Left(error.into())
            }
        })?;
        let is_done = answer.status().is_success();
        let body = to_bytes(Body::new(answer.into_body()), usize::MAX).await;
        Ok((is_done, body.map_err(|error| AskError::Left(error.into()))?))
    };
    // An error of the connection is one of the exchange too.
    let (_, exchanged) = tokio::join!(connection, exchange);
    let (is_done, body) = exchanged?;
    let answer = if is_done {
        serde_json::from_slice(&body).map(Ok)
    } else {
        serde_json::from_slice(&body).map(Err)
    };
    answer.map_err(|error| AskError::Garbled(error.into()))
}

async fn connect(folder: &Path) -> Result<UnixStream, AskError> {
    let connected = socket::connect(folder).await;
    connected.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => AskError::Denied(error),
        _ => AskError::NoDaemon(error),
    })
}
