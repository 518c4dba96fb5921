//! A file of the store that is no longer where it was opened.

use std::path::Path;

/// What became of a file that is open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} {}", .fate.in_words())]
pub(super) struct Displaced {
    pub(super) file: String,
    pub(super) fate: FileFate,
}

/// What became of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileFate {
    /// It has no name any more.
    Removed,
    /// It has no name any more, and another has the one that it had.
    Overwritten,
    /// What stands beside the store's file, and holds what is not in it yet, has no name any more.
    RemovedBeside,
    /// It has another name, for all that can be known.
    Moved,
    /// Another has its name.
    Replaced,
    /// The lock is not this process's own any more.
    Unlocked,
}

impl FileFate {
    const fn in_words(self) -> &'static str {
        match self {
            Self::Removed | Self::RemovedBeside => "was removed while the daemon runs",
            Self::Overwritten => {
                "was overwritten by another file while the daemon runs; what the old one holds is saved \
                 beside it: restart to use the new one"
            }
            Self::Moved => "was moved away while the daemon runs, or cannot be found; move it back",
            Self::Replaced => {
                "was replaced while the daemon runs; put the old one back, or restart to use the new one"
            }
            Self::Unlocked => {
                "was removed or replaced while the daemon runs, and another process has the store"
            }
        }
    }
}

impl Displaced {
    pub(super) fn removed(file: &Path) -> Self {
        Self::new(file, FileFate::Removed)
    }

    pub(super) fn overwritten(file: &Path) -> Self {
        Self::new(file, FileFate::Overwritten)
    }

    pub(super) fn removed_beside(file: &Path) -> Self {
        Self::new(file, FileFate::RemovedBeside)
    }

    pub(super) fn moved(file: &Path) -> Self {
        Self::new(file, FileFate::Moved)
    }

    pub(super) fn replaced(file: &Path) -> Self {
        Self::new(file, FileFate::Replaced)
    }

    pub(super) fn unlocked(file: &Path) -> Self {
        Self::new(file, FileFate::Unlocked)
    }

    fn new(file: &Path, fate: FileFate) -> Self {
        Self {
            file: file.display().to_string(),
            fate,
        }
    }
}
