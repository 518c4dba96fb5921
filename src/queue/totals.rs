//! Counts that survive a restart, because they change in the transaction that moves the event.

use std::collections::BTreeMap;

use crate::config::SyncName;
use crate::outcome::Reason;

/// The counts of every sync that the store has ever held.
pub type Totals = BTreeMap<SyncName, SyncTotals>;

/// The counts of one sync. At rest, `taken + dead_retried` is the sum of `ended` plus `queued`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncTotals {
    /// Events taken.
    pub taken: u64,
    /// Dead letters queued anew.
    pub dead_retried: u64,
    /// Events that ended, by reason; the reason tells the outcome.
    pub ended: BTreeMap<Reason, u64>,
    /// Dead letters that left, by cause.
    pub dead_removed: BTreeMap<Removal, u64>,
    /// Events in the queue, ready or on lease.
    pub queued: u64,
    /// Dead letters at hand.
    pub dead: u64,
}

macro_rules! removals {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// Why a dead letter left.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Removal { $($(#[$doc])* $name,)+ }

        impl Removal {
            /// Every cause.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The stable name used in metrics and the store.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

removals! {
    /// Queued anew by command.
    Retried = "retried",
    /// Dropped by command.
    Dropped = "dropped",
    /// Replaced by a backfill of the same event.
    Replaced = "replaced",
    /// Erased with its user.
    Forgotten = "forgotten",
    /// Older than the retention.
    Aged = "aged",
    /// Room was needed for newer ones.
    Crowded = "crowded",
}
