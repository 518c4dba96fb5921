//! Erasure of a person, and of a sync.

use std::fs;

use super::*;
use crate::payload::Submission;
use crate::queue::engine::ScrubStep;

fn hash(digit: char) -> String {
    let mut random = fastrand::Rng::with_seed(digit.into());
    std::iter::repeat_with(|| random.digit(16))
        .take(64)
        .collect()
}

fn event_of(number: u64, digit: char) -> Submission {
    let mut payload = payload(number, "Purchase", START + 100_000);
    let hash = hash(digit);
    payload.json = format!(r#"{{"event_id":"id-{number}","em":["{hash}"]}}"#).into();
    Submission {
        sync: web(),
        mapped: Ok(payload),
    }
}

fn person(digit: char) -> Person {
    Person {
        hashes: vec![hash(digit)],
        ..Person::default()
    }
}

/// Whether any file of the store holds this text.
fn is_on_disk(shop: &Shop, text: &str) -> bool {
    fs::read_dir(shop.folder.path()).unwrap().any(|file| {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        bytes.windows(text.len()).any(|at| at == text.as_bytes())
    })
}

#[tokio::test]
async fn a_person_leaves_the_queue_the_letters_and_the_bytes_on_disk() {
    let shop = Shop::new();
    // Delivered, together with others: the row stays.
    shop.push((0..40).map(|n| event_of(n, if n % 4 == 0 { 'a' } else { 'b' })))
        .await;
    let leased = shop.lease(10).await;
    let delivery = shop.open_delivery(&leased).await;
    shop.settle(accepted(delivery, &leased)).await;
    // Delivered alone: the row is gone, its page is free.
    shop.push((100..120).map(|n| event_of(n, 'a'))).await;
    // Refused.
    let leased = shop.lease(6).await;
    let delivery = shop.open_delivery(&leased).await;
    shop.settle(rejected(delivery, &leased)).await;
    assert!(is_on_disk(&shop, &hash('a')));

    let queued_before = shop.totals().queued;
    let forgotten = shop.queue.forget(person('a')).await.unwrap();
    assert_eq!(forgotten.in_flight, 0);
    assert!(forgotten.queued > 20 && forgotten.dead > 0, "{forgotten:?}");
    assert_eq!(shop.ended(Reason::Forgotten), forgotten.queued);
    assert_eq!(shop.totals().queued, queued_before - forgotten.queued);
    assert_eq!(
        shop.totals().dead_removed[&Removal::Forgotten],
        forgotten.dead
    );
    assert_law(&shop.queue);
    assert!(!is_on_disk(&shop, &hash('a')));
    assert!(is_on_disk(&shop, &hash('b')));

    let shop = shop.reopened();
    let left = shop.deliver_all().await;
    assert_eq!(left.len() as u64, queued_before - forgotten.queued);
    assert!(left.iter().all(|body| body.contains(&hash('b'))));
    // It is still known, so that a repeat does not bring it back.
    assert_eq!(shop.push([event_of(0, 'a')]).await.duplicates, 1);
}

#[tokio::test]
async fn large_rows_that_were_delivered_leave_no_trace_either() {
    let shop = Shop::new();
    for round in 0..4 {
        shop.push((0..500).map(|n| event_of(round * 1000 + n, 'a')))
            .await;
        shop.push((500..700).map(|n| event_of(round * 1000 + n, 'b')))
            .await;
        shop.deliver_all().await;
    }
    assert!(is_on_disk(&shop, &hash('a')));
    let forgotten = shop.queue.forget(person('a')).await.unwrap();
    assert_eq!(forgotten, Forgotten::default());
    assert!(!is_on_disk(&shop, &hash('a')));
}

/// Leaves a store behind whose file is nearly all free pages, full of what was delivered.
async fn drained() -> Shop {
    let shop = Shop::new();
    for round in 0..30 {
        let events = (0..200).map(|number| {
            let mut event = event_of(round * 1000 + number, 'a');
            if let Ok(payload) = &mut event.mapped {
                let padding = noise(round * 1000 + number, 900);
                payload.json = [&payload.json[..], padding.as_bytes()].concat().into();
            }
            event
        });
        shop.push(events).await;
    }
    shop.deliver_all().await;
    shop
}

fn pages(shop: &Shop, pragma: &str) -> i64 {
    shop.sqlite()
        .query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
        .unwrap()
}

#[tokio::test]
async fn events_are_taken_while_a_large_store_is_scrubbed() {
    let shop = drained().await;
    let free = pages(&shop, "freelist_count");
    assert!(free > 1000 && is_on_disk(&shop, &hash('a')), "{free} pages");
    let used = shop.queue.stats().used_bytes;

    let mut forgetting = Box::pin(shop.queue.forget(person('a')));
    let mut taken = 0;
    loop {
        let number = 100_000 + taken;
        tokio::select! {
            biased;
            forgotten = &mut forgetting => {
                assert_eq!(forgotten.unwrap(), Forgotten::default());
                break;
            }
            pushed = shop.queue.push(vec![event_of(number, 'b')]) => {
                assert_eq!(pushed.unwrap().queued, 1);
                taken += 1;
            }
        }
        // What is filled for a while is not counted as used.
        assert!(shop.queue.stats().used_bytes < used + (1 << 20));
    }
    assert!(taken >= 5, "only {taken} events were taken meanwhile");
    assert!(!is_on_disk(&shop, &hash('a')));
    assert!(pages(&shop, "page_count") < free / 2, "the file has shrunk");
    // The last push was given up, not undone.
    let delivered = shop.deliver_all().await.len() as u64;
    assert!((taken..=taken + 1).contains(&delivered), "{delivered}");
    assert_law(&shop.queue);
}

#[tokio::test]
async fn what_a_scrub_left_that_was_given_up_is_let_go() {
    let shop = drained().await;
    let used = shop.queue.stats().used_bytes;
    let now = shop.clock.now();
    let step = ScrubStep::default();
    let filled = shop.queue.change(move |core| core.engine.scrub(step, now));
    assert_eq!(filled.await.unwrap(), Some(step), "there is more");
    // Someone may still be at it.
    shop.queue.tidy().await.unwrap();
    let filler = |shop: &Shop| -> i64 {
        shop.sqlite()
            .query_row("SELECT count(*) FROM filler", [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!(filler(&shop), 1);
    let shop = shop.reopened();
    assert!(shop.queue.stats().used_bytes <= used);
    let maintained = shop.queue.change(|core| {
        let clock = Arc::clone(&core.context.clock);
        core.engine.maintain(&*clock)
    });
    assert!(maintained.await.unwrap());
    assert_eq!(filler(&shop), 0);
    assert!(shop.queue.stats().used_bytes <= used);
}

#[tokio::test]
async fn by_event_id() {
    let shop = Shop::new();
    shop.push((0..3).map(event)).await;
    let person = Person {
        hashes: vec![String::new(), "purchase".to_owned()],
        event_ids: vec!["id-1".to_owned()],
        ..Person::default()
    };
    let forgotten = shop.queue.forget(person).await.unwrap();
    assert_eq!(forgotten.queued, 1);
    assert_eq!(shop.deliver_all().await.len(), 2);
}

#[tokio::test]
async fn what_is_on_lease_is_left_and_said() {
    let shop = Shop::new();
    shop.push([event_of(1, 'a'), event_of(2, 'b')]).await;
    let leased = shop.lease(1).await;
    let forgotten = shop.queue.forget(person('a')).await.unwrap();
    assert_eq!((forgotten.queued, forgotten.in_flight), (0, 1));
    shop.queue.release(&web(), &slots(&leased));
    let forgotten = shop.queue.forget(person('a')).await.unwrap();
    assert_eq!((forgotten.queued, forgotten.in_flight), (1, 0));
    assert_eq!(shop.queue.backlog(&web()).events, 1);
}

#[tokio::test]
async fn a_sync_can_be_emptied() {
    let shop = Shop::new();
    shop.push((0..700).map(event)).await;
    // Of the last of three rows.
    let leased = shop.lease(1).await;
    assert_eq!(shop.queue.drop_sync(&web()).await.unwrap(), 700 - 188);
    shop.queue.release(&web(), &slots(&leased));
    assert_eq!(shop.queue.drop_sync(&web()).await.unwrap(), 188);
    assert_eq!(shop.ended(Reason::Dropped), 700);
    assert_law(&shop.queue);
    assert_eq!(shop.queue.backlog(&web()), Backlog::default());
    assert!(shop.lease(1).await.is_empty());
}
