//! How events end.

use super::*;

#[tokio::test]
async fn a_settlement_ends_releases_and_keeps() {
    let shop = Shop::new();
    shop.push((0..6).map(event)).await;
    let leased = shop.lease(6).await;
    let delivery = shop.open_delivery(&leased).await;
    shop.settle(Settlement {
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
        assert_eq!(shop.ended(reason), count);
    }
    assert_eq!(shop.totals().queued, 3);
    assert_eq!(shop.queue.backlog(&web()).events, 1);
    assert_eq!(text(&shop.lease(10).await[0]), text(&leased[3]));

    let shop = shop.reopened();
    let ready: Vec<String> = shop.lease(10).await.iter().map(text).collect();
    let left: Vec<String> = leased[3..].iter().map(text).collect();
    assert_eq!(ready, left);
}

#[tokio::test]
async fn settling_twice_counts_once() {
    let shop = Shop::new();
    shop.push((0..3).map(event)).await;
    let leased = shop.lease(2).await;
    let delivery = shop.open_delivery(&leased).await;
    shop.settle(accepted(delivery, &leased)).await;
    shop.settle(rejected(delivery, &leased)).await;
    assert_eq!(shop.ended(Reason::Accepted), 2);
    assert_eq!(shop.ended(Reason::Refused), 0);
    assert_eq!(shop.totals().queued, 1);
}

#[tokio::test]
async fn an_event_that_is_not_on_lease_does_not_end() {
    let shop = Shop::new();
    shop.push((0..2).map(event)).await;
    let leased = shop.lease(2).await;
    let delivery = shop.open_delivery(&leased).await;
    shop.queue.release(&web(), &slots(&leased)[..1]);
    shop.settle(accepted(delivery, &leased)).await;
    assert_eq!(shop.ended(Reason::Accepted), 1);
    assert_eq!(shop.lease(9).await.len(), 1);
}

#[tokio::test]
async fn after_a_lost_answer_an_event_is_repeated_for_48_hours_and_no_longer() {
    let shop = Shop::new();
    shop.push((0..3).map(event)).await;
    let leased = shop.lease(2).await;
    let delivery = shop.open_delivery(&leased).await;
    shop.settle(lost(delivery, &leased)).await;

    shop.clock.advance(47 * HOUR);
    let shop = shop.reopened();
    let again = shop.lease(3).await;
    let deadlines: Vec<i64> = again.iter().map(|event| event.deadline - START).collect();
    assert_eq!(deadlines, [48 * 3600, 48 * 3600, 7 * 24 * 3600]);
    // The first doubt counts, not the last.
    let delivery = shop.open_delivery(&again).await;
    shop.settle(lost(delivery, &again)).await;

    shop.clock.advance(HOUR);
    assert_eq!(shop.lease(3).await.len(), 1);
    shop.queue.tidy().await.unwrap();
    assert_eq!(shop.ended(Reason::MaybeDelivered), 2);
    assert_law(&shop.queue);
    let letter = &shop.queue.dead(&DeadFilter::default(), 0, 9).await.unwrap()[0];
    assert_eq!(letter.first_try, Some(UnixMillis::from_seconds(START)));
    let last = UnixMillis::from_seconds(START).plus(47 * HOUR);
    assert_eq!(letter.last_try, Some(last));
}

#[tokio::test]
async fn a_complete_answer_leaves_no_doubt() {
    let shop = Shop::new();
    shop.push([event(1)]).await;
    let leased = shop.lease(1).await;
    let delivery = shop.open_delivery(&leased).await;
    shop.settle(Settlement {
        release: slots(&leased),
        ..accepted(delivery, &[])
    })
    .await;
    shop.clock.advance(3 * DAY);
    assert_eq!(shop.lease(1).await.len(), 1);
}

#[tokio::test]
async fn a_request_that_a_crash_cut_off_casts_doubt_one_that_was_not_sent_does_not() {
    let shop = Shop::new();
    shop.push((0..2).map(event)).await;
    let leased = shop.lease(2).await;
    shop.open_delivery(&leased[..1]).await;
    let unsent = shop.open_delivery(&leased[1..]).await;
    shop.settle(Settlement {
        answer: None,
        ..accepted(unsent, &[])
    })
    .await;
    // A second restart makes no second doubt.
    let shop = shop.reopened().reopened();
    shop.clock.advance(48 * HOUR);
    shop.queue.tidy().await.unwrap();
    assert_eq!(shop.ended(Reason::MaybeDelivered), 1);
    let left = shop.lease(2).await;
    assert_eq!(text(&left[0]), text(&leased[1]));
    assert_law(&shop.queue);
}

#[tokio::test]
async fn a_row_leaves_the_disk_with_its_last_event() {
    let shop = Shop::new();
    shop.push((0..300).map(event)).await;
    let rows = |shop: &Shop| -> (i64, i64) {
        let count = |table: &str| {
            let count = format!("SELECT count(*) FROM {table}");
            shop.sqlite()
                .query_row(&count, [], |row| row.get(0))
                .unwrap()
        };
        (count("row"), count("content"))
    };
    assert_eq!(rows(&shop), (2, 2));
    let leased = shop.lease(299).await;
    let delivery = shop.open_delivery(&leased).await;
    shop.settle(accepted(delivery, &leased[1..])).await;
    assert_eq!(rows(&shop), (2, 2));
    shop.settle(accepted(delivery, &leased)).await;
    assert_eq!(rows(&shop), (1, 1));
    shop.deliver_all().await;
    assert_eq!(rows(&shop), (0, 0));
}
