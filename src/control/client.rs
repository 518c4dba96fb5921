//! A command's end of the socket.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::control::socket;
use crate::control::wire::{Answer, Problem, Reply, Request};

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("no daemon listens on the control socket")]
    NoDaemon(#[source] io::Error),
    /// The socket belongs to another user.
    #[error(
        "the control socket belongs to another user; run the command as the user of the daemon"
    )]
    Denied(#[source] io::Error),
    /// The daemon was reached, and went.
    #[error("the daemon left before it answered; run the command again")]
    Left(#[source] io::Error),
    /// The answer is none.
    #[error("the daemon's answer cannot be understood; use the daemon's own program")]
    Garbled(#[source] serde_json::Error),
    /// The daemon could not do it.
    #[error(transparent)]
    Problem(#[from] Problem),
}

/// Asks the daemon that has this queue folder. Waits as long as the request takes.
pub fn ask(folder: &Path, request: &Request) -> Result<Answer, AskError> {
    let mut stream = connect(folder)?;
    let mut line = Vec::new();
    // A daemon that refuses a request may do so before it has read it all: what counts is its answer.
    let written = stream.write_all(&request.to_line());
    let read = BufReader::new(&mut stream).read_until(b'\n', &mut line);
    if line.is_empty() {
        written.map_err(AskError::Left)?;
        read.map_err(AskError::Left)?;
    }
    if line.last() != Some(&b'\n') {
        return Err(AskError::Left(io::ErrorKind::UnexpectedEof.into()));
    }
    match serde_json::from_slice(&line).map_err(AskError::Garbled)? {
        Reply::Done(answer) => Ok(answer),
        Reply::Failed(problem) => Err(problem.into()),
    }
}

/// Whether a daemon listens. That the socket is another user's is an error: a daemon may be there.
pub fn is_answered(folder: &Path) -> Result<bool, AskError> {
    match connect(folder) {
        Ok(_) => Ok(true),
        Err(AskError::NoDaemon(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn connect(folder: &Path) -> Result<UnixStream, AskError> {
    socket::connect(folder).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => AskError::Denied(error),
        _ => AskError::NoDaemon(error),
    })
}
