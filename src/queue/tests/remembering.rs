//! What is remembered of people: durable with the push, bounded, and gone when it is to be.

use super::*;
use crate::event::operations::Act;
use crate::profile::property::{PropertyId, PropertyStep, Value};
use crate::profile::update::{Identity, recall};
use crate::profile::{ProfileKey, Touchpoint};
use crate::queue::profiles::Bounds;

const SLOT: PropertyId = PropertyId(1);

impl Shop {
    pub(super) async fn learn(&self, lesson: ProfileUpdate) {
        self.try_to_learn(lesson).await.unwrap();
        assert_law(&self.queue);
    }

    pub(super) async fn try_to_learn(&self, lesson: ProfileUpdate) -> Result<Pushed, PushError> {
        let lessons = vec![(web(), lesson)];
        self.queue.push_and_learn(Vec::new(), learnt(lessons)).await
    }
}

fn user(name: &str) -> Identity {
    Identity {
        user: Some(ProfileKey::user(&web(), name)),
        device: None,
    }
}

/// What makes the one property of a user this text.
pub(super) fn set(name: &str, text: &str, at: i64) -> ProfileUpdate {
    ProfileUpdate {
        who: user(name),
        wanted: [SLOT].into(),
        steps: vec![PropertyStep {
            slot: SLOT,
            act: Act::Set,
            value: Value {
                elements: vec![text.into()],
                is_list: false,
                is_cut: false,
            },
            may_repeat: false,
        }],
        sighting: Touchpoint::default(),
        mark: None,
        at: UnixMillis::from_seconds(at),
    }
}

/// The one property of a user.
pub(super) fn value(queue: &Queue, name: &str) -> Vec<String> {
    let profile = recall(&mut queue.recall(), user(name)).unwrap();
    let value = profile.and_then(|profile| profile.value(SLOT).cloned());
    let elements = value.unwrap_or_default().elements.into_iter();
    elements.map(String::from).collect()
}

fn bounds(max_age: Duration, max_bytes: u64) -> AllBounds {
    let bounds = Bounds { max_age, max_bytes };
    [(web(), bounds)].into()
}

#[tokio::test]
async fn a_lesson_is_kept_with_the_events_or_not_at_all() {
    let shop = Shop::new();
    let lessons = vec![(web(), set("a", "x", START)), (web(), set("b", "y", START))];
    let pushed = shop
        .queue
        .push_and_learn(vec![event(1)], learnt(lessons))
        .await;
    assert_eq!(pushed.unwrap().queued, 1);
    shop.learn(set("a", "z", START)).await;
    let shop = shop.reopened();
    assert_eq!(value(&shop.queue, "a"), ["z"]);
    assert_eq!(value(&shop.queue, "b"), ["y"]);
    assert_eq!(shop.totals().profiles, 2);
    shop.sqlite()
        .execute_batch(
            "CREATE TRIGGER no_rows BEFORE INSERT ON row BEGIN SELECT raise(ABORT, 'simulated'); END",
        )
        .unwrap();
    let lessons = vec![(web(), set("c", "x", START))];
    let failed = shop
        .queue
        .push_and_learn(vec![event(2)], learnt(lessons))
        .await;
    assert!(matches!(failed, Err(PushError::Storage(_))));
    assert!(value(&shop.queue, "c").is_empty());
    assert_eq!(shop.totals().profiles, 2);
    assert_law(&shop.queue);
}

#[tokio::test]
async fn who_is_not_seen_is_forgotten_after_a_time() {
    let shop = Shop::new();
    shop.learn(set("old", "x", START)).await;
    shop.learn(set("new", "x", START + 3 * 3600)).await;
    shop.clock.advance(4 * HOUR);
    // Nobody has said yet how long.
    shop.queue.tidy().await.unwrap();
    assert_eq!(shop.totals().profiles, 2);
    shop.queue.bound_profiles(bounds(2 * HOUR, 1 << 20));
    shop.queue.tidy().await.unwrap();
    assert!(value(&shop.queue, "old").is_empty());
    assert_eq!(value(&shop.queue, "new"), ["x"]);
    assert_eq!(shop.totals().profiles, 1);
}

#[tokio::test]
async fn the_oldest_leave_where_there_are_too_many() {
    let shop = Shop::new();
    for number in 0..600 {
        let name = number.to_string();
        shop.learn(set(&name, &"x".repeat(1000), START + number))
            .await;
    }
    let before = shop.totals().profile_bytes;
    let most = before / 2;
    shop.queue.bound_profiles(bounds(DAY, most));
    shop.queue.tidy().await.unwrap();
    let totals = shop.totals();
    assert_eq!(totals.profiles, 300);
    assert!(totals.profile_bytes <= most);
    assert!(value(&shop.queue, "299").is_empty());
    assert!(!value(&shop.queue, "300").is_empty());
    // A sync that remembers nobody any more keeps nothing.
    shop.queue.bound_profiles(AllBounds::new());
    shop.queue.tidy().await.unwrap();
    assert_eq!(
        (shop.totals().profiles, shop.totals().profile_bytes),
        (0, 0)
    );
}

#[tokio::test]
async fn a_rush_of_people_stays_within_bounds() {
    let shop = Shop::new();
    let most = 100_000;
    shop.queue.bound_profiles(bounds(DAY, most));
    for rush in 0..4 {
        let lesson = |number: i64| {
            let number = rush * 1000 + number;
            let long = "x".repeat(if number % 3 == 0 { 1000 } else { 1 });
            (web(), set(&number.to_string(), &long, START + number))
        };
        let lessons = (0..1000).map(lesson).collect();
        let pushed = shop.queue.push_and_learn(Vec::new(), learnt(lessons)).await;
        pushed.unwrap();
        assert!(shop.totals().profile_bytes <= most);
        let last = rush * 1000 + 999;
        assert!(!value(&shop.queue, &last.to_string()).is_empty());
    }
}

#[tokio::test]
async fn a_profile_that_cannot_be_read_counts_as_none() {
    let shop = Shop::new();
    shop.learn(set("a", "x", START)).await;
    shop.sqlite()
        .execute_batch("UPDATE profile SET body = x'0163'")
        .unwrap();
    assert!(value(&shop.queue, "a").is_empty());
    shop.learn(set("a", "y", START)).await;
    assert_eq!(value(&shop.queue, "a"), ["y"]);
    assert_eq!(shop.totals().profiles, 1);
}

#[tokio::test]
async fn a_dropped_sync_remembers_nobody() {
    let shop = Shop::new();
    for number in 0..300 {
        shop.learn(set(&number.to_string(), "x", START)).await;
    }
    shop.push([event(1)]).await;
    assert_eq!(shop.queue.drop_sync(&web()).await.unwrap(), 1);
    assert_eq!(
        (shop.totals().profiles, shop.totals().profile_bytes),
        (0, 0)
    );
}

#[tokio::test]
async fn what_is_emptied_leaves_the_store() {
    let shop = Shop::new();
    shop.learn(set("a", "x", START)).await;
    let mut unset = set("a", "x", START);
    unset.steps[0].act = Act::Unset;
    shop.learn(unset).await;
    assert_eq!(
        (shop.totals().profiles, shop.totals().profile_bytes),
        (0, 0)
    );
}
