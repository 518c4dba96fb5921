//! Cooldowns: waits that Meta asked for, kept so that a restart does not forget them.
//!
//! The transaction that settles an answer also stores its cooldown. The store does not interpret it: the lanes
//! decide when it begins and ends, and what it means.

use crate::clock::UnixMillis;

/// A wait that Meta asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cooldown {
    /// A pixel id, or the name of a sync.
    pub whose: String,
    /// Of what kind.
    pub kind: String,
    /// When Meta asked for it, by the clock of that time.
    pub since: UnixMillis,
    /// When it ends.
    pub until: UnixMillis,
}

/// A change of cooldowns.
#[derive(Clone, Debug)]
pub enum CooldownChange {
    /// It begins, or lasts longer.
    Begun(Cooldown),
    /// Everything that would have ended by this moment is over.
    Over {
        /// A pixel id, or the name of a sync.
        whose: String,
        /// The moment.
        by: UnixMillis,
    },
}
