//! Profiles as a request sees them: those of the last commit, and what the request changed since.
//!
//! They are read beside the writer, by a connection that all requests share for a few microseconds at a
//! time. The writer puts it away whenever it opens the file anew or closes it. What a request changes
//! stays with it: that reaches the store as lessons, with the events.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::memory::profile::Profile;
use crate::memory::{Key, Shelf};

use super::StoreError;
use super::profiles;
use super::rows::is_damage;
use super::schema;
use super::store::Ground;

/// The profiles that a request sees.
pub struct Recall {
    ground: Arc<Ground>,
    known: HashMap<Key, Option<Profile>>,
}

impl Recall {
    /// Begins with what was committed.
    pub(super) fn new(ground: Arc<Ground>) -> Self {
        Self {
            ground,
            known: HashMap::new(),
        }
    }

    fn read(&self, key: Key) -> rusqlite::Result<Option<Profile>> {
        let mut reader = self.ground.shared.reader();
        let connection = match reader.take() {
            Some(connection) => connection,
            None => schema::open_reader(&self.ground.config.path)?,
        };
        // After an error the connection is not used again.
        let profile = match profiles::profile(&connection, key) {
            // The writer comes upon it too, and salvages what it can.
            Err(error) if is_damage(&error) => return Ok(None),
            read => read?,
        };
        *reader = Some(connection);
        Ok(profile)
    }
}

impl Shelf for Recall {
    type Error = StoreError;

    fn profile(&mut self, key: Key) -> Result<Option<Profile>, StoreError> {
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let read = self
            .read(key)
            .map_err(|error| StoreError::Storage(Arc::new(error)))?;
        self.known.insert(key, read.clone());
        Ok(read)
    }

    fn keep(&mut self, key: Key, profile: Profile) -> Result<(), StoreError> {
        let profile = Some(profile).filter(|profile| !profile.is_empty());
        self.known.insert(key, profile);
        Ok(())
    }
}

impl fmt::Debug for Recall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recall({} profiles)", self.known.len())
    }
}
