//! One byte of the file is wrong, in pages of every kind.

use std::collections::BTreeSet;
use std::path::Path;

use super::damage::deliver_some;
use super::*;
use crate::queue::cooldown::{Cooldown, CooldownChange};

const EVENTS: u64 = 120;

/// A store with something in every table, and free pages; gives the bytes of the events that wait.
async fn whole_store() -> (Vec<u8>, BTreeSet<Vec<u8>>) {
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    for number in 0..200 {
        fixture.push([large(number, &web())]).await;
    }
    fixture.deliver_all().await;
    for number in 1000..1000 + EVENTS {
        fixture.push([event(number)]).await;
    }
    fixture.push((5000..5040).map(event)).await;
    let people = (0..100).map(|number| (web(), set(&number.to_string(), "x", START)));
    let pushed = fixture
        .queue
        .push_with(Vec::new(), observed(people.collect()));
    pushed.await.unwrap();
    fixture.click("IwAR0abcDEF", 10, true).await;
    let leased = fixture.lease(30).await;
    let delivery = fixture.open_attempt(&leased).await;
    let cooldown = Cooldown {
        whose: "11".to_owned(),
        kind: "throttled".to_owned(),
        since: UnixMillis(1),
        until: UnixMillis(2),
    };
    fixture
        .settle(Settlement {
            cooldowns: vec![CooldownChange::Begun(cooldown)],
            ..rejected(delivery, &leased[..20])
        })
        .await;
    fixture.queue.release(&web(), &slots(&leased[20..]));
    let all = fixture.lease(1000).await;
    let bodies = all.iter().map(|event| event.body.as_ref().to_vec());
    let bodies = bodies.collect();
    fixture.queue.close().await.unwrap();
    let file = fixture.folder.path().join("queue.db");
    (std::fs::read(file).unwrap(), bodies)
}

/// Pages of the file, each with what it is of.
fn pages(file: &Path) -> Vec<(String, u32)> {
    let store = Connection::open(file).unwrap();
    let mut named = store
        .prepare("SELECT name || ' ' || pagetype, pageno FROM dbstat ORDER BY name, pageno")
        .unwrap();
    let named: rusqlite::Result<Vec<(String, u32)>> =
        named.query_map([], |row| row.try_into()).unwrap().collect();
    let mut pages = named.unwrap();
    let known: BTreeSet<u32> = pages.iter().map(|(_, page)| *page).collect();
    let count: u32 = store
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    // What belongs to no table is free, or maps the others.
    pages.extend(
        (2..=count)
            .filter(|page| !known.contains(page))
            .map(|page| {
                let kind = if page == 2 { "map" } else { "free" };
                (kind.to_owned(), page)
            }),
    );
    pages
}

#[tokio::test]
async fn a_wrong_byte_in_any_page_stops_nothing_and_alters_nothing() {
    let (whole, bodies) = whole_store().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queue.db");
    std::fs::write(&file, &whole).unwrap();
    let pages = pages(&file);
    let kinds: BTreeSet<String> = pages.iter().map(|(kind, _)| kind.clone()).collect();
    let mut random = fastrand::Rng::with_seed(13);
    for kind in kinds {
        let of_kind: Vec<usize> = pages
            .iter()
            .filter(|(of, _)| *of == kind)
            .map(|(_, page)| *page as usize)
            .collect();
        for round in 0..4 {
            let page = of_kind[random.usize(0..of_kind.len())];
            let start = (page - 1) * 4096;
            // Half of them where something is written.
            let used: Vec<usize> = (start..start + 4096).filter(|at| whole[*at] != 0).collect();
            let at = match used.get(random.usize(0..used.len().max(1))) {
                Some(at) if round != 0 => *at,
                _ => start + random.usize(0..4096),
            };
            let mut bytes = whole.clone();
            bytes[at] = match round % 3 {
                0 => bytes[at] ^ (1 << random.u8(0..8)),
                1 => !bytes[at],
                _ => random.u8(..),
            };
            let case = format!("{kind}, page {page}, byte {}", at - start);
            check_damaged(&bytes, &bodies, &case).await;
        }
    }
}

async fn check_damaged(bytes: &[u8], bodies: &BTreeSet<Vec<u8>>, case: &str) {
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    fixture.queue.clone().close().await.unwrap();
    std::fs::write(fixture.folder.path().join("queue.db"), bytes).unwrap();
    let queue = match open(&fixture.config, &fixture.clock, &TestStore::Sqlite) {
        Ok(queue) => queue,
        Err(OpenError::Newer { .. }) => return,
        Err(error) => panic!("{case}: {error:?}"),
    };
    let fixture = QueueFixture { queue, ..fixture };
    fixture.queue.search_and_mend().await.ok();
    let mut delivered = 0;
    let mut failures = 0;
    while failures < 4 {
        let order = Order::MostUrgent;
        let leased = fixture.queue.lease(&web(), 1000, 1 << 20, order).await;
        if let Ok(leased) = leased {
            for event in &leased {
                let body = event.body.as_ref();
                assert!(bodies.contains(body), "{case}: an event was altered");
            }
            fixture.queue.release(&web(), &slots(&leased));
        }
        match deliver_some(&fixture).await {
            Ok(0) => break,
            Ok(count) => delivered += count,
            Err(_) => failures += 1,
        }
    }
    fixture.queue.expire().await.ok();
    fixture.queue.mended().await.ok();
    while let Ok(count @ 1..) = deliver_some(&fixture).await {
        delivered += count;
    }
    let pushed = fixture.queue.push(vec![event(90_000)]).await;
    if pushed.is_err() {
        fixture.queue.mended().await.unwrap();
        fixture.queue.push(vec![event(90_000)]).await.unwrap();
    }
    assert!(deliver_some(&fixture).await.unwrap() > 0, "{case}");
    for totals in fixture.queue.totals().values() {
        let ended: u64 = totals.ended.values().sum();
        assert_eq!(
            totals.taken + totals.dead_retried,
            ended + totals.queued,
            "{case}"
        );
    }
    let totals = fixture.totals();
    assert_eq!(totals.queued, 0, "{case}");
    // What was in one page at most is lost; behind the first page of a table that is all of it.
    let is_lost = delivered * 3 <= bodies.len();
    assert!(
        !is_lost || case.contains("internal"),
        "{case}: {delivered} delivered"
    );
}
