//! The socket through which commands reach a running daemon.
//!
//! A command connects to `control.sock` in the queue folder, writes one request as a line of JSON, and
//! reads one line of JSON as the answer (`wire`); what the request means is done by the [`desk`], the
//! same for a daemon and for a command that has opened the store itself. Long lists are asked for
//! page by page, so neither side holds more than a page.
//!
//! Only the daemon's own user can connect. A peer that is broken or ill-meaning still cannot hold the
//! daemon up: few conversations at a time, each line bounded, each step given its time.
//!
//! It does not know what the commands look like, nor what the lanes are doing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::control::desk::CommandHandler;
use crate::control::socket::Socket;
use crate::control::wire::{Code, Problem, Reply};

pub mod client;
pub mod desk;
pub mod socket;
pub mod wire;

/// Conversations at a time; others wait to be accepted.
const CONVERSATIONS: usize = 4;
/// How long a peer may take to write its request, and to read the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the daemon waits after a connection could not be accepted, as without file descriptors.
const PAUSE: Duration = Duration::from_millis(200);
/// First size of the space for a request; most are shorter.
const FIRST_BYTES: usize = 4096;

/// The daemon's end of the socket.
#[derive(Debug)]
pub struct Control {
    socket: Socket,
    listener: UnixListener,
}

impl Control {
    /// Makes the socket in the queue folder, in place of one that a dead daemon left. The caller has
    /// the store, so no other daemon can be listening.
    pub fn bind(folder: &Path) -> std::io::Result<Self> {
        let (socket, listener) = Socket::bind(folder)?;
        Ok(Self { socket, listener })
    }

    /// Answers requests until it is told to stop. A request under way is cut off then: what it has
    /// changed so far is done, in whole transactions.
    pub async fn run(self, desk: CommandHandler, stop: CancellationToken) {
        let desk = Arc::new(desk);
        let mut conversations = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = conversations.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a command's request failed");
                    }
                }
                accepted = self.listener.accept(), if conversations.len() < CONVERSATIONS => {
                    match accepted {
                        Ok((stream, _)) => {
                            conversations.spawn(Box::pin(converse(stream, Arc::clone(&desk), PATIENCE)));
                        }
                        Err(error) => {
                            tracing::warn!(%error, "a command could not be let in");
                            sleep(PAUSE).await;
                        }
                    }
                }
            }
        }
        // Whoever comes now is told at once that nobody listens.
        drop(self.socket);
        drop(self.listener);
        conversations.shutdown().await;
    }
}

/// Hears one request and answers it. A peer that leaves or dawdles is let go; that is its own affair.
async fn converse(mut stream: UnixStream, desk: Arc<CommandHandler>, patience: Duration) {
    let reply = match timeout(patience, read_line(&mut stream)).await {
        // A command that only asks whether anybody is there.
        Ok(Ok(Some(line))) if line.is_empty() => return,
        Ok(Ok(Some(line))) => desk.answer(&line).await,
        Ok(Ok(None)) => Reply::Failed(Problem::new(
            Code::BadRequest,
            "the request is longer than a request may be",
        )),
        Ok(Err(_)) | Err(_) => return,
    };
    let line = reply.to_line();
    let written = timeout(patience, async {
        stream.write_all(&line).await?;
        stream.shutdown().await
    });
    if !matches!(written.await, Ok(Ok(()))) {
        tracing::debug!("a command left before it had its answer");
    }
}

/// Reads up to the end of the line, or of what the peer sends; `None` where it is too long.
async fn read_line(stream: &mut UnixStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::with_capacity(FIRST_BYTES);
    loop {
        let before = line.len();
        if stream.read_buf(&mut line).await? == 0 {
            return Ok(Some(line));
        }
        let new = line.get(before..).unwrap_or_default();
        if let Some(end) = memchr::memchr(b'\n', new) {
            line.truncate(before + end);
            return Ok(Some(line));
        }
        if line.len() > wire::LONGEST_REQUEST {
            return Ok(None);
        }
    }
}
