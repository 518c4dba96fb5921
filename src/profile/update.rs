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

/// A profile that changes in nothing else is written anew only after so long, so that an event of a
/// known person costs no write.
const TOUCH_AFTER: Duration = Duration::from_secs(60 * 60);

/// The person of an event: a user, a device, or both; neither for nobody.
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
    /// The properties that are remembered. What else is in a profile is no longer wanted.
    pub wanted: Arc<[PropertyId]>,
    /// What becomes of them, in order.
    pub steps: Vec<PropertyStep>,
    /// What the event carried besides.
    pub touchpoint: Touchpoint,
    /// Tells a repeat of the event, where a step would change something once more.
    pub mark: Option<u64>,
    /// When it was read.
    pub at: UnixMillis,
}

impl ProfileUpdate {
    /// Takes out what the event carried besides properties, as an update of its own.
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
    match update.identity {
        Identity {
            user: Some(user),
            device: None,
        } => {
            let before = store.profile(user)?;
            let after = before.clone().unwrap_or_default();
            keep_changed(store, user, before.as_ref(), after, update)
        }
        Identity {
            user: Some(user),
            device: Some(device),
        } => apply_to_both(store, user, device, update),
        Identity {
            user: None,
            device: Some(device),
        } => apply_to_device(store, device, update),
        Identity {
            user: None,
            device: None,
        } => Ok(false),
    }
}

/// The profile that an event takes from: its user's, and without a user that of the device's user, else
/// the device's own.
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

fn apply_to_both<S: ProfileStore>(
    store: &mut S,
    user: ProfileKey,
    device: ProfileKey,
    update: &ProfileUpdate,
) -> Result<bool, S::Error> {
    let own = store.profile(device)?;
    let before = store.profile(user)?;
    let mut after = before.clone().unwrap_or_default();
    let owner = own.as_ref().and_then(|own| own.owner);
    if let (Some(own), None) = (&own, owner) {
        after.add_lacking(own);
    }
    let mut changed = keep_changed(store, user, before.as_ref(), after, update)?;
    let is_known = changed || before.is_some();
    let is_fresh = own.as_ref().is_some_and(|own| is_fresh(own, update.at));
    let moves = owner != Some(user) && (is_known || own.is_some());
    if moves || (own.is_some() && !is_fresh) {
        store.keep(device, Profile::of_device_of(user, update.at))?;
        changed = true;
    }
    Ok(changed)
}

fn apply_to_device<S: ProfileStore>(
    store: &mut S,
    device: ProfileKey,
    update: &ProfileUpdate,
) -> Result<bool, S::Error> {
    let own = store.profile(device)?;
    if let Some(user) = own.as_ref().and_then(|own| own.owner)
        && let Some(before) = store.profile(user)?
    {
        let mut changed = keep_changed(store, user, Some(&before), before.clone(), update)?;
        if own.is_some_and(|own| !is_fresh(&own, update.at)) {
            store.keep(device, Profile::of_device_of(user, update.at))?;
            changed = true;
        }
        return Ok(changed);
    }
    // A user of whom nothing is remembered any more has nothing to be kept from the device.
    let mut after = own.clone().unwrap_or_default();
    after.owner = None;
    keep_changed(store, device, own.as_ref(), after, update)
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
