//! When clicks were first seen.

use super::*;
use crate::profile::clicks::{ClickKey, Clicks as _, FirstSeen, KEPT};

impl Shop {
    /// An event carries a click; gives when that was first seen. `stores`: the event is taken.
    async fn click(&self, id: &str, seconds: i64, stores: bool) -> i64 {
        let mut recall = self.queue.recall();
        let seen = UnixMillis::from_seconds(START + seconds);
        let click = ClickKey::of(id);
        let first = recall.first_seen(FirstSeen { click, seen });
        if stores {
            let learnt = Learnt {
                clicks: recall.into_told(),
                ..Learnt::default()
            };
            let pushed = self.queue.push_and_learn(Vec::new(), learnt).await;
            pushed.unwrap();
        }
        first.seconds() - START
    }

    fn clicks(&self) -> i64 {
        let count = "SELECT count(*) FROM click";
        self.sqlite()
            .query_row(count, [], |row| row.get(0))
            .unwrap()
    }
}

#[tokio::test]
async fn the_first_answer_stays_over_restarts() {
    let shop = Shop::new();
    assert_eq!(shop.click("One", 10, true).await, 10);
    assert_eq!(shop.click("Two", 20, true).await, 20);
    assert_eq!(shop.click("One", 99, true).await, 10);
    let shop = shop.reopened();
    assert_eq!(shop.click("One", 5, true).await, 10);
    assert_eq!(shop.click("Two", 99, true).await, 20);
    assert_eq!(shop.clicks(), 2);
}

#[tokio::test]
async fn requests_at_the_same_moment_agree() {
    let shop = Shop::new();
    // The first is not stored yet, and never will be: its sender repeats it.
    assert_eq!(shop.click("One", 10, false).await, 10);
    assert_eq!(shop.click("One", 11, true).await, 10);
    assert_eq!(shop.reopened().click("One", 12, true).await, 10);
}

#[tokio::test]
async fn the_oldest_leave_by_age_and_by_number() {
    // Room for 209 of them.
    let shop = Shop::with(|config| config.max_bytes = NonZeroU64::new(1 << 20).unwrap());
    for number in 0..220 {
        shop.click(&number.to_string(), number, true).await;
    }
    shop.queue.tidy().await.unwrap();
    let shop = shop.reopened();
    assert_eq!(shop.clicks(), 209);
    for (number, expected) in [(10, 999), (12, 12), (219, 219)] {
        assert_eq!(shop.click(&number.to_string(), 999, false).await, expected);
    }
    shop.clock.advance(KEPT + Duration::from_secs(200));
    shop.queue.tidy().await.unwrap();
    assert_eq!(shop.clicks(), 20);
}

#[tokio::test]
async fn nothing_names_the_click() {
    let shop = Shop::new();
    shop.click("IwAR0abcDEF", 10, true).await;
    let shop = shop.reopened();
    let bytes = std::fs::read(shop.folder.path().join("queue.db")).unwrap();
    let log = std::fs::read(shop.folder.path().join("queue.db-wal")).unwrap_or_default();
    for bytes in [bytes, log] {
        assert!(memchr::memmem::find(&bytes, b"IwAR0abcDEF").is_none());
    }
}
