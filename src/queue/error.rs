//! Why the queue cannot do what it is asked.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use super::engine::EngineError;

/// Why the store could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot read or write.
    #[error("the store cannot be read or written")]
    Storage(#[from] EngineError),
    /// The queue was closed.
    #[error("the queue is closed")]
    Closed,
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The folder or the lock file could not be made.
    #[error("cannot use the folder {}", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    /// Something else stands where a file belongs.
    #[error(
        "{} is {kind}, not a file; it was left as it is: `queue.path` must name the folder that holds the file itself",
        .path.display()
    )]
    NoFile { path: PathBuf, kind: &'static str },
    /// An earlier pixel-relay wrote it, and nobody has brought it up to date.
    #[error(
        "the store has the earlier format {found}; it was left as it is: once a daemon or another command has opened \
         it, and so brought it up to date, it can be checked"
    )]
    Earlier {
        /// The format found.
        found: i64,
    },
    /// A newer pixel-relay wrote it.
    #[error(
        "the store has format {found}, written by a newer pixel-relay; this one knows formats up to {known}; it was left as it is"
    )]
    Newer {
        /// The format found.
        found: i64,
        /// The newest format known here.
        known: i64,
    },
    /// The file is something else.
    #[error(
        "{} is not a store of pixel-relay, or its first page is damaged; it was left as it is",
        .0.display()
    )]
    Foreign(PathBuf),
    /// The engine could not open or read it.
    #[error("cannot open the store")]
    Engine(#[from] EngineError),
    /// The writer's thread could not be started.
    #[error("cannot start the writer")]
    Thread(#[source] io::Error),
}

/// An error with all its causes, in one line.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
