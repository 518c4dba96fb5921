//! Dead letters.

use super::*;
use crate::payload::{Rejected, Submission};

on_every_engine! {
    a_letter_holds_what_an_operator_needs,
    filters_choose,
    reasons_that_are_no_longer_given_stay_readable,
    a_retry_queues_the_same_bytes_and_the_law_holds,
    what_is_too_late_for_meta_is_not_retried,
    a_backfill_replaces_what_was_refused_and_nothing_else,
    dropping_counts,
    the_retention_and_the_cap_make_the_oldest_leave,
    of_floods_a_sample_is_kept,
    a_backfill_knows_what_the_window_has_forgotten,
    a_backfill_files_no_letter_twice_and_takes_back_those_it_can_map,
    a_page_of_large_letters_is_short_and_the_next_goes_on,
}

async fn letters(fixture: &QueueFixture) -> Vec<DeadLetter> {
    let all = DeadFilter::default();
    fixture.queue.dead(&all, 0, 1000).await.unwrap()
}

async fn reject(fixture: &QueueFixture, most: usize) {
    let leased = fixture.lease(most).await;
    let delivery = fixture.open_attempt(&leased).await;
    fixture.settle(rejected(delivery, &leased)).await;
}

async fn a_letter_holds_what_an_operator_needs(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push([event(1)]).await;
    fixture.clock.advance(HOUR);
    reject(&fixture, 1).await;
    let fixture = fixture.reopened();
    let letter = letters(&fixture).await.remove(0);
    let sent_at = UnixMillis::from_seconds(START).plus(HOUR);
    assert_eq!(letter.sync, web());
    assert_eq!(letter.reason, Reason::Refused);
    assert_eq!(letter.event_name.as_deref(), Some("Purchase"));
    assert_eq!(letter.event_id.as_deref(), Some("id-1"));
    assert_eq!((letter.code, letter.sub_code), (Some(100), Some(2_804_050)));
    assert_eq!(letter.trace_id.as_deref(), Some("trace-2"));
    assert_eq!(letter.message.as_deref(), Some("missing"));
    assert_eq!(letter.taken_at, UnixMillis::from_seconds(START));
    assert_eq!(letter.first_try, Some(sent_at));
    assert_eq!(letter.last_try, Some(sent_at));
    assert_eq!(letter.filed_at, sent_at);
    let json = String::from_utf8(letter.json.unwrap()).unwrap();
    assert_eq!(json, r#"{"event_name":"Purchase","event_id":"id-1"}"#);
}

async fn filters_choose(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture
        .push([event(1), event(2), ended(Reason::NoEventName)])
        .await;
    fixture.clock.advance(HOUR);
    reject(&fixture, 2).await;
    let early = Some(UnixMillis::from_seconds(START + 1));
    let other = |reason| DeadFilter {
        reason: Some(reason),
        ..DeadFilter::default()
    };
    let by = DeadFilter::default;
    for (filter, expected) in [
        (by(), 3),
        (other(Reason::Refused), 2),
        (other(Reason::TooLarge), 0),
        (
            DeadFilter {
                sync: Some(web()),
                ..by()
            },
            3,
        ),
        (
            DeadFilter {
                sync: Some(self::shop()),
                ..by()
            },
            0,
        ),
        (
            DeadFilter {
                event_name: Some("Sign Up".to_owned()),
                ..by()
            },
            1,
        ),
        (
            DeadFilter {
                filed_from: early,
                ..by()
            },
            2,
        ),
        (
            DeadFilter {
                filed_before: early,
                ..by()
            },
            1,
        ),
        (
            DeadFilter {
                id: Some(3),
                ..by()
            },
            1,
        ),
    ] {
        let found = fixture.queue.dead(&filter, 0, 10).await.unwrap();
        assert_eq!(found.len(), expected, "{filter:?}");
    }
    let all = letters(&fixture).await;
    let rest = fixture.queue.dead(&by(), all[0].id, 1).await.unwrap();
    assert_eq!(rest[0].id, all[1].id);
}

/// No event ends so any more, but stores hold what did.
async fn reasons_that_are_no_longer_given_stay_readable(engine: TestEngine) {
    const FORMER: [&str; 6] = [
        "not_utf8",
        "lone_surrogate",
        "number_out_of_range",
        "too_deep",
        "duplicate_key",
        "id_not_a_string",
    ];
    let reasons = FORMER.map(|name| Reason::parse(name).unwrap());
    let fixture = QueueFixture::new(engine);
    fixture.push(reasons.map(ended)).await;
    let fixture = fixture.reopened();
    let found: Vec<_> = letters(&fixture)
        .await
        .iter()
        .map(|letter| letter.reason)
        .collect();
    assert_eq!(found, reasons);
    for reason in reasons {
        assert_eq!(fixture.ended(reason), 1, "{reason}");
        let filter = DeadFilter {
            reason: Some(reason),
            ..DeadFilter::default()
        };
        assert_eq!(fixture.queue.dead(&filter, 0, 10).await.unwrap().len(), 1);
    }
}

async fn a_retry_queues_the_same_bytes_and_the_law_holds(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push((0..3).map(event)).await;
    let bodies: Vec<String> = (0..3)
        .map(|number| String::from_utf8(payload(number, "Purchase", 0).json.into()).unwrap())
        .collect();
    fixture.push([ended(Reason::NoEventName)]).await;
    reject(&fixture, 3).await;
    let retried = fixture
        .queue
        .retry_dead(&DeadFilter::default())
        .await
        .unwrap();
    assert_eq!((retried.queued, retried.kept), (3, 1));
    assert_law(&fixture.queue);
    let totals = fixture.totals();
    assert_eq!((totals.dead, totals.dead_retried, totals.queued), (1, 3, 3));
    assert_eq!(totals.dead_removed[&Removal::Retried], 3);
    let fixture = fixture.reopened();
    assert_eq!(fixture.deliver_all().await, bodies);
    assert_eq!(fixture.push((0..3).map(event)).await.duplicates, 3);
}

async fn what_is_too_late_for_meta_is_not_retried(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push([event_until(1, START + 10)]).await;
    fixture.clock.advance(HOUR);
    fixture.queue.expire().await.unwrap();
    let retried = fixture
        .queue
        .retry_dead(&DeadFilter::default())
        .await
        .unwrap();
    assert_eq!((retried.queued, retried.kept), (0, 1));
    assert_eq!(fixture.totals().dead, 1);
}

async fn a_backfill_replaces_what_was_refused_and_nothing_else(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push([event(1), event(2), event(3)]).await;
    reject(&fixture, 1).await;
    let leased = fixture.lease(1).await;
    let delivery = fixture.open_attempt(&leased).await;
    fixture.settle(accepted(delivery, &leased)).await;
    let again = (1..=3).map(event).collect();
    let pushed = fixture
        .queue
        .push_again(again, HashSet::new())
        .await
        .unwrap();
    assert_eq!((pushed.queued, pushed.duplicates), (1, 2));
    assert_law(&fixture.queue);
    let totals = fixture.totals();
    assert_eq!(totals.dead, 0);
    assert_eq!(totals.dead_removed[&Removal::Replaced], 1);
    assert_eq!(totals.queued, 2);
}

async fn dropping_counts(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push((0..2).map(event)).await;
    reject(&fixture, 2).await;
    let one = DeadFilter {
        id: Some(1),
        ..DeadFilter::default()
    };
    assert_eq!(fixture.queue.drop_dead(&one).await.unwrap(), 1);
    assert_eq!(fixture.queue.drop_dead(&one).await.unwrap(), 0);
    assert_eq!(fixture.totals().dead, 1);
    assert_eq!(fixture.totals().dead_removed[&Removal::Dropped], 1);
}

async fn the_retention_and_the_cap_make_the_oldest_leave(engine: TestEngine) {
    let fixture = QueueFixture::with(engine, |config| config.dead_letter_max_bytes = 1000);
    for number in 0..9 {
        fixture.push([event(number)]).await;
        reject(&fixture, 1).await;
    }
    let kept: Vec<i64> = letters(&fixture)
        .await
        .iter()
        .map(|letter| letter.id)
        .collect();
    assert_eq!(kept, [5, 6, 7, 8, 9]);
    assert_eq!(fixture.totals().dead_removed[&Removal::Crowded], 4);

    fixture.clock.advance(30 * DAY);
    fixture.queue.expire().await.unwrap();
    assert_eq!(fixture.totals().dead, 5);
    fixture.clock.advance(Duration::from_secs(1));
    fixture.queue.expire().await.unwrap();
    assert_eq!(fixture.totals().dead, 0);
    assert_eq!(fixture.totals().dead_removed[&Removal::Aged], 5);
}

async fn of_floods_a_sample_is_kept(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    for reason in [
        Reason::TooOld,
        Reason::TooOldForPixel,
        Reason::NoIdentifier,
        Reason::InFuture,
    ] {
        fixture.push((0..150).map(|_| ended(reason))).await;
        assert_eq!(fixture.ended(reason), 150);
    }
    assert_eq!(fixture.totals().dead, 100 + 100 + 100 + 150);
}

async fn a_backfill_knows_what_the_window_has_forgotten(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    let id = |number| payload(number, "Purchase", 0).fingerprint;
    fixture.push([event(1)]).await;
    fixture.deliver_all().await;
    fixture.clock.advance(3 * DAY);
    let wanted = vec![id(1), id(2), id(1)];
    let known = fixture.queue.known_fingerprints(wanted).await.unwrap();
    assert_eq!(known, HashSet::from([id(1)]));
    let again = vec![event(1), event(2)];
    let pushed = fixture.queue.push_again(again, known).await.unwrap();
    assert_eq!((pushed.queued, pushed.duplicates), (1, 1));
    assert_law(&fixture.queue);
}

async fn a_backfill_files_no_letter_twice_and_takes_back_those_it_can_map(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    let invalid = |number: u64| Submission {
        sync: web(),
        mapped: Err(Rejected {
            reason: Reason::PurchaseWithoutValue,
            event_name: Some("Purchase".into()),
            event_id: Some(format!("id-{number}").into()),
            ..Rejected::unmapped(Reason::PurchaseWithoutValue)
        }),
    };
    fixture.push([invalid(1), invalid(2)]).await;
    let again = vec![event(1), invalid(2), invalid(3)];
    let pushed = fixture.queue.push_again(again, HashSet::new()).await;
    assert_eq!(pushed.unwrap().queued, 1);
    assert_law(&fixture.queue);
    let ids: Vec<_> = letters(&fixture).await;
    let ids: Vec<_> = ids
        .into_iter()
        .filter_map(|letter| letter.event_id)
        .collect();
    assert_eq!(ids, ["id-2", "id-3"]);
    assert_eq!(fixture.totals().dead_removed[&Removal::Replaced], 2);
}

async fn a_page_of_large_letters_is_short_and_the_next_goes_on(engine: TestEngine) {
    let fixture = QueueFixture::with(engine, |config| config.dead_letter_max_bytes = 1 << 24);
    let large = |number| {
        let mut payload = payload(number, "Purchase", START + 3600);
        let mut json = payload.json.to_vec();
        json.splice(1..1, format!("\"x\":\"{}\",", "x".repeat(600_000)).bytes());
        payload.json = json.into();
        let mapped = Ok(payload);
        Submission {
            sync: web(),
            mapped,
        }
    };
    fixture.push((0..5).map(large)).await;
    fixture.clock.advance(2 * HOUR);
    fixture.queue.expire().await.unwrap();
    let filter = DeadFilter::default();
    let mut pages = Vec::new();
    let mut after = 0;
    loop {
        let page = fixture.queue.dead(&filter, after, 100).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.id;
        pages.push(page.len());
    }
    assert_eq!(pages, [2, 2, 1]);
}
