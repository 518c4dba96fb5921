//! Profiles that are kept in memory alone, for commands that look at events without a store.

use std::collections::HashMap;
use std::convert::Infallible;

use crate::clock::UnixMillis;
use crate::profile::clicks::{ClickKey, Clicks, FirstSeen};
use crate::profile::update::ProfileStore;
use crate::profile::{Profile, ProfileKey};

/// At this many clicks all of them are forgotten, which bounds the memory.
const MOST_CLICKS: usize = 1 << 20;

/// Profiles and clicks in memory alone.
#[derive(Debug, Default)]
pub struct InMemoryProfiles {
    pub(super) profiles: HashMap<ProfileKey, Profile>,
    clicks: HashMap<ClickKey, UnixMillis>,
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

impl Clicks for InMemoryProfiles {
    fn first_seen(&mut self, click: FirstSeen) -> UnixMillis {
        if self.clicks.len() >= MOST_CLICKS {
            self.clicks.clear();
        }
        *self.clicks.entry(click.click).or_insert(click.seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_stays() {
        let mut notes = InMemoryProfiles::default();
        let mut seen = |id: &str, at: i64| {
            notes.first_seen(FirstSeen {
                click: ClickKey::of(id),
                seen: UnixMillis(at),
            })
        };
        assert_eq!(seen("One", 50), UnixMillis(50));
        assert_eq!(seen("one", 60), UnixMillis(60));
        assert_eq!(seen("One", 70), UnixMillis(50));
        assert_eq!(seen("One", 40), UnixMillis(50));
    }
}
