//! Limits on what the store takes.

use super::*;
use crate::payload::Submission;
use crate::queue::quota::CapacityProblem;

fn large(number: u64, sync: &SyncName) -> Submission {
    let mut payload = payload(number, "Purchase", START + 7 * 24 * 3600);
    let mut json = payload.json.to_vec();
    json.extend(noise(number, 50_000).bytes());
    payload.json = json.into();
    Submission {
        sync: sync.clone(),
        mapped: Ok(payload),
    }
}

#[tokio::test]
async fn a_full_sync_is_refused_while_the_other_stores_and_the_repeat_is_its_duplicate() {
    let queue = Shop::with(|config| config.max_bytes = NonZeroU64::new(2 << 20).unwrap());
    let mut number = 0;
    let full = loop {
        number += 1;
        assert!(number < 100, "the sync never fills up");
        match queue.queue.push(vec![large(number, &web())]).await {
            Ok(pushed) => assert_eq!(pushed.queued, 1),
            Err(error) => break error,
        }
    };
    assert!(matches!(&full, PushError::Full { sync, .. } if *sync == web()));
    assert_eq!(queue.queue.health().full, [web()]);
    assert_eq!(queue.queue.health().trouble, None);
    let used = queue.queue.stats().used_bytes;
    assert!((900_000..1_200_000).contains(&used), "{used}");

    let both = || vec![large(number, &web()), large(number + 1, &shop())];
    match queue.queue.push(both()).await {
        Err(PushError::Full { sync, pushed, left }) => {
            assert_eq!((sync, pushed.queued), (web(), 1));
            assert_eq!(left, [(web(), 1)].into());
        }
        other => panic!("{other:?}"),
    }
    assert_law(&queue.queue);
    queue.deliver_all().await;
    assert!(queue.queue.health().full.is_empty());
    let pushed = queue.queue.push(both()).await.unwrap();
    assert_eq!((pushed.queued, pushed.duplicates), (1, 1));
    assert_law(&queue.queue);
}

#[tokio::test]
async fn too_little_free_disk_is_refused_before_anything_is_stored() {
    let shop = Shop::with(|config| config.min_free_disk = Some(u64::MAX));
    let refused = shop.queue.push(vec![event(1)]).await;
    assert!(matches!(refused, Err(PushError::DiskLow)));
    assert_eq!(shop.queue.health().trouble, Some(CapacityProblem::DiskLow));
    assert_eq!(shop.totals().taken, 0);
}

#[tokio::test]
async fn the_file_shrinks_after_a_backlog() {
    let shop = Shop::new();
    let pages = || -> i64 {
        let pages = "SELECT page_count FROM pragma_page_count";
        shop.sqlite()
            .query_row(pages, [], |row| row.get(0))
            .unwrap()
    };
    for number in 0..40 {
        let many = (0..20).map(|part| large(number * 20 + part, &web()));
        shop.queue.push(many.collect()).await.unwrap();
    }
    let before = pages();
    assert!(before > 8000, "{before}");
    shop.deliver_all().await;
    while pages() > 3000 {
        // Every pass gives a piece back.
        shop.clock.advance(Duration::from_secs(1));
        shop.queue.tidy().await.unwrap();
    }
}

#[tokio::test]
async fn fingerprints_take_no_more_than_a_tenth() {
    let shop = Shop::with(|config| config.max_bytes = NonZeroU64::new(200_000).unwrap());
    for round in 0..10 {
        shop.push((0..250).map(|n| event(round * 1000 + n))).await;
        shop.deliver_all().await;
    }
    shop.queue.tidy().await.unwrap();
    let bytes: i64 = shop
        .sqlite()
        .query_row("SELECT sum(length(fingerprints)) FROM seen", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert!((16_000..=20_000).contains(&bytes), "{bytes}");
}

#[tokio::test]
async fn headroom_follows_the_rate() {
    let shop = Shop::new();
    assert_eq!(shop.queue.stats().headroom, None);
    shop.push((0..100).map(event)).await;
    shop.clock.advance(Duration::from_secs(10));
    // The writer's own pass takes the rate; wait for it by asking until it came.
    while shop.queue.stats().headroom.is_none() {
        shop.queue.tidy().await.unwrap();
    }
    let headroom = shop.queue.stats().headroom.unwrap();
    assert!(headroom > Duration::from_secs(1000), "{headroom:?}");
}
