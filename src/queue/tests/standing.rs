//! What Meta asked to be waited for, across restarts.

use super::*;
use crate::queue::cooldown::{Cooldown, CooldownChange};

fn standstill(whose: &str, kind: &str, since: i64, until: i64) -> Cooldown {
    Cooldown {
        whose: whose.to_owned(),
        kind: kind.to_owned(),
        since: UnixMillis(since),
        until: UnixMillis(until),
    }
}

fn over(whose: &str, by: i64) -> CooldownChange {
    CooldownChange::Over {
        whose: whose.to_owned(),
        by: UnixMillis(by),
    }
}

/// Settles nothing but these notes.
async fn note(shop: &Shop, notes: impl IntoIterator<Item = CooldownChange>) {
    shop.settle(Settlement {
        sync: web(),
        delivery: None,
        answer: None,
        ends: Vec::new(),
        release: Vec::new(),
        standstills: notes.into_iter().collect(),
    })
    .await;
}

#[tokio::test]
async fn a_standstill_outlasts_the_process_until_it_is_over() {
    let shop = Shop::new();
    assert_eq!(shop.queue.standstills(), []);
    let begun = [
        standstill("11", "throttled", 1, 9),
        standstill("11", "throttled", 2, 5),
        standstill("22", "blocked", 3, 8),
        standstill("11", "usage", 4, 6),
        standstill("22", "blocked", 5, 12),
    ];
    note(&shop, begun.map(CooldownChange::Begun)).await;
    // The latest last, and of each kind the one that ends last.
    let expected = [
        standstill("11", "usage", 4, 6),
        standstill("11", "throttled", 1, 9),
        standstill("22", "blocked", 5, 12),
    ];
    let shop = shop.reopened();
    assert_eq!(shop.queue.standstills(), expected);

    note(&shop, [over("11", 6), over("22", 12), over("33", 99)]).await;
    let shop = shop.reopened();
    assert_eq!(shop.queue.standstills(), expected[1..2]);
}

#[tokio::test]
async fn a_settlement_that_fails_notes_nothing() {
    let shop = Shop::new();
    shop.push([event(1)]).await;
    let leased = shop.lease(1).await;
    let delivery = shop.open_delivery(&leased).await;
    shop.sqlite()
        .execute_batch(
            "CREATE TRIGGER no_ends BEFORE DELETE ON row
             BEGIN SELECT raise(ABORT, 'simulated'); END;",
        )
        .unwrap();
    let begun = CooldownChange::Begun(standstill("11", "throttled", 1, 9));
    let settlement = Settlement {
        standstills: vec![begun],
        ..accepted(delivery, &leased)
    };
    assert!(shop.queue.settle(settlement).await.is_err());
    let shop = shop.reopened();
    assert_eq!(shop.queue.standstills(), []);
}
