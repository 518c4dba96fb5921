//! Where the store's files lie: a file that was removed or replaced while it is open would take events that nobody
//! finds again.
//!
//! A file is known by its device and its number there, whatever its name. An open file that has no name left is
//! gone: what it holds is copied into a new one as long as this process has it. One that has another name was
//! moved, and one may stand in its place: then it is for the operator to put it back.

use std::fs::{self, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::queue::displaced::Displaced;

use super::folder;

/// A file, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    number: u64,
}

/// The files of an open store.
#[derive(Debug)]
pub(super) struct Place {
    database: FileId,
    /// To tell a file without a name from one with another; `None` where the system cannot.
    handle: Option<OwnedFd>,
    /// The log and its index, if they were there.
    beside: [Option<FileId>; 2],
}

impl FileId {
    pub(super) fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            number: found.ino(),
        }
    }

    /// The file that has a name now; `None` if none has.
    pub(super) fn at(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(found) => Ok(Some(Self::of(&found))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Place {
    /// Notes where the files of a store lie that has just been opened.
    pub(super) fn note(folder: &Path) -> io::Result<Self> {
        let [log, index, database] = folder::files(folder);
        Ok(Self {
            database: FileId::of(&fs::metadata(&database)?),
            handle: handle(&database),
            beside: [FileId::at(&log)?, FileId::at(&index)?],
        })
    }

    pub(super) const fn database(&self) -> FileId {
        self.database
    }

    /// Whether the files are where they were. An error in looking proves nothing.
    pub(super) fn check(&self, folder: &Path) -> Result<(), Displaced> {
        let [log, index, database] = folder::files(folder);
        match FileId::at(&database) {
            Ok(Some(found)) if found != self.database && self.is_gone() => {
                return Err(Displaced::overwritten(&database));
            }
            Ok(Some(found)) if found != self.database => {
                return Err(Displaced::replaced(&database));
            }
            Ok(None) if self.is_gone() => return Err(Displaced::removed(&database)),
            Ok(None) => return Err(Displaced::moved(&database)),
            Ok(Some(_)) | Err(_) => {}
        }
        for (path, noted) in [&log, &index].into_iter().zip(self.beside) {
            let Some(noted) = noted else { continue };
            match FileId::at(path) {
                Ok(Some(found)) if found != noted => return Err(Displaced::replaced(path)),
                Ok(None) => return Err(Displaced::removed_beside(path)),
                Ok(Some(_)) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Whether the open file has no name left.
    fn is_gone(&self) -> bool {
        let found = self.handle.as_ref().map(rustix::fs::fstat);
        found.is_some_and(|found| found.is_ok_and(|found| found.st_nlink == 0))
    }
}

/// A handle that only tells about the file: to close another kind would release the locks that `SQLite` holds on it.
#[cfg(target_os = "linux")]
fn handle(database: &Path) -> Option<OwnedFd> {
    use rustix::fs::{Mode, OFlags, open};

    open(database, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn handle(_database: &Path) -> Option<OwnedFd> {
    None
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
