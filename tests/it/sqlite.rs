//! What is in the file of `SQLite`.

use std::fs;
use std::path::Path;

use rusqlite::Connection;

use crate::process::DaemonProcess;
use crate::storage::{place, refused};
use crate::support::Graph;

mod damage;

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_a_newer_version_is_refused_and_not_touched() {
    let graph = Graph::start().await;
    let (folder, config) = place(&graph);
    DaemonProcess::start(&config).kill();
    let store = folder.path().join("store").join("queue.db");
    let version = |set: &str| {
        let store = Connection::open(&store).unwrap();
        store.execute_batch(set).unwrap();
        store
            .query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    let known = version("");
    assert_eq!(version("PRAGMA user_version = 99"), 99);
    let said = refused(&config).await;
    assert!(said.contains("written by a newer pixel-relay"), "{said}");
    assert_eq!(version(""), 99);
    version(&format!("PRAGMA user_version = {known}"));
    DaemonProcess::start(&config).kill();
}

/// The uncompressed bodies of a store's batches. It reads a copy, since opening the store may change it.
pub fn bodies(folder: &Path) -> Vec<Vec<u8>> {
    let copy = tempfile::tempdir().unwrap();
    for file in ["queue.db", "queue.db-wal"] {
        // After a clean stop there is no log.
        fs::copy(folder.join(file), copy.path().join(file)).ok();
    }
    let store = Connection::open(copy.path().join("queue.db")).unwrap();
    let mut stored = store.prepare("SELECT body FROM content").unwrap();
    let stored = stored.query_map([], |row| row.get(0)).unwrap();
    stored
        .map(|stored: rusqlite::Result<Vec<u8>>| match stored.unwrap() {
            packed if packed.starts_with(&[1]) => {
                lz4_flex::block::decompress(&packed[1..], 1 << 20).unwrap()
            }
            plain => plain,
        })
        .collect()
}
