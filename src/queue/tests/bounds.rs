//! Limits on what the store takes.

use super::*;
use crate::payload::Submission;
use crate::queue::quota::CapacityProblem;

on_every_engine! {
    a_full_sync_is_refused_while_the_other_stores_and_the_repeat_is_its_duplicate,
    too_little_free_disk_is_refused_before_anything_is_stored,
    fingerprints_take_no_more_than_a_tenth,
    headroom_follows_the_rate,
}

pub(in crate::queue) fn large(number: u64, sync: &SyncName) -> Submission {
    let mut payload = payload(number, "Purchase", START + 7 * 24 * 3600);
    let mut json = payload.json.to_vec();
    json.extend(noise(number, 50_000).bytes());
    payload.json = json.into();
    Submission {
        sync: sync.clone(),
        mapped: Ok(payload),
    }
}

async fn a_full_sync_is_refused_while_the_other_stores_and_the_repeat_is_its_duplicate(
    engine: TestEngine,
) {
    let queue = QueueFixture::with(engine, |config| {
        config.max_bytes = NonZeroU64::new(2 << 20).unwrap();
    });
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

async fn too_little_free_disk_is_refused_before_anything_is_stored(engine: TestEngine) {
    let fixture = QueueFixture::with(engine, |config| config.min_free_disk = Some(u64::MAX));
    let refused = fixture.queue.push(vec![event(1)]).await;
    assert!(matches!(refused, Err(PushError::DiskLow)));
    assert_eq!(
        fixture.queue.health().trouble,
        Some(CapacityProblem::DiskLow)
    );
    assert_eq!(fixture.totals().taken, 0);
}

async fn fingerprints_take_no_more_than_a_tenth(engine: TestEngine) {
    let fixture = QueueFixture::with(engine, |config| {
        config.max_bytes = NonZeroU64::new(200_000).unwrap();
    });
    for round in 0..10 {
        fixture
            .push((0..250).map(|n| event(round * 1000 + n)))
            .await;
        fixture.deliver_all().await;
    }
    fixture.queue.expire().await.unwrap();
    let counts = fixture.read(|reader| reader.newest_fingerprint_counts(None, 1000));
    let bytes: u64 = counts.await.iter().map(|count| count.bytes).sum();
    assert!((16_000..=20_000).contains(&bytes), "{bytes}");
}

async fn headroom_follows_the_rate(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    assert_eq!(fixture.queue.stats().headroom, None);
    fixture.push((0..100).map(event)).await;
    fixture.clock.advance(Duration::from_secs(10));
    // The writer's own pass takes the rate; wait for it by asking until it came.
    while fixture.queue.stats().headroom.is_none() {
        fixture.queue.expire().await.unwrap();
    }
    let headroom = fixture.queue.stats().headroom.unwrap();
    assert!(headroom > Duration::from_secs(1000), "{headroom:?}");
}
