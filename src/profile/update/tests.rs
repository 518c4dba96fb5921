//! Whose profile an event changes, what operations do to it, and its bytes.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::config::SyncName;
use crate::event::operations::Act;
use crate::profile::in_memory::InMemoryProfiles;
use crate::profile::property::{MOST_ELEMENTS, Value};
use crate::profile::{ClientContext, MOST_BYTES, decode, encode};

const NOW: UnixMillis = UnixMillis(1_795_000_000_000);
const SLOT: PropertyId = PropertyId(7);

impl InMemoryProfiles {
    fn apply(&mut self, update: &ProfileUpdate) -> bool {
        let Ok(changed) = apply(self, update);
        changed
    }

    /// What an event of this person would get for the one property.
    fn value(&mut self, identity: Identity) -> Vec<String> {
        let Ok(profile) = profile_of(self, identity);
        let value = profile.and_then(|profile| profile.value(SLOT).cloned());
        let elements = value.unwrap_or_default().elements.into_iter();
        elements.map(String::from).collect()
    }
}

fn key(name: &str) -> ProfileKey {
    ProfileKey::user(&SyncName::new("web").unwrap(), name)
}

fn user(name: &str) -> Identity {
    Identity {
        user: Some(key(name)),
        device: None,
    }
}

fn device(name: &str) -> Identity {
    Identity {
        user: None,
        device: Some(key(name)),
    }
}

fn both(user: &str, device: &str) -> Identity {
    Identity {
        user: Some(key(user)),
        device: Some(key(device)),
    }
}

fn update(identity: Identity, steps: Vec<PropertyStep>) -> ProfileUpdate {
    ProfileUpdate {
        identity,
        wanted: [SLOT].into(),
        steps,
        touchpoint: Touchpoint::default(),
        mark: None,
        at: NOW,
    }
}

fn step(act: Act, elements: &[&str]) -> PropertyStep {
    PropertyStep {
        slot: SLOT,
        act,
        value: Value {
            elements: elements.iter().map(|element| Box::from(*element)).collect(),
            is_list: elements.len() > 1,
            is_cut: false,
        },
        may_repeat: false,
    }
}

fn set(identity: Identity, element: &str) -> ProfileUpdate {
    update(identity, vec![step(Act::Set, &[element])])
}

#[test]
fn keys_differ_by_sync_kind_and_id() {
    let [web, app] = ["web", "app"].map(|name| SyncName::new(name).unwrap());
    let keys = [
        ProfileKey::user(&web, "a"),
        ProfileKey::device(&web, "a"),
        ProfileKey::user(&app, "a"),
        ProfileKey::user(&web, "A"),
    ];
    let different: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(different.len(), keys.len());
    assert_eq!(ProfileKey::from_bytes(*keys[0].as_bytes()), keys[0]);
}

#[test]
fn a_device_belongs_to_its_last_user_and_brings_only_what_is_its_own() {
    let mut memory = InMemoryProfiles::default();
    memory.apply(&set(device("d"), "anonymous"));
    assert_eq!(memory.value(device("d")), ["anonymous"]);
    // Its first user gets what is lacking.
    memory.apply(&update(both("a", "d"), Vec::new()));
    assert_eq!(memory.value(user("a")), ["anonymous"]);
    memory.apply(&set(device("d"), "while away"));
    assert_eq!(memory.value(user("a")), ["while away"]);
    // The next one gets nothing, whatever was learnt in between.
    memory.apply(&update(both("b", "d"), Vec::new()));
    assert!(memory.value(both("b", "d")).is_empty());
    assert!(memory.value(device("d")).is_empty());
    memory.apply(&set(device("d"), "of b"));
    assert_eq!(memory.value(user("a")), ["while away"]);
    // Nobody is remembered as its owner by now, so what comes is its own again.
    assert!(memory.value(user("b")).is_empty());
    memory.apply(&update(both("b", "d"), Vec::new()));
    assert_eq!(memory.value(user("b")), ["of b"]);
}

#[test]
fn a_user_who_has_a_value_keeps_it() {
    let mut memory = InMemoryProfiles::default();
    memory.apply(&set(user("a"), "own"));
    memory.apply(&set(device("d"), "of the device"));
    memory.apply(&update(both("a", "d"), Vec::new()));
    assert_eq!(memory.value(device("d")), ["own"]);
}

#[test]
fn what_changes_nothing_is_not_kept_anew() {
    let mut memory = InMemoryProfiles::default();
    assert!(!memory.apply(&update(both("a", "d"), Vec::new())));
    assert!(memory.profiles.is_empty());
    assert!(memory.apply(&set(both("a", "d"), "x")));
    assert!(!memory.apply(&set(both("a", "d"), "x")));
    assert!(!memory.apply(&set(device("d"), "x")));
    let mut later = set(both("a", "d"), "x");
    later.at = UnixMillis(NOW.0 + 3_600_000);
    assert!(memory.apply(&later));
    assert!(
        memory
            .profiles
            .values()
            .all(|profile| profile.touched == later.at)
    );
}

#[test]
fn what_is_no_longer_wanted_leaves() {
    let mut memory = InMemoryProfiles::default();
    memory.apply(&set(user("a"), "x"));
    let mut other = update(user("a"), Vec::new());
    other.wanted = [PropertyId(8)].into();
    assert!(memory.apply(&other));
    assert!(memory.profiles.is_empty());
}

#[test]
fn numbers_are_added_and_lists_may_repeat_where_they_are_kept_as_they_came() {
    let mut memory = InMemoryProfiles::default();
    let as_it_came = |act, elements: &[&str]| PropertyStep {
        may_repeat: true,
        ..step(act, elements)
    };
    let check = |memory: &mut InMemoryProfiles, act, elements: &[&str], expected: &[&str]| {
        memory.apply(&update(user("a"), vec![as_it_came(act, elements)]));
        assert_eq!(memory.value(user("a")), expected, "{act:?} {elements:?}");
    };
    check(&mut memory, Act::Add, &["2.5"], &["2.5"]);
    check(&mut memory, Act::Add, &["-0.5"], &["2"]);
    check(&mut memory, Act::Add, &["many"], &["2"]);
    check(
        &mut memory,
        Act::Append,
        &["2", "\"x\""],
        &["2", "2", "\"x\""],
    );
    check(&mut memory, Act::Add, &["1"], &["2", "2", "\"x\""]);
    check(&mut memory, Act::Remove, &["2"], &["\"x\""]);
    check(&mut memory, Act::Set, &["1e308"], &["1e308"]);
    check(&mut memory, Act::Add, &["1e308"], &["1e308"]);
}

#[test]
fn a_repeat_adds_nothing() {
    let mut memory = InMemoryProfiles::default();
    let append = PropertyStep {
        may_repeat: true,
        ..step(Act::Append, &["1"])
    };
    let mut first = update(user("a"), vec![append]);
    first.mark = Some(1);
    memory.apply(&first);
    assert!(!memory.apply(&first));
    first.mark = Some(2);
    memory.apply(&first);
    assert_eq!(memory.value(user("a")), ["1", "1"]);
}

#[test]
fn a_profile_is_bounded() {
    let mut memory = InMemoryProfiles::default();
    let long = "x".repeat(1024);
    let slots: Vec<PropertyId> = (0..20).map(PropertyId).collect();
    let steps = slots.iter().map(|slot| PropertyStep {
        slot: *slot,
        ..step(Act::Set, &[&long])
    });
    let mut all = update(user("a"), steps.collect());
    all.wanted = slots.into();
    memory.apply(&all);
    let profile = &memory.profiles[&key("a")];
    assert!(encode(profile).len() <= MOST_BYTES);
    // What came first stays; of the rest it is known that there was something.
    let is_cut = |slot| profile.value(PropertyId(slot)).map(|value| value.is_cut);
    assert_eq!([0, 19].map(is_cut), [Some(false), Some(true)]);
    let many: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    memory.apply(&update(user("b"), vec![step(Act::Append, &many)]));
    assert_eq!(memory.value(user("b")).len(), MOST_ELEMENTS);
}

#[test]
fn the_longest_properties_are_cut_first() {
    let mut memory = InMemoryProfiles::default();
    let long = "x".repeat(1024);
    let steps = (0..9).map(|slot| PropertyStep {
        slot: PropertyId(slot),
        ..step(Act::Set, &[if slot == 8 { "denied" } else { &long }])
    });
    let mut all = update(user("a"), steps.collect());
    all.wanted = (0..9).map(PropertyId).collect();
    memory.apply(&all);
    let profile = &memory.profiles[&key("a")];
    let known = profile.value(PropertyId(8)).unwrap();
    assert_eq!((known.elements.len(), known.is_cut), (1, false));
}

#[test]
fn what_does_not_fit_is_known_to_be_there_until_it_is_set_anew() {
    let many: Vec<String> = (0..21).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (most, last) = many.split_at(20);
    let cut_step = |act| PropertyStep {
        value: Value {
            is_cut: true,
            ..Value::default()
        },
        ..step(act, &[])
    };
    for (steps, expected) in [
        (vec![step(Act::Set, most)], Some((20, false))),
        (vec![step(Act::Set, &many)], Some((20, true))),
        (
            vec![step(Act::Set, most), step(Act::Append, last)],
            Some((20, true)),
        ),
        (
            vec![step(Act::Set, &many), step(Act::Remove, most)],
            Some((0, true)),
        ),
        // What is taken away did not fit: nothing may be left.
        (
            vec![step(Act::Set, most), cut_step(Act::Remove)],
            Some((0, true)),
        ),
        (vec![cut_step(Act::Set)], Some((0, true))),
        (
            vec![cut_step(Act::SetOnce), step(Act::SetOnce, last)],
            Some((0, true)),
        ),
        (
            vec![cut_step(Act::Set), step(Act::Add, &["1"])],
            Some((0, true)),
        ),
        (
            vec![cut_step(Act::Set), step(Act::Set, last)],
            Some((1, false)),
        ),
        (vec![cut_step(Act::Set), step(Act::Set, &[])], None),
        (vec![cut_step(Act::Set), step(Act::Unset, &[])], None),
    ] {
        let mut memory = InMemoryProfiles::default();
        let told = format!("{steps:?}");
        memory.apply(&update(user("a"), steps));
        let Ok(profile) = profile_of(&mut memory, user("a"));
        let value = profile.and_then(|profile| profile.value(SLOT).cloned());
        let found = value.map(|value| (value.elements.len(), value.is_cut));
        assert_eq!(found, expected, "{told}");
    }
}

fn act() -> impl Strategy<Value = Act> {
    select(
        Act::ALL
            .iter()
            .copied()
            .filter(|act| *act != Act::Add)
            .collect::<Vec<_>>(),
    )
}

fn steps() -> impl Strategy<Value = Vec<(Act, Vec<&'static str>)>> {
    let elements = vec(select(vec!["a", "b", "c", "d", "e"]), 0..4);
    vec((act(), elements), 0..12)
}

/// Amplitude's operations on the values themselves, from its description.
fn on_values(steps: &[(Act, Vec<&'static str>)]) -> Vec<&'static str> {
    let mut property: Option<Vec<&str>> = None;
    for (act, given) in steps {
        let lacking = |list: &[&str]| {
            let mut new: Vec<&'static str> = Vec::new();
            for element in given {
                if !list.contains(element) && !new.contains(element) {
                    new.push(element);
                }
            }
            new
        };
        let list = property.clone().unwrap_or_default();
        property = match act {
            Act::ClearAll | Act::Unset => None,
            Act::Set => Some(given.clone()),
            Act::SetOnce => property.or_else(|| Some(given.clone())),
            Act::Add => property,
            Act::Append => Some([list, given.clone()].concat()),
            Act::Prepend => Some([given.clone(), list].concat()),
            Act::PreInsert => Some([lacking(&list), list].concat()),
            Act::PostInsert => Some([list.clone(), lacking(&list)].concat()),
            Act::Remove => property.map(|list| {
                list.into_iter()
                    .filter(|one| !given.contains(one))
                    .collect()
            }),
        };
    }
    property.unwrap_or_default()
}

fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

proptest! {
    #[test]
    fn operations_on_hashes_are_operations_on_what_was_hashed(steps in steps()) {
        let mut expected: Vec<String> = Vec::new();
        for value in on_values(&steps) {
            let hashed = hash(value);
            if !expected.contains(&hashed) {
                expected.push(hashed);
            }
        }
        let mut memory = InMemoryProfiles::default();
        for (act, given) in &steps {
            let hashes: Vec<String> = given.iter().map(|text| hash(text)).collect();
            let hashes: Vec<&str> = hashes.iter().map(String::as_str).collect();
            memory.apply(&update(user("a"), vec![step(*act, &hashes)]));
        }
        prop_assert_eq!(memory.value(user("a")), expected);
    }

    #[test]
    fn bytes_come_back_as_what_they_were(
        steps in steps(),
        seen in any::<bool>(),
        marks in vec(any::<u64>(), 0..12),
        many in 0..30_usize,
    ) {
        let mut memory = InMemoryProfiles::default();
        let mut of_device = update(device("d"), Vec::new());
        for mark in marks {
            of_device.mark = Some(mark);
            memory.apply(&of_device);
        }
        for (act, given) in &steps {
            let mut update = update(both("a", "d"), vec![step(*act, given)]);
            if seen {
                update.touchpoint = Touchpoint {
                    happened: NOW,
                    click: Some("fb.1.1795000000000.x".into()),
                    browser: Some("fb.1.1795000000000.1".into()),
                    origin: Some(ClientContext { address: "203.0.113.9".into(), user_agent: "Mozilla".into() }),
                    ..Touchpoint::default()
                };
            }
            memory.apply(&update);
        }
        let many: Vec<String> = (0..many).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        memory.apply(&update(user("b"), vec![step(Act::Set, &many)]));
        let kept: BTreeMap<ProfileKey, Profile> = memory.profiles.into_iter().collect();
        for profile in kept.into_values() {
            let bytes = encode(&profile);
            prop_assert_eq!(decode(&bytes, profile.touched), Some(profile.clone()));
            for end in 0..bytes.len() {
                prop_assert_eq!(decode(&bytes[..end], profile.touched), None);
            }
            prop_assert_eq!(decode(&[&bytes[..], b"x"].concat(), profile.touched), None);
        }
    }

    #[test]
    fn any_bytes_are_a_profile_or_none(mut bytes in vec(any::<u8>(), 0..300), version in any::<bool>()) {
        if version && let Some(first) = bytes.first_mut() {
            *first = 1;
        }
        if let Some(profile) = decode(&bytes, NOW) {
            prop_assert_eq!(encode(&profile), bytes);
        }
    }
}
