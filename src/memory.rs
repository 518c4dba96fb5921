//! What is remembered of a person between events.
//!
//! Events of SDKs say little of the person: traits come apart from them, as operations on user
//! properties. A [`Profile`] holds what these made of the properties that a mapping names, each value
//! in the form in which Meta would get it. A [`ProfileUpdate`] is what one event says; [`learn`] applies it,
//! the same way where an event is mapped and where it is stored, and [`recall`] finds whose profile an
//! event takes from.
//!
//! A device belongs to the user who was last seen on it. What was learnt of a device before it belonged
//! to anyone goes to its first user; nothing of a user ever goes to another one.
//!
//! It is pure, knows nothing of events, hashing or Meta, and does not know where profiles are kept: that
//! is a [`ProfileStore`]. What it is handed must be hashed already where it is to be.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::UnixMillis;
use crate::config::SyncName;

use change::{PropertyId, PropertyStep};
use clicks::Noted;
use profile::{Profile, Touchpoint};

pub mod change;
pub mod clicks;
pub mod profile;

/// A profile that changes in nothing else is written anew only after so long, so that an event of a
/// known person costs no write.
const TOUCH_AFTER: Duration = Duration::from_secs(60 * 60);

/// Whose profile it is: 128 bits of a hash of the sync, the kind of id, and the id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProfileKey([u8; Self::BYTES]);

impl ProfileKey {
    /// How long a key is.
    pub const BYTES: usize = 16;

    /// The key of a user of a sync.
    pub fn user(sync: &SyncName, id: &str) -> Self {
        Self::of(sync, "user", id)
    }

    /// The key of a device of a sync.
    pub fn device(sync: &SyncName, id: &str) -> Self {
        Self::of(sync, "device", id)
    }

    /// A key as it was stored.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The key as it is stored.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    fn of(sync: &SyncName, kind: &str, id: &str) -> Self {
        let mut hash = Sha256::new();
        // Neither of the first two can hold the byte that ends it.
        for part in [sync.as_str(), kind] {
            hash.update(part);
            hash.update([0]);
        }
        hash.update(id);
        let hash: [u8; 32] = hash.finalize().into();
        let mut key = [0; Self::BYTES];
        key.copy_from_slice(hash.split_at(Self::BYTES).0);
        Self(key)
    }
}

impl fmt::Debug for ProfileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

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

/// A shelf in memory alone.
#[derive(Debug, Default)]
pub struct InMemoryProfiles {
    profiles: HashMap<ProfileKey, Profile>,
    clicks: Noted,
}

impl ProfileStore for InMemoryProfiles {
    type Error = Infallible;

    fn profile(&mut self, key: ProfileKey) -> Result<Option<Profile>, Infallible> {
        Ok(self.profiles.get(&key).cloned())
    }

    fn keep(&mut self, key: ProfileKey, profile: Profile) -> Result<(), Infallible> {
        if profile.is_empty() {
            self.profiles.remove(&key);
        } else {
            self.profiles.insert(key, profile);
        }
        Ok(())
    }
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
