//! Cooldowns: what Meta asked to be waited for, kept so that a restart does not forget it.
//!
//! A cooldown is written in the transaction that settles the answer which told of it, so that it is
//! known as surely as the answer is. The store does not understand it: when it begins and ends, and
//! what it means, is the lanes' to say.

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

/// A change in what stands still.
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
