//! Saves what is readable of a store with damaged pages.
//!
//! A checksum reveals a damaged batch, but a damaged page of a table or an index makes `SQLite` refuse the page, and
//! perhaps every further write. Then all that can still be read is copied into a new file, which replaces the old
//! one. Missing events are counted as `lost`, so that the counts still add up. This takes as long as copying the
//! store, and as much free disk.
//!
//! The copy is a draft until it is whole and on the disk. Then the damaged file gets another name, `salvage-old.db`, the
//! draft its place; whoever finds that name finishes what was begun. What is saved of a removed file, `salvage.db`,
//! takes its place only if no other file has it by then.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params_from_iter};

use crate::clock::UnixMillis;
use crate::queue::OpenError;
use crate::queue::batch::{BatchId, StoredBatch};
use crate::queue::bits::Bits;
use crate::queue::damaged::{Damage, DamagedBatch, DamagedHeader};
use crate::queue::engine::Recount;

use super::{
    FileAccess, SqliteEngine, batches, damaged, description, folder, is_damage, kept, records,
    schema, unsigned,
};

/// A copy, until it is whole.
const DRAFT: &str = "salvage-draft.db";
/// A damaged file of which a whole draft has been made.
const OLD: &str = "salvage-old.db";
/// What was saved of a removed file.
const COPY: &str = "salvage.db";

/// How many numbers after an unreadable place are tried one by one, before the steps grow.
const SMALL_STEPS: i64 = 4096;

/// What a salvage has done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Salvaged {
    /// Events.
    pub(super) lost: u64,
    /// The file itself told where its tables are.
    pub(super) described: bool,
}

/// Replaces the store by a copy of what is readable. The store must not be open.
pub(super) fn salvage(
    folder: &Path,
    now: UnixMillis,
    recount: Recount,
) -> Result<Salvaged, OpenError> {
    let unusable = |error| OpenError::Folder(folder.to_owned(), error);
    if is_replaced(folder) {
        finish(folder).map_err(unusable)?;
        return Ok(Salvaged {
            lost: 0,
            described: true,
        });
    }
    tracing::error!("the store is damaged; what is readable of it is being copied. Check the disk");
    let draft = folder.join(DRAFT);
    let drafted = draft_of_readable(folder, &draft, now, recount);
    let salvaged = drafted.inspect_err(|_| remove_draft(&draft))?;
    File::open(&draft)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(folder::file(folder), folder.join(OLD)))
        .inspect_err(|_| remove_draft(&draft))
        .map_err(unusable)?;
    finish(folder).map_err(unusable)?;
    tracing::error!(
        events = salvaged.lost,
        "the store was salvaged; these events were lost"
    );
    Ok(salvaged)
}

/// Copies what is readable into a new file.
fn draft_of_readable(
    folder: &Path,
    draft: &Path,
    now: UnixMillis,
    recount: Recount,
) -> Result<Salvaged, OpenError> {
    remove(draft).map_err(|error| OpenError::Folder(folder.to_owned(), error))?;
    let described = is_described(folder)?;
    if !described {
        description::replace(folder)?;
    }
    let old = schema::open_damaged(folder)?;
    let new = schema::create(draft, true)?;
    // The copy is made durable when it is whole; until then it does not count.
    new.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN")?;
    copy(folder, &old, &new, now)?;
    new.execute_batch("COMMIT")?;
    records::mend_names(&new)?;
    let lost = recount(&mut SqliteEngine::new(new, FileAccess::Once)?)?;
    Ok(Salvaged { lost, described })
}

/// Whether the file describes our tables. It does not on the word of two looks.
fn is_described(folder: &Path) -> Result<bool, OpenError> {
    Ok(looks_described(folder)? || looks_described(folder)?)
}

fn looks_described(folder: &Path) -> Result<bool, OpenError> {
    let faults = schema::open_damaged(folder).and_then(|old| description::faults(&old));
    match faults {
        Ok(faults) => Ok(faults.is_empty()),
        Err(error) if is_damage(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What was saved of a removed file and waits to take its place.
pub(super) fn rescued(folder: &Path) -> Option<PathBuf> {
    Some(folder.join(COPY)).filter(|copy| copy.exists())
}

/// Whether another file than the one that was open is to be opened.
pub(super) fn is_pending(folder: &Path) -> bool {
    is_replaced(folder) || (rescued(folder).is_some() && !is_there(&folder::file(folder)))
}

/// Whether a whole draft has begun to take the place of a damaged file.
fn is_replaced(folder: &Path) -> bool {
    is_there(&folder.join(OLD))
}

fn is_there(file: &Path) -> bool {
    fs::symlink_metadata(file).is_ok()
}

/// Copies a store whose file has no name any more, from the connection that has it open.
pub(super) fn copy_open(connection: &Connection, database: &Path) -> Result<(), CopyError> {
    let folder = database.parent().unwrap_or(database);
    if rescued(folder).is_some() {
        return Ok(());
    }
    let draft = folder.join(DRAFT);
    let copied = copy_into(connection, &draft).and_then(|()| {
        fs::rename(&draft, folder.join(COPY))?;
        Ok(File::open(folder)?.sync_all()?)
    });
    copied.inspect_err(|_| remove_draft(&draft))
}

fn copy_into(connection: &Connection, draft: &Path) -> Result<(), CopyError> {
    remove(draft)?;
    let needed = super::space::used_bytes(connection)?;
    let disk = rustix::fs::statvfs(draft.parent().unwrap_or(draft)).map_err(io::Error::from)?;
    let free = disk.f_bavail * disk.f_frsize;
    if free < needed {
        return Err(CopyError::NoRoom { needed, free });
    }
    folder::make_private(draft)?;
    let name = draft.to_string_lossy();
    connection.execute("VACUUM INTO ?1", [name])?;
    Ok(File::open(draft)?.sync_all()?)
}

/// Why an open store could not be copied.
#[derive(Debug, thiserror::Error)]
pub(super) enum CopyError {
    #[error("the copy of it needs {needed} bytes of the disk, and {free} are free")]
    NoRoom { needed: u64, free: u64 },
    #[error("the copy of it cannot be written")]
    File(#[from] io::Error),
    #[error("it cannot be copied")]
    Store(#[from] rusqlite::Error),
}

/// Puts a whole copy in the place that it was made for, also after a crash in between. The damaged file is not kept:
/// `forget` could not reach what it holds. Gives what was saved of a removed file and is only kept, since another file
/// has the place.
pub(super) fn finish(folder: &Path) -> io::Result<Option<PathBuf>> {
    let (draft, old, copy) = (folder.join(DRAFT), folder.join(OLD), folder.join(COPY));
    let database = folder::file(folder);
    let page = folder.join(description::DRAFT);
    let mut kept = None;
    if ![&draft, &old, &copy, &page]
        .into_iter()
        .any(|it| is_there(it))
    {
        return Ok(kept);
    }
    if is_there(&old) {
        if !is_there(&database) {
            put(&draft, folder)?;
        } else if is_there(&draft) {
            kept = Some(kept::move_rescued(folder, &draft)?);
        }
        remove(&old)?;
    }
    if is_there(&copy) {
        if is_there(&database) {
            kept = Some(kept::move_rescued(folder, &copy)?);
        } else {
            put(&copy, folder)?;
        }
    }
    remove(&draft)?;
    remove(&page)?;
    File::open(folder)?.sync_all()?;
    Ok(kept)
}

/// Makes a whole copy the store's file. What is beside belongs to the file of which it was made.
fn put(copy: &Path, folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()?;
    let [log, index, database] = folder::files(folder);
    remove(&log)?;
    remove(&index)?;
    fs::rename(copy, database)
}

/// Removes what an attempt that failed has left. It may take the room that is wanting.
fn remove_draft(draft: &Path) {
    if let Err(error) = remove(draft) {
        tracing::warn!(%error, "the draft of a copy of the store cannot be removed");
    }
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn copy(
    folder: &Path,
    old: &Connection,
    new: &Connection,
    now: UnixMillis,
) -> rusqlite::Result<()> {
    // The unique index on the names holds all of this table too.
    copy_table(old, new, "sync", "id", "*", |_| Ok(true))?;
    let names = readable::<(i64, String)>(old, "SELECT id, name FROM sync ORDER BY name");
    for name in names.unwrap_or_default() {
        new.execute(
            "INSERT OR IGNORE INTO sync (id, name) VALUES (?1, ?2)",
            name,
        )?;
    }
    let totals: Vec<(i64, String, i64)> = readable(old, "SELECT sync, counter, value FROM total")?;
    for total in totals {
        new.execute("INSERT OR IGNORE INTO total VALUES (?1, ?2, ?3)", total)?;
    }
    copy_table(old, new, "damaged", "id", "*", |_| Ok(true))?;
    copy_table(old, new, "row", "id", "*", |row| {
        let is_whole = copy_content(folder, old, new, row)?;
        if !is_whole {
            set_aside(old, new, row, now)?;
        }
        Ok(is_whole)
    })?;
    copy_table(old, new, "seen", "row", "*", |_| Ok(true))?;
    // What is left belongs to rows that cannot be read.
    copy_table(old, new, "content", "row", "row", |row| {
        set_aside_without_state(old, new, row, now)?;
        Ok(false)
    })?;
    for (table, key) in [
        ("delivery", "id"),
        ("dead", "id"),
        ("standstill", "id"),
        ("profile", "id"),
        ("click", "id"),
    ] {
        copy_table(old, new, table, key, "*", |_| Ok(true))?;
    }
    // Numbers are never given twice, whatever was lost.
    let given = readable::<(String, i64)>(old, "SELECT name, seq FROM sqlite_sequence");
    for (table, last) in given.unwrap_or_default() {
        new.execute("DELETE FROM sqlite_sequence WHERE name = ?1", [&table])?;
        new.execute(
            "INSERT INTO sqlite_sequence VALUES (?1, ?2)",
            (&table, last),
        )?;
    }
    Ok(())
}

/// The rows that a statement finds, until a page is damaged.
fn readable<T>(old: &Connection, select: &str) -> rusqlite::Result<Vec<T>>
where
    T: for<'r> TryFrom<&'r Row<'r>, Error = rusqlite::Error>,
{
    let mut read = Vec::new();
    let end = old.prepare(select).and_then(|mut found| {
        let mut rows = found.query([])?;
        while let Some(row) = rows.next()? {
            read.extend(T::try_from(row).ok());
        }
        Ok(())
    });
    match end {
        Err(error) if !is_damage(&error) => Err(error),
        _ => Ok(read),
    }
}

/// Copies what can be read of a table with numbered rows, where `wanted` agrees. The first of the columns is the
/// number.
fn copy_table(
    old: &Connection,
    new: &Connection,
    table: &str,
    key: &str,
    columns: &str,
    wanted: impl Fn(i64) -> rusqlite::Result<bool>,
) -> rusqlite::Result<()> {
    // A store that was damaged before it was brought up to date lacks the later tables.
    let is_there = "SELECT count(*) > 0 FROM sqlite_schema WHERE name = ?1";
    if !old.query_row(is_there, [table], |row| row.get::<_, bool>(0))? {
        return Ok(());
    }
    let mut after = i64::MIN;
    let mut skipped = 0_i64;
    loop {
        let select =
            format!("SELECT {columns} FROM {table} NOT INDEXED WHERE {key} > ?1 ORDER BY {key}");
        let (last, damaged) = copy_run(old, new, table, &select, after, &wanted)?;
        if !damaged {
            return Ok(());
        }
        skipped = if last > after { 0 } else { skipped };
        skipped += 1;
        let step = 1 << (skipped - SMALL_STEPS).clamp(0, 62);
        let Some(next) = last.max(0).checked_add(step) else {
            return Ok(());
        };
        after = next;
    }
}

/// Copies rows until one cannot be read; gives the last number, and whether the next row is damaged.
fn copy_run(
    old: &Connection,
    new: &Connection,
    table: &str,
    select: &str,
    after: i64,
    wanted: &impl Fn(i64) -> rusqlite::Result<bool>,
) -> rusqlite::Result<(i64, bool)> {
    let mut last = after;
    let mut statement = old.prepare_cached(select)?;
    let columns = statement.column_count();
    // An earlier version's table may have fewer columns.
    let names: Vec<&str> = statement.column_names().collect();
    let names = names.join(", ");
    let places = vec!["?"; columns].join(", ");
    let mut insert =
        new.prepare_cached(&format!("INSERT INTO {table} ({names}) VALUES ({places})"))?;
    let mut rows = statement.query([after])?;
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok((last, false)),
            Err(error) if is_damage(&error) => return Ok((last, true)),
            Err(error) => return Err(error),
        };
        let values: rusqlite::Result<Vec<Value>> =
            (0..columns).map(|column| row.get(column)).collect();
        let number: i64 = row.get(0)?;
        last = number;
        let Ok(values) = values else { continue };
        if !wanted(number)? {
            continue;
        }
        // What breaks a rule of the table is damaged too.
        match insert.execute(params_from_iter(values)) {
            Err(error)
                if error.sqlite_error_code() != Some(rusqlite::ErrorCode::ConstraintViolation) =>
            {
                return Err(error);
            }
            _ => {}
        }
    }
}

/// Copies a batch's events, if they are undamaged.
fn copy_content(
    folder: &Path,
    old: &Connection,
    new: &Connection,
    row: i64,
) -> rusqlite::Result<bool> {
    let id = BatchId::embedded(row);
    let again;
    let old = if batches::content(old, id)?.is_some() {
        old
    } else {
        // It may be one wrong read.
        again = schema::open_damaged(folder)?;
        if batches::content(&again, id)?.is_none() {
            return Ok(false);
        }
        &again
    };
    let content: (i64, i64, Vec<u8>, Vec<u8>) = old
        .prepare_cached("SELECT row, checksum, slots, body FROM content WHERE row = ?1")?
        .query_row([row], |found| found.try_into())?;
    let insert = "INSERT INTO content (row, checksum, slots, body) VALUES (?1, ?2, ?3, ?4)";
    new.prepare_cached(insert)?.execute(content)?;
    Ok(true)
}

/// Keeps what is stored of a batch whose events are damaged.
fn set_aside(
    old: &Connection,
    new: &Connection,
    row: i64,
    now: UnixMillis,
) -> rusqlite::Result<()> {
    let select = "SELECT sync, taken_at, events, settled FROM row WHERE id = ?1";
    let state = old
        .prepare_cached(select)?
        .query_row([row], |found| found.try_into());
    let (sync, taken_at, events, settled): (i64, i64, i64, Option<Vec<u8>>) = match state {
        Ok(state) => state,
        Err(error) if is_damage(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    let content = batches::raw_content(old, BatchId::embedded(row))?.unwrap_or_default();
    let ended = settled
        .as_deref()
        .map_or(0, |it| Bits::from_stored(it).count());
    let batch = DamagedBatch {
        header: DamagedHeader {
            id: next_damaged(new)?,
            batch: BatchId::embedded(row),
            sync,
            taken_at: UnixMillis(taken_at),
            events: unsigned(events).saturating_sub(ended),
            why: content.damage(),
            found_at: now,
            bytes: content.held_bytes(),
        },
        settled,
        content,
    };
    damaged::insert(new, &batch)
}

/// Keeps the events of a batch of which nothing else is known, if its fingerprints tell whose it is.
fn set_aside_without_state(
    old: &Connection,
    new: &Connection,
    row: i64,
    now: UnixMillis,
) -> rusqlite::Result<()> {
    let is_known = "SELECT EXISTS (SELECT 1 FROM row WHERE id = ?1)
                        OR EXISTS (SELECT 1 FROM damaged WHERE row = ?1)";
    let is_known = new
        .prepare_cached(is_known)?
        .query_row([row], |found| found.get::<_, bool>(0))?;
    let seen: Option<(i64, i64)> = new
        .prepare_cached("SELECT sync, taken_at FROM seen WHERE row = ?1")?
        .query_row([row], |found| found.try_into())
        .optional()?;
    let Some((sync, taken_at)) = seen.filter(|_| !is_known) else {
        return Ok(());
    };
    let id = BatchId::embedded(row);
    let Some(content) = batches::raw_content(old, id)? else {
        return Ok(());
    };
    let read = content.checksum.and_then(|checksum| {
        let checksum = u32::try_from(checksum).ok()?;
        StoredBatch::read(id, &content.index, &content.body, checksum)
    });
    let batch = DamagedBatch {
        header: DamagedHeader {
            id: next_damaged(new)?,
            batch: id,
            sync,
            taken_at: UnixMillis(taken_at),
            events: read.map_or(0, |read| read.entries.len() as u64),
            why: Damage::NoState,
            found_at: now,
            bytes: content.held_bytes(),
        },
        settled: None,
        content,
    };
    damaged::insert(new, &batch)
}

fn next_damaged(new: &Connection) -> rusqlite::Result<i64> {
    let select = "SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'damaged'";
    new.prepare_cached(select)?.query_row([], |row| row.get(0))
}
