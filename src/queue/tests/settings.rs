//! Settings that change while the queue is open.

use super::bounds::large;
use super::*;

on_every_engine! {
    a_sync_that_is_full_takes_events_again_where_there_may_be_more,
    what_is_kept_of_dead_letters_can_shrink,
    a_repeat_is_told_by_the_window_that_holds,
}

async fn a_sync_that_is_full_takes_events_again_where_there_may_be_more(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.configure(|settings| settings.config.max_bytes = NonZeroU64::new(2 << 20).unwrap());
    let mut number = 0;
    let full = loop {
        number += 1;
        assert!(number < 100, "the sync never fills up");
        if let Err(error) = fixture.queue.push(vec![large(number, &web())]).await {
            break error;
        }
    };
    assert!(matches!(full, PushError::Full { .. }), "{full:?}");
    fixture.configure(|_| {});
    let again = fixture
        .queue
        .push(vec![large(number, &web())])
        .await
        .unwrap();
    assert_eq!(again.queued, 1);
    assert_law(&fixture.queue);
}

async fn what_is_kept_of_dead_letters_can_shrink(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture
        .push((0..5).map(|_| ended(Reason::NoIdentifier)))
        .await;
    fixture.clock.advance(2 * HOUR);
    fixture.queue.expire().await.unwrap();
    assert_eq!(fixture.totals().dead, 5);
    fixture.configure(|settings| settings.config.dead_letter_retention = HOUR);
    fixture.queue.expire().await.unwrap();
    assert_eq!(fixture.totals().dead, 0);
    assert_law(&fixture.queue);
}

async fn a_repeat_is_told_by_the_window_that_holds(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push([event(1), event(2)]).await;
    fixture.configure(|settings| settings.config.duplicate_ids = NonZeroUsize::MIN);
    assert_eq!(fixture.push([event(2)]).await.duplicates, 1);
    assert_eq!(fixture.push([event(1)]).await.queued, 1);
    fixture.configure(|_| {});
    assert_eq!(fixture.push([event(1), event(2)]).await.duplicates, 2);
    assert_law(&fixture.queue);
}
