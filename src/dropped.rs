//! Why a field was left out of an event.
//!
//! A value that Meta would not accept costs its own field, never the event. Each such loss is counted
//! under a name from this closed list.

use crate::words::words;

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        words! {
            /// Why a field was left out. `meaning` says it as a sentence.
            pub enum DropReason with pub meaning: &'static str {
                $($(#[doc = $doc])+ $name = $text => concat!($($doc),+).trim_ascii(),)+
            }
        }
    };
}

drop_reasons! {
    /// Nothing is left of the value once it is normalised.
    Empty = "empty",
    /// The hash of `null`, `undefined` or `redacted`: whoever hashed it had no value.
    HashOfNothing = "hash_of_nothing",
    /// 32 hexadecimal digits: an MD5, where Meta takes SHA-256 alone.
    Md5 = "md5",
    /// Not the form of an e-mail address.
    NotAnEmail = "not_an_email",
    /// Fewer digits than any phone number has, or a text that only happens to hold digits.
    NotAPhone = "not_a_phone",
    /// No day, month and four-digit year that exist together.
    NotADate = "not_a_date",
    /// A date before 1900 or after today.
    DateOutOfRange = "date_out_of_range",
    /// No word for female or male.
    UnknownGender = "unknown_gender",
    /// A number with letters glued to it: an id, or a street.
    NotACity = "not_a_city",
    /// No country of ISO 3166-1.
    UnknownCountry = "unknown_country",
    /// A single character, which no country has for a postal code.
    TooShort = "too_short",
    /// No IP address in the value.
    NotAnAddress = "not_an_address",
    /// Only addresses that are not reachable from the internet.
    PrivateAddress = "private_address",
    /// A page URL without an `fbclid`.
    NoClickId = "no_click_id",
    /// Neither an `fbc` nor an `fbclid`.
    MalformedClickId = "malformed_click_id",
    /// A click more than 90 days before the event: Meta's own cookie lives no longer.
    ClickTooOld = "click_too_old",
    /// A click more than a minute after the event, which it cannot have led to.
    ClickAfterEvent = "click_after_event",
    /// Not an `fbp`.
    MalformedBrowserId = "malformed_browser_id",
    /// Not a whole number, or not of the length that Meta requires.
    NotAnId = "not_an_id",
    /// An advertising id of zeros: the person does not allow tracking.
    AllZero = "all_zero",
    /// With the other values of this person's fields longer than 10,000 bytes.
    TooLong = "too_long",
    /// More values than one field is given.
    TooMany = "too_many",
    /// A number with a fraction, or too large to be exact, where a text belongs.
    NotWhole = "not_whole",
    /// A list, object or boolean where a text belongs.
    NotAText = "not_a_text",
    /// Not an object.
    NotAnObject = "not_an_object",
    /// Neither true nor false.
    NotABoolean = "not_a_boolean",
    /// Neither a number, such as `19.90`, nor an amount, such as `$1,234.50`.
    NotANumber = "not_a_number",
    /// A text such as `1,234`, which is a thousand and more to some and a little over one to others.
    AmbiguousNumber = "ambiguous_number",
    /// Below zero, as the amount of a refund is.
    Negative = "negative",
    /// No currency of ISO 4217.
    UnknownCurrency = "unknown_currency",
    /// A value without a currency, which Meta refuses.
    ValueWithoutCurrency = "value_without_currency",
    /// None of the words that Meta knows for this field.
    UnknownWord = "unknown_word",
    /// What a hashed field is made from, or a value that holds it: it does not go out in clear as well.
    HashedSource = "hashed_source",
    /// A value that the configuration's `map` does not hold.
    NotInMap = "not_in_map",
    /// A list without a single usable item.
    NoItems = "no_items",
    /// A list that was sent without some of its items: one of `contents` needs an id.
    BadItem = "bad_item",
    /// Not an address of the web.
    NotAUrl = "not_a_url",
    /// More levels of lists and objects than readers of JSON follow.
    TooDeep = "too_deep",
    /// More than 10,000 members of objects and items of lists in one event: those beyond are absent.
    TooManyMembers = "too_many_members",
    /// An e-mail address or phone number in clear text.
    PersonalData = "personal_data",
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_unique() {
        let names: BTreeSet<_> = DropReason::ALL.iter().map(|why| why.as_str()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
    }

    #[test]
    fn every_reason_is_a_sentence() {
        assert_eq!(
            DropReason::Md5.meaning(),
            "32 hexadecimal digits: an MD5, where Meta takes SHA-256 alone."
        );
        for why in DropReason::ALL {
            assert!(
                why.meaning().ends_with('.') && !why.meaning().starts_with(' '),
                "{why}"
            );
        }
    }
}
