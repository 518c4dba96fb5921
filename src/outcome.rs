//! How every event ends.
//!
//! An event ends, for each sync, in exactly one [`Outcome`], always with a [`Reason`] from a closed list.
//! The outcome follows from the reason, so the two cannot contradict each other.

use serde::{Deserialize, Serialize};

use crate::words::words;

words! {
    /// How an event ended for one sync.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    #[must_use]
    pub enum Outcome {
        /// Not selected.
        Filtered = "filtered",
        /// Found, before it was queued, to be no event that Meta would accept.
        Invalid = "invalid",
        /// Seen before within the duplicate window.
        Duplicate = "duplicate",
        /// Accepted by Meta.
        Delivered = "delivered",
        /// Refused by Meta.
        Rejected = "rejected",
        /// Its window closed while it was queued.
        Expired = "expired",
        /// Removed by `forget` while it was queued.
        Erased = "erased",
        /// Held by a row that was damaged on disk.
        Lost = "lost",
    }
}

words! {
    /// Why an event ended as it did.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Reason with pub outcome: Outcome {
        /// The sync is disabled.
        SyncDisabled = "sync_disabled" => Outcome::Filtered,
        /// `send_events = false`.
        SendEventsOff = "send_events_off" => Outcome::Filtered,
        /// Not in the sync's event table.
        NotSelected = "not_selected" => Outcome::Filtered,
        /// Amplitude's own bookkeeping (sessions, computed revenue twins), not named in the event table;
        /// without one, also what Amplitude captures by itself.
        Bookkeeping = "bookkeeping" => Outcome::Filtered,
        /// A user (identify) payload: it has no event name, so it maps to no Meta event.
        UserPayload = "user_payload" => Outcome::Filtered,
        /// A condition of the sync's `consent` does not hold.
        NoConsent = "no_consent" => Outcome::Filtered,
        /// A condition of the sync's `where` does not hold.
        SyncCondition = "sync_condition" => Outcome::Filtered,
        /// A condition of the event's `where` does not hold.
        EventCondition = "event_condition" => Outcome::Filtered,

        /// Not a JSON object, or one that is broken beyond its values.
        MalformedJson = "malformed_json" => Outcome::Invalid,
        /// A number with locale grouping, as `FreeMarker` prints without `?c`: bare, or as the time or the
        /// value of a Purchase in quotes.
        GroupedNumber = "grouped_number" => Outcome::Invalid,
        /// Bytes that are not UTF-8. This and the next five are no longer given, since a broken value is left out;
        /// stores may still hold them.
        NotUtf8 = "not_utf8" => Outcome::Invalid,
        /// A `\u` escape that is half of a surrogate pair.
        LoneSurrogate = "lone_surrogate" => Outcome::Invalid,
        /// A number too large for a 64-bit float.
        NumberOutOfRange = "number_out_of_range" => Outcome::Invalid,
        /// Nested deeper than 128 levels.
        TooDeep = "too_deep" => Outcome::Invalid,
        /// The same top-level key twice.
        DuplicateKey = "duplicate_key" => Outcome::Invalid,
        /// An id that is not a string.
        IdNotAString = "id_not_a_string" => Outcome::Invalid,
        /// No usable event name.
        NoEventName = "no_event_name" => Outcome::Invalid,
        /// Its name holds an e-mail address or is a phone number, which must not be sent or stored.
        PersonalEventName = "personal_event_name" => Outcome::Invalid,
        /// No usable `event_time`.
        NoEventTime = "no_event_time" => Outcome::Invalid,
        /// Older than the window that Meta accepts.
        TooOld = "too_old" => Outcome::Invalid,
        /// A website event that Meta no longer pairs with the one that its Pixel sent.
        TooOldForPixel = "too_old_for_pixel" => Outcome::Invalid,
        /// More than 60 seconds in the future.
        InFuture = "in_future" => Outcome::Invalid,
        /// Seven or eight hours in the future: a template read UTC as US Pacific time.
        TimeZoneTrap = "time_zone_trap" => Outcome::Invalid,
        /// No customer information that Meta accepts as sufficient.
        NoIdentifier = "no_identifier" => Outcome::Invalid,
        /// A Purchase without a usable `value`.
        PurchaseWithoutValue = "purchase_without_value" => Outcome::Invalid,
        /// A Purchase without a usable `currency`.
        PurchaseWithoutCurrency = "purchase_without_currency" => Outcome::Invalid,
        /// The mapped event is larger than one request may be.
        EventTooLarge = "event_too_large" => Outcome::Invalid,

        /// The same event was seen before, within the duplicate window.
        SeenBefore = "seen_before" => Outcome::Duplicate,

        /// Meta counted it.
        Accepted = "accepted" => Outcome::Delivered,
        /// Meta answered 200 but counted fewer events than were sent.
        ShortCount = "short_count" => Outcome::Delivered,

        /// Meta refused it when it was sent alone.
        Refused = "refused" => Outcome::Rejected,
        /// Too large for Meta, even when it was sent alone.
        TooLarge = "too_large" => Outcome::Rejected,

        /// The time in which Meta accepts it is over.
        WindowClosed = "window_closed" => Outcome::Expired,
        /// An answer was lost, and after 48 hours a repeat could count twice.
        MaybeDelivered = "maybe_delivered" => Outcome::Expired,

        /// `pixel-relay forget`.
        Forgotten = "forgotten" => Outcome::Erased,
        /// `pixel-relay queue drop`.
        Dropped = "dropped" => Outcome::Erased,

        /// A row whose checksum does not match.
        DamagedRow = "damaged_row" => Outcome::Lost,
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
    fn json_writes_the_same_words() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::json!(reason), reason.as_str());
        }
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::json!(outcome), outcome.as_str());
        }
    }
}
