//! Profiles: what is remembered of people and devices, kept beside the events.
//!
//! An update is applied in the transaction of the push that brought it, to what the store holds by then,
//! so it is as durable as the event, and two updates of one person never undo each other. A profile that
//! cannot be read counts as none. What was not touched for longest leaves first, by age and by size.

use std::collections::{BTreeMap, HashSet};

use crate::clock::UnixMillis;
use crate::config::SyncName;
use crate::profile::update::{self, ProfileStore, ProfileUpdate};
use crate::profile::{Profile, ProfileKey, decode, encode};

use super::bounds::Bounds;
use super::core::Core;
use super::engine::{AgedProfile, EngineError, EngineResult, Reader, StoredProfile};
use super::totals::Counter;

/// Profiles that are removed in one go.
const PIECE: usize = 256;
/// Profiles that are read in one go.
const FEW: usize = 16;

/// The profile that is stored, if it can be read.
pub(super) fn read(stored: &StoredProfile) -> Option<Profile> {
    decode(&stored.body, stored.touched)
}

/// The profiles of one sync, as the transaction under way leaves them.
struct SyncProfiles<'c> {
    core: &'c mut Core,
    index: usize,
}

impl ProfileStore for SyncProfiles<'_> {
    type Error = EngineError;

    fn profile(&mut self, key: ProfileKey) -> EngineResult<Option<Profile>> {
        Ok(find(self.core, key)?.as_ref().and_then(read))
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
        };
        counters.add(Counter::Profiles, 1);
        counters.add(Counter::ProfileBytes, stored.held_bytes());
        self.core.pending.profiles.insert(key, Some(stored));
        Ok(())
    }
}

/// Applies what events say of people. Where that is more than may be kept, what was not touched for longest
/// leaves at once: in a rush far more people come in than expiry removes meanwhile.
pub(super) fn learn(core: &mut Core, updates: &[(SyncName, ProfileUpdate)]) -> EngineResult<()> {
    let mut touched = BTreeMap::new();
    for (sync, said) in updates {
        let index = core.index_of(sync);
        update::apply(&mut SyncProfiles { core, index }, said)?;
        // An event may add a user and a device.
        *touched.entry(index).or_insert(PIECE) += 2;
    }
    for (index, limit) in touched {
        let Some(bounds) = bounds(core, index) else {
            continue;
        };
        let is_over =
            |core: &mut Core| core.counters.at(index).get(Counter::ProfileBytes) > bounds.max_bytes;
        if is_over(core) && !remove_oldest(core, index, limit, |core, _| is_over(core))? {
            remove_oldest_pending(core, index, is_over);
        }
    }
    Ok(())
}

/// Removes profiles of a sync that are too old or too many. True if there may be more.
pub(super) fn remove_aged(core: &mut Core, index: usize) -> EngineResult<bool> {
    let Some(bounds) = bounds(core, index) else {
        return Ok(false);
    };
    let kept_from = core.now.before(bounds.max_age);
    remove_oldest(core, index, PIECE, |core, profile| {
        let held = core.counters.at(index).get(Counter::ProfileBytes);
        profile.touched <= kept_from || held > bounds.max_bytes
    })
}

/// Removes profiles of a sync, a piece; true if there may be more.
pub(super) fn drop_sync(core: &mut Core, sync: &SyncName) -> EngineResult<bool> {
    match core.counters.find(sync) {
        Some(index) => remove_oldest(core, index, PIECE, |_, _| true),
        None => Ok(false),
    }
}

/// Removes profiles; gives the number of those that were there.
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

/// Looks through profiles behind this place for those that are wanted; gives them, and the last place that was
/// looked at.
pub(super) fn search(
    reader: &mut dyn Reader,
    after: i64,
    limit: usize,
    is_wanted: impl Fn(ProfileKey, &[u8]) -> bool,
) -> EngineResult<Option<(Vec<ProfileKey>, i64)>> {
    let profiles = reader.profiles(after, limit)?;
    let last = profiles.last().map(|(place, _, _)| *place);
    let found = profiles
        .iter()
        .filter(|(_, key, stored)| is_wanted(*key, &stored.body))
        .map(|(_, key, _)| *key);
    let found = found.collect();
    Ok(last.map(|last| (found, last)))
}

/// Whether these are the bytes of a device that belongs to one of these users.
pub(super) fn belongs_to(body: &[u8], users: &HashSet<ProfileKey>) -> bool {
    decode(body, UnixMillis::default())
        .and_then(|profile| profile.owner())
        .is_some_and(|owner| users.contains(&owner))
}

/// How many profiles of a sync may be kept; none where there are none, or nobody said.
fn bounds(core: &mut Core, index: usize) -> Option<Bounds> {
    let counters = core.counters.at(index);
    if counters.get(Counter::Profiles) == 0 {
        return None;
    }
    // A command that opened the store knows of no bounds.
    let bounds = core.context.shared.bounds();
    let bounds = bounds.as_ref()?.get(&counters.name).copied();
    Some(bounds.unwrap_or_default())
}

/// Removes profiles of a sync, those first that were not touched for longest, as long as `goes` agrees, and no
/// more than `limit`. True if there may be more. What the transaction under way has touched stays.
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

/// Removes profiles of a sync that the transaction under way has touched.
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
