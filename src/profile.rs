//! What is remembered of a person between events.
//!
//! Events of SDKs say little of the person: traits come separately, as operations on user properties. A
//! [`Profile`] belongs to one user, or to a device that belongs to nobody. It holds the properties that a
//! mapping names, each value in the form in which Meta would get it.
//!
//! Besides properties it holds what events carried: the click, the browser id, and address and user
//! agent together, since separately they could come from two machines. Its texts never take more than
//! [`MOST_BYTES`].
//!
//! It is pure, knows nothing of events, hashing or Meta, and does not know where profiles are kept: that
//! is a [`ProfileStore`](update::ProfileStore). The caller hashes what must be hashed.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::UnixMillis;
use crate::config::SyncName;
use crate::profile::property::{PropertyId, Value};
use crate::profile::update::ProfileUpdate;

pub mod clicks;
mod codec;
pub mod in_memory;
pub mod property;
pub mod update;

pub use codec::{decode, encode};

/// The most bytes of a profile. Above that the longest properties are emptied and marked as cut; the few
/// bytes that each still takes may exceed the limit.
pub const MOST_BYTES: usize = 8 << 10;

/// How many of the last updates are recognised when they come again.
const MARKS: usize = 8;

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
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
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
        let (key, _) = hash.split_first_chunk().expect("32 bytes hold 16");
        Self(*key)
    }
}

impl fmt::Debug for ProfileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProfileKey(..)")
    }
}

/// What is remembered of one person.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// About when it was last written.
    pub touched: UnixMillis,
    /// The user to whom the device belongs. Then nothing else is remembered of the device itself.
    pub owner: Option<ProfileKey>,
    properties: BTreeMap<PropertyId, Value>,
    pub click: Option<Click>,
    /// Meta's `fbp`.
    pub browser: Option<Box<str>>,
    pub origin: Option<ClientContext>,
    /// The last updates, by their marks.
    marks: Vec<u64>,
}

/// A click on an ad.
#[derive(Clone, PartialEq, Eq)]
pub struct Click {
    /// Meta's `fbc`.
    pub fbc: Box<str>,
    /// When it was first seen.
    pub seen: UnixMillis,
}

/// Where a person was: the address and the user agent of one request.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientContext {
    /// The IP address.
    pub address: Box<str>,
    /// The user agent.
    pub user_agent: Box<str>,
}

/// What an event carried besides properties.
#[derive(Clone, Default)]
pub struct Touchpoint {
    /// When it happened.
    pub happened: UnixMillis,
    /// The click, as an `fbc`.
    pub click: Option<Box<str>>,
    /// Whether that is the browser's own cookie, not made of a bare click id.
    pub is_cookie: bool,
    /// The browser id, as an `fbp`.
    pub browser: Option<Box<str>>,
    /// Where from.
    pub origin: Option<ClientContext>,
}

impl Profile {
    /// The profile of a device that belongs to a user.
    pub(super) fn of_device_of(user: ProfileKey, at: UnixMillis) -> Self {
        Self {
            owner: Some(user),
            touched: at,
            ..Self::default()
        }
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.owner.is_none()
            && self.properties.is_empty()
            && self.click.is_none()
            && self.browser.is_none()
            && self.origin.is_none()
    }

    /// What is remembered of a property.
    pub fn value(&self, id: PropertyId) -> Option<&Value> {
        self.properties.get(&id).filter(|value| !value.is_empty())
    }

    /// Takes what it lacks from the profile of a device.
    pub(super) fn add_lacking(&mut self, device: &Self) {
        for (id, value) in &device.properties {
            let own = self.properties.entry(*id);
            own.or_insert_with(|| value.clone());
        }
        self.click = self.click.take().or_else(|| device.click.clone());
        self.browser = self.browser.take().or_else(|| device.browser.clone());
        self.origin = self.origin.take().or_else(|| device.origin.clone());
        for mark in &device.marks {
            self.add_mark(*mark);
        }
    }

    /// Applies what one event says.
    pub(super) fn apply(&mut self, update: &ProfileUpdate) {
        let is_repeat = update.mark.is_some_and(|mark| self.marks.contains(&mark));
        for step in &update.steps {
            if !(is_repeat && step.may_repeat && step.act.adds_up()) {
                step.apply(&mut self.properties);
            }
        }
        if let Some(mark) = update.mark {
            self.add_mark(mark);
        }
        self.properties.retain(|id, _| update.wanted.contains(id));
        self.add_touchpoint(&update.touchpoint);
        while encode(self).len() > MOST_BYTES && self.cut_longest() {}
    }

    /// Empties the longest property, and marks it as cut.
    fn cut_longest(&mut self) -> bool {
        let bytes =
            |value: &&mut Value| -> usize { value.elements.iter().map(|text| text.len()).sum() };
        let longest = self.properties.values_mut().max_by_key(bytes);
        let Some(value) = longest.filter(|value| !value.elements.is_empty()) else {
            return false;
        };
        value.elements.clear();
        value.is_cut = true;
        true
    }

    fn add_mark(&mut self, mark: u64) {
        if self.marks.contains(&mark) {
            return;
        }
        self.marks.push(mark);
        if self.marks.len() > MARKS {
            self.marks.remove(0);
        }
    }

    fn add_touchpoint(&mut self, touchpoint: &Touchpoint) {
        if let Some(fbc) = &touchpoint.click {
            self.add_click(fbc, touchpoint);
        }
        if let Some(browser) = &touchpoint.browser {
            self.browser = Some(browser.clone());
        }
        if let Some(origin) = &touchpoint.origin {
            self.origin = Some(origin.clone());
        }
    }

    /// A click keeps the time at which it was first seen, and a later one takes its place. An event that
    /// comes late changes nothing.
    fn add_click(&mut self, fbc: &str, touchpoint: &Touchpoint) {
        match &mut self.click {
            Some(known) if click_id(&known.fbc) == click_id(fbc) => {
                if touchpoint.is_cookie {
                    known.fbc = fbc.into();
                }
            }
            Some(known) if known.seen > touchpoint.happened => {}
            click => {
                *click = Some(Click {
                    fbc: fbc.into(),
                    seen: touchpoint.happened,
                });
            }
        }
    }
}

/// The `fbclid` in an `fbc`.
pub fn click_id(fbc: &str) -> Option<&str> {
    fbc.split('.').nth(3)
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it holds may be personal data.
        f.debug_struct("Profile")
            .field("touched", &self.touched)
            .field("properties", &self.properties.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Click {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Click({:?})", self.seen)
    }
}

impl fmt::Debug for ClientContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientContext(..)")
    }
}

impl fmt::Debug for Touchpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Touchpoint({:?})", self.happened)
    }
}
