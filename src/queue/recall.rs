//! Profiles and clicks as a request sees them: those of the last commit, and what the request changed since.
//!
//! They are read beside the writer, by a connection that all requests share for a few microseconds at a
//! time. The writer puts it away whenever it opens the file anew or closes it. What a request changes
//! stays with it: that reaches the store with the events. What it tells of clicks other requests see at once.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rusqlite::Connection;

use crate::clock::UnixMillis;
use crate::profile::clicks::{Clicks, FirstSeen};
use crate::profile::update::ProfileStore;
use crate::profile::{Profile, ProfileKey};

use super::StoreError;
use super::clicks;
use super::profiles;
use super::recent::KnownClick;
use super::rows::is_damage;
use super::schema;
use super::store::QueueContext;

/// What is remembered, as a request sees it.
pub struct ProfileReader {
    ground: Arc<QueueContext>,
    known: HashMap<ProfileKey, Option<Profile>>,
    /// What is to be stored of clicks.
    told: Vec<FirstSeen>,
}

impl ProfileReader {
    /// Begins with what was committed.
    pub(super) fn new(ground: Arc<QueueContext>) -> Self {
        Self {
            ground,
            known: HashMap::new(),
            told: Vec::new(),
        }
    }

    /// What the request told of clicks, to be stored with its events.
    pub fn into_told(self) -> Vec<FirstSeen> {
        self.told
    }

    /// Reads beside the writer; `None` where what is stored is damaged.
    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<Option<T>>,
    ) -> rusqlite::Result<Option<T>> {
        let mut reader = self.ground.shared.reader();
        let connection = match reader.take() {
            Some(connection) => connection,
            None => schema::open_reader(&self.ground.config.path)?,
        };
        // After an error the connection is not used again.
        let found = match read(&connection) {
            // The writer comes upon it too, and salvages what it can.
            Err(error) if is_damage(&error) => return Ok(None),
            read => read?,
        };
        *reader = Some(connection);
        Ok(found)
    }
}

impl ProfileStore for ProfileReader {
    type Error = StoreError;

    fn profile(&mut self, key: ProfileKey) -> Result<Option<Profile>, StoreError> {
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let read = self
            .read(|connection| profiles::profile(connection, key))
            .map_err(|error| StoreError::Storage(Arc::new(error)))?;
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
        let shared = Arc::clone(&self.ground.shared);
        let known = shared.clicks().find(click.click);
        let known = known.unwrap_or_else(|| {
            // Whoever writes comes upon an error too; the event's own time serves.
            let stored = self.read(|connection| clicks::first_seen(connection, click.click));
            match stored.unwrap_or_default() {
                Some(seen) => {
                    shared.clicks().store(FirstSeen { seen, ..click });
                    KnownClick::Stored(seen)
                }
                // Another request may have told of it meanwhile.
                None => shared.clicks().tell(click),
            }
        });
        match known {
            KnownClick::Stored(seen) => seen,
            KnownClick::Told(seen) => {
                self.told.push(FirstSeen { seen, ..click });
                seen
            }
        }
    }
}

impl fmt::Debug for ProfileReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recall({} profiles)", self.known.len())
    }
}
