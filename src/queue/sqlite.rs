//! The embedded engine: a `SQLite` file in WAL mode, changed by one connection.
//!
//! All SQL is here, and what only `SQLite` has: the log, free pages, damaged pages.

use std::any::Any;
use std::fs;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Params, Row};

use crate::clock::{Clock, UnixMillis};

use super::OpenError;
use super::copy_bounds::CopyBounds;
use super::damage::{DamageKind, Finding, SearchProgress, Verified, VerifyStep};
use super::displaced::{Displaced, FileFate};
use super::engine::{
    Beside, Disk, Engine, EngineError, EngineResult, Opening, Reader, Recount, ScrubStep, Storage,
    Transaction,
};
use fault::is_damage;
use log::LookAtLog;
use place::{FileId, Place};
use salvage::Salvaged;
use schema::Trust;
use space::Filler;

mod attempts;
mod batches;
mod damaged;
mod dead;
mod place;
mod description;
mod folder;
mod kept;
mod log;
mod profiles;
mod fault;
mod records;
mod salvage;
mod schema;
mod space;
mod verify;

/// How often a log is read until all that is sound in it is found.
const MAX_RECOVERIES: usize = 3;

/// The folder that holds the file.
#[derive(Debug)]
pub(super) struct Sqlite {
    folder: PathBuf,
    /// Where the files of the open engine lie; `None` until it is open, and while a copy takes their place.
    place: Mutex<Option<Place>>,
    /// The lock that this process holds.
    lock: Mutex<Option<FileId>>,
    /// Damage that was met.
    findings: Mutex<Vec<Finding>>,
}

impl Sqlite {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            place: Mutex::default(),
            lock: Mutex::default(),
            findings: Mutex::default(),
        }
    }

    /// Looks through the log, and says what a damaged one has lost, before `SQLite` passes over it.
    fn look_into_log(&self) -> io::Result<Option<LookAtLog>> {
        let [log, shared, _] = folder::files(&self.folder);
        let mut found = log::look(&log, &shared)?;
        if found.is_some_and(|found| found.lost.is_some()) {
            found = log::look(&log, &shared)?;
        }
        let Some(lost) = found.and_then(|found| found.lost) else {
            return Ok(found);
        };
        let copy = kept::copy_log(&self.folder, &log);
        if lost.is_stale {
            // What was readable of it is in the file, and so is more.
            fs::remove_file(&log)?;
        }
        let copy = copy.map_or_else(
            || "it is too long for a copy, or there is no room for one".to_owned(),
            |copy| format!("a copy is kept as {}", copy.display()),
        );
        tracing::error!(
            transactions = lost.commits,
            frames = lost.frames,
            "the store's log is damaged in the middle: these transactions were acknowledged and are \
             lost; {copy}. Check the disk"
        );
        self.found(
            DamageKind::Log,
            format!(
                "the log was damaged in the middle: {} transactions that were acknowledged are lost \
                 ({} frames); {copy}",
                lost.commits, lost.frames
            ),
        );
        Ok(found.filter(|_| !lost.is_stale))
    }

    /// Has `SQLite` read the log, and makes sure that it has found all that is sound there: a wrong read would look to it
    /// like the end of the log. What was found holds as long as the connection is open.
    fn recover_log(&self, found: LookAtLog) -> rusqlite::Result<Connection> {
        let mut tries = 0;
        loop {
            let connection = schema::open_reader(&self.folder)?;
            let frames = schema::frames_in_log(&connection)?;
            if frames >= found.committed {
                return Ok(connection);
            }
            log_wrong_read();
            tries += 1;
            if tries == MAX_RECOVERIES {
                let lost = found.committed - frames;
                let what = format!("the log cannot be read to its end: {lost} frames are lost");
                self.found(DamageKind::Log, what);
                return Ok(connection);
            }
        }
    }

    /// Says that what was saved of a removed file was not put in its place.
    fn tell_of_rescued(&self, copy: &Path) {
        let what = format!(
            "what was saved of a removed {} is kept as {}: another file stood in its place, and is used",
            folder::file(&self.folder).display(),
            copy.display()
        );
        tracing::error!("{what}. Events that only the copy holds are not delivered");
        self.found(DamageKind::File, what);
    }

    fn found(&self, kind: DamageKind, what: impl Into<String>) {
        let finding = Finding::new(kind, what);
        let mut findings = self.findings.lock().expect("no holder of this lock panics");
        findings.push(finding);
    }
}

impl Storage for Sqlite {
    fn exists(&self) -> bool {
        folder::file(&self.folder).exists() || salvage::is_pending(&self.folder)
    }

    fn kept_copies(&self) -> Vec<(PathBuf, UnixMillis)> {
        kept::all(&self.folder)
    }

    fn acquire(&self) -> Result<Box<dyn Any + Send>, OpenError> {
        let lock = folder::lock(&self.folder)?;
        let unusable = |error| OpenError::Folder(self.folder.clone(), error);
        let found = lock.metadata().map_err(unusable)?;
        *locked(&self.lock) = Some(FileId::of(&found));
        Ok(Box::new(lock))
    }

    fn acquire_to_look(&self) -> Result<Box<dyn Any + Send>, OpenError> {
        Ok(Box::new(folder::lock_to_look(&self.folder)?))
    }

    fn open(&self, opening: Opening) -> Result<Box<dyn Engine>, OpenError> {
        let unusable = |error| OpenError::Folder(self.folder.clone(), error);
        if salvage::is_pending(&self.folder) {
            *locked(&self.place) = None;
        }
        if let Some(copy) = salvage::finish(&self.folder).map_err(unusable)? {
            self.tell_of_rescued(&copy);
        }
        let log = match opening {
            Opening::Start => {
                folder::check_kinds(&self.folder)?;
                if let Some(what) = kept::keep_log_without_file(&self.folder).map_err(unusable)? {
                    self.found(DamageKind::File, what);
                }
                self.look_into_log().map_err(unusable)?
            }
            Opening::AfterFailure => {
                self.check_database()?;
                None
            }
        };
        // Before a connection has the file open.
        let database = folder::file(&self.folder);
        let trust = match opening {
            Opening::Start if !schema::is_like_store(&database) => Trust::Unknown,
            _ => Trust::Ours,
        };
        let is_log_damaged = log.is_some_and(|log| log.lost.is_some());
        // What keeps it from being read is met by the next opening too.
        let reader = log.map(|log| self.recover_log(log).ok());
        let engine = match self.open_file(opening, trust) {
            // One wrong read is no damage.
            Err(
                OpenError::Engine(EngineError::Damaged(_))
                | OpenError::Foreign(_)
                | OpenError::Newer { .. },
            ) => {
                let engine = self.open_file(opening, trust)?;
                log_wrong_read();
                engine
            }
            opened => opened?,
        };
        drop(reader);
        if is_log_damaged && let Err(error) = schema::truncate_log(&engine.connection) {
            tracing::warn!(%error, "the next start may find the damaged log again");
        }
        *locked(&self.place) = Some(Place::note(&self.folder).map_err(unusable)?);
        Ok(Box::new(engine))
    }

    fn reader(&self, beside: Beside) -> EngineResult<Box<dyn Reader>> {
        let (connection, access) = match beside {
            Beside::Writer => (
                schema::open_reader(&self.folder)?,
                FileAccess::Reading(self.folder.clone()),
            ),
            Beside::Nobody => (schema::open_untouched(&self.folder)?, FileAccess::Once),
        };
        Ok(Box::new(SqliteEngine {
            connection,
            filler: Filler::default(),
            access,
        }))
    }

    fn salvage(&self, now: UnixMillis, recount: Recount) -> Result<(), OpenError> {
        self.check_database()?;
        let Salvaged { lost, described } = salvage::salvage(&self.folder, now, recount)?;
        *locked(&self.place) = None;
        let (kind, what) = if described {
            (DamageKind::Pages, "pages of the store were damaged")
        } else {
            (
                DamageKind::Schema,
                "the description of the tables was damaged",
            )
        };
        self.found(
            kind,
            format!("{what}; what was readable was saved, and {lost} events are lost"),
        );
        Ok(())
    }

    fn take_findings(&self) -> Vec<Finding> {
        let mut findings = self.findings.lock().expect("no holder of this lock panics");
        mem::take(&mut *findings)
    }

    fn verify(
        &self,
        step: VerifyStep,
        beside: Beside,
        progress: &SearchProgress,
    ) -> EngineResult<Verified> {
        verify::step(&self.folder, step, beside, progress)
    }

    fn inspect(&self) -> Result<Vec<Finding>, OpenError> {
        verify::inspect(&self.folder)
    }

    fn remove_copies(&self, bounds: CopyBounds) -> EngineResult<()> {
        kept::remove(&self.folder, bounds)
            .map_err(|error| EngineError::Unavailable(Arc::new(error)))
    }

    fn copy(&self) -> Result<Option<PathBuf>, OpenError> {
        let unusable = |error| OpenError::Folder(self.folder.clone(), error);
        kept::copy_files(&self.folder).map_err(unusable)
    }

    fn check_place(&self) -> Result<(), Displaced> {
        let Some(place) = &*locked(&self.place) else {
            return Ok(());
        };
        let checked = place.check(&self.folder);
        let is_elsewhere = |displaced: &Displaced| {
            !matches!(displaced.fate, FileFate::Removed | FileFate::RemovedBeside)
        };
        if checked.as_ref().is_err_and(is_elsewhere) {
            return checked;
        }
        let lock = folder::lock_file(&self.folder);
        match FileId::at(&lock) {
            Ok(found) if found != *locked(&self.lock) => Err(Displaced::unlocked(&lock)),
            _ => checked,
        }
    }

    fn disk(&self) -> Option<Disk> {
        let disk = rustix::fs::statvfs(&self.folder).ok()?;
        Some(Disk {
            free: disk.f_bavail * disk.f_frsize,
            size: disk.f_blocks * disk.f_frsize,
        })
    }
}

impl Sqlite {
    /// Opens the file, and puts the names of syncs right.
    fn open_file(&self, opening: Opening, trust: Trust) -> Result<SqliteEngine, OpenError> {
        let mut connection = self.connect(trust)?;
        let names = if records::are_named(&connection)? {
            Vec::new()
        } else {
            connection = self.connect(trust)?;
            records::mend_names(&connection)?
        };
        if !names.is_empty() {
            let names = names.join(", ");
            tracing::error!(syncs = names, "names of syncs were damaged, and are mended");
            self.found(
                DamageKind::Counters,
                format!("the names of syncs were damaged, and are mended: {names}"),
            );
        }
        if opening == Opening::AfterFailure {
            schema::truncate_log(&connection)?;
            records::prove_writable(&connection)?;
        }
        let access = FileAccess::Writing(self.folder.clone());
        Ok(SqliteEngine::new(connection, access)?)
    }

    /// Opens the file, and makes sure that its tables are ours.
    fn connect(&self, trust: Trust) -> Result<Connection, OpenError> {
        let connection = schema::open(&self.folder, trust)?;
        let faults = description::faults(&connection)?;
        if !faults.is_empty() {
            return Err(schema::damaged(&faults.join(", ")));
        }
        Ok(connection)
    }

    /// Refuses to go on with another file than the one that failed: its events would be lost without a word.
    fn check_database(&self) -> Result<(), OpenError> {
        let database = folder::file(&self.folder);
        let found = FileId::at(&database).ok().flatten();
        let expected = locked(&self.place).as_ref().map(Place::database);
        if expected.is_none() || found == expected || salvage::is_pending(&self.folder) {
            return Ok(());
        }
        let displaced = match found {
            None => Displaced::moved(&database),
            Some(_) => Displaced::replaced(&database),
        };
        let unavailable = EngineError::Unavailable(Arc::new(displaced));
        Err(OpenError::Engine(unavailable))
    }
}

fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().expect("no holder of this lock panics")
}

/// An open file.
#[derive(Debug)]
struct SqliteEngine {
    connection: Connection,
    filler: Filler,
    access: FileAccess,
}

/// How the file was opened.
#[derive(Debug)]
enum FileAccess {
    Writing(PathBuf),
    Reading(PathBuf),
    /// For a copy that is being made, or one look at the file: not opened again.
    Once,
}

impl SqliteEngine {
    fn new(connection: Connection, access: FileAccess) -> EngineResult<Self> {
        let filler = Filler::load(&connection)?;
        Ok(Self {
            connection,
            filler,
            access,
        })
    }

    /// Opens the file again, for what looks damaged: one wrong read stays in a connection's cache, and the file may
    /// be well. False if it cannot be opened again.
    fn connect_again(&mut self) -> EngineResult<bool> {
        let connection = match &self.access {
            // Else a new file would take the place of one that was removed.
            FileAccess::Writing(folder) if !folder::file(folder).exists() => return Ok(false),
            FileAccess::Writing(folder) => schema::open(folder, Trust::Ours),
            FileAccess::Reading(folder) => schema::open_reader(folder).map_err(OpenError::from),
            FileAccess::Once => return Ok(false),
        };
        self.connection = connection.map_err(|error| match error {
            OpenError::Engine(error) => error,
            error => EngineError::Unavailable(Arc::new(error)),
        })?;
        Ok(true)
    }

    /// Does something, and what meets damage again through a new connection. What the first try has not committed goes
    /// with its connection.
    fn twice<T>(&mut self, mut work: impl FnMut(&mut Self) -> EngineResult<T>) -> EngineResult<T> {
        let fault = match work(self) {
            Err(EngineError::Damaged(fault)) => fault,
            done => return done,
        };
        if !self.connect_again()? {
            return Err(EngineError::Damaged(fault));
        }
        let value = work(self)?;
        log_wrong_read();
        Ok(value)
    }

    /// Reads, and what looks damaged again through a new connection.
    fn read_twice<T>(
        &mut self,
        mut read: impl FnMut(&Connection) -> rusqlite::Result<T>,
    ) -> EngineResult<T> {
        self.twice(|engine| Ok(read(&engine.connection)?))
    }

    /// Reads records, and once more through a new connection if one of them is not as it was written.
    fn read_sound<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> EngineResult<Vec<T>>,
        is_sound: impl Fn(&T) -> bool,
    ) -> EngineResult<Vec<T>> {
        let found = read(self)?;
        if found.iter().all(&is_sound) || !self.connect_again()? {
            return Ok(found);
        }
        let found = read(self)?;
        if found.iter().all(is_sound) {
            log_wrong_read();
        }
        Ok(found)
    }

    /// Reads every row that a statement finds.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers write the parameters in place"
    )]
    fn read_rows<T>(
        &mut self,
        statement: &str,
        parameters: impl Params + Clone,
        mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> EngineResult<Vec<T>> {
        self.read_twice(|connection| {
            let mut statement = connection.prepare_cached(statement)?;
            let rows = statement.query_map(parameters.clone(), &mut read)?;
            rows.collect()
        })
    }

    /// Reads the row that a statement finds, if there is one.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers write the parameters in place"
    )]
    fn read_row<T>(
        &mut self,
        statement: &str,
        parameters: impl Params + Clone,
        mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> EngineResult<Option<T>> {
        self.read_twice(|connection| {
            let mut statement = connection.prepare_cached(statement)?;
            statement
                .query_row(parameters.clone(), &mut read)
                .optional()
        })
    }
}

impl Reader for SqliteEngine {}

impl Engine for SqliteEngine {
    fn commit(&mut self, transaction: &Transaction) -> EngineResult<()> {
        self.twice(|engine| write(&engine.connection, transaction))
    }

    fn read_afresh(&mut self) -> EngineResult<()> {
        self.connect_again()?;
        Ok(())
    }

    fn used_bytes(&mut self) -> EngineResult<u64> {
        let used = self.read_twice(space::used_bytes)?;
        Ok(used.saturating_sub(self.filler.bytes))
    }

    fn maintain(&mut self, clock: &dyn Clock) -> EngineResult<bool> {
        self.twice(|engine| {
            let Self {
                connection, filler, ..
            } = engine;
            let more = filler.release_abandoned(connection, clock.uptime())?;
            space::give_back_pages(connection, clock)?;
            Ok(more)
        })
    }

    fn scrub(&mut self, step: ScrubStep, uptime: Duration) -> EngineResult<Option<ScrubStep>> {
        let ScrubStep(step) = step;
        self.twice(|engine| {
            let Self {
                connection, filler, ..
            } = engine;
            let is_done = match step {
                0 => !filler.fill_free_pages(connection, uptime)?,
                1 => !filler.release(connection)?,
                _ => {
                    schema::truncate_log(connection)?;
                    return Ok(None);
                }
            };
            Ok(Some(ScrubStep(step + u8::from(is_done))))
        })
    }

    fn rescue(&mut self, fate: FileFate) -> EngineResult<()> {
        let is_gone = matches!(fate, FileFate::Removed | FileFate::Overwritten);
        if let Some(database) = self.connection.path().map(PathBuf::from)
            && is_gone
        {
            let unavailable = |error| EngineError::Unavailable(Arc::new(error));
            salvage::copy_open(&self.connection, &database).map_err(unavailable)?;
        }
        // What the log holds is in the file then: another file, to which it does not belong, may come to stand there.
        Ok(schema::truncate_log(&self.connection)?)
    }

    fn rebuild_indexes(&mut self) -> EngineResult<()> {
        self.read_twice(|connection| connection.execute_batch("REINDEX"))
    }

    fn close(&mut self) -> EngineResult<()> {
        self.read_twice(schema::truncate_log)
    }
}

/// Makes all of a transaction durable, or nothing.
fn write(connection: &Connection, transaction: &Transaction) -> EngineResult<()> {
    if transaction.erases {
        connection.execute_batch("PRAGMA secure_delete = ON")?;
    }
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    records::write(connection, transaction)?;
    batches::write(connection, transaction)?;
    attempts::write(connection, transaction)?;
    dead::write(connection, transaction)?;
    damaged::write(connection, transaction)?;
    profiles::write(connection, transaction)?;
    // After an error nobody knows whether the log was synced; opening the file again tells.
    let committed = connection.prepare_cached("COMMIT")?.execute([]);
    committed.map_err(|error| EngineError::Unknown(Arc::new(error)))?;
    if transaction.erases {
        connection.execute_batch("PRAGMA secure_delete = FAST")?;
    }
    Ok(())
}

fn log_wrong_read() {
    tracing::error!(
        "damaged data was read from the store, and sound data when it was read again through a new \
         connection. Check memory and disk"
    );
}

/// A count as `SQLite` stores it.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count as `SQLite` gave it.
fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// A page's length as `SQLite` takes it.
fn limit(rows: usize) -> i64 {
    signed(rows as u64)
}

#[cfg(test)]
pub(super) mod tests;
