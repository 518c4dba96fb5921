//! Whether a file describes our tables as they are, and how to read one that does not.
//!
//! The tables of a store are known, and `SQLite` gives each its first page in the order in which they are made, as long
//! as pages are given back (`auto_vacuum`). So a file whose description is damaged can be read by another
//! description, put in place of its first page.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::queue::OpenError;

use super::{folder, is_damage, schema};

/// A file that is made for the sake of its first page.
pub(super) const DRAFT: &str = "salvage-page.db";
/// The size of the pages of every store.
const PAGE: usize = 4096;
/// Where a file's first page has its own kind.
const KIND: usize = 100;
const LEAF: u8 = 13;
/// What the page behind the first says of a page that a table or an index begins with.
const FIRST_OF_TABLE: u8 = 1;
const MAP_ENTRY: usize = 5;

/// A table or an index: its kind, its table, its first page and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Described {
    kind: String,
    table: String,
    root: i64,
    text: Option<String>,
}

type Description = BTreeMap<String, Described>;

fn describe(connection: &Connection) -> rusqlite::Result<Description> {
    let select = "SELECT name, type, tbl_name, rootpage, sql FROM sqlite_schema";
    let mut statement = connection.prepare(select)?;
    let found = statement.query_map([], |row| {
        let described = Described {
            kind: row.get(1)?,
            table: row.get(2)?,
            root: row.get(3)?,
            text: row.get(4)?,
        };
        Ok((row.get(0)?, described))
    })?;
    found.collect()
}

/// The description of a store of the present version.
fn expected() -> rusqlite::Result<(Connection, Description)> {
    let template = Connection::open_in_memory()?;
    template.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
    schema::make(&template)?;
    let description = describe(&template)?;
    Ok((template, description))
}

/// What of a file's description is not as it should be. An operator may have added an index, or reordered the file.
pub(super) fn faults(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let (_, expected) = expected()?;
    let found = describe(connection)?;
    let mut faults: Vec<String> = Vec::new();
    for (name, wanted) in &expected {
        let is_as_wanted = found.get(name).is_some_and(|found| {
            (&found.kind, &found.table, &found.text) == (&wanted.kind, &wanted.table, &wanted.text)
        });
        if !is_as_wanted {
            faults.push(format!("the description of {name}"));
        }
    }
    let number = |pragma| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let mut roots: Vec<i64> = found
        .values()
        .map(|it| it.root)
        .filter(|it| *it != 0)
        .collect();
    roots.sort_unstable();
    let is_dense = number("PRAGMA auto_vacuum")? != 0 && roots.len() < 800;
    let are_well = if is_dense {
        // The second page maps the others.
        roots.iter().copied().eq((3..).take(roots.len()))
    } else {
        let pages = number("PRAGMA page_count")?;
        roots.windows(2).all(|pair| pair[0] < pair[1])
            && roots.iter().all(|root| (2..=pages).contains(root))
    };
    if !are_well {
        faults.push("the first pages of the tables".to_owned());
    }
    Ok(faults)
}

/// Makes a file readable whose first page, or whose description, is damaged: what describes it is replaced by what
/// is known of every store.
pub(super) fn replace(folder: &Path) -> Result<(), OpenError> {
    let unusable = |error| OpenError::Folder(folder.to_owned(), error);
    let file = folder::file(folder);
    let page = first_page(folder, &file)?;
    let put = || {
        File::options()
            .write(true)
            .open(&file)?
            .write_all_at(&page, 0)
    };
    put().map_err(unusable)?;
    {
        // What the log holds comes into the file, perhaps with another first page.
        let connection = Connection::open(&file)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, true)?;
        schema::truncate_log(&connection)?;
    }
    for beside in folder::files(folder).iter().filter(|it| **it != file) {
        fs::remove_file(beside).ok();
    }
    put().map_err(unusable)
}

/// A first page that describes the tables, without their indexes.
fn first_page(folder: &Path, file: &Path) -> Result<Vec<u8>, OpenError> {
    let unusable = |error| OpenError::Folder(folder.to_owned(), error);
    let (template, expected) = expected()?;
    let source = File::open(file).map_err(unusable)?;
    let length = source.metadata().map_err(unusable)?.len();
    let mut map = vec![0; PAGE];
    match source.read_exact_at(&mut map, PAGE as u64) {
        // A file that is cut off here has nothing to be read.
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(unusable(error)),
        _ => {}
    }
    let found = match readable(file) {
        Err(error) if !is_damage(&error) => return Err(error.into()),
        found => found.unwrap_or_default(),
    };
    let tables = expected.iter().filter(|(_, table)| table.kind == "table");
    let agrees = |name: &String, root: i64| found.get(name).is_some_and(|it| it.root == root);
    let agreeing = tables
        .clone()
        .filter(|(name, table)| agrees(name, table.root))
        .count();
    let is_in_order = found.is_empty() || 2 * agreeing >= found.len();
    let is_first = |root: i64| {
        let place = usize::try_from(root - 3).ok().map(|page| page * MAP_ENTRY);
        place
            .and_then(|place| map.get(place))
            .is_some_and(|kind| *kind == FIRST_OF_TABLE)
    };
    let has_map = is_first(3) && is_first(4);
    let draft = folder.join(DRAFT);
    fs::remove_file(&draft).ok();
    let forged = Connection::open(&draft)?;
    forged.execute_batch(&format!(
        "PRAGMA page_size = {PAGE}; PRAGMA auto_vacuum = INCREMENTAL;
         PRAGMA application_id = {}; PRAGMA user_version = {};",
        schema::APPLICATION_ID,
        schema::VERSION,
    ))?;
    forged.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
    forged.execute_batch("PRAGMA writable_schema = ON")?;
    for (name, table) in tables {
        let root = match found.get(name) {
            Some(found) if !is_in_order => found.root,
            None if !is_in_order => continue,
            _ => table.root,
        };
        if has_map && !is_first(root) {
            continue;
        }
        forged.execute(
            "INSERT INTO sqlite_schema VALUES ('table', ?1, ?1, ?2, ?3)",
            (name, root, short_text(&template, name)?),
        )?;
    }
    drop(forged);
    let mut page = fs::read(&draft).map_err(unusable)?;
    fs::remove_file(&draft).map_err(unusable)?;
    page.truncate(PAGE);
    if page.len() < PAGE || page[KIND] != LEAF {
        let error = std::io::Error::other("the description of the tables is too long");
        return Err(unusable(error));
    }
    let pages = u32::try_from(length / PAGE as u64).unwrap_or(u32::MAX);
    page[28..32].copy_from_slice(&pages.to_be_bytes());
    Ok(page)
}

/// What can still be read of a file's description.
fn readable(file: &Path) -> rusqlite::Result<Description> {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, true)?;
    describe(&connection)
}

/// The text of a table without its comments and most of its rules.
fn short_text(template: &Connection, table: &str) -> rusqlite::Result<String> {
    let mut columns =
        template.prepare("SELECT name, type, dflt_value, pk FROM pragma_table_info(?1)")?;
    let columns: Vec<(String, String, Option<String>, i64)> = columns
        .query_map([table], |row| row.try_into())?
        .collect::<rusqlite::Result<_>>()?;
    let keys = columns.iter().filter(|(_, _, _, place)| *place > 0);
    let keys: Vec<&str> = keys.map(|(name, _, _, _)| name.as_str()).collect();
    let parts = columns.iter().map(|(name, kind, default, _)| {
        let default = default
            .as_ref()
            .map(|it| format!(" DEFAULT {it}"))
            .unwrap_or_default();
        let key = if keys == [name] { " PRIMARY KEY" } else { "" };
        format!("{name} {kind}{key}{default}")
    });
    let parts: Vec<String> = parts.collect();
    let parts = parts.join(",");
    Ok(match keys.as_slice() {
        [] | [_] => format!("CREATE TABLE {table}({parts})"),
        several => format!(
            "CREATE TABLE {table}({parts},PRIMARY KEY({})) WITHOUT ROWID",
            several.join(",")
        ),
    })
}
