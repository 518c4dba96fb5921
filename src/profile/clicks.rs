//! When clicks on ads were first seen.
//!
//! A bare click id does not say when the click was; the time of the first event that carries it is the best
//! guess. That answer stays, even where an older event comes late, so that the same click id always gives the
//! same `fbc`. It is kept by a hash of the click id alone, for all syncs, and says nothing of a person.

use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::clock::UnixMillis;

/// How long a click is remembered: as long as Meta's own cookie (Meta: `ClickID` and the fbp and fbc
/// Parameters).
pub const KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How much later than its event a click may be first seen: events of one page overtake each other.
const OVERTAKEN: Duration = Duration::from_secs(60);

/// Which click: 128 bits of a hash of its id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClickKey([u8; 16]);

impl ClickKey {
    /// The key of a click id.
    pub fn of(click_id: &str) -> Self {
        let hash: [u8; 32] = Sha256::digest(click_id).into();
        let (key, _) = hash.split_first_chunk().expect("32 bytes hold 16");
        Self(*key)
    }

    /// A key as it was stored.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The key as it is stored.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for ClickKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClickKey(..)")
    }
}

/// A click, and when it was first seen as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstSeen {
    /// The click.
    pub click: ClickKey,
    /// The moment.
    pub seen: UnixMillis,
}

/// Knows when clicks were first seen.
pub trait Clicks: fmt::Debug {
    /// The moment at which a click was first seen. Where none is known, `click.seen` is remembered and returned.
    fn first_seen(&mut self, click: FirstSeen) -> UnixMillis;
}

/// Remembers nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoClicks;

impl Clicks for NoClicks {
    fn first_seen(&mut self, click: FirstSeen) -> UnixMillis {
        click.seen
    }
}

/// Whether an event can carry a click that was first seen then: not one of the future, nor one that is
/// forgotten by then.
pub fn can_carry(happened: UnixMillis, seen: UnixMillis) -> bool {
    seen.since(happened) <= OVERTAKEN && happened.since(seen) <= KEPT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_carries_neither_clicks_of_the_future_nor_forgotten_ones() {
        let happened = UnixMillis::from_seconds(1_795_000_000);
        let day = 24 * 60 * 60;
        for (seconds, expected) in [
            (0, true),
            (60, true),
            (61, false),
            (-90 * day, true),
            (-90 * day - 1, false),
        ] {
            let seen = UnixMillis::from_seconds(happened.seconds() + seconds);
            assert_eq!(can_carry(happened, seen), expected, "{seconds}");
        }
    }
}
