//! Damaged pages, and what is missing.

use super::*;
use crate::queue::damaged::Damage;

#[tokio::test]
async fn a_batch_whose_content_is_missing_is_lost() {
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    fixture.push([event(1)]).await;
    connection(&fixture)
        .execute_batch("DELETE FROM content")
        .unwrap();
    assert!(fixture.lease(1).await.is_empty());
    fixture.queue.expire().await.unwrap();
    assert_eq!(fixture.ended(Reason::DamagedRow), 1);
    assert_law(&fixture.queue);
}

/// One bit was read wrongly, and stays in the connection's cache.
#[tokio::test]
async fn what_was_read_wrongly_once_is_read_again() {
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    for number in 0..3 {
        fixture.push([event(number)]).await;
    }
    fixture.queue.clone().close().await.unwrap();
    let path = fixture.folder.path().join("queue.db");
    let whole = std::fs::read(&path).unwrap();
    let body = "SELECT body FROM content ORDER BY row LIMIT 1 OFFSET 1";
    let body: Vec<u8> = connection(&fixture)
        .query_row(body, [], |row| row.get(0))
        .unwrap();
    let place = memchr::memmem::find(&whole, &body).unwrap() + body.len() / 2;
    let set = |byte: u8| {
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[byte], place as u64).unwrap();
    };
    let fixture = fixture.reopened();
    set(whole[place] ^ 4);
    // It is on the same page.
    assert_eq!(fixture.lease(1).await.len(), 1);
    set(whole[place]);
    assert_eq!(fixture.lease(10).await.len(), 2);
    fixture.queue.expire().await.unwrap();
    assert_eq!(fixture.ended(Reason::DamagedRow), 0);
    assert_law(&fixture.queue);
}

/// A salvage copies the rows that are whole, and sets the others aside.
#[tokio::test]
async fn a_salvage_sets_aside_what_it_does_not_copy() {
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    for number in 0..400 {
        fixture.queue.push(vec![event(number)]).await.unwrap();
    }
    damage(&fixture, 399);
    fixture.queue.clone().close().await.unwrap();
    damage_page(&fixture, "row", "leaf");
    let fixture = fixture.reopened();
    deliver_some(&fixture).await.unwrap_err();
    deliver_some(&fixture).await.unwrap();
    assert_law(&fixture.queue);
    let lost = fixture.ended(Reason::DamagedRow);
    let kept = fixture.queue.damaged(0, 1000).await.unwrap();
    let of = |why| kept.iter().filter(move |it| it.header.why == why);
    assert_eq!(of(Damage::Checksum).count(), 1);
    assert_eq!(of(Damage::NoState).count() as u64, lost - 1);
    for batch in of(Damage::NoState) {
        assert_eq!(batch.header.events, 1);
        assert!(!batch.content.body.is_empty());
    }
}

/// Overwrites the beginning of one page of a table or index, as a failing disk does.
fn damage_page(fixture: &QueueFixture, name: &str, kind: &str) {
    let pages: Vec<u32> = connection(fixture)
        .prepare("SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype = ?2 ORDER BY pageno")
        .and_then(|mut pages| pages.query_map([name, kind], |row| row.get(0))?.collect())
        .unwrap();
    let page = pages[pages.len() / 2];
    let path = fixture.folder.path().join("queue.db");
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let offset = u64::from(page - 1) * 4096;
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xa5; 512], offset).unwrap();
}

#[tokio::test]
async fn what_is_readable_of_a_damaged_store_is_delivered_and_the_rest_is_counted() {
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    for number in 0..400 {
        fixture.queue.push(vec![event(number)]).await.unwrap();
    }
    let people = (0..400).map(|number| (web(), set(&number.to_string(), "x", START)));
    let pushed = fixture
        .queue
        .push_with(Vec::new(), observed(people.collect()));
    pushed.await.unwrap();
    let leased = fixture.lease(50).await;
    let delivery = fixture.open_attempt(&leased).await;
    fixture.settle(rejected(delivery, &leased)).await;
    fixture.queue.clone().close().await.unwrap();
    let whole = std::fs::read(fixture.folder.path().join("queue.db")).unwrap();

    for (name, kind) in [
        ("content", "leaf"),
        ("content", "internal"),
        ("row", "leaf"),
        ("row_by_deadline", "leaf"),
        ("row_by_age", "leaf"),
        ("seen", "leaf"),
        ("delivery", "leaf"),
        ("dead", "leaf"),
        ("total", "leaf"),
        ("sync", "leaf"),
        ("sqlite_autoindex_sync_1", "leaf"),
        ("profile", "leaf"),
        ("profile_by_age", "leaf"),
        ("sqlite_autoindex_profile_1", "leaf"),
    ] {
        let mut fixture = QueueFixture::new(TestEngine::Sqlite);
        fixture.queue.clone().close().await.unwrap();
        std::fs::write(fixture.folder.path().join("queue.db"), &whole).unwrap();
        damage_page(&fixture, name, kind);
        fixture = fixture.reopened();

        // Whatever is touched first may fail, once.
        let mut delivered = 0;
        let mut failures = 0;
        while failures < 3 {
            match deliver_some(&fixture).await {
                Ok(0) => break,
                Ok(count) => delivered += count,
                Err(_) => failures += 1,
            }
            assert_law(&fixture.queue);
        }
        drop(fixture.queue.expire().await);
        fixture.queue.mended().await.unwrap();
        fixture.push((1000..1010).map(event)).await;
        delivered += deliver_some(&fixture).await.unwrap();
        assert_law(&fixture.queue);
        let lost = fixture.ended(Reason::DamagedRow);
        assert_eq!(delivered as u64 + lost, 360, "{name} {kind}: {lost} lost");
        // Behind a damaged root nothing can be found.
        assert!(lost < 200 || kind == "internal", "{name}: {lost} lost");
        // Most people are still known, and who is not can be again.
        let lost = |number: &i32| value(&fixture.queue, &number.to_string()).is_empty();
        if let Some(number) = (0..=400).find(lost) {
            let update = set(&number.to_string(), "y", START);
            if fixture.try_to_learn(update.clone()).await.is_err() {
                fixture.queue.mended().await.unwrap();
                fixture.learn(update).await;
            }
            assert_eq!(value(&fixture.queue, &number.to_string()), ["y"]);
        }
        let known = (0..=400).filter(|number| !lost(number)).count() as u64;
        let profiles = fixture.totals().profiles;
        assert!(
            known >= 300 && known == profiles,
            "{name}: {known} of {profiles}"
        );
    }
}

/// Takes the first batches out of two indexes, but not out of the table. The store must be closed.
fn take_out_of_indexes(fixture: &QueueFixture, batches: usize) {
    let store = connection(fixture);
    let indexes = "name IN ('row_by_deadline', 'row_of_purchases')";
    store
        .execute_batch(&format!(
            "CREATE TABLE saved AS SELECT * FROM row ORDER BY id LIMIT {batches};
             DELETE FROM row WHERE id IN (SELECT id FROM saved);
             CREATE TABLE described AS SELECT * FROM sqlite_schema WHERE {indexes};
             PRAGMA writable_schema = ON;
             DELETE FROM sqlite_schema WHERE {indexes};"
        ))
        .unwrap();
    drop(store);
    // This connection does not know the indexes.
    connection(fixture)
        .execute_batch(
            "INSERT INTO row SELECT * FROM saved;
             DROP TABLE saved;
             PRAGMA writable_schema = ON;
             INSERT INTO sqlite_schema SELECT * FROM described;
             PRAGMA writable_schema = RESET;
             DROP TABLE described;",
        )
        .unwrap();
}

#[tokio::test]
async fn events_that_no_lease_finds_are_found_out() {
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    for number in 0..30 {
        fixture.push([event(number)]).await;
    }
    fixture.queue.clone().close().await.unwrap();
    take_out_of_indexes(&fixture, 10);
    let fixture = fixture.reopened();
    let mut delivered = 0;
    for _ in 0..40 {
        // The lease that finds it out fails.
        delivered += deliver_some(&fixture).await.unwrap_or(0);
    }
    assert_law(&fixture.queue);
    assert_eq!(delivered, 30);
    assert_eq!(fixture.totals().queued, 0);
}

#[tokio::test]
async fn a_count_that_is_too_high_is_found_out() {
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    fixture.push((0..3).map(event)).await;
    fixture.queue.clone().close().await.unwrap();
    connection(&fixture)
        .execute_batch("UPDATE total SET value = value + 7 WHERE counter IN ('queued', 'taken')")
        .unwrap();
    let fixture = fixture.reopened();
    let mut delivered = 0;
    for _ in 0..40 {
        delivered += deliver_some(&fixture).await.unwrap_or(0);
    }
    assert_law(&fixture.queue);
    assert_eq!(delivered, 3);
    assert_eq!(fixture.totals().queued, 0);
    assert_eq!(fixture.queue.backlog(&web()).events, 0);
}

/// Delivers what is ready; where that fails, waits until the store is mended.
pub(super) async fn deliver_some(fixture: &QueueFixture) -> Result<usize, StoreError> {
    let delivered = try_to_deliver(fixture).await;
    if delivered.is_err() {
        fixture.queue.mended().await.ok();
    }
    delivered
}

async fn try_to_deliver(fixture: &QueueFixture) -> Result<usize, StoreError> {
    let order = Order::MostUrgent;
    let leased = fixture.queue.lease(&web(), 1000, 1 << 20, order).await?;
    let delivery = fixture.queue.open_attempt(&web(), &slots(&leased)).await;
    let settled = match delivery {
        Ok(delivery) => fixture.queue.settle(accepted(delivery, &leased)).await,
        Err(error) => Err(error),
    };
    if settled.is_err() {
        fixture.queue.release(&web(), &slots(&leased));
    }
    settled.map(|()| leased.len())
}

/// A crash cut a request off, and what the store says of its batch is damaged.
#[tokio::test]
async fn the_state_of_a_batch_under_way_is_mended_before_it_is_used() {
    for damage in [
        "UPDATE row SET events = 94",
        "UPDATE row SET bytes = bytes + 7, held = held + 7",
        "UPDATE row SET deadline = 0",
        "UPDATE row SET sync = 77",
    ] {
        let fixture = QueueFixture::new(TestEngine::Sqlite);
        fixture.push((0..3).map(event)).await;
        let leased = fixture.lease(1).await;
        fixture.open_attempt(&leased).await;
        connection(&fixture).execute_batch(damage).unwrap();
        let fixture = fixture.reopened();
        fixture.queue.expire().await.unwrap();
        fixture.queue.mended().await.unwrap();
        assert_eq!(fixture.ended(Reason::DamagedRow), 0, "{damage}");
        assert_eq!(fixture.totals().queued, 3, "{damage}");
        assert_eq!(fixture.lease(10).await.len(), 3, "{damage}");
        assert_law(&fixture.queue);
    }
}

#[tokio::test]
async fn a_damaged_profile_is_nobodys() {
    for damage in [
        "UPDATE profile
         SET body = CAST(replace(replace(CAST(body AS TEXT), 'x', 'z'), 'y', 'z') AS BLOB)",
        "UPDATE profile SET touched = touched + 1",
        "UPDATE profile SET sync = 2",
    ] {
        let fixture = QueueFixture::new(TestEngine::Sqlite);
        fixture.learn(set("1", "x", START)).await;
        connection(&fixture).execute_batch(damage).unwrap();
        assert!(value(&fixture.queue, "1").is_empty(), "{damage}");
        fixture.learn(set("1", "y", START)).await;
        assert_eq!(value(&fixture.queue, "1"), ["y"], "{damage}");
        fixture.queue.mended().await.unwrap();
        let profiles: u64 = fixture.queue.totals().values().map(|it| it.profiles).sum();
        assert_eq!(profiles, 1, "{damage}");
        let met = fixture.queue.stats().damage;
        assert_eq!(met.count(DamageKind::Profile), 1, "{damage}");
        connection(&fixture).execute_batch(damage).unwrap();
        fixture.queue.search_and_mend().await.unwrap();
        let left = "SELECT count(*) FROM profile";
        let left: i64 = connection(&fixture)
            .query_row(left, [], |row| row.get(0))
            .unwrap();
        assert_eq!(left, 0, "{damage}");
    }
}

#[tokio::test]
async fn the_fingerprints_of_queued_events_are_restored() {
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    fixture.push([event(1), event(2)]).await;
    connection(&fixture)
        .execute_batch("UPDATE seen SET fingerprints = zeroblob(32), taken_at = 7")
        .unwrap();
    let fixture = fixture.reopened();
    fixture.queue.search_and_mend().await.unwrap();
    let met = fixture.queue.stats().damage;
    assert_eq!(met.count(DamageKind::Fingerprints), 1);
    let fixture = fixture.reopened();
    assert_eq!(fixture.push([event(2)]).await.duplicates, 1);
    fixture.queue.search_and_mend().await.unwrap();
    let met = fixture.queue.stats().damage;
    assert_eq!(met.count(DamageKind::Fingerprints), 0);
}

#[tokio::test]
async fn a_damaged_click_is_seen_anew_and_a_damaged_request_tells_nothing() {
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    fixture.click("IwAR0abcDEF", 10, true).await;
    fixture.push([event(1)]).await;
    let leased = fixture.lease(1).await;
    fixture.open_attempt(&leased).await;
    connection(&fixture)
        .execute_batch("UPDATE click SET seen = seen + 1000; UPDATE delivery SET sent_at = 1 << 40")
        .unwrap();
    let clicks = "SELECT seen FROM click";
    let seen = |fixture: &QueueFixture| -> i64 {
        connection(fixture)
            .query_row(clicks, [], |row| row.get(0))
            .unwrap()
    };
    let damaged = seen(&fixture);
    let fixture = fixture.reopened();
    fixture.click("IwAR0abcDEF", 20, true).await;
    assert_ne!(seen(&fixture), damaged);
    let traced = fixture.queue.trace("id-1").await.unwrap();
    assert!(traced[0].requests.is_empty());
}
