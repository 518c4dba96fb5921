//! Copies that are kept beside the store, and the locks on its files.

use std::os::unix::fs::MetadataExt as _;

use super::*;
use crate::queue::copy_bounds::CopyBounds;

/// Locks of this process on a file, as the system lists them.
fn locks_on(file: &Path) -> usize {
    let number = fs::metadata(file).unwrap().ino();
    let (process, file) = (std::process::id().to_string(), format!(":{number}"));
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let is_ours = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.contains(&"POSIX")
            && words.contains(&&*process)
            && words.iter().any(|word| word.ends_with(&file))
    };
    locks.lines().filter(is_ours).count()
}

#[tokio::test]
async fn a_store_that_is_opened_again_keeps_its_locks() {
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    fixture.push((0..3).map(event)).await;
    let database = fixture.folder.path().join("queue.db");
    let held = locks_on(&database);
    assert!(held > 0, "other programs see that the file is in use");
    // What looks damaged is read through a new connection.
    damage(&fixture, 0);
    fixture.lease(10).await;
    assert_eq!(locks_on(&database), held);
    // And so it is after a failure.
    set_failing(&fixture, true);
    assert!(fixture.queue.push(vec![event(7)]).await.is_err());
    set_failing(&fixture, false);
    fixture.push([event(8)]).await;
    assert_eq!(locks_on(&database), held);
}

/// Makes a kept copy of a size, dated so many seconds after another.
fn keep(folder: &Path, seconds: i64, bytes: u64) -> PathBuf {
    let path = folder.join(format!("damaged-log-{}.wal", 1_800_000_000 + seconds));
    fs::File::create(&path).unwrap().set_len(bytes).unwrap();
    path
}

#[test]
fn kept_copies_are_bounded_by_age_and_size_and_the_oldest_goes_first() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = |seconds: i64, max_bytes, min_free| CopyBounds {
        now: UnixMillis::from_seconds(1_800_000_000 + seconds),
        retention: Some(Duration::from_secs(1000)),
        max_bytes,
        min_free,
    };
    let left = |bounds| {
        kept::remove(folder.path(), bounds).unwrap();
        let left = kept::all(folder.path()).into_iter();
        left.map(|(path, _)| path).collect::<Vec<_>>()
    };
    let all: Vec<PathBuf> = (0..5)
        .map(|place| keep(folder.path(), place, 100))
        .collect();
    assert_eq!(left(bounds(10, 500, 0)), all);
    assert_eq!(left(bounds(10, 399, 0)), all[2..]);
    // The last stays, however large it is.
    assert_eq!(left(bounds(10, 1, 0)), all[4..]);
    // Unless the queue needs the room.
    assert_eq!(left(bounds(10, 500, u64::MAX)), Vec::<PathBuf>::new());
    let young = keep(folder.path(), 900, 1);
    keep(folder.path(), 0, 1);
    assert_eq!(left(bounds(1000, 500, 0)), [young]);
    // What an unset clock has dated is not old for that; being forgotten takes all.
    let undated = folder.path().join("damaged-log-7.wal");
    fs::write(&undated, "x").unwrap();
    assert_eq!(left(bounds(1000, 500, 0)).len(), 2);
    assert_eq!(left(CopyBounds::NOTHING), Vec::<PathBuf>::new());
}

#[test]
fn what_was_saved_of_a_removed_file_overwrites_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    let names = || {
        let files = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    fs::write(path("salvage.db"), "saved").unwrap();
    assert_eq!(salvage::finish(folder.path()).unwrap(), None);
    assert_eq!(fs::read(path("queue.db")).unwrap(), b"saved");
    assert_eq!(names(), ["queue.db"]);

    fs::write(path("salvage.db"), "saved").unwrap();
    fs::write(path("queue.db"), "put back").unwrap();
    fs::write(path("queue.db-wal"), "with its log").unwrap();
    let kept = salvage::finish(folder.path()).unwrap().unwrap();
    assert_eq!(fs::read(kept).unwrap(), b"saved");
    assert_eq!(fs::read(path("queue.db")).unwrap(), b"put back");
    assert_eq!(fs::read(path("queue.db-wal")).unwrap(), b"with its log");
}

#[test]
fn a_salvage_that_was_cut_off_is_finished_or_begun_anew() {
    // The files that are there, and what queue.db is after that.
    let cases = [
        (
            &["salvage-draft.db", "queue.db", "queue.db-wal"][..],
            "queue.db",
        ),
        (
            &["salvage-draft.db", "salvage-old.db", "queue.db-wal"],
            "salvage-draft.db",
        ),
        (&["salvage-draft.db", "salvage-old.db"], "salvage-draft.db"),
        (&["salvage-old.db", "queue.db"], "queue.db"),
        // Somebody has put a file there in between.
        (
            &["salvage-draft.db", "salvage-old.db", "queue.db"],
            "queue.db",
        ),
    ];
    for (before, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        for name in before {
            fs::write(folder.path().join(name), name).unwrap();
        }
        salvage::finish(folder.path()).unwrap();
        let database = fs::read_to_string(folder.path().join("queue.db")).unwrap();
        assert_eq!(database, expected, "{before:?}");
        assert!(
            !folder.path().join("salvage-draft.db").exists(),
            "{before:?}"
        );
        assert!(!folder.path().join("salvage-old.db").exists(), "{before:?}");
        let has_log = folder.path().join("queue.db-wal").exists();
        assert_eq!(
            has_log,
            expected == "queue.db" && before.contains(&"queue.db-wal")
        );
    }
}
