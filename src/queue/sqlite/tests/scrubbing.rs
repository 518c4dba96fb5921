//! What is erased cannot be read from the files.

use std::fs;

use super::*;
use crate::queue::engine::ScrubStep;

/// Whether any file of the store holds this text.
fn is_on_disk(fixture: &QueueFixture, text: &str) -> bool {
    fs::read_dir(fixture.folder.path()).unwrap().any(|file| {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        bytes.windows(text.len()).any(|at| at == text.as_bytes())
    })
}

#[tokio::test]
async fn a_person_leaves_the_queue_the_letters_and_the_bytes_on_disk() {
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    // Delivered, together with others: the row stays.
    fixture
        .push((0..40).map(|n| event_of(n, if n % 4 == 0 { 'a' } else { 'b' })))
        .await;
    let leased = fixture.lease(10).await;
    let delivery = fixture.open_attempt(&leased).await;
    fixture.settle(accepted(delivery, &leased)).await;
    // Delivered alone: the row is gone, its page is free.
    fixture.push((100..120).map(|n| event_of(n, 'a'))).await;
    // Refused.
    let leased = fixture.lease(6).await;
    let delivery = fixture.open_attempt(&leased).await;
    fixture.settle(rejected(delivery, &leased)).await;
    assert!(is_on_disk(&fixture, &hash('a')));

    let queued_before = fixture.totals().queued;
    let forgotten = fixture.queue.forget(person('a')).await.unwrap();
    assert_eq!(forgotten.in_flight, 0);
    assert!(forgotten.queued > 20 && forgotten.dead > 0, "{forgotten:?}");
    assert_eq!(fixture.ended(Reason::Forgotten), forgotten.queued);
    assert_eq!(fixture.totals().queued, queued_before - forgotten.queued);
    assert_eq!(
        fixture.totals().dead_removed[&Removal::Forgotten],
        forgotten.dead
    );
    assert_law(&fixture.queue);
    assert!(!is_on_disk(&fixture, &hash('a')));
    assert!(is_on_disk(&fixture, &hash('b')));

    let fixture = fixture.reopened();
    let left = fixture.deliver_all().await;
    assert_eq!(left.len() as u64, queued_before - forgotten.queued);
    assert!(left.iter().all(|body| body.contains(&hash('b'))));
    // It is still known, so that a repeat does not bring it back.
    assert_eq!(fixture.push([event_of(0, 'a')]).await.duplicates, 1);
}

#[tokio::test]
async fn large_rows_that_were_delivered_leave_no_trace_either() {
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    for round in 0..4 {
        fixture
            .push((0..500).map(|n| event_of(round * 1000 + n, 'a')))
            .await;
        fixture
            .push((500..700).map(|n| event_of(round * 1000 + n, 'b')))
            .await;
        fixture.deliver_all().await;
    }
    assert!(is_on_disk(&fixture, &hash('a')));
    let forgotten = fixture.queue.forget(person('a')).await.unwrap();
    assert_eq!(forgotten, Forgotten::default());
    assert!(!is_on_disk(&fixture, &hash('a')));
}

/// Leaves a store behind whose file is nearly all free pages, full of what was delivered.
async fn drained() -> QueueFixture {
    let fixture = QueueFixture::new(TestEngine::Sqlite);
    for round in 0..30 {
        let events = (0..200).map(|number| {
            let mut event = event_of(round * 1000 + number, 'a');
            if let Ok(payload) = &mut event.mapped {
                let padding = noise(round * 1000 + number, 900);
                payload.json = [&payload.json[..], padding.as_bytes()].concat().into();
            }
            event
        });
        fixture.push(events).await;
    }
    fixture.deliver_all().await;
    fixture
}

fn pages(fixture: &QueueFixture, pragma: &str) -> i64 {
    connection(fixture)
        .query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
        .unwrap()
}

#[tokio::test]
async fn events_are_taken_while_a_large_store_is_scrubbed() {
    let fixture = drained().await;
    let free = pages(&fixture, "freelist_count");
    assert!(
        free > 1000 && is_on_disk(&fixture, &hash('a')),
        "{free} pages"
    );
    let used = fixture.queue.stats().used_bytes;

    let mut forgetting = Box::pin(fixture.queue.forget(person('a')));
    let mut taken = 0;
    loop {
        let number = 100_000 + taken;
        tokio::select! {
            biased;
            forgotten = &mut forgetting => {
                assert_eq!(forgotten.unwrap(), Forgotten::default());
                break;
            }
            pushed = fixture.queue.push(vec![event_of(number, 'b')]) => {
                assert_eq!(pushed.unwrap().queued, 1);
                taken += 1;
            }
        }
        // What is filled for a while is not counted as used.
        assert!(fixture.queue.stats().used_bytes < used + (1 << 20));
    }
    assert!(taken >= 5, "only {taken} events were taken meanwhile");
    assert!(!is_on_disk(&fixture, &hash('a')));
    assert!(
        pages(&fixture, "page_count") < free / 2,
        "the file has shrunk"
    );
    // The last push was given up, not undone.
    let delivered = fixture.deliver_all().await.len() as u64;
    assert!((taken..=taken + 1).contains(&delivered), "{delivered}");
    assert_law(&fixture.queue);
}

#[tokio::test]
async fn what_a_scrub_left_that_was_given_up_is_let_go() {
    let fixture = drained().await;
    let used = fixture.queue.stats().used_bytes;
    let now = fixture.clock.uptime();
    let step = ScrubStep::default();
    let filled = fixture
        .queue
        .change(move |core| core.engine.scrub(step, now));
    assert_eq!(filled.await.unwrap(), Some(step), "there is more");
    // Someone may still be at it.
    fixture.queue.expire().await.unwrap();
    let filler = |fixture: &QueueFixture| -> i64 {
        connection(fixture)
            .query_row("SELECT count(*) FROM filler", [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!(filler(&fixture), 1);
    let fixture = fixture.reopened();
    assert!(fixture.queue.stats().used_bytes <= used);
    let maintained = fixture.queue.change(|core| {
        let clock = Arc::clone(&core.context.clock);
        core.engine.maintain(&*clock)
    });
    maintained.await.unwrap();
    assert_eq!(filler(&fixture), 0);
    assert!(fixture.queue.stats().used_bytes <= used);
}
