//! Dead letters of events that were refused for their time alone: our clock may have been wrong.

use super::*;
use crate::payload::Mistimed;

on_every_engine! {
    an_event_of_the_future_is_queued_when_its_time_has_come,
    an_event_that_was_too_old_by_a_fast_clock_is_queued_when_the_clock_is_right,
    what_was_taken_meanwhile_is_not_queued_again,
    what_was_filed_while_the_clock_was_far_behind_is_kept_when_it_is_set,
    two_dead_letters_of_one_event_are_one_event,
    they_have_a_quarter_of_the_room_and_nothing_crowds_them_out,
    a_backfill_leaves_samples_of_what_is_too_old,
    a_backfill_replaces_them_by_their_fingerprints,
    what_is_counted_alone_leaves_no_dead_letter,
}

const WINDOW: i64 = 7 * 24 * 3600;

/// An event of this time, as mapping makes it.
fn mapped(number: u64, time: i64) -> Payload {
    let mut payload = payload(number, "Lead", time + WINDOW);
    let json = format!(r#"{{"event_name":"Lead","event_time":{time},"event_id":"id-{number}"}}"#);
    payload.json = json.into();
    payload
}

fn taken(number: u64, time: i64) -> Submission {
    Submission {
        sync: web(),
        mapped: Ok(mapped(number, time)),
    }
}

/// The same event, refused for its time.
fn refused(number: u64, time: i64, reason: Reason) -> Submission {
    let payload = mapped(number, time);
    Submission {
        sync: web(),
        mapped: Err(Rejected {
            event_name: Some("Lead".into()),
            event_id: Some(format!("id-{number}").into()),
            json: Some(payload.json.to_vec()),
            mistimed: Some(Box::new(Mistimed {
                fingerprint: payload.fingerprint,
                deadline: payload.deadline,
            })),
            ..Rejected::unmapped(reason)
        }),
    }
}

async fn retry(fixture: &QueueFixture) -> (u64, u64, u64) {
    let all = DeadFilter::default();
    let retried = fixture.queue.retry_dead(&all).await.unwrap();
    assert_law(&fixture.queue);
    (retried.queued, retried.kept, retried.replaced)
}

async fn an_event_of_the_future_is_queued_when_its_time_has_come(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    let soon = START + 7200;
    fixture.push([refused(1, soon, Reason::InFuture)]).await;
    fixture.push([refused(2, soon, Reason::TimeZoneTrap)]).await;
    assert_eq!(fixture.ended(Reason::InFuture), 1);
    assert_eq!(retry(&fixture).await, (0, 2, 0));
    fixture.clock.advance(Duration::from_secs(7200 - 61));
    let fixture = fixture.reopened();
    assert_eq!(retry(&fixture).await, (0, 2, 0));
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(retry(&fixture).await, (2, 0, 0));
    assert_eq!(fixture.totals().dead, 0);
    let now = soon - 60;
    let bodies = [1, 2].map(|number| String::from_utf8(mapped(number, now).json.to_vec()).unwrap());
    assert_eq!(
        fixture.deliver_all().await,
        bodies,
        "as little ahead as is mapped, it is now"
    );
    assert_eq!(fixture.push([taken(1, soon)]).await.duplicates, 1);
}

async fn an_event_that_was_too_old_by_a_fast_clock_is_queued_when_the_clock_is_right(
    engine: TestEngine,
) {
    let mut fixture = QueueFixture::new(engine);
    fixture.clock.advance(9 * DAY);
    for (number, reason) in [(1, Reason::TooOld), (2, Reason::TooOldForPixel)] {
        fixture.push([refused(number, START, reason)]).await;
    }
    assert_eq!(retry(&fixture).await, (0, 2, 0));
    fixture.clock = Arc::new(TestClock::at(UnixMillis::from_seconds(START)));
    let fixture = fixture.reopened();
    assert_eq!(retry(&fixture).await, (2, 0, 0));
    assert_eq!(fixture.deliver_all().await.len(), 2);
}

async fn what_was_taken_meanwhile_is_not_queued_again(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    let soon = START + 7200;
    fixture.push([refused(1, soon, Reason::InFuture)]).await;
    fixture.push([refused(2, soon, Reason::InFuture)]).await;
    fixture.clock.advance(2 * HOUR);
    fixture.push([taken(1, soon)]).await;
    assert_eq!(fixture.deliver_all().await.len(), 1);
    // Longer than the duplicate window, within Meta's.
    fixture.clock.advance(3 * DAY);
    let fixture = fixture.reopened();
    assert_eq!(retry(&fixture).await, (1, 0, 1));
    assert_eq!(fixture.deliver_all().await.len(), 1);
    let totals = fixture.totals();
    assert_eq!(totals.dead, 0);
    assert_eq!(totals.dead_removed[&Removal::Replaced], 1);
}

async fn what_was_filed_while_the_clock_was_far_behind_is_kept_when_it_is_set(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    let now = fixture.clock.now();
    for behind in [31 * DAY, 366 * DAY] {
        fixture.clock.set(now.before(behind));
        fixture.push([refused(1, START, Reason::InFuture)]).await;
        fixture.clock.set(now);
        fixture.queue.expire().await.unwrap();
        assert_eq!(retry(&fixture).await, (1, 0, 0));
        assert_eq!(fixture.deliver_all().await.len(), 1);
        fixture.clock.advance(9 * DAY);
        fixture.queue.expire().await.unwrap();
    }
    fixture.push([refused(2, START, Reason::InFuture)]).await;
    fixture.clock.advance(31 * DAY);
    fixture.queue.expire().await.unwrap();
    assert_eq!(fixture.totals().dead, 0);
}

async fn two_dead_letters_of_one_event_are_one_event(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    for _ in 0..2 {
        fixture
            .push([refused(1, START + 100, Reason::InFuture)])
            .await;
    }
    fixture.clock.advance(HOUR);
    assert_eq!(retry(&fixture).await, (1, 0, 1));
}

async fn they_have_a_quarter_of_the_room_and_nothing_crowds_them_out(engine: TestEngine) {
    let fixture = QueueFixture::with(engine, |config| config.dead_letter_max_bytes = 4000);
    for number in 0..20 {
        fixture
            .push([refused(number, START + 7200, Reason::InFuture)])
            .await;
    }
    assert_eq!(fixture.ended(Reason::InFuture), 20);
    let kept = fixture.totals().dead;
    assert!((3..10).contains(&kept), "{kept}");
    let fixture = fixture.reopened();
    for number in 100..150 {
        fixture.push([event(number)]).await;
        let leased = fixture.lease(1).await;
        let delivery = fixture.open_attempt(&leased).await;
        fixture.settle(rejected(delivery, &leased)).await;
    }
    let totals = fixture.totals();
    assert!(totals.dead_removed[&Removal::Crowded] > 0);
    let of_future = DeadFilter {
        reason: Some(Reason::InFuture),
        ..DeadFilter::default()
    };
    let found = fixture.queue.dead(&of_future, 0, 100).await.unwrap();
    assert_eq!(found.len() as u64, kept);
    fixture
        .push([refused(20, START + 7200, Reason::InFuture)])
        .await;
    let found = fixture.queue.dead(&of_future, 0, 100).await.unwrap();
    assert_eq!(found.len() as u64, kept, "the quarter is full");
    // One that leaves makes room for another, and less room takes it away.
    let dropped = DeadFilter {
        id: Some(found[0].id),
        ..DeadFilter::default()
    };
    assert_eq!(fixture.queue.drop_dead(&dropped).await.unwrap(), 1);
    fixture
        .push([refused(21, START + 7200, Reason::InFuture)])
        .await;
    let found = fixture.queue.dead(&of_future, 0, 100).await.unwrap();
    assert_eq!(found.len() as u64, kept);
    fixture.configure(|settings| settings.config.dead_letter_max_bytes = 0);
    fixture.push([event(200)]).await;
    let leased = fixture.lease(1).await;
    let delivery = fixture.open_attempt(&leased).await;
    fixture.settle(rejected(delivery, &leased)).await;
    assert_eq!(fixture.totals().dead, 0);
}

async fn a_backfill_leaves_samples_of_what_is_too_old(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture
        .push([refused(1000, START - 2 * WINDOW, Reason::TooOld)])
        .await;
    let old = |number| refused(number, START - 2 * WINDOW, Reason::TooOld);
    let early = |number| refused(number, START + 7200, Reason::InFuture);
    let events = (0..150).map(old).chain((150..300).map(early)).collect();
    let pushed = fixture.queue.push_again(events, HashSet::new()).await;
    assert_eq!(pushed.unwrap().invalid, 300);
    assert_law(&fixture.queue);
    assert_eq!(fixture.totals().dead, 1 + 100 + 150);
    let fixture = fixture.reopened();
    let pushed = fixture
        .queue
        .push_again(vec![old(300)], HashSet::new())
        .await;
    assert_eq!(pushed.unwrap().invalid, 1);
    assert_eq!(fixture.totals().dead, 1 + 100 + 150);
}

async fn a_backfill_replaces_them_by_their_fingerprints(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture
        .push([refused(1, START + 7200, Reason::InFuture)])
        .await;
    fixture.clock.advance(2 * HOUR);
    // The same id and name, but of another device.
    let mut other = mapped(1, START + 7200);
    other.fingerprint.whole ^= 1;
    let other = Submission {
        sync: web(),
        mapped: Ok(other),
    };
    for (again, left) in [(other, 1), (taken(1, START + 7200), 0)] {
        let pushed = fixture.queue.push_again(vec![again], HashSet::new()).await;
        assert_eq!(pushed.unwrap().queued, 1);
        assert_eq!(fixture.totals().dead, left);
        assert_law(&fixture.queue);
    }
}

async fn what_is_counted_alone_leaves_no_dead_letter(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    let alone = Submission {
        sync: web(),
        mapped: Err(Rejected::counted_alone(Reason::NoEventName)),
    };
    assert_eq!(fixture.push([alone]).await.invalid, 1);
    assert_eq!(fixture.ended(Reason::NoEventName), 1);
    assert_eq!(fixture.totals().dead, 0);
}
