//! What comes in, and what is recognised as a repeat.

use super::*;
use crate::payload::Submission;

#[tokio::test]
async fn counts_every_event_once() {
    let shop = Shop::new();
    let pushed = shop
        .push([
            event(1),
            ended(Reason::NotSelected),
            event(2),
            event(1),
            ended(Reason::NoEventName),
        ])
        .await;
    let expected = Pushed {
        queued: 2,
        duplicates: 1,
        filtered: 1,
        invalid: 1,
    };
    assert_eq!(pushed, expected);
    let totals = shop.totals();
    assert_eq!((totals.taken, totals.queued, totals.dead), (5, 2, 1));
    assert_eq!(shop.ended(Reason::SeenBefore), 1);
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let shop = Shop::new();
    shop.push((0..600).map(event)).await;
    shop.push([ended(Reason::NotSelected)]).await;
    let before = (shop.totals(), shop.queue.backlog(&web()));
    let shop = shop.reopened();
    assert_eq!((shop.totals(), shop.queue.backlog(&web())), before);
    assert_eq!(before.1.events, 600);
    let delivered = shop.deliver_all().await;
    let pushed: Vec<String> = (0..600)
        .map(|number| match event(number).mapped {
            Ok(payload) => String::from_utf8(payload.json.into()).unwrap(),
            Err(_) => unreachable!(),
        })
        .collect();
    assert_eq!(delivered, pushed);
    assert_eq!(shop.totals().queued, 0);
    assert_eq!(shop.queue.backlog(&web()), Backlog::default());
}

#[tokio::test]
async fn a_repeat_is_a_duplicate_across_restarts_until_the_window_has_passed() {
    let shop = Shop::new();
    shop.push([event(1)]).await;
    shop.clock.advance(47 * HOUR);
    let shop = shop.reopened();
    assert_eq!(shop.push([event(1)]).await.duplicates, 1);
    shop.clock.advance(2 * HOUR);
    assert_eq!(shop.push([event(1)]).await.queued, 1);
}

#[tokio::test]
async fn a_restart_at_the_end_of_the_window_changes_nothing() {
    for restarts in [false, true] {
        let mut shop = Shop::new();
        shop.push([event(1)]).await;
        for (wait, duplicates) in [(48 * HOUR, 1), (Duration::from_secs(1), 0)] {
            shop.clock.advance(wait);
            if restarts {
                shop = shop.reopened();
            }
            assert_eq!(shop.push([event(1)]).await.duplicates, duplicates);
        }
    }
}

#[tokio::test]
async fn the_window_holds_only_so_many_ids_and_says_how_far_it_reaches() {
    let shop = Shop::with(|config| config.duplicate_ids = NonZeroUsize::new(3).unwrap());
    for number in 1..=4 {
        shop.push([event(number)]).await;
        shop.clock.advance(HOUR);
    }
    assert_eq!(shop.push([event(4), event(2)]).await.duplicates, 2);
    let shop = shop.reopened();
    assert_eq!(shop.queue.stats().duplicate_window, 3 * HOUR);
    assert_eq!(shop.push([event(1)]).await.queued, 1);
}

#[tokio::test]
async fn filtered_and_invalid_events_leave_no_fingerprint() {
    let shop = Shop::new();
    for _ in 0..2 {
        let pushed = shop
            .push([ended(Reason::NotSelected), ended(Reason::InFuture)])
            .await;
        assert_eq!((pushed.filtered, pushed.invalid), (1, 1));
    }
}

#[tokio::test]
async fn many_pushes_at_once_share_commits_and_all_are_stored() {
    let shop = Shop::new();
    let mut pushes = tokio::task::JoinSet::new();
    for number in 0..200 {
        let queue = shop.queue.clone();
        pushes.spawn(async move { queue.push(vec![event(number), event(number % 7)]).await });
    }
    let mut sum = Pushed::default();
    while let Some(pushed) = pushes.join_next().await {
        let pushed = pushed.unwrap().unwrap();
        sum.queued += pushed.queued;
        sum.duplicates += pushed.duplicates;
    }
    assert_eq!((sum.queued, sum.duplicates), (200, 200));
    assert_law(&shop.queue);
    assert_eq!(shop.deliver_all().await.len(), 200);
}

#[tokio::test]
async fn an_event_larger_than_a_row_travels_all_the_same() {
    let shop = Shop::new();
    let large = |number| {
        let mut payload = payload(number, "Purchase", START + 1000);
        let mut json = payload.json.to_vec();
        json.resize(700_000, b' ');
        payload.json = json.into();
        Submission {
            sync: web(),
            mapped: Ok(payload),
        }
    };
    shop.push([event(1), large(2), event(3), large(4)]).await;
    let shop = shop.reopened();
    let mut sizes = Vec::new();
    loop {
        let leased = shop.lease(10).await;
        if leased.is_empty() {
            break;
        }
        let bytes: usize = leased.iter().map(|event| event.body.as_ref().len()).sum();
        assert!(bytes <= 1 << 20);
        sizes.extend(leased.iter().map(|event| event.body.as_ref().len()));
    }
    sizes.sort_unstable();
    assert_eq!(sizes.len(), 4);
    assert_eq!(sizes[2..], [700_000, 700_000]);
}
