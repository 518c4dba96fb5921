//! Copies of files that are kept beside the store for an operator to look at: damaged logs, the files as they were
//! before a repair, and what was saved of a removed file whose place another has taken.
//!
//! They hold events, so they go with the retention of dead letters, and whenever anyone is forgotten. Together they
//! take no more than the store may, but for the last one; and where the disk has too little room for the queue, they
//! go. The oldest goes first.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::clock::{Clock as _, SystemClock, UnixMillis};
use crate::queue::copy_bounds::CopyBounds;

use super::folder;

/// Longest log of which a copy is kept.
const MAX_LOG: u64 = 256 << 20;
/// How the names of kept copies begin and end; between stands when they were made, in seconds.
const DAMAGED_LOG: (&str, &str) = ("damaged-log-", ".wal");
const BEFORE_REPAIR: (&str, &str) = ("before-repair-", "");
const RESCUED: (&str, &str) = ("rescued-", ".db");
const ALL: [(&str, &str); 3] = [DAMAGED_LOG, BEFORE_REPAIR, RESCUED];

/// Keeps a copy of a damaged log; `None` where it is too long, or there is no room.
pub(super) fn copy_log(folder: &Path, log: &Path) -> Option<PathBuf> {
    let length = fs::metadata(log).ok()?.len();
    if length > MAX_LOG {
        return None;
    }
    let copy = new_name(folder, DAMAGED_LOG);
    match copy_file(log, &copy) {
        Ok(()) => Some(copy),
        Err(error) => {
            tracing::warn!(%error, "a damaged log cannot be copied");
            fs::remove_file(&copy).ok();
            None
        }
    }
}

/// Keeps a log whose file is gone, or empty: `SQLite` would remove it. Gives what it did, for people.
pub(super) fn keep_log_without_file(folder: &Path) -> io::Result<Option<String>> {
    let [log, _, database] = folder::files(folder);
    if length_of(&database) > 0 || length_of(&log) == 0 {
        return Ok(None);
    }
    let copy = move_to(folder, &log, DAMAGED_LOG)?;
    let what = format!(
        "{} is gone or empty, and its log was still there; the log is kept as {}, and a new store is made",
        database.display(),
        copy.display()
    );
    tracing::error!("{what}. If the file was moved away, stop the daemon and put both back");
    Ok(Some(what))
}

/// Keeps what was saved of a removed file whose place another has taken.
pub(super) fn move_rescued(folder: &Path, copy: &Path) -> io::Result<PathBuf> {
    move_to(folder, copy, RESCUED)
}

/// Keeps the store's files as they are in a folder of their own; `None` if there is no room.
pub(super) fn copy_files(folder: &Path) -> io::Result<Option<PathBuf>> {
    let files = folder::files(folder).map(|file| (length_of(&file), file));
    let bytes: u64 = files.iter().map(|(length, _)| length).sum();
    let disk = rustix::fs::statvfs(folder)?;
    if disk.f_bavail * disk.f_frsize < 3 * bytes {
        return Ok(None);
    }
    let copy = new_name(folder, BEFORE_REPAIR);
    DirBuilder::new().mode(0o700).create(&copy)?;
    for (_, file) in files {
        let Some(name) = file.file_name().filter(|_| file.exists()) else {
            continue;
        };
        if let Err(error) = copy_file(&file, &copy.join(name)) {
            fs::remove_dir_all(&copy).ok();
            return Err(error);
        }
    }
    Ok(Some(copy))
}

/// The kept copies, the oldest first, and when each was made.
pub(super) fn all(folder: &Path) -> Vec<(PathBuf, UnixMillis)> {
    let Ok(files) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut kept: Vec<_> = files
        .filter_map(|file| {
            let path = file.ok()?.path();
            let name = path.file_name()?.to_str()?;
            let seconds = ALL
                .iter()
                .find_map(|(begin, end)| name.strip_prefix(begin)?.strip_suffix(end))?;
            let at = UnixMillis::from_seconds(seconds.parse().ok()?);
            Some((at, path))
        })
        .collect();
    kept.sort();
    kept.into_iter().map(|(at, path)| (path, at)).collect()
}

/// Removes copies that are too old, or that take too much room; goes on to the others where one cannot be removed.
pub(super) fn remove(folder: &Path, bounds: CopyBounds) -> io::Result<()> {
    let mut kept: Vec<_> = all(folder)
        .into_iter()
        .map(|(path, at)| (size_of(&path), path, at))
        .collect();
    // The oldest is the last.
    kept.reverse();
    let mut bytes: u64 = kept.iter().map(|(size, ..)| size).sum();
    let mut outcome = Ok(());
    while let Some((size, path, at)) = kept.pop() {
        let is_last = kept.is_empty();
        let why = if bounds.has_aged(at) {
            "it is too old"
        } else if bytes > bounds.max_bytes && !is_last {
            "the copies take more room than the store may"
        } else if free(folder)? < bounds.min_free {
            "the disk has too little room for the queue"
        } else {
            // An unset clock may have dated it, and a younger one may be too old.
            continue;
        };
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        if removed.is_err() {
            outcome = outcome.and(removed);
            continue;
        }
        bytes -= size;
        tracing::warn!(
            copy = %path.display(),
            bytes = size,
            why,
            "a copy of files that was kept beside the store is removed"
        );
    }
    outcome
}

fn free(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail * disk.f_frsize)
}

fn size_of(path: &Path) -> u64 {
    match fs::read_dir(path) {
        Ok(files) => files.flatten().map(|file| length_of(&file.path())).sum(),
        Err(_) => length_of(path),
    }
}

fn length_of(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |found| found.len())
}

/// A name of this kind that no file has.
fn new_name(folder: &Path, (begin, end): (&str, &str)) -> PathBuf {
    let mut seconds = SystemClock.now().seconds();
    loop {
        let path = folder.join(format!("{begin}{seconds}{end}"));
        if fs::symlink_metadata(&path).is_err() {
            return path;
        }
        seconds += 1;
    }
}

fn move_to(folder: &Path, file: &Path, kind: (&str, &str)) -> io::Result<PathBuf> {
    let kept = new_name(folder, kind);
    fs::rename(file, &kept)?;
    Ok(kept)
}

/// Copies a file for its owner alone. Nothing in this process has it open.
fn copy_file(file: &Path, copy: &Path) -> io::Result<()> {
    let mut options = File::options();
    let options = options.create_new(true).write(true).mode(folder::MODE);
    io::copy(&mut File::open(file)?, &mut options.open(copy)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_cannot_leave_keeps_no_other_copy() {
        const NOW: i64 = 1_790_000_000;
        let folder = tempfile::tempdir().unwrap();
        let copy = |seconds: i64| folder.path().join(format!("damaged-log-{seconds}.wal"));
        // One was dated by a clock that was not set, one is too old, one is not.
        let [undated, old, young] = [3600, NOW - 1000, NOW - 10].map(copy);
        for file in [&undated, &old, &young] {
            fs::write(file, "log").unwrap();
        }
        let bounds = CopyBounds {
            now: UnixMillis::from_seconds(NOW),
            retention: Some(Duration::from_secs(100)),
            max_bytes: u64::MAX,
            min_free: 0,
        };
        remove(folder.path(), bounds).unwrap();
        let left = all(folder.path()).into_iter().map(|(path, _)| path);
        assert_eq!(left.collect::<Vec<_>>(), [undated, young]);
    }
}
