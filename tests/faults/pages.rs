//! Which kinds of pages a store has, and where: what a byte may be wrong in.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

const LOG_HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;

/// A file of the store, and a range of it.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub file: &'static str,
    pub begin: u64,
    pub length: u64,
}

/// Ranges by what they are, such as `row_by_deadline leaf`.
pub type Kinds = BTreeMap<String, Vec<Range>>;

/// The pages of a store that was closed.
pub fn of_store(folder: &Path) -> Kinds {
    let path = folder.join("queue.db");
    let store = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let number = |pragma: &str| -> u64 {
        let found: i64 = store.query_row(pragma, [], |row| row.get(0)).unwrap();
        u64::try_from(found).unwrap()
    };
    let (size, count) = (number("PRAGMA page_size"), number("PRAGMA page_count"));
    let mut used: HashMap<u64, String> = HashMap::new();
    let mut pages = store
        .prepare("SELECT pageno, name || ' ' || pagetype FROM dbstat")
        .unwrap();
    let found = pages.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)));
    for page in found.unwrap() {
        let (page, what) = page.unwrap();
        used.insert(u64::try_from(page).unwrap(), what);
    }
    let mut kinds = Kinds::new();
    for page in 1..=count {
        let what = match used.remove(&page) {
            _ if page == 1 => "first page".to_owned(),
            Some(what) => what,
            // A page of pointers to parents stands before as many pages as it has entries of five bytes.
            None if (page - 2) % (size / 5 + 1) == 0 => "pointer map".to_owned(),
            None => "free page".to_owned(),
        };
        kinds.entry(what).or_default().push(Range {
            file: "queue.db",
            begin: (page - 1) * size,
            length: size,
        });
    }
    let header = Range {
        file: "queue.db",
        begin: 0,
        length: 100,
    };
    kinds.insert("file header".to_owned(), vec![header]);
    kinds
}

/// The parts of a log that was not copied into its store, but for the last transaction: damage there looks like a
/// write that a crash has cut off, and nothing can tell.
pub fn of_log(folder: &Path) -> Kinds {
    let log = fs::read(folder.join("queue.db-wal")).unwrap_or_default();
    let number = |place: usize| u32::from_be_bytes(log[place..][..4].try_into().unwrap());
    let mut kinds = Kinds::new();
    if log.len() < 32 {
        return kinds;
    }
    let (page, salt) = (u64::from(number(8)), (number(16), number(20)));
    let frame = FRAME_HEADER + page;
    let mut transactions = vec![Vec::new()];
    let mut begin = LOG_HEADER;
    while begin + frame <= log.len() as u64 {
        let place = usize::try_from(begin).unwrap();
        if (number(place + 8), number(place + 12)) != salt {
            break;
        }
        transactions.last_mut().unwrap().push(begin);
        if number(place + 4) != 0 {
            transactions.push(Vec::new());
        }
        begin += frame;
    }
    // What comes behind the last commit, and the last commit.
    transactions.truncate(transactions.len().saturating_sub(2));
    let mut add = |what: &str, begin, length| {
        let file = "queue.db-wal";
        kinds.entry(what.to_owned()).or_default().push(Range {
            file,
            begin,
            length,
        });
    };
    if !transactions.is_empty() {
        add("log header", 0, LOG_HEADER);
    }
    for begin in transactions.concat() {
        add("log, head of a frame", begin, FRAME_HEADER);
        add("log, page of a frame", begin + FRAME_HEADER, page);
    }
    kinds
}
