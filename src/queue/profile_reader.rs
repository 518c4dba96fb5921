//! Profiles and clicks as a request sees them: as of the last commit, with the request's own changes.
//!
//! All requests share one reader beside the writer (`shared_reader`). A request keeps its changes to itself until the
//! store takes them with its events; but other requests see its clicks at once.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::clock::UnixMillis;
use crate::profile::clicks::{Clicks, FirstSeen};
use crate::profile::update::ProfileStore;
use crate::profile::{Profile, ProfileKey};

use super::StoreError;
use super::core::QueueContext;
use super::engine::{Beside, EngineError, EngineResult, Reader};
use super::profiles;
use super::recent_clicks::KnownClick;

/// Profiles and clicks as a request sees them.
pub struct ProfileReader {
    context: Arc<QueueContext>,
    known: HashMap<ProfileKey, Option<Profile>>,
    /// Clicks that are to be stored.
    clicks: Vec<FirstSeen>,
}

impl ProfileReader {
    pub(super) fn new(context: Arc<QueueContext>) -> Self {
        Self {
            context,
            known: HashMap::new(),
            clicks: Vec::new(),
        }
    }

    /// The clicks that are to be stored with the request's events.
    pub fn into_clicks(self) -> Vec<FirstSeen> {
        self.clicks
    }

    /// Reads beside the writer; `None` where the store is damaged.
    fn read<T>(
        &self,
        read: impl FnOnce(&mut dyn Reader) -> EngineResult<Option<T>>,
    ) -> EngineResult<Option<T>> {
        let open = || self.context.storage.reader(Beside::Writer);
        match self.context.shared.reader.read(open, read) {
            // The writer will meet the damage too, and salvage the store.
            Err(EngineError::Damaged(_)) => Ok(None),
            found => found,
        }
    }
}

impl ProfileStore for ProfileReader {
    type Error = StoreError;

    fn profile(&mut self, key: ProfileKey) -> Result<Option<Profile>, StoreError> {
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let stored = self.read(|reader| reader.profile(key))?;
        let read = stored.as_ref().and_then(profiles::read);
        self.known.insert(key, read.clone());
        Ok(read)
    }

    fn keep(&mut self, key: ProfileKey, profile: Profile) -> Result<(), StoreError> {
        let profile = Some(profile).filter(|profile| !profile.is_empty());
        self.known.insert(key, profile);
        Ok(())
    }
}

impl Clicks for ProfileReader {
    fn first_seen(&mut self, click: FirstSeen) -> UnixMillis {
        let context = Arc::clone(&self.context);
        let shared = &context.shared;
        let known = shared.clicks.lock().find(click.click);
        let known = known.unwrap_or_else(|| {
            // The push will meet an error too; meanwhile the event's own time does.
            let stored = self.read(|reader| reader.click(click.click));
            match stored.unwrap_or_default() {
                Some(seen) => {
                    shared.clicks.lock().store(FirstSeen { seen, ..click });
                    KnownClick::Stored(seen)
                }
                // Another request may have seen it meanwhile.
                None => shared.clicks.lock().note(click),
            }
        });
        match known {
            KnownClick::Stored(seen) => seen,
            KnownClick::Pending(seen) => {
                self.clicks.push(FirstSeen { seen, ..click });
                seen
            }
        }
    }
}

impl fmt::Debug for ProfileReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProfileReader({} profiles)", self.known.len())
    }
}
