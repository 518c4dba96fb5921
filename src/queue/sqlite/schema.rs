//! The store's file: its tables and its version.
//!
//! A file of an earlier version is brought up to date when it is opened, in one transaction; one of a
//! later version is refused.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::queue::OpenError;
use crate::queue::engine::EngineError;

use super::{folder, records};

/// The version of the tables below.
pub(super) const VERSION: i64 = 5;

/// What every file of `SQLite` begins with, and where the number of its program stands.
const MAGIC: &[u8] = b"SQLite format 3\0";
const ID_PLACE: usize = 68;
/// A greater version is damage.
const PLAUSIBLE_VERSION: i64 = 1000;

/// The step to each version from the one before; the first begins with an empty file. A released step never
/// changes.
const STEPS: [&str; 5] = [VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5];

/// `PxRl`: tells our files from other `SQLite` files.
pub(super) const APPLICATION_ID: i64 = 0x5078_526c;

/// A batch is a `row` and a `content`: a settlement rewrites the few bytes of the first, not the events; see
/// `batch` for what `content` holds. No number is given twice (AUTOINCREMENT), since fingerprints and requests name
/// batches that are long gone. Times in `…_at` and `…_try` are milliseconds, deadlines are seconds.
const VERSION_1: &str = "
CREATE TABLE sync (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;

CREATE TABLE total (
    sync INTEGER NOT NULL, counter TEXT NOT NULL, value INTEGER NOT NULL,
    PRIMARY KEY (sync, counter)
) STRICT, WITHOUT ROWID;

CREATE TABLE row (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sync INTEGER NOT NULL,
    deadline INTEGER NOT NULL,     -- the earliest of its unsettled events
    taken_at INTEGER NOT NULL,
    events INTEGER NOT NULL,
    bytes INTEGER NOT NULL,        -- of its unsettled events
    held INTEGER NOT NULL,         -- bytes of the store that it takes
    settled BLOB,                  -- a bit per event; NULL: none is settled
    first_try INTEGER,             -- requests that did not end all of its events
    last_try INTEGER,
    doubts BLOB                    -- events that a request with a lost answer carried, and when
) STRICT;
CREATE INDEX row_by_deadline ON row (sync, deadline);
CREATE INDEX row_by_age ON row (sync);

CREATE TABLE content (
    row INTEGER PRIMARY KEY,
    checksum INTEGER NOT NULL, slots BLOB NOT NULL, body BLOB NOT NULL
) STRICT;

CREATE TABLE seen (
    row INTEGER PRIMARY KEY,
    sync INTEGER NOT NULL, taken_at INTEGER NOT NULL, fingerprints BLOB NOT NULL
) STRICT;

CREATE TABLE delivery (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sync INTEGER NOT NULL, sent_at INTEGER NOT NULL, slices BLOB NOT NULL,
    answered_at INTEGER, verdict TEXT, status INTEGER, code INTEGER, sub_code INTEGER, trace_id TEXT
) STRICT;
CREATE INDEX delivery_open ON delivery (id) WHERE answered_at IS NULL;

CREATE TABLE dead (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sync INTEGER NOT NULL, reason TEXT NOT NULL, filed_at INTEGER NOT NULL, taken_at INTEGER NOT NULL,
    bytes INTEGER NOT NULL,        -- of the store that it takes
    event_name TEXT, event_id TEXT,
    id_half INTEGER, whole_half INTEGER,   -- of the fingerprint; whole_half NULL: never queued
    deadline INTEGER,                      -- as in the row
    first_try INTEGER, last_try INTEGER,
    code INTEGER, sub_code INTEGER, trace_id TEXT, message TEXT, json BLOB
) STRICT;
CREATE INDEX dead_by_event ON dead (id_half) WHERE id_half IS NOT NULL;
CREATE INDEX dead_samples ON dead (sync, reason) WHERE reason IN ('too_old', 'no_identifier');
";

/// `whose` is a pixel id, or a sync's name if only its token is concerned; see `cooldown`.
/// `filler` has rows only while free pages are overwritten; see `space`.
/// A `body` is what `profile::codec` writes.
const VERSION_2: &str = "
CREATE TABLE standstill (
    id INTEGER PRIMARY KEY,
    whose TEXT NOT NULL, kind TEXT NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL,
    UNIQUE (whose, kind)
) STRICT;

CREATE TABLE filler (id INTEGER PRIMARY KEY, zeros BLOB NOT NULL) STRICT;

CREATE TABLE profile (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,      -- of a user or a device of the sync
    sync INTEGER NOT NULL, touched INTEGER NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE INDEX profile_by_age ON profile (sync, touched);
";

/// The tables stay, but a body may be compressed, which would look like damage to an earlier pixel-relay.
const VERSION_3: &str = "";

/// An earlier row may mix event names. It counts as Purchases if its index has that name, which stands behind its
/// length. `click` says when a click was first seen; see `clicks`.
const VERSION_4: &str = "
ALTER TABLE row ADD COLUMN purchase INTEGER NOT NULL DEFAULT 0;
CREATE INDEX row_of_purchases ON row (sync, deadline) WHERE purchase = 1;
UPDATE row SET purchase = 1 WHERE id IN (
    SELECT row FROM content WHERE instr(slots, x'080000005075726368617365') > 0
);

CREATE TABLE click (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,      -- of the click id
    seen INTEGER NOT NULL
) STRICT;

-- One more reason of which only samples are kept.
DROP INDEX dead_samples;
CREATE INDEX dead_samples ON dead (sync, reason)
    WHERE reason IN ('too_old', 'too_old_for_pixel', 'no_identifier');
";

/// Each `checksum` but that of `damaged` covers the other columns; NULL in records that an earlier version wrote. That
/// of a `delivery` covers what was sent, `answer_checksum` the answer.
/// `damaged` holds what is stored of a batch whose events were lost, as it was found.
const VERSION_5: &str = "
CREATE TABLE damaged (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    row INTEGER NOT NULL,          -- the number that the batch had
    sync INTEGER NOT NULL, taken_at INTEGER NOT NULL,
    events INTEGER NOT NULL,       -- that were lost with it
    why TEXT NOT NULL, found_at INTEGER NOT NULL,
    bytes INTEGER NOT NULL,        -- of the store that it takes
    settled BLOB, checksum INTEGER, slots BLOB NOT NULL, body BLOB NOT NULL
) STRICT;

-- Only those are samples that were refused for good.
DROP INDEX dead_samples;
CREATE INDEX dead_samples ON dead (sync, reason)
    WHERE whole_half IS NULL AND reason IN ('too_old', 'too_old_for_pixel', 'no_identifier');

ALTER TABLE sync ADD COLUMN checksum INTEGER;
ALTER TABLE row ADD COLUMN checksum INTEGER;
ALTER TABLE dead ADD COLUMN checksum INTEGER;
ALTER TABLE standstill ADD COLUMN checksum INTEGER;
ALTER TABLE seen ADD COLUMN checksum INTEGER;
ALTER TABLE profile ADD COLUMN checksum INTEGER;
ALTER TABLE click ADD COLUMN checksum INTEGER;
ALTER TABLE delivery ADD COLUMN checksum INTEGER;
ALTER TABLE delivery ADD COLUMN answer_checksum INTEGER;
-- The counters of these syncs have no checksum yet.
INSERT INTO total SELECT id, 'unchecked', 1 FROM sync;
";

/// Whether a file is known to be a store of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// It does not look like one: what cannot be read as one is somebody else's.
    Unknown,
    /// It looks like one, or this process has had it open: what cannot be read is damaged.
    Ours,
}

/// Opens the store for writing, or makes one.
pub(super) fn open(folder: &Path, trust: Trust) -> Result<Connection, OpenError> {
    folder::check_kinds(folder)?;
    for file in folder::files(folder) {
        folder::close_to_others(&file);
    }
    let path = folder::file(folder);
    let is_ours = trust == Trust::Ours;
    let connection = create(&path, is_ours)?;
    let found = version(&connection, &path, is_ours)?;
    if found < VERSION {
        bring_up_to_date(&connection, found)?;
        records::add_checksums(&connection)?;
        tracing::info!(
            from = found,
            to = VERSION,
            "the store was brought up to date"
        );
    }
    connection.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         -- Deleted events are overwritten where that costs no further page.
         PRAGMA secure_delete = FAST;
         PRAGMA journal_size_limit = 67108864;",
    )?;
    Ok(connection)
}

/// Whether a program has made a file its own that has no tables yet.
const MARKED: &str = "SELECT application_id != 0 OR user_version != 0
                      FROM pragma_application_id, pragma_user_version";

/// The version of a file of ours; refuses those of others and those of later versions.
pub(super) fn version(
    connection: &Connection,
    path: &Path,
    is_ours: bool,
) -> Result<i64, OpenError> {
    let number = |pragma| {
        let number = connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
        number.map_err(|error| unreadable(error, path, is_ours))
    };
    let id = number("PRAGMA application_id")?;
    if id != APPLICATION_ID {
        let (id, ours) = (id.to_be_bytes(), APPLICATION_ID.to_be_bytes());
        let other_bytes = id.iter().zip(ours).filter(|(a, b)| **a != *b).count();
        return Err(match other_bytes {
            1 => damaged("the first page"),
            _ => OpenError::Foreign(path.to_owned()),
        });
    }
    let found = number("PRAGMA user_version")?;
    if !(0..PLAUSIBLE_VERSION).contains(&found) {
        return Err(damaged("the number of the format"));
    }
    if found > VERSION {
        return Err(OpenError::Newer {
            found,
            known: VERSION,
        });
    }
    Ok(found)
}

/// Opens a file, and makes the tables in a new one.
pub(super) fn create(path: &Path, is_ours: bool) -> Result<Connection, OpenError> {
    // `SQLite` would make it readable for all, and it gives the files beside it the same mode.
    folder::make_private(path).map_err(|error| OpenError::Folder(path.to_owned(), error))?;
    let connection = Connection::open(path)?;
    let tables_and_pages = "SELECT (SELECT count(*) FROM sqlite_schema), page_count
                            FROM pragma_page_count";
    let (tables, pages): (i64, i64) = connection
        .query_row(tables_and_pages, [], |row| row.try_into())
        .map_err(|error| unreadable(error, path, is_ours))?;
    tune(&connection)?;
    let is_marked = || connection.query_row(MARKED, [], |row| row.get::<_, bool>(0));
    if tables == 0 && (pages > 1 || is_marked()?) {
        return Err(unknown(path, is_ours));
    }
    if tables == 0 {
        // The vacuum mode can only be set while the file is empty.
        connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
        make(&connection)?;
    }
    Ok(connection)
}

/// A file that may be ours.
fn unknown(path: &Path, is_ours: bool) -> OpenError {
    if is_ours {
        damaged("the first page")
    } else {
        OpenError::Foreign(path.to_owned())
    }
}

pub(super) fn unreadable(error: rusqlite::Error, path: &Path, is_ours: bool) -> OpenError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => unknown(path, is_ours),
        _ => error.into(),
    }
}

pub(super) fn damaged(what: &str) -> OpenError {
    let error = io::Error::other(format!("{what} is damaged"));
    OpenError::Engine(EngineError::Damaged(Arc::new(error)))
}

/// Whether a file looks like a store, even if its first page is damaged. It is opened, and must not be open.
pub(super) fn is_like_store(file: &Path) -> bool {
    let mut page = [0; 100];
    let read = File::open(file).and_then(|file| file.read_exact_at(&mut page, 0));
    if read.is_err() {
        return false;
    }
    let alike = |place: usize, wanted: &[u8]| {
        let found = &page[place..place + wanted.len()];
        found.iter().zip(wanted).filter(|(a, b)| a == b).count()
    };
    let ours = APPLICATION_ID.to_be_bytes();
    let (magic, id) = (alike(0, MAGIC), alike(ID_PLACE, &ours[4..]));
    (magic == MAGIC.len() && id >= 3) || (magic >= 12 && id == 4)
}

/// Makes the tables in an empty file.
pub(super) fn make(connection: &Connection) -> rusqlite::Result<()> {
    bring_up_to_date(connection, 0)
}

/// Takes the steps that lead from one version to the present one.
fn bring_up_to_date(connection: &Connection, from: i64) -> rusqlite::Result<()> {
    let taken = usize::try_from(from).unwrap_or(0);
    let steps = STEPS[taken..].concat();
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; {steps}
         PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT"
    ))
}

/// Opens the store for reading beside the writer.
pub(super) fn open_reader(folder: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(folder::file(folder), flags)?;
    tune(&connection)?;
    Ok(connection)
}

/// Opens a store that nobody has open for reading, and changes none of its files, also not the index of its log.
pub(super) fn open_untouched(folder: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let [log, _, file] = folder::files(folder);
    if fs::metadata(&file).is_ok_and(|file| file.len() == 0) {
        // It is a store yet to be made.
        let connection = Connection::open_in_memory()?;
        connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
        make(&connection)?;
        return Ok(connection);
    }
    let has_log = fs::metadata(&log).is_ok_and(|log| log.len() > 0);
    let connection = if has_log {
        // Without locks, and with an index of the log in memory.
        let connection = Connection::open_with_flags_and_vfs(&file, flags, "unix-none")?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE")?;
        connection
    } else {
        // A log would be made.
        let uri = format!("file:{}?immutable=1", in_uri(&file));
        Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?
    };
    tune(&connection)?;
    Ok(connection)
}

fn in_uri(path: &Path) -> String {
    use std::fmt::Write as _;

    let mut uri = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'_' | b'-' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            byte => write!(uri, "%{byte:02X}").expect("a string takes any text"),
        }
    }
    uri
}

/// Opens a damaged store for reading, even if the file was cut off.
pub(super) fn open_damaged(folder: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(folder::file(folder), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    // Else `SQLite` refuses a file that is shorter than its header says. Nothing is written to it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, true)?;
    tune(&connection)?;
    Ok(connection)
}

/// Has `SQLite` read the log anew, if no other connection is open; gives the last frame that it found committed.
pub(super) fn frames_in_log(connection: &Connection) -> rusqlite::Result<u64> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let frames = connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1))?;
    Ok(super::unsigned(frames))
}

/// Copies the write-ahead log into the file, and empties it.
pub(super) fn truncate_log(connection: &Connection) -> rusqlite::Result<()> {
    let busy: bool =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        return Err(rusqlite::Error::SqliteFailure(code, None));
    }
    Ok(())
}

fn tune(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    // Else a prepared statement is planned again whenever its parameters change.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.execute_batch("PRAGMA cache_size = -4096; PRAGMA temp_store = MEMORY")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_store_has_what_cannot_be_changed_later() {
        let folder = tempfile::tempdir().unwrap();
        let connection = open(folder.path(), Trust::Unknown).unwrap();
        let pragma = |name: &str| -> String {
            connection
                .query_row(&format!("PRAGMA {name}"), [], |row| {
                    row.get_ref(0).map(|value| match value {
                        rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                        other => other.as_str().unwrap().to_owned(),
                    })
                })
                .unwrap()
        };
        assert_eq!(pragma("auto_vacuum"), "2");
        assert_eq!(pragma("journal_mode"), "wal");
        assert_eq!(pragma("synchronous"), "2");
        assert_eq!(pragma("secure_delete"), "2");
        assert_eq!(pragma("user_version"), VERSION.to_string());
        assert_eq!(STEPS.len().to_string(), VERSION.to_string());
    }

    #[test]
    fn opens_again_and_refuses_what_it_does_not_know() {
        let folder = tempfile::tempdir().unwrap();
        drop(open(folder.path(), Trust::Unknown).unwrap());
        let connection = open(folder.path(), Trust::Unknown).unwrap();
        connection
            .execute_batch("PRAGMA user_version = 99")
            .unwrap();
        let newer = open(folder.path(), Trust::Unknown).unwrap_err();
        assert!(matches!(newer, OpenError::Newer { found: 99, .. }));
        connection
            .execute_batch("PRAGMA application_id = 1")
            .unwrap();
        let foreign = open(folder.path(), Trust::Unknown).unwrap_err();
        assert!(matches!(foreign, OpenError::Foreign(_)));
    }

    #[test]
    fn a_file_of_the_first_version_gets_the_tables_of_this_one() {
        let folder = tempfile::tempdir().unwrap();
        let old = Connection::open(folder::file(folder.path())).unwrap();
        old.execute_batch(&format!(
            "PRAGMA auto_vacuum = INCREMENTAL; {VERSION_1}
             PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1"
        ))
        .unwrap();
        drop(old);
        let tables = |folder: &Path| -> Vec<String> {
            open(folder, Trust::Unknown)
                .unwrap()
                .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
                .and_then(|mut tables| tables.query_map([], |row| row.get(0))?.collect())
                .unwrap()
        };
        let fresh = tempfile::tempdir().unwrap();
        assert_eq!(tables(folder.path()), tables(fresh.path()));
        // And again, now that nothing is left to do.
        assert_eq!(tables(folder.path()), tables(fresh.path()));
    }

    #[test]
    fn refuses_a_file_that_is_no_database() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("queue.db"), vec![b'x'; 4096]).unwrap();
        let foreign = open(folder.path(), Trust::Unknown).unwrap_err();
        assert!(matches!(foreign, OpenError::Foreign(_)), "{foreign}");
    }
}
