//! What Meta asked to be waited for, across restarts.

use super::*;
use crate::queue::cooldown::{Cooldown, CooldownChange};

on_every_engine! {
    a_standstill_outlasts_the_process_until_it_is_over,
    a_settlement_that_fails_notes_nothing,
}

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
async fn note(fixture: &QueueFixture, notes: impl IntoIterator<Item = CooldownChange>) {
    fixture
        .settle(Settlement {
            sync: web(),
            delivery: None,
            answer: None,
            ends: Vec::new(),
            release: Vec::new(),
            cooldowns: notes.into_iter().collect(),
        })
        .await;
}

async fn a_standstill_outlasts_the_process_until_it_is_over(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    assert_eq!(fixture.queue.cooldowns(), []);
    let begun = [
        standstill("11", "throttled", 1, 9),
        standstill("11", "throttled", 2, 5),
        standstill("22", "blocked", 3, 8),
        standstill("11", "usage", 4, 6),
        standstill("22", "blocked", 5, 12),
    ];
    note(&fixture, begun.map(CooldownChange::Begun)).await;
    // The latest last, and of each kind the one that ends last.
    let expected = [
        standstill("11", "usage", 4, 6),
        standstill("11", "throttled", 1, 9),
        standstill("22", "blocked", 5, 12),
    ];
    let fixture = fixture.reopened();
    assert_eq!(fixture.queue.cooldowns(), expected);

    note(&fixture, [over("11", 6), over("22", 12), over("33", 99)]).await;
    let fixture = fixture.reopened();
    assert_eq!(fixture.queue.cooldowns(), expected[1..2]);
}

async fn a_settlement_that_fails_notes_nothing(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push([event(1)]).await;
    let leased = fixture.lease(1).await;
    let delivery = fixture.open_attempt(&leased).await;
    fixture.set_failing(true);
    let begun = CooldownChange::Begun(standstill("11", "throttled", 1, 9));
    let settlement = Settlement {
        cooldowns: vec![begun],
        ..accepted(delivery, &leased)
    };
    assert!(fixture.queue.settle(settlement).await.is_err());
    fixture.set_failing(false);
    let fixture = fixture.reopened();
    assert_eq!(fixture.queue.cooldowns(), []);
}
