//! Profiles and clicks as a request sees them: those of the last commit, and what the request changed since.
//!
//! They are read beside the writer, by a reader that all requests share for a few microseconds at a
//! time. The writer puts it away whenever it opens the file anew or closes it. What a request changes
//! stays with it: that reaches the store with the events. The clicks that it sees, other requests see at once.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::clock::UnixMillis;
use crate::profile::clicks::{Clicks, FirstSeen};
use crate::profile::update::ProfileStore;
use crate::profile::{Profile, ProfileKey};

use super::StoreError;
use super::core::QueueContext;
use super::engine::{EngineError, EngineResult, Reader};
use super::profiles;
use super::recent_clicks::KnownClick;

/// What is remembered, as a request sees it.
pub struct ProfileReader {
    context: Arc<QueueContext>,
    known: HashMap<ProfileKey, Option<Profile>>,
    /// Clicks that are to be stored.
    clicks: Vec<FirstSeen>,
}

impl ProfileReader {
    /// Begins with what was committed.
    pub(super) fn new(context: Arc<QueueContext>) -> Self {
        Self {
            context,
            known: HashMap::new(),
            clicks: Vec::new(),
        }
    }

    /// The clicks that the request saw, to be stored with its events.
    pub fn into_clicks(self) -> Vec<FirstSeen> {
        self.clicks
    }

    /// Reads beside the writer; `None` where what is stored is damaged.
    fn read<T>(
        &self,
        read: impl FnOnce(&mut dyn Reader) -> EngineResult<Option<T>>,
    ) -> EngineResult<Option<T>> {
        let mut shared = self.context.shared.reader();
        let mut reader = match shared.take() {
            Some(reader) => reader,
            None => self.context.storage.reader()?,
        };
        // After an error the reader is not used again.
        let found = match read(&mut *reader) {
            // The writer comes upon it too, and salvages what it can.
            Err(EngineError::Damaged(_)) => return Ok(None),
            read => read?,
        };
        *shared = Some(reader);
        Ok(found)
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
        let known = shared.clicks().find(click.click);
        let known = known.unwrap_or_else(|| {
            // Whoever writes comes upon an error too; the event's own time serves.
            let stored = self.read(|reader| reader.click(click.click));
            match stored.unwrap_or_default() {
                Some(seen) => {
                    shared.clicks().store(FirstSeen { seen, ..click });
                    KnownClick::Stored(seen)
                }
                // Another request may have seen it meanwhile.
                None => shared.clicks().note(click),
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
