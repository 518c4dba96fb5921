//! How events end.

use super::*;

on_every_engine! {
    a_settlement_ends_releases_and_keeps,
    settling_twice_counts_once,
    an_event_that_is_not_on_lease_does_not_end,
    after_a_lost_answer_an_event_is_repeated_for_48_hours_and_no_longer,
    what_comes_back_after_a_lost_answer_is_found_again,
    a_complete_answer_leaves_no_doubt,
    a_request_that_a_crash_cut_off_casts_doubt_one_that_was_not_sent_does_not,
    a_batch_leaves_the_store_with_its_last_event,
}

async fn a_settlement_ends_releases_and_keeps(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push((0..6).map(event)).await;
    let leased = fixture.lease(6).await;
    let delivery = fixture.open_attempt(&leased).await;
    fixture
        .settle(Settlement {
            ends: vec![
                (leased[0].slot, End::Delivered { short: false }),
                (leased[1].slot, End::Delivered { short: true }),
                (leased[2].slot, End::Rejected(refusal())),
            ],
            release: vec![leased[3].slot],
            ..accepted(delivery, &[])
        })
        .await;
    for (reason, count) in [
        (Reason::Accepted, 1),
        (Reason::ShortCount, 1),
        (Reason::Refused, 1),
    ] {
        assert_eq!(fixture.ended(reason), count);
    }
    assert_eq!(fixture.totals().queued, 3);
    assert_eq!(fixture.queue.backlog(&web()).events, 1);
    assert_eq!(text(&fixture.lease(10).await[0]), text(&leased[3]));

    let fixture = fixture.reopened();
    let ready: Vec<String> = fixture.lease(10).await.iter().map(text).collect();
    let left: Vec<String> = leased[3..].iter().map(text).collect();
    assert_eq!(ready, left);
}

async fn settling_twice_counts_once(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push((0..3).map(event)).await;
    let leased = fixture.lease(2).await;
    let delivery = fixture.open_attempt(&leased).await;
    fixture.settle(accepted(delivery, &leased)).await;
    fixture.settle(rejected(delivery, &leased)).await;
    assert_eq!(fixture.ended(Reason::Accepted), 2);
    assert_eq!(fixture.ended(Reason::Refused), 0);
    assert_eq!(fixture.totals().queued, 1);
}

async fn an_event_that_is_not_on_lease_does_not_end(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push((0..2).map(event)).await;
    let leased = fixture.lease(2).await;
    let delivery = fixture.open_attempt(&leased).await;
    fixture.queue.release(&web(), &slots(&leased)[..1]);
    fixture.settle(accepted(delivery, &leased)).await;
    assert_eq!(fixture.ended(Reason::Accepted), 1);
    assert_eq!(fixture.lease(9).await.len(), 1);
}

async fn after_a_lost_answer_an_event_is_repeated_for_48_hours_and_no_longer(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push((0..3).map(event)).await;
    let leased = fixture.lease(2).await;
    let delivery = fixture.open_attempt(&leased).await;
    fixture.settle(lost(delivery, &leased)).await;

    fixture.clock.advance(47 * HOUR);
    let fixture = fixture.reopened();
    let again = fixture.lease(3).await;
    let deadlines: Vec<i64> = again.iter().map(|event| event.deadline - START).collect();
    assert_eq!(deadlines, [48 * 3600, 48 * 3600, 7 * 24 * 3600]);
    // The first doubt counts, not the last.
    let delivery = fixture.open_attempt(&again).await;
    fixture.settle(lost(delivery, &again)).await;

    fixture.clock.advance(HOUR);
    assert_eq!(fixture.lease(3).await.len(), 1);
    fixture.queue.expire().await.unwrap();
    assert_eq!(fixture.ended(Reason::MaybeDelivered), 2);
    assert_law(&fixture.queue);
    let letter = &fixture
        .queue
        .dead(&DeadFilter::default(), 0, 9)
        .await
        .unwrap()[0];
    assert_eq!(letter.first_try, Some(UnixMillis::from_seconds(START)));
    let last = UnixMillis::from_seconds(START).plus(47 * HOUR);
    assert_eq!(letter.last_try, Some(last));
}

async fn what_comes_back_after_a_lost_answer_is_found_again(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push((0..2).map(event)).await;
    let leased = fixture.lease(2).await;
    let delivery = fixture.open_attempt(&leased).await;
    let lost = Settlement {
        answer: Some(AttemptAnswer {
            lost: true,
            ..AttemptAnswer::default()
        }),
        ..accepted(delivery, &[])
    };
    fixture.settle(lost).await;
    // A lease that finds nothing ready comes between.
    assert!(fixture.lease(2).await.is_empty());
    fixture.queue.release(&web(), &slots(&leased));
    assert_eq!(fixture.lease(2).await.len(), 2);
}

async fn a_complete_answer_leaves_no_doubt(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push([event(1)]).await;
    let leased = fixture.lease(1).await;
    let delivery = fixture.open_attempt(&leased).await;
    fixture
        .settle(Settlement {
            release: slots(&leased),
            ..accepted(delivery, &[])
        })
        .await;
    fixture.clock.advance(3 * DAY);
    assert_eq!(fixture.lease(1).await.len(), 1);
}

async fn a_request_that_a_crash_cut_off_casts_doubt_one_that_was_not_sent_does_not(
    engine: TestEngine,
) {
    let fixture = QueueFixture::new(engine);
    fixture.push((0..2).map(event)).await;
    let leased = fixture.lease(2).await;
    fixture.open_attempt(&leased[..1]).await;
    let unsent = fixture.open_attempt(&leased[1..]).await;
    fixture
        .settle(Settlement {
            answer: None,
            ..accepted(unsent, &[])
        })
        .await;
    // A second restart makes no second doubt.
    let fixture = fixture.reopened().reopened();
    fixture.clock.advance(48 * HOUR);
    fixture.queue.expire().await.unwrap();
    assert_eq!(fixture.ended(Reason::MaybeDelivered), 1);
    let left = fixture.lease(2).await;
    assert_eq!(text(&left[0]), text(&leased[1]));
    assert_law(&fixture.queue);
}

async fn a_batch_leaves_the_store_with_its_last_event(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push((0..300).map(event)).await;
    let batches = || async {
        let ids = fixture.read(|reader| reader.batch_ids(None, 10));
        ids.await.len()
    };
    assert_eq!(batches().await, 2);
    let leased = fixture.lease(299).await;
    let delivery = fixture.open_attempt(&leased).await;
    fixture.settle(accepted(delivery, &leased[1..])).await;
    assert_eq!(batches().await, 2);
    fixture.settle(accepted(delivery, &leased)).await;
    assert_eq!(batches().await, 1);
    fixture.deliver_all().await;
    assert_eq!(batches().await, 0);
}
