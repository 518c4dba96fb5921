//! Profiles: what is remembered of people and devices, kept beside the events.
//!
//! The transaction of a push applies its updates to what the store holds by then: they are as durable as the
//! events, and two updates of one person never undo each other. A profile that cannot be read counts as missing.
//! The longest untouched are removed first, by age and by size.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::config::SyncName;
use crate::profile::update::{self, ProfileStore, ProfileUpdate};
use crate::profile::{Profile, ProfileKey, decode, encode};

use super::core::Core;
use super::damage::{DamageKind, Finding};
use super::engine::{self, AgedProfile, EngineError, EngineResult, StoredProfile};
use super::totals::Counter;

/// Profiles that are removed at once.
const PIECE: usize = 256;
/// Profiles that are read at once.
const FEW: usize = 16;

/// Decodes a profile, if that is possible. A damaged one may be another person's.
pub(super) fn read(stored: &StoredProfile) -> Option<Profile> {
    let is_sound = stored.is_sound;
    is_sound.then(|| decode(&stored.body, stored.touched))?
}

/// The profiles of one sync, as the present transaction leaves them.
struct SyncProfiles<'c> {
    core: &'c mut Core,
    index: usize,
}

impl ProfileStore for SyncProfiles<'_> {
    type Error = EngineError;

    fn profile(&mut self, key: ProfileKey) -> EngineResult<Option<Profile>> {
        let mut found = find(self.core, key)?;
        if let Some(damaged) = found.take_if(|stored| !stored.is_sound) {
            lose(self.core, key, &damaged);
        }
        let mut profile = found.as_ref().and_then(read);
        // Where the clock was ahead, the next event dates the profile anew.
        let is_ahead = |profile: &&mut Profile| profile.touched > self.core.now;
        if let Some(profile) = profile.as_mut().filter(is_ahead) {
            profile.touched = UnixMillis::default();
        }
        Ok(profile)
    }

    fn keep(&mut self, key: ProfileKey, profile: Profile) -> EngineResult<()> {
        if let Some(stored) = find(self.core, key)? {
            drop_profile(self.core, self.index, key, stored.held_bytes());
        }
        if profile.is_empty() {
            return Ok(());
        }
        let counters = self.core.counters.at(self.index);
        let stored = StoredProfile {
            sync: counters.id,
            touched: profile.touched,
            body: encode(&profile),
            is_sound: true,
        };
        counters.add(Counter::Profiles, 1);
        counters.add(Counter::ProfileBytes, stored.held_bytes());
        self.core.pending.profiles.insert(key, Some(stored));
        Ok(())
    }
}

/// Applies what events tell about people. If the profiles then take too many bytes, the longest untouched are
/// removed at once: in a rush far more people come in than expiry removes.
pub(super) fn learn(core: &mut Core, updates: &[(SyncName, ProfileUpdate)]) -> EngineResult<()> {
    let mut touched = BTreeMap::new();
    for (sync, said) in updates {
        let index = core.index_of(sync);
        update::apply(&mut SyncProfiles { core, index }, said)?;
        // An event may add a user and a device.
        *touched.entry(index).or_insert(PIECE) += 2;
    }
    for (index, limit) in touched {
        let Some((_, max_bytes)) = bounds(core, index) else {
            continue;
        };
        let is_over =
            |core: &mut Core| core.counters.at(index).get(Counter::ProfileBytes) > max_bytes;
        if is_over(core) && !remove_oldest(core, index, limit, |core, _| is_over(core))? {
            remove_oldest_pending(core, index, is_over);
        }
    }
    Ok(())
}

/// Removes profiles of a sync that are too old or too many. True if there may be more.
pub(super) fn remove_aged(core: &mut Core, index: usize) -> EngineResult<bool> {
    let Some((max_age, max_bytes)) = bounds(core, index) else {
        return Ok(false);
    };
    let kept_from = core.age_limit(max_age).kept_from;
    remove_oldest(core, index, PIECE, |core, profile| {
        let held = core.counters.at(index).get(Counter::ProfileBytes);
        profile.touched <= kept_from || held > max_bytes
    })
}

/// Removes profiles of a sync, a piece; true if there may be more.
pub(super) fn drop_sync(core: &mut Core, sync: &SyncName) -> EngineResult<bool> {
    match core.counters.find(sync) {
        Some(index) => remove_oldest(core, index, PIECE, |_, _| true),
        None => Ok(false),
    }
}

/// Removes profiles; gives the number of those that it found.
pub(super) fn remove(core: &mut Core, keys: &[ProfileKey]) -> EngineResult<u64> {
    let mut removed = 0;
    for key in keys {
        if let Some(stored) = find(core, *key)?
            && let Some(index) = core.counters.find_by_id(stored.sync)
        {
            drop_profile(core, index, *key, stored.held_bytes());
            removed += 1;
        }
    }
    Ok(removed)
}

/// Whether this is the profile of a device that belongs to one of these users.
pub(super) fn belongs_to(body: &[u8], users: &HashSet<ProfileKey>) -> bool {
    decode(body, UnixMillis::default())
        .and_then(|profile| profile.owner)
        .is_some_and(|owner| users.contains(&owner))
}

/// How long a sync's profiles may be kept, and how many bytes of them; `None` where there are none, or all are kept.
fn bounds(core: &mut Core, index: usize) -> Option<(Duration, u64)> {
    let counters = core.counters.at(index);
    if counters.get(Counter::Profiles) == 0 {
        return None;
    }
    let memory = core.settings.memories.as_ref()?.get(&counters.name);
    Some(memory.map_or_else(Default::default, |memory| {
        (memory.max_age, memory.max_bytes)
    }))
}

/// Removes a sync's profiles, the longest untouched first, while `goes` agrees, and at most `limit`. True if there
/// may be more. Profiles that the present transaction has touched stay.
fn remove_oldest(
    core: &mut Core,
    index: usize,
    limit: usize,
    mut goes: impl FnMut(&mut Core, &AgedProfile) -> bool,
) -> EngineResult<bool> {
    let sync = core.counters.at(index).id;
    let mut removed = 0;
    loop {
        let after = core.passed.profiles.get(&index).copied();
        let page = core.engine.oldest_profiles(sync, after, FEW)?;
        let is_last = page.len() < FEW;
        for profile in page {
            if !core.pending.profiles.contains_key(&profile.key) {
                if removed == limit {
                    return Ok(true);
                }
                if !goes(core, &profile) {
                    return Ok(false);
                }
                drop_profile(core, index, profile.key, profile.held);
                removed += 1;
            }
            let place = (profile.touched, profile.place);
            core.passed.profiles.insert(index, place);
        }
        if is_last {
            return Ok(false);
        }
    }
}

/// Removes profiles of a sync that the present transaction has touched.
fn remove_oldest_pending(core: &mut Core, index: usize, mut goes: impl FnMut(&mut Core) -> bool) {
    if !goes(core) {
        return;
    }
    let sync = core.counters.at(index).id;
    let pending = core.pending.profiles.iter();
    let mut oldest: Vec<(UnixMillis, ProfileKey, u64)> = pending
        .filter_map(|(key, stored)| {
            let stored = stored.as_ref().filter(|stored| stored.sync == sync)?;
            Some((stored.touched, *key, stored.held_bytes()))
        })
        .collect();
    oldest.sort_unstable();
    for (_, key, held) in oldest {
        if !goes(core) {
            return;
        }
        drop_profile(core, index, key, held);
    }
}

/// Drops all damaged profiles.
pub(super) fn lose_damaged(core: &mut Core) -> EngineResult<()> {
    let mut damaged = Vec::new();
    let engine = &mut *core.engine;
    engine::visit_pages(
        None,
        |after, limit| engine.profiles(after.unwrap_or(0), limit),
        |(place, _, _)| *place,
        |(_, key, stored)| damaged.extend((!stored.is_sound).then_some((key, stored))),
    )?;
    for (key, stored) in &damaged {
        lose(core, *key, stored);
    }
    Ok(())
}

/// Drops a damaged profile.
fn lose(core: &mut Core, key: ProfileKey, damaged: &StoredProfile) {
    match core.counters.find_by_id(damaged.sync) {
        Some(index) => drop_profile(core, index, key, damaged.held_bytes()),
        None => drop(core.pending.profiles.insert(key, None)),
    }
    // Whose it was, and how long, is not known for sure.
    core.needs_recount = true;
    let what = "the profile of a person was damaged, and was dropped";
    core.findings.push(Finding::new(DamageKind::Profile, what));
}

fn drop_profile(core: &mut Core, index: usize, key: ProfileKey, held: u64) {
    core.pending.profiles.insert(key, None);
    let counters = core.counters.at(index);
    counters.take(Counter::Profiles, 1);
    counters.take(Counter::ProfileBytes, held);
}

fn find(core: &mut Core, key: ProfileKey) -> EngineResult<Option<StoredProfile>> {
    match core.pending.profiles.get(&key) {
        Some(pending) => Ok(pending.clone()),
        None => core.engine.profile(key),
    }
}
