//! What an event says of its person, and how that changes profiles.
//!
//! A [`ProfileUpdate`] is what one event says; [`apply`] applies it, the same way where an event is mapped
//! and where it is stored, and [`profile_of`] finds whose profile an event takes from.
//!
//! A device belongs to the user who was last seen on it. What became known of a device before it belonged
//! to anyone goes to its first user; nothing of a user ever goes to another one.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixMillis;

use crate::profile::property::{PropertyId, PropertyStep};
use crate::profile::{Profile, ProfileKey, Touchpoint};

/// A profile of which only the time changes is rewritten only after so long, so that most events of a
/// known person cost no write.
const TOUCH_AFTER: Duration = Duration::from_secs(60 * 60);

/// The person of an event: a user, a device, or both; neither if the event names no one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: Option<ProfileKey>,
    /// The device.
    pub device: Option<ProfileKey>,
}

/// What one event says of its person.
#[derive(Clone, Debug)]
pub struct ProfileUpdate {
    /// The person.
    pub identity: Identity,
    /// The properties that are remembered. Any other property of a profile is dropped.
    pub wanted: Arc<[PropertyId]>,
    /// The operations on them, in order.
    pub steps: Vec<PropertyStep>,
    /// What else the event carried.
    pub touchpoint: Touchpoint,
    /// Identifies the event, where a step would change something again if it came twice.
    pub mark: Option<u64>,
    /// When it was read.
    pub at: UnixMillis,
}

impl ProfileUpdate {
    /// Moves what the event carried besides properties into a separate update.
    #[must_use]
    pub fn take_touchpoint(&mut self) -> Self {
        Self {
            identity: self.identity,
            wanted: Arc::clone(&self.wanted),
            steps: Vec::new(),
            touchpoint: mem::take(&mut self.touchpoint),
            mark: None,
            at: self.at,
        }
    }
}

/// Where profiles are kept.
pub trait ProfileStore {
    /// Why one could not be read or kept.
    type Error;

    /// Reads a profile.
    fn profile(&mut self, key: ProfileKey) -> Result<Option<Profile>, Self::Error>;

    /// Keeps a profile in the place of an earlier one. An empty one need not be kept.
    fn keep(&mut self, key: ProfileKey, profile: Profile) -> Result<(), Self::Error>;
}

/// Applies what an event says; true where that changed anything that is kept.
pub fn apply<S: ProfileStore>(store: &mut S, update: &ProfileUpdate) -> Result<bool, S::Error> {
    let Identity { user, device } = update.identity;
    let own = match device {
        Some(device) => store.profile(device)?,
        None => None,
    };
    let owner = own.as_ref().and_then(|own| own.owner);
    let mut known = None;
    if let Some(person) = user.or(owner) {
        let before = store.profile(person)?;
        // A user who is forgotten no longer owns the device; one whom the event names begins anew.
        if user.is_some() || before.is_some() {
            known = Some((person, before));
        }
    }
    let Some((user, before)) = known else {
        let Some(device) = device else {
            return Ok(false);
        };
        let mut after = own.clone().unwrap_or_default();
        after.owner = None;
        return keep_changed(store, device, own.as_ref(), after, update);
    };
    let mut after = before.clone().unwrap_or_default();
    if let (Some(own), None) = (&own, owner) {
        after.add_lacking(own);
    }
    let mut changed = keep_changed(store, user, before.as_ref(), after, update)?;
    if let Some(device) = device {
        let moves = owner != Some(user) && (changed || before.is_some() || own.is_some());
        if moves || own.is_some_and(|own| !is_fresh(&own, update.at)) {
            store.keep(device, Profile::of_device_of(user, update.at))?;
            changed = true;
        }
    }
    Ok(changed)
}

/// The profile that an event takes from: that of its user, else of the device's user, else of the device.
pub fn profile_of<S: ProfileStore>(
    store: &mut S,
    identity: Identity,
) -> Result<Option<Profile>, S::Error> {
    if let Some(user) = identity.user {
        return store.profile(user);
    }
    let Some(device) = identity.device else {
        return Ok(None);
    };
    let own = store.profile(device)?;
    match own.as_ref().and_then(|own| own.owner) {
        Some(user) => store.profile(user),
        None => Ok(own),
    }
}

fn keep_changed<S: ProfileStore>(
    store: &mut S,
    key: ProfileKey,
    before: Option<&Profile>,
    mut after: Profile,
    update: &ProfileUpdate,
) -> Result<bool, S::Error> {
    after.apply(update);
    let is_same = match before {
        Some(before) => *before == after && is_fresh(before, update.at),
        None => after.is_empty(),
    };
    if is_same {
        return Ok(false);
    }
    after.touched = after.touched.max(update.at);
    store.keep(key, after)?;
    Ok(true)
}

fn is_fresh(profile: &Profile, at: UnixMillis) -> bool {
    at.since(profile.touched) < TOUCH_AFTER
}

#[cfg(test)]
mod tests;
