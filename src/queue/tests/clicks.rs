//! When clicks were first seen.

use super::*;
use crate::profile::clicks::{ClickKey, Clicks as _, FirstSeen, KEPT};

on_every_engine! {
    the_first_answer_stays_over_restarts,
    requests_at_the_same_moment_agree,
    the_oldest_leave_by_age_and_by_number,
}

impl QueueFixture {
    /// An event carries a click; gives when that was first seen. `stores`: the event is taken.
    pub(in crate::queue) async fn click(&self, id: &str, seconds: i64, stores: bool) -> i64 {
        let mut recall = self.queue.profiles();
        let seen = UnixMillis::from_seconds(START + seconds);
        let click = ClickKey::of(id);
        let first = recall.first_seen(FirstSeen { click, seen });
        if stores {
            let observed = Observed {
                clicks: recall.into_clicks(),
                ..Observed::default()
            };
            let pushed = self.queue.push_with(Vec::new(), observed).await;
            pushed.unwrap();
        }
        first.seconds() - START
    }

    async fn clicks(&self) -> u64 {
        self.read(|reader| reader.click_count()).await
    }
}

async fn the_first_answer_stays_over_restarts(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    assert_eq!(fixture.click("One", 10, true).await, 10);
    assert_eq!(fixture.click("Two", 20, true).await, 20);
    assert_eq!(fixture.click("One", 99, true).await, 10);
    let fixture = fixture.reopened();
    assert_eq!(fixture.click("One", 5, true).await, 10);
    assert_eq!(fixture.click("Two", 99, true).await, 20);
    assert_eq!(fixture.clicks().await, 2);
}

async fn requests_at_the_same_moment_agree(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    // The first is not stored yet, and never will be: its sender repeats it.
    assert_eq!(fixture.click("One", 10, false).await, 10);
    assert_eq!(fixture.click("One", 11, true).await, 10);
    assert_eq!(fixture.reopened().click("One", 12, true).await, 10);
}

async fn the_oldest_leave_by_age_and_by_number(engine: TestEngine) {
    // Room for 209 of them.
    let fixture = QueueFixture::with(engine, |config| {
        config.max_bytes = NonZeroU64::new(1 << 20).unwrap();
    });
    for number in 0..220 {
        fixture.click(&number.to_string(), number, true).await;
    }
    fixture.queue.expire().await.unwrap();
    let fixture = fixture.reopened();
    assert_eq!(fixture.clicks().await, 209);
    for (number, expected) in [(10, 999), (12, 12), (219, 219)] {
        assert_eq!(
            fixture.click(&number.to_string(), 999, false).await,
            expected
        );
    }
    fixture.clock.advance(KEPT + Duration::from_secs(200));
    fixture.queue.expire().await.unwrap();
    assert_eq!(fixture.clicks().await, 20);
}
