//! What only this engine can show: its file, its log, its pages.

use std::time::Duration;

use super::*;
use crate::outcome::Reason;
use crate::payload::Submission;
use crate::queue::quota::CapacityProblem;
use crate::queue::tests::bounds::large;
use crate::queue::tests::erasing::{event_of, hash, person};
use crate::queue::tests::remembering::{set, value};
use crate::queue::tests::*;
use crate::queue::totals::SyncTotals;
use crate::queue::*;

mod crashes;
mod bytes;
mod damage;
mod copies;
mod logs;
mod scrubbing;
mod upgrade;

/// A second connection, as an operator or a fault would have it.
fn connection(fixture: &QueueFixture) -> Connection {
    Connection::open(fixture.folder.path().join("queue.db")).unwrap()
}

/// Makes commits fail, as a full disk does, or lets them pass again.
pub(in crate::queue) fn set_failing(fixture: &QueueFixture, fails: bool) {
    let statements = if fails {
        "CREATE TRIGGER no_rows BEFORE INSERT ON row BEGIN SELECT raise(ABORT, 'simulated'); END;
         CREATE TRIGGER no_ends BEFORE DELETE ON row BEGIN SELECT raise(ABORT, 'simulated'); END;"
    } else {
        "DROP TRIGGER no_rows; DROP TRIGGER no_ends"
    };
    connection(fixture).execute_batch(statements).unwrap();
}

/// Damages the events of a batch, by its place among all.
pub(in crate::queue) fn damage(fixture: &QueueFixture, place: usize) {
    connection(fixture)
        .execute(
            "UPDATE content SET checksum = checksum + 1
             WHERE row = (SELECT row FROM content ORDER BY row LIMIT 1 OFFSET ?1)",
            [limit(place)],
        )
        .unwrap();
}

#[tokio::test]
async fn one_process_at_a_time_and_free_after_a_close() {
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    let taken = open(&fixture.config, &fixture.clock, &TestStore::Sqlite).unwrap_err();
    assert!(matches!(taken, OpenError::InUse(_)));
    let other = fixture.queue.clone();
    fixture.push([event(1)]).await;
    fixture.queue.close().await.unwrap();
    assert!(matches!(
        other.push(vec![event(2)]).await,
        Err(PushError::Store(StoreError::Closed))
    ));
    assert_eq!(other.health().trouble, Some(CapacityProblem::Closed));
    let log = fixture.folder.path().join("queue.db-wal");
    assert!(!log.exists(), "everything is in the one file");
    let again = open(&fixture.config, &fixture.clock, &TestStore::Sqlite).unwrap();
    assert_eq!(again.totals()[&web()].queued, 1);
}

#[tokio::test]
async fn a_copy_taken_at_any_moment_is_a_store() {
    // What a power cut leaves: the files as they are after a commit, without a close.
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    fixture.push((0..300).map(event)).await;
    let leased = fixture.lease(200).await;
    let delivery = fixture.open_attempt(&leased).await;
    fixture.settle(accepted(delivery, &leased[..50])).await;
    let copy = tempfile::tempdir().unwrap();
    for file in ["queue.db", "queue.db-wal"] {
        std::fs::copy(fixture.folder.path().join(file), copy.path().join(file)).unwrap();
    }
    let config = QueueConfig {
        path: copy.path().to_owned(),
        ..fixture.config.clone()
    };
    let queue = open(&config, &fixture.clock, &TestStore::Sqlite).unwrap();
    assert_law(&queue);
    assert_eq!(queue.totals(), fixture.queue.totals());
    assert_eq!(queue.backlog(&web()).events, 250);
    let pushed = queue.push((0..300).map(event).collect()).await.unwrap();
    assert_eq!(pushed.duplicates, 300);
}

#[tokio::test]
async fn the_file_shrinks_after_a_backlog() {
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    let pages = || -> i64 {
        let pages = "SELECT page_count FROM pragma_page_count";
        connection(&fixture)
            .query_row(pages, [], |row| row.get(0))
            .unwrap()
    };
    for number in 0..40 {
        let many = (0..20).map(|part| large(number * 20 + part, &web()));
        fixture.queue.push(many.collect()).await.unwrap();
    }
    let before = pages();
    assert!(before > 8000, "{before}");
    fixture.deliver_all().await;
    while pages() > 3000 {
        // Every pass gives a piece back.
        fixture.clock.advance(Duration::from_secs(1));
        fixture.queue.expire().await.unwrap();
    }
}

#[tokio::test]
async fn nothing_names_the_click() {
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    fixture.click("IwAR0abcDEF", 10, true).await;
    let fixture = fixture.reopened();
    let bytes = std::fs::read(fixture.folder.path().join("queue.db")).unwrap();
    let log = std::fs::read(fixture.folder.path().join("queue.db-wal")).unwrap_or_default();
    for bytes in [bytes, log] {
        assert!(memchr::memmem::find(&bytes, b"IwAR0abcDEF").is_none());
    }
}

#[tokio::test]
async fn numbers_go_on_behind_what_is_there_whatever_the_file_says_of_them() {
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    fixture.push((0..300).map(event)).await;
    let leased = fixture.lease(1).await;
    fixture.open_attempt(&leased).await;
    connection(&fixture)
        .execute_batch("UPDATE sqlite_sequence SET seq = 0")
        .unwrap();
    let fixture = fixture.reopened();
    fixture.push([event(300)]).await;
    let leased = fixture.lease(1).await;
    fixture.open_attempt(&leased).await;
    assert_eq!(fixture.totals().queued, 301);
}

#[tokio::test]
async fn a_person_leaves_dead_letters_too_that_this_version_cannot_read() {
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    fixture.push([event_of(1, 'a')]).await;
    let leased = fixture.lease(1).await;
    let delivery = fixture.open_attempt(&leased).await;
    fixture.settle(rejected(delivery, &leased)).await;
    connection(&fixture)
        .execute_batch("UPDATE dead SET reason = 'of_a_later_version'")
        .unwrap();
    let forgotten = fixture.queue.forget(person('a')).await.unwrap();
    assert_eq!(forgotten.dead, 1);
}
