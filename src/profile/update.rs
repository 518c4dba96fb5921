//! What an event says of its person, and how that changes profiles.
//!
//! A [`ProfileUpdate`] is what one event says; [`learn`] applies it, the same way where an event is mapped
//! and where it is stored, and [`recall`] finds whose profile an event takes from.
//!
//! A device belongs to the user who was last seen on it. What was learnt of a device before it belonged
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
    pub who: Identity,
    /// The properties that are remembered. What else is in a profile is no longer wanted.
    pub wanted: Arc<[PropertyId]>,
    /// What becomes of them, in order.
    pub steps: Vec<PropertyStep>,
    /// What the event carried besides.
    pub sighting: Touchpoint,
    /// Tells a repeat of the event, where a step would change something once more.
    pub mark: Option<u64>,
    /// When it was learnt.
    pub at: UnixMillis,
}

impl ProfileUpdate {
    /// Takes out what the event carried besides properties, as a lesson of its own.
    #[must_use]
    pub fn take_sighting(&mut self) -> Self {
        Self {
            who: self.who,
            wanted: Arc::clone(&self.wanted),
            steps: Vec::new(),
            sighting: mem::take(&mut self.sighting),
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
pub fn learn<S: ProfileStore>(shelf: &mut S, lesson: &ProfileUpdate) -> Result<bool, S::Error> {
    match lesson.who {
        Identity {
            user: Some(user),
            device: None,
        } => {
            let before = shelf.profile(user)?;
            let after = before.clone().unwrap_or_default();
            keep_learnt(shelf, user, before.as_ref(), after, lesson)
        }
        Identity {
            user: Some(user),
            device: Some(device),
        } => learn_of_both(shelf, user, device, lesson),
        Identity {
            user: None,
            device: Some(device),
        } => learn_of_device(shelf, device, lesson),
        Identity {
            user: None,
            device: None,
        } => Ok(false),
    }
}

/// The profile that an event takes from: its user's, and without a user that of the device's user, else
/// the device's own.
pub fn recall<S: ProfileStore>(shelf: &mut S, who: Identity) -> Result<Option<Profile>, S::Error> {
    if let Some(user) = who.user {
        return shelf.profile(user);
    }
    let Some(device) = who.device else {
        return Ok(None);
    };
    let own = shelf.profile(device)?;
    match own.as_ref().and_then(|own| own.owner) {
        Some(user) => shelf.profile(user),
        None => Ok(own),
    }
}

fn learn_of_both<S: ProfileStore>(
    shelf: &mut S,
    user: ProfileKey,
    device: ProfileKey,
    lesson: &ProfileUpdate,
) -> Result<bool, S::Error> {
    let own = shelf.profile(device)?;
    let before = shelf.profile(user)?;
    let mut after = before.clone().unwrap_or_default();
    let owner = own.as_ref().and_then(|own| own.owner);
    if let (Some(own), None) = (&own, owner) {
        after.add_lacking(own);
    }
    let mut changed = keep_learnt(shelf, user, before.as_ref(), after, lesson)?;
    let is_known = changed || before.is_some();
    let is_fresh = own.as_ref().is_some_and(|own| is_fresh(own, lesson.at));
    let moves = owner != Some(user) && (is_known || own.is_some());
    if moves || (own.is_some() && !is_fresh) {
        shelf.keep(device, Profile::of_device_of(user, lesson.at))?;
        changed = true;
    }
    Ok(changed)
}

fn learn_of_device<S: ProfileStore>(
    shelf: &mut S,
    device: ProfileKey,
    lesson: &ProfileUpdate,
) -> Result<bool, S::Error> {
    let own = shelf.profile(device)?;
    if let Some(user) = own.as_ref().and_then(|own| own.owner)
        && let Some(before) = shelf.profile(user)?
    {
        let mut changed = keep_learnt(shelf, user, Some(&before), before.clone(), lesson)?;
        if own.is_some_and(|own| !is_fresh(&own, lesson.at)) {
            shelf.keep(device, Profile::of_device_of(user, lesson.at))?;
            changed = true;
        }
        return Ok(changed);
    }
    // A user of whom nothing is remembered any more has nothing to be kept from the device.
    let mut after = own.clone().unwrap_or_default();
    after.owner = None;
    keep_learnt(shelf, device, own.as_ref(), after, lesson)
}

fn keep_learnt<S: ProfileStore>(
    shelf: &mut S,
    key: ProfileKey,
    before: Option<&Profile>,
    mut after: Profile,
    lesson: &ProfileUpdate,
) -> Result<bool, S::Error> {
    after.apply(lesson);
    let is_same = match before {
        Some(before) => *before == after && is_fresh(before, lesson.at),
        None => after.is_empty(),
    };
    if is_same {
        return Ok(false);
    }
    after.touched = after.touched.max(lesson.at);
    shelf.keep(key, after)?;
    Ok(true)
}

fn is_fresh(profile: &Profile, at: UnixMillis) -> bool {
    at.since(profile.touched) < TOUCH_AFTER
}

#[cfg(test)]
mod tests;
