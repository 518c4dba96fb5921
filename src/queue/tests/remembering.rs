//! What is remembered of people: durable with the push, bounded, and gone when it is to be.

use super::*;
use crate::config::sync::UserMemory;
use crate::event::operations::Act;
use crate::profile::property::{PropertyId, PropertyStep, Value};
use crate::profile::update::{Identity, profile_of};
use crate::profile::{ProfileKey, Touchpoint};

on_every_engine! {
    an_update_is_kept_with_the_events_or_not_at_all,
    who_is_not_seen_is_forgotten_after_a_time,
    the_oldest_leave_where_there_are_too_many,
    a_rush_of_people_stays_within_bounds,
    a_profile_that_cannot_be_read_counts_as_none,
    a_dropped_sync_remembers_nobody,
    what_is_emptied_leaves_the_store,
}

const SLOT: PropertyId = PropertyId(1);

impl QueueFixture {
    pub(in crate::queue) async fn learn(&self, update: ProfileUpdate) {
        self.try_to_learn(update).await.unwrap();
        assert_law(&self.queue);
    }

    pub(in crate::queue) async fn try_to_learn(
        &self,
        update: ProfileUpdate,
    ) -> Result<Pushed, PushError> {
        let updates = vec![(web(), update)];
        self.queue.push_with(Vec::new(), observed(updates)).await
    }
}

fn user(name: &str) -> Identity {
    Identity {
        user: Some(ProfileKey::user(&web(), name)),
        device: None,
    }
}

/// What makes the one property of a user this text.
pub(in crate::queue) fn set(name: &str, text: &str, at: i64) -> ProfileUpdate {
    ProfileUpdate {
        identity: user(name),
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
        touchpoint: Touchpoint::default(),
        mark: None,
        at: UnixMillis::from_seconds(at),
    }
}

/// The one property of a user.
pub(in crate::queue) fn value(queue: &Queue, name: &str) -> Vec<String> {
    let profile = profile_of(&mut queue.profiles(), user(name)).unwrap();
    let value = profile.and_then(|profile| profile.value(SLOT).cloned());
    let elements = value.unwrap_or_default().elements.into_iter();
    elements.map(String::from).collect()
}

fn memory(max_age: Duration, max_bytes: u64) -> BTreeMap<SyncName, UserMemory> {
    let memory = UserMemory {
        webhook: false,
        keep_as_is: Vec::new(),
        max_age,
        max_bytes,
    };
    [(web(), memory)].into()
}

impl QueueFixture {
    fn remember(&self, memories: BTreeMap<SyncName, UserMemory>) {
        self.configure(|settings| settings.memories = Some(memories));
    }
}

async fn an_update_is_kept_with_the_events_or_not_at_all(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    let updates = vec![(web(), set("a", "x", START)), (web(), set("b", "y", START))];
    let pushed = fixture
        .queue
        .push_with(vec![event(1)], observed(updates))
        .await;
    assert_eq!(pushed.unwrap().queued, 1);
    fixture.learn(set("a", "z", START)).await;
    let fixture = fixture.reopened();
    assert_eq!(value(&fixture.queue, "a"), ["z"]);
    assert_eq!(value(&fixture.queue, "b"), ["y"]);
    assert_eq!(fixture.totals().profiles, 2);
    fixture.set_failing(true);
    let updates = vec![(web(), set("c", "x", START))];
    let failed = fixture
        .queue
        .push_with(vec![event(2)], observed(updates))
        .await;
    assert!(matches!(
        failed,
        Err(PushError::Store(StoreError::Storage(_)))
    ));
    assert!(value(&fixture.queue, "c").is_empty());
    assert_eq!(fixture.totals().profiles, 2);
    assert_law(&fixture.queue);
}

async fn who_is_not_seen_is_forgotten_after_a_time(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.learn(set("old", "x", START)).await;
    fixture.learn(set("new", "x", START + 3 * 3600)).await;
    fixture.clock.advance(4 * HOUR);
    // Nobody has said yet how long.
    fixture.queue.expire().await.unwrap();
    assert_eq!(fixture.totals().profiles, 2);
    fixture.remember(memory(2 * HOUR, 1 << 20));
    fixture.queue.expire().await.unwrap();
    assert!(value(&fixture.queue, "old").is_empty());
    assert_eq!(value(&fixture.queue, "new"), ["x"]);
    assert_eq!(fixture.totals().profiles, 1);
}

async fn the_oldest_leave_where_there_are_too_many(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    for number in 0..600 {
        let name = number.to_string();
        fixture
            .learn(set(&name, &"x".repeat(1000), START + number))
            .await;
    }
    let before = fixture.totals().profile_bytes;
    let most = before / 2;
    fixture.remember(memory(DAY, most));
    fixture.queue.expire().await.unwrap();
    let totals = fixture.totals();
    assert_eq!(totals.profiles, 300);
    assert!(totals.profile_bytes <= most);
    assert!(value(&fixture.queue, "299").is_empty());
    assert!(!value(&fixture.queue, "300").is_empty());
    // A sync that remembers nobody any more keeps nothing.
    fixture.remember(BTreeMap::new());
    fixture.queue.expire().await.unwrap();
    assert_eq!(
        (fixture.totals().profiles, fixture.totals().profile_bytes),
        (0, 0)
    );
}

async fn a_rush_of_people_stays_within_bounds(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    let most = 100_000;
    fixture.remember(memory(DAY, most));
    for rush in 0..4 {
        let update = |number: i64| {
            let number = rush * 1000 + number;
            let long = "x".repeat(if number % 3 == 0 { 1000 } else { 1 });
            (web(), set(&number.to_string(), &long, START + number))
        };
        let updates = (0..1000).map(update).collect();
        let pushed = fixture.queue.push_with(Vec::new(), observed(updates)).await;
        pushed.unwrap();
        assert!(fixture.totals().profile_bytes <= most);
        let last = rush * 1000 + 999;
        assert!(!value(&fixture.queue, &last.to_string()).is_empty());
    }
}

async fn a_profile_that_cannot_be_read_counts_as_none(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.learn(set("a", "x", START)).await;
    let key = user("a").user.unwrap();
    let broken = fixture.queue.change(move |core| {
        let mut stored = core.engine.profile(key)?.expect("it is stored");
        let changes = &mut core.pending.profiles;
        stored.body = vec![1, 0x63];
        changes.insert(key, Some(stored));
        Ok(())
    });
    broken.await.unwrap();
    assert!(value(&fixture.queue, "a").is_empty());
    fixture.learn(set("a", "y", START)).await;
    assert_eq!(value(&fixture.queue, "a"), ["y"]);
    assert_eq!(fixture.totals().profiles, 1);
}

async fn a_dropped_sync_remembers_nobody(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    for number in 0..300 {
        fixture.learn(set(&number.to_string(), "x", START)).await;
    }
    fixture.push([event(1)]).await;
    assert_eq!(fixture.queue.drop_sync(&web()).await.unwrap(), 1);
    assert_eq!(
        (fixture.totals().profiles, fixture.totals().profile_bytes),
        (0, 0)
    );
}

async fn what_is_emptied_leaves_the_store(engine: TestEngine) {
    let fixture = QueueFixture::new(engine);
    fixture.learn(set("a", "x", START)).await;
    let mut unset = set("a", "x", START);
    unset.steps[0].act = Act::Unset;
    fixture.learn(unset).await;
    assert_eq!(
        (fixture.totals().profiles, fixture.totals().profile_bytes),
        (0, 0)
    );
}
