//! The store's folder: the names of the files in it, who may read them, and which process has them.
//!
//! `SQLite` holds locks on its files that belong to the whole process: whoever opens such a file beside it and
//! closes it again releases them all. So nothing here opens a file that may be open.

use std::fs::{self, DirBuilder, File, FileType, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt as _, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::queue::OpenError;

/// The mode of the store's files: other users of this machine must not read the events.
pub(super) const MODE: u32 = 0o600;

/// Makes the folder and takes possession of it, until the file is dropped.
pub(super) fn lock(folder: &Path) -> Result<File, OpenError> {
    let unusable = |error| OpenError::Folder(folder.to_owned(), error);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(unusable)?;
    let path = lock_file(folder);
    check_kind(&path)?;
    // Locks of this kind belong to the opened file, not to the process.
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(MODE)
        .open(&path)
        .map_err(unusable)?;
    close_to_others(&path);
    match file.try_lock() {
        Ok(()) => {
            close_folder_to_others(folder);
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// Keeps others from opening a store for writing, and changes nothing. Where there is no lock file nobody has the store.
pub(super) fn lock_to_look(folder: &Path) -> Result<Option<File>, OpenError> {
    let path = lock_file(folder);
    check_kind(&path)?;
    let unusable = |error| OpenError::Folder(folder.to_owned(), error);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(unusable)?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// Refuses what is no file where the store's files are to be: a pipe would be waited for, and a link leads to files
/// that are not watched.
pub(super) fn check_kinds(folder: &Path) -> Result<(), OpenError> {
    files(folder).iter().try_for_each(|path| check_kind(path))
}

fn check_kind(path: &Path) -> Result<(), OpenError> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => {
            let kind = kind_in_words(found.file_type());
            Err(OpenError::NoFile {
                path: path.to_owned(),
                kind,
            })
        }
        // What cannot be looked at shows when it is opened.
        _ => Ok(()),
    }
}

fn kind_in_words(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a folder"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// The file whose lock decides which process owns the store.
pub(super) fn lock_file(folder: &Path) -> PathBuf {
    folder.join("lock")
}

/// Makes a file for its owner alone, unless it is there.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    let made = File::options()
        .create_new(true)
        .write(true)
        .mode(MODE)
        .open(path);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => drop(made?),
    }
    close_to_others(path);
    Ok(())
}

/// Takes the permissions of all of the store's files in a folder away from everyone but their owner, also of those
/// that only a salvage or a checkpoint will use again.
fn close_folder_to_others(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        let name = entry.file_name();
        let is_ours = |name: &str| {
            ["lock", "queue.db", "salvage", "rescued"]
                .iter()
                .any(|ours| name.starts_with(ours))
        };
        if is_file && name.to_str().is_some_and(is_ours) {
            close_to_others(&entry.path());
        }
    }
}

/// Takes a file's permissions away from everyone but its owner: an earlier version may have made it, or a copy
/// by hand.
pub(super) fn close_to_others(path: &Path) {
    let Ok(found) = fs::metadata(path) else {
        return;
    };
    let others = found.permissions().mode() & 0o077;
    if others == 0 {
        return;
    }
    if let Err(error) = fs::set_permissions(path, Permissions::from_mode(MODE)) {
        tracing::warn!(
            file = %path.display(),
            %error,
            "other users of this machine may read the store, and that cannot be changed; give the file \
             to the user that runs pixel-relay, with mode 0600"
        );
    }
}

/// The store's file.
pub(super) fn file(folder: &Path) -> PathBuf {
    folder.join("queue.db")
}

/// The store's file, and those that `SQLite` keeps beside it.
pub(super) fn files(folder: &Path) -> [PathBuf; 3] {
    ["queue.db-wal", "queue.db-shm", "queue.db"].map(|name| folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::sqlite::schema::{self, Trust};

    #[test]
    fn one_owner_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let owner = lock(folder.path()).unwrap();
        assert!(matches!(lock(folder.path()), Err(OpenError::InUse(_))));
        drop(owner);
        assert!(lock(folder.path()).is_ok());
    }

    #[test]
    fn the_files_are_their_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let modes = || -> Vec<(String, u32)> {
            let entries = fs::read_dir(folder.path()).unwrap();
            let mut modes: Vec<(String, u32)> = entries
                .map(|entry| {
                    let entry = entry.unwrap();
                    let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
                    (entry.file_name().into_string().unwrap(), mode)
                })
                .collect();
            modes.sort();
            modes
        };
        let private = ["lock", "queue.db", "queue.db-shm", "queue.db-wal"]
            .map(|name| (name.to_owned(), MODE));
        let owner = lock(folder.path()).unwrap();
        let connection = schema::open(folder.path(), Trust::Unknown).unwrap();
        let write = "INSERT INTO sync (name) VALUES ('web')";
        connection.execute_batch(write).unwrap();
        assert_eq!(modes(), private);

        // As an earlier version left them behind after a crash.
        for (name, _) in modes() {
            let open = Permissions::from_mode(0o644);
            fs::set_permissions(folder.path().join(name), open).unwrap();
        }
        drop(owner);
        let owner = lock(folder.path()).unwrap();
        let again = schema::open(folder.path(), Trust::Unknown).unwrap();
        assert_eq!(modes(), private);
        drop((connection, owner, again));
    }
}
