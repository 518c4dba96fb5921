//! What comes in, and what is recognised as a repeat.

use super::*;
use crate::payload::Submission;

on_every_engine! {
    counts_every_event_once,
    everything_is_there_after_a_restart,
    a_repeat_is_a_duplicate_across_restarts_until_the_window_has_passed,
    a_restart_at_the_end_of_the_window_changes_nothing,
    the_window_holds_only_so_many_ids_and_says_how_far_it_reaches,
    filtered_and_invalid_events_leave_no_fingerprint,
    many_pushes_at_once_share_commits_and_all_are_stored,
    an_event_larger_than_a_row_travels_all_the_same,
}

async fn counts_every_event_once(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    let pushed = fixture
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
    let totals = fixture.totals();
    assert_eq!((totals.taken, totals.queued, totals.dead), (5, 2, 1));
    assert_eq!(fixture.ended(Reason::SeenBefore), 1);
}

async fn everything_is_there_after_a_restart(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push((0..600).map(event)).await;
    fixture.push([ended(Reason::NotSelected)]).await;
    let before = (fixture.totals(), fixture.queue.backlog(&web()));
    let fixture = fixture.reopened();
    assert_eq!((fixture.totals(), fixture.queue.backlog(&web())), before);
    assert_eq!(before.1.events, 600);
    let delivered = fixture.deliver_all().await;
    let pushed: Vec<String> = (0..600)
        .map(|number| match event(number).mapped {
            Ok(payload) => String::from_utf8(payload.json.into()).unwrap(),
            Err(_) => unreachable!(),
        })
        .collect();
    assert_eq!(delivered, pushed);
    assert_eq!(fixture.totals().queued, 0);
    assert_eq!(fixture.queue.backlog(&web()), Backlog::default());
}

async fn a_repeat_is_a_duplicate_across_restarts_until_the_window_has_passed(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.push([event(1)]).await;
    fixture.clock.advance(47 * HOUR);
    let fixture = fixture.reopened();
    assert_eq!(fixture.push([event(1)]).await.duplicates, 1);
    fixture.clock.advance(2 * HOUR);
    assert_eq!(fixture.push([event(1)]).await.queued, 1);
}

async fn a_restart_at_the_end_of_the_window_changes_nothing(engine: TestEngine) {
    for restarts in [false, true] {
        let mut fixture = QueueFixture::new(engine);
        fixture.push([event(1)]).await;
        for (wait, duplicates) in [(48 * HOUR, 1), (Duration::from_secs(1), 0)] {
            fixture.clock.advance(wait);
            if restarts {
                fixture = fixture.reopened();
            }
            assert_eq!(fixture.push([event(1)]).await.duplicates, duplicates);
        }
    }
}

#[tokio::test]
async fn no_wrong_clock_makes_a_start_forget_an_id() {
    for days in [[8, 30], [30, 8], [-8, 0], [0, 8], [-30, -8], [8, 0]] {
        let config = QueueFixture::new(TestEngine::Memory).config;
        let (memory, right) = (MemoryEngine::default(), UnixMillis::from_seconds(START));
        let push_at = async |days: i64, events: &[u64]| {
            let now = UnixMillis(right.0 + days * 24 * 3_600_000);
            let clock = Arc::new(CorrectedClock::new(Arc::new(TestClock::at(now))));
            let opened = Queue::open_in_memory(&memory, &config, &[web()], clock);
            let queue = Queue::on_thread(opened.unwrap()).unwrap();
            let events = events.iter().copied().map(event).collect();
            let pushed = queue.push(events).await.unwrap();
            (pushed.queued, pushed.duplicates)
        };
        assert_eq!(push_at(0, &[1]).await, (1, 0));
        assert_eq!(push_at(days[0], &[1, 2]).await, (1, 1), "{days:?}");
        assert_eq!(push_at(days[1], &[1, 2, 3]).await, (1, 2), "{days:?}");
        assert_eq!(push_at(0, &[1, 2, 3]).await, (0, 3), "{days:?}");
    }
}

async fn the_window_holds_only_so_many_ids_and_says_how_far_it_reaches(engine: TestEngine) {
    let fixture = QueueFixture::with(engine, |config| {
        config.duplicate_ids = NonZeroUsize::new(3).unwrap();
    });
    for number in 1..=4 {
        fixture.push([event(number)]).await;
        fixture.clock.advance(HOUR);
    }
    assert_eq!(fixture.push([event(4), event(2)]).await.duplicates, 2);
    let fixture = fixture.reopened();
    assert_eq!(fixture.queue.stats().duplicate_window, 3 * HOUR);
    assert_eq!(fixture.push([event(1)]).await.queued, 1);
}

async fn filtered_and_invalid_events_leave_no_fingerprint(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    for _ in 0..2 {
        let pushed = fixture
            .push([ended(Reason::NotSelected), ended(Reason::InFuture)])
            .await;
        assert_eq!((pushed.filtered, pushed.invalid), (1, 1));
    }
}

async fn many_pushes_at_once_share_commits_and_all_are_stored(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    let mut pushes = tokio::task::JoinSet::new();
    for number in 0..200 {
        let queue = fixture.queue.clone();
        pushes.spawn(async move { queue.push(vec![event(number), event(number % 7)]).await });
    }
    let mut sum = Pushed::default();
    while let Some(pushed) = pushes.join_next().await {
        let pushed = pushed.unwrap().unwrap();
        sum.queued += pushed.queued;
        sum.duplicates += pushed.duplicates;
    }
    assert_eq!((sum.queued, sum.duplicates), (200, 200));
    assert_law(&fixture.queue);
    assert_eq!(fixture.deliver_all().await.len(), 200);
}

async fn an_event_larger_than_a_row_travels_all_the_same(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
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
    fixture.push([event(1), large(2), event(3), large(4)]).await;
    let fixture = fixture.reopened();
    let mut sizes = Vec::new();
    loop {
        let leased = fixture.lease(10).await;
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
