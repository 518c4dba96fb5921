//! What was done to the files of a store, in order, as the shim wrote it down.

use std::path::PathBuf;

/// An operation. A file has a number from its opening on.
pub enum Operation {
    Open {
        file: u64,
        path: PathBuf,
        empties: bool,
    },
    Write {
        file: u64,
        at: u64,
        bytes: Vec<u8>,
    },
    Sync {
        file: u64,
    },
    Truncate {
        file: u64,
        length: u64,
    },
    Unlink {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
}

/// An operation, and how long the record was when it had been written down.
pub struct Entry {
    pub operation: Operation,
    pub end: u64,
}

/// Reads a record; one that a killed process left half is the end.
pub fn read(record: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut rest = record;
    while let Some((head, more)) = rest.split_at_checked(32) {
        let number = |place: usize| {
            let bytes = head[place * 8..][..8].try_into().unwrap();
            u64::from_ne_bytes(bytes)
        };
        let (kind, file, at, length) = (number(0), number(1), number(2), number(3));
        let Some((bytes, more)) = more.split_at_checked(usize::try_from(length).unwrap()) else {
            break;
        };
        let path = |bytes: &[u8]| PathBuf::from(String::from_utf8(bytes.to_vec()).unwrap());
        let operation = match kind {
            1 => Operation::Write {
                file,
                at,
                bytes: bytes.to_vec(),
            },
            2 => Operation::Sync { file },
            4 => Operation::Truncate { file, length: at },
            8 => Operation::Open {
                file,
                path: path(bytes),
                empties: at != 0,
            },
            16 => Operation::Unlink { path: path(bytes) },
            64 => {
                let middle = bytes.iter().position(|byte| *byte == 0).unwrap();
                Operation::Rename {
                    from: path(&bytes[..middle]),
                    to: path(&bytes[middle + 1..]),
                }
            }
            other => panic!("an operation of kind {other}"),
        };
        rest = more;
        let end = (record.len() - rest.len()) as u64;
        entries.push(Entry { operation, end });
    }
    entries
}
