//! How every event ends.
//!
//! An event ends, for each sync, in exactly one [`Outcome`], always with a [`Reason`] from a closed list.
//! The outcome follows from the reason, so the two cannot contradict each other.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How an event ended for one sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[must_use]
pub enum Outcome {
    /// Not selected.
    Filtered,
    /// Found, before it was queued, to be no event that Meta would accept.
    Invalid,
    /// Seen before within the duplicate window.
    Duplicate,
    /// Accepted by Meta.
    Delivered,
    /// Refused by Meta.
    Rejected,
    /// Its window closed while it was queued.
    Expired,
    /// Removed by `forget` while it was queued.
    Erased,
    /// Held by a row that was damaged on disk.
    Lost,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal => $outcome:ident,)+) => {
        /// Why an event ended as it did.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        pub enum Reason { $($(#[$doc])* #[serde(rename = $text)] $name,)+ }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The stable name used in metrics, replies and the store.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The outcome that this reason belongs to.
            pub const fn outcome(self) -> Outcome {
                match self { $(Self::$name => Outcome::$outcome,)+ }
            }
        }
    };
}

reasons! {
    /// The sync is disabled.
    SyncDisabled = "sync_disabled" => Filtered,
    /// `send_events = false`.
    SendEventsOff = "send_events_off" => Filtered,
    /// Not in the sync's event table.
    NotSelected = "not_selected" => Filtered,
    /// Amplitude's own bookkeeping (sessions, computed revenue twins), not named in the event table;
    /// without one, also what Amplitude captures by itself.
    Bookkeeping = "bookkeeping" => Filtered,
    /// A user (identify) payload: it has no event name, so it maps to no Meta event.
    UserPayload = "user_payload" => Filtered,
    /// A condition of the sync's `consent` does not hold.
    NoConsent = "no_consent" => Filtered,
    /// A condition of the sync's `where` does not hold.
    SyncCondition = "sync_condition" => Filtered,
    /// A condition of the event's `where` does not hold.
    EventCondition = "event_condition" => Filtered,

    /// Not a JSON object, or one that is broken beyond its values.
    MalformedJson = "malformed_json" => Invalid,
    /// A number with locale grouping, as `FreeMarker` prints without `?c`: bare, or as the time or the
    /// value of a Purchase in quotes.
    GroupedNumber = "grouped_number" => Invalid,
    /// Bytes that are not UTF-8. This and the next five are no longer given, since a broken value is left out;
    /// stores may still hold them.
    NotUtf8 = "not_utf8" => Invalid,
    /// A `\u` escape that is half of a surrogate pair.
    LoneSurrogate = "lone_surrogate" => Invalid,
    /// A number too large for a 64-bit float.
    NumberOutOfRange = "number_out_of_range" => Invalid,
    /// Nested deeper than 128 levels.
    TooDeep = "too_deep" => Invalid,
    /// The same top-level key twice.
    DuplicateKey = "duplicate_key" => Invalid,
    /// An id that is not a string.
    IdNotAString = "id_not_a_string" => Invalid,
    /// No usable event name.
    NoEventName = "no_event_name" => Invalid,
    /// Its name holds an e-mail address or is a phone number, which must not be sent or stored.
    PersonalEventName = "personal_event_name" => Invalid,
    /// No usable `event_time`.
    NoEventTime = "no_event_time" => Invalid,
    /// Older than the window that Meta accepts.
    TooOld = "too_old" => Invalid,
    /// A website event that Meta no longer pairs with the one that its Pixel sent.
    TooOldForPixel = "too_old_for_pixel" => Invalid,
    /// More than 60 seconds in the future.
    InFuture = "in_future" => Invalid,
    /// Seven or eight hours in the future: a template read UTC as US Pacific time.
    TimeZoneTrap = "time_zone_trap" => Invalid,
    /// No customer information that Meta accepts as sufficient.
    NoIdentifier = "no_identifier" => Invalid,
    /// A Purchase without a usable `value`.
    PurchaseWithoutValue = "purchase_without_value" => Invalid,
    /// A Purchase without a usable `currency`.
    PurchaseWithoutCurrency = "purchase_without_currency" => Invalid,
    /// The mapped event is larger than one request may be.
    EventTooLarge = "event_too_large" => Invalid,

    /// The same event was seen before, within the duplicate window.
    SeenBefore = "seen_before" => Duplicate,

    /// Meta counted it.
    Accepted = "accepted" => Delivered,
    /// Meta answered 200 but counted fewer events than were sent.
    ShortCount = "short_count" => Delivered,

    /// Meta refused it when it was sent alone.
    Refused = "refused" => Rejected,
    /// Too large for Meta, even when it was sent alone.
    TooLarge = "too_large" => Rejected,

    /// The time in which Meta accepts it is over.
    WindowClosed = "window_closed" => Expired,
    /// An answer was lost, and after 48 hours a repeat could count twice.
    MaybeDelivered = "maybe_delivered" => Expired,

    /// `pixel-relay forget`.
    Forgotten = "forgotten" => Erased,
    /// `pixel-relay queue drop`.
    Dropped = "dropped" => Erased,

    /// A row whose checksum does not match.
    DamagedRow = "damaged_row" => Lost,
}

impl Reason {
    /// Finds a reason by its stable name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.as_str() == text)
    }
}

impl Outcome {
    /// The stable name used in metrics, replies and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Filtered => "filtered",
            Self::Invalid => "invalid",
            Self::Duplicate => "duplicate",
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Erased => "erased",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Writes a reason as two fields, the outcome before it. For `#[serde(flatten, with = "…")]`.
pub mod with_outcome {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Outcome, Reason};

    #[derive(Serialize, Deserialize)]
    struct OutcomeAndReason {
        outcome: Outcome,
        reason: Reason,
    }

    pub fn serialize<S: Serializer>(reason: &Reason, serializer: S) -> Result<S::Ok, S::Error> {
        let both = OutcomeAndReason {
            outcome: reason.outcome(),
            reason: *reason,
        };
        both.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Reason, D::Error> {
        Ok(OutcomeAndReason::deserialize(deserializer)?.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_unique_and_found_again() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(*reason));
        }
        assert_eq!(Reason::parse("no such reason"), None);
    }
}
