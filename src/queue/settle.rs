//! The outcome of a request: how it was answered, and how its events end.

use crate::config::SyncName;
use crate::outcome::Reason;

use super::attempt::{AttemptAnswer, DeliveryId};
use super::cooldown::CooldownChange;
use super::lease::Slot;

/// What the answer to a request changes, in one transaction. If that fails, it may be repeated as it is.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The sync.
    pub sync: SyncName,
    /// The request that was answered; its record is closed.
    pub delivery: Option<DeliveryId>,
    /// How it was answered. `None`: it was not sent, and its record is removed.
    pub answer: Option<AttemptAnswer>,
    /// Events that end. One that is not on lease is passed over.
    pub ends: Vec<(Slot, End)>,
    /// Events that become ready again. Those in neither list stay leased.
    pub release: Vec<Slot>,
    /// Cooldowns that the answer begins or ends.
    pub cooldowns: Vec<CooldownChange>,
}

/// How an event on lease ends.
#[derive(Clone, Debug)]
pub enum End {
    /// Meta took it.
    Delivered {
        /// Meta counted fewer events than the request held.
        short: bool,
    },
    /// Meta refused it.
    Rejected(Refusal),
}

impl End {
    /// Why it ends; the reason tells the outcome.
    pub(super) const fn reason(&self) -> Reason {
        match self {
            Self::Delivered { short: false } => Reason::Accepted,
            Self::Delivered { short: true } => Reason::ShortCount,
            Self::Rejected(refusal) => refusal.reason,
        }
    }
}

/// Why Meta refused an event.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Why it ends as `rejected`.
    pub reason: Reason,
    /// Meta's code.
    pub code: Option<i64>,
    /// Meta's sub-code.
    pub sub_code: Option<i64>,
    /// Meta's trace id.
    pub trace_id: Option<String>,
    /// Meta's text, redacted.
    pub message: Option<String>,
}
