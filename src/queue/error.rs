//! Why the queue cannot do what it is asked.

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
    /// A newer pixel-relay wrote it.
    #[error(
        "the store has format {found}, written by a newer pixel-relay; this one knows formats up to {known}"
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
