//! What is said of a request: who it is, how it was answered, and how its events end.

use crate::config::SyncName;
use crate::outcome::Reason;

use super::lease::Slot;
use super::standstill::CooldownChange;

/// How long Meta recognises a repeat: events that it may have taken are not repeated after that.
pub const DOUBT_SECONDS: i64 = 48 * 3600;

/// A request to Meta, noted in the store before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId(pub(super) i64);

/// What an answered request does, in one transaction. If that fails, it may be tried again as it is.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The sync.
    pub sync: SyncName,
    /// The request that was answered; its record is closed.
    pub delivery: Option<DeliveryId>,
    /// How it was answered. `None`: it was not sent, and its record is removed.
    pub answer: Option<AttemptAnswer>,
    /// Events that end here. One that is not on lease is passed over.
    pub ends: Vec<(Slot, End)>,
    /// Events that become ready again. Those in neither list stay leased.
    pub release: Vec<Slot>,
    /// What the answer says of waiting.
    pub standstills: Vec<CooldownChange>,
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

/// What Meta said of an event that it refused.
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

/// How a request was answered.
#[derive(Clone, Debug)]
pub struct AttemptAnswer {
    /// The verdict's name.
    pub verdict: &'static str,
    /// The HTTP status, if there was one.
    pub status: Option<u16>,
    /// Meta's code.
    pub code: Option<i64>,
    /// Meta's sub-code.
    pub sub_code: Option<i64>,
    /// Meta's trace id.
    pub trace_id: Option<String>,
    /// Meta may have taken the events: no complete answer came after bytes were written, or they were
    /// refused together with others. Those that do not end here expire 48 hours after the request.
    pub lost: bool,
}
