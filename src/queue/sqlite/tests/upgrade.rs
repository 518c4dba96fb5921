//! A store that an earlier version wrote.
//!
//! `tests/fixtures/store_version_1.sql` is what version 1 left after a crash: 20 events, of which three
//! were delivered, two were refused, one request was under way, and the rest wait.

use super::*;
use crate::clock::UnixMillis;
use crate::queue::cooldown::{Cooldown, CooldownChange};

const VERSION_1: &str = include_str!("../../../../tests/fixtures/store_version_1.sql");

fn first_version() -> QueueFixture {
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    let folder = tempfile::tempdir().unwrap();
    let old = rusqlite::Connection::open(folder.path().join("queue.db")).unwrap();
    old.execute_batch(VERSION_1).unwrap();
    drop(old);
    let config = QueueConfig {
        path: folder.path().to_owned(),
        ..fixture.config.clone()
    };
    let clock = Arc::clone(&fixture.clock);
    let queue = open(&config, &clock, &TestStore::Sqlite).unwrap();
    QueueFixture {
        folder,
        config,
        clock,
        queue,
        store: TestStore::Sqlite,
    }
}

/// The first bytes of the bodies as they are stored, each once.
fn beginnings(fixture: &QueueFixture) -> Vec<u8> {
    let store = connection(fixture);
    let mut bodies = store
        .prepare("SELECT body FROM content ORDER BY row")
        .unwrap();
    let mut first: Vec<u8> = bodies
        .query_map([], |row| Ok(row.get_ref(0)?.as_blob()?[0]))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    first.dedup();
    first
}

#[tokio::test]
async fn everything_in_a_store_of_version_1_goes_on() {
    let fixture = first_version();
    assert_law(&fixture.queue);
    assert_eq!(fixture.totals().taken, 20);
    assert_eq!(fixture.totals().queued, 15);
    assert_eq!(fixture.ended(Reason::Accepted), 3);
    assert_eq!(fixture.ended(Reason::Refused), 2);
    // Its rows hold events of any name; those with a Purchase go first.
    let marked = "SELECT count(*) FROM row WHERE purchase = 1";
    let marked: i64 = connection(&fixture)
        .query_row(marked, [], |row| row.get(0))
        .unwrap();
    let with_purchase = "SELECT count(*) FROM content WHERE instr(body, '\"Purchase\"')";
    let with_purchase: i64 = connection(&fixture)
        .query_row(with_purchase, [], |row| row.get(0))
        .unwrap();
    assert_eq!(marked, with_purchase);
    assert!(marked > 0);
    // The duplicate window, the dead letters and the requests are known as before.
    let pushed = fixture.push((0..30).map(event)).await;
    assert_eq!((pushed.queued, pushed.duplicates), (10, 20));
    // Its rows are plain; those that are written from now on are compressed.
    assert_eq!(beginnings(&fixture), [b'{', 1]);
    let traced = fixture.queue.trace("id-0").await.unwrap();
    assert_eq!(traced[0].requests[0].verdict.as_deref(), Some("delivered"));
    let cut_off = fixture.queue.trace("id-5").await.unwrap();
    assert_eq!(cut_off[0].requests[0].verdict.as_deref(), Some("cut_off"));
    let retried = fixture
        .queue
        .retry_dead(&DeadFilter::default())
        .await
        .unwrap();
    assert_eq!((retried.queued, retried.kept), (2, 0));
    assert_eq!(fixture.deliver_all().await.len(), 27);
    assert_law(&fixture.queue);
    // And what is new works.
    fixture.learn(set("a", "x", START)).await;
    assert_eq!(value(&fixture.queue, "a"), ["x"]);
    let standstill = Cooldown {
        whose: "11".to_owned(),
        kind: "throttled".to_owned(),
        since: UnixMillis(1),
        until: UnixMillis(2),
    };
    let settlement = Settlement {
        sync: web(),
        delivery: None,
        answer: None,
        ends: Vec::new(),
        release: Vec::new(),
        cooldowns: vec![CooldownChange::Begun(standstill.clone())],
    };
    fixture.settle(settlement).await;
    let fixture = fixture.reopened();
    assert_eq!(fixture.queue.cooldowns(), [standstill]);
    assert_eq!(fixture.totals().queued, 0);
}

/// Takes back, in a store that is closed, what this version has over version 3. Rows, profiles and cooldowns
/// are written alike by both.
const TO_VERSION_3: &str = "
    BEGIN IMMEDIATE;
    DROP TABLE damaged;
    ALTER TABLE sync DROP COLUMN checksum;
    ALTER TABLE row DROP COLUMN checksum;
    ALTER TABLE dead DROP COLUMN checksum;
    ALTER TABLE standstill DROP COLUMN checksum;
    ALTER TABLE seen DROP COLUMN checksum;
    ALTER TABLE profile DROP COLUMN checksum;
    ALTER TABLE delivery DROP COLUMN checksum;
    ALTER TABLE delivery DROP COLUMN answer_checksum;
    DELETE FROM total WHERE counter = 'checksum';
    DROP TABLE click;
    DROP INDEX row_of_purchases;
    ALTER TABLE row DROP COLUMN purchase;
    DROP INDEX dead_samples;
    CREATE INDEX dead_samples ON dead (sync, reason) WHERE reason IN ('too_old', 'no_identifier');
    PRAGMA user_version = 3;
    COMMIT;
";

#[tokio::test]
async fn everything_in_a_store_of_version_3_goes_on() {
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    fixture.push((0..10).map(event)).await;
    let lead = |number| Submission {
        sync: web(),
        mapped: Ok(payload(number, "Lead", START + 7 * 24 * 3600)),
    };
    fixture.push((10..15).map(lead)).await;
    fixture.learn(set("a", "x", START)).await;
    let standstill = Cooldown {
        whose: "11".to_owned(),
        kind: "throttled".to_owned(),
        since: UnixMillis(1),
        until: UnixMillis(2),
    };
    let leased = fixture.lease(3).await;
    let delivery = fixture.open_attempt(&leased).await;
    let [delivered, refused, _] = leased.as_slice() else {
        panic!("{} were leased", leased.len());
    };
    fixture
        .settle(Settlement {
            cooldowns: vec![CooldownChange::Begun(standstill.clone())],
            ..accepted(delivery, std::slice::from_ref(delivered))
        })
        .await;
    let delivery = fixture.open_attempt(std::slice::from_ref(refused)).await;
    fixture
        .settle(rejected(delivery, std::slice::from_ref(refused)))
        .await;
    assert_eq!(beginnings(&fixture), [1], "bodies are compressed");
    fixture.queue.clone().close().await.unwrap();
    connection(&fixture).execute_batch(TO_VERSION_3).unwrap();

    let fixture = fixture.reopened();
    let version = |store: rusqlite::Connection| -> i64 {
        let version = store.query_row("PRAGMA user_version", [], |row| row.get(0));
        version.unwrap()
    };
    assert_eq!(version(connection(&fixture)), schema::VERSION);
    assert_law(&fixture.queue);
    assert_eq!(fixture.totals().taken, 15);
    assert_eq!(fixture.totals().queued, 13);
    assert_eq!(fixture.ended(Reason::Accepted), 1);
    assert_eq!(fixture.ended(Reason::Refused), 1);
    assert_eq!(fixture.queue.cooldowns(), [standstill]);
    assert_eq!(value(&fixture.queue, "a"), ["x"]);
    // The rows of Purchases are found, and only those.
    let rows = "SELECT purchase, count(*) FROM row GROUP BY purchase ORDER BY purchase";
    let store = connection(&fixture);
    let mut rows = store.prepare(rows).unwrap();
    let rows: Vec<(i64, i64)> = rows
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    assert_eq!(rows, [(0, 1), (1, 1)]);
    let pushed = fixture.push((0..16).map(event)).await;
    assert_eq!((pushed.queued, pushed.duplicates), (6, 10));
    let retried = fixture
        .queue
        .retry_dead(&DeadFilter::default())
        .await
        .unwrap();
    assert_eq!((retried.queued, retried.kept), (1, 0));
    assert_eq!(fixture.deliver_all().await.len(), 20);
}
