//! What Meta wants each customer information field to look like before it is hashed.
//!
//! [`normalize`] takes the text of one value and returns what to hash or send, or the reason why the field
//! is left out. It is pure, never panics, never returns an empty text, and leaves a value that already has
//! the form of Meta's page unchanged. `docs/NORMALISATION.md` records each decision where Meta's page and
//! Meta's own libraries disagree.
//!
//! It does not know where a value comes from, and it does not hash.

mod address;
pub mod calling_codes;
pub mod click;
mod countries;
pub mod country;
pub mod date;
mod email;
pub mod field;
mod gender;
pub mod identifier;
mod name;
mod phone;
mod place;
mod placeholder;
mod state;
mod states;
#[cfg(test)]
mod tests;
pub mod text;

use std::fmt;

use crate::clock::UnixMillis;
use crate::dropped::DropReason;
use crate::hash::Hashed;
use crate::json::text::shows_nothing;
use crate::normalize::date::DateOrder;
use crate::normalize::field::{FieldClass, UserDataField};
use crate::normalize::identifier::ExternalIdCase;

/// What is known of the event besides the value, and how its sync is configured.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The calling code of phone numbers written without one: digits.
    pub calling_code: Option<&'a str>,
    /// The event's country: ISO 3166-1 alpha-2, lower case.
    pub country: Option<&'a str>,
    /// A text that is known to name a country, and its code.
    pub named_country: Option<(&'a str, &'static str)>,
    /// How `05/03/1995` is read.
    pub date_order: DateOrder,
    /// What happens to the case of an external id.
    pub external_id_case: ExternalIdCase,
    /// Nobody is born after it.
    pub now: UnixMillis,
    /// When the click was first seen; the event's own time where nothing better is known.
    pub click_seen: UnixMillis,
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Part of it is the event's own text.
        f.write_str("Context")
    }
}

/// Buffers for the forms of a value that differ from its text; they can be reused.
#[derive(Default)]
pub struct Scratch {
    first: String,
    second: String,
}

/// Enough for most values.
const TYPICAL_BYTES: usize = 64;

impl Scratch {
    /// Reserves memory for the values of one event.
    pub fn with_room() -> Self {
        Self {
            first: String::with_capacity(TYPICAL_BYTES),
            ..Self::default()
        }
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it holds is personal data.
        f.write_str("Scratch")
    }
}

/// A value as Meta wants it.
#[derive(Clone, PartialEq, Eq)]
pub enum Normalized<'a> {
    /// A text to hash.
    ToHash {
        /// The form that Meta's page asks for.
        first: &'a str,
        /// The form that Meta's own libraries hash, where it differs and may be the one that
        /// matches. Never equal to the first.
        second: Option<&'a str>,
    },
    /// An id that is sent both hashed and as it is.
    HashAndPlain(&'a str),
    /// A value that was hashed before it came here; boxed, so that the usual variants stay small.
    AlreadyHashed(Box<Hashed>),
    /// A text that is sent as it is.
    Plain(&'a str),
    /// A number that is sent as it is.
    Integer(u64),
}

impl<'a> Normalized<'a> {
    const fn to_hash(text: &'a str) -> Self {
        Self::ToHash {
            first: text,
            second: None,
        }
    }

    fn both(first: &'a str, second: &'a str) -> Self {
        let second = (first != second && !is_nothing(second)).then_some(second);
        Self::ToHash { first, second }
    }
}

impl fmt::Debug for Normalized<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text is personal data.
        f.write_str(match self {
            Self::ToHash { second: None, .. } => "ToHash",
            Self::ToHash {
                second: Some(_), ..
            } => "ToHash(two forms)",
            Self::HashAndPlain(_) => "HashAndPlain",
            Self::AlreadyHashed(_) => "AlreadyHashed",
            Self::Plain(_) => "Plain",
            Self::Integer(_) => "Integer",
        })
    }
}

/// Normalises one value of a field, or says why the field is left out.
pub fn normalize<'a>(
    field: UserDataField,
    text: &'a str,
    context: &Context<'_>,
    scratch: &'a mut Scratch,
) -> Result<Normalized<'a>, DropReason> {
    let text = text::trimmed(text);
    if is_nothing(text) {
        return Err(DropReason::Empty);
    }
    if let Some(ended) = already_hashed(field, text) {
        return ended;
    }
    if placeholder::is_one(field.placeholders(), text) {
        return Err(DropReason::Empty);
    }
    let Scratch { first, second } = scratch;
    let normalized = field.normalized(text, context, [first, second])?;
    let Normalized::ToHash { first, second } = &normalized else {
        return Ok(normalized);
    };
    if is_nothing(first) {
        return Err(DropReason::Empty);
    }
    // Some hashes show only now, such as one that was printed in groups.
    already_hashed(field, first)
        .or_else(|| already_hashed(field, (*second)?))
        .unwrap_or(Ok(normalized))
}

/// Recognises values of hashed fields that are hashes already: those that are sent, and those that are
/// refused.
fn already_hashed<'a>(
    field: UserDataField,
    text: &str,
) -> Option<Result<Normalized<'a>, DropReason>> {
    // Most values end here: they are too short for any hash.
    if text.len() < 32 || !field.is_hashed() {
        return None;
    }
    if let Some(hashed) = Hashed::already(without_appendix(text)) {
        return Some(if HASHES_OF_NOTHING.contains(&hashed.as_str()) {
            Err(DropReason::HashOfNothing)
        } else {
            Ok(Normalized::AlreadyHashed(Box::new(hashed)))
        });
    }
    // A user id of 32 digits is more likely a UUID without dashes than an MD5.
    let md5 = field.class() != FieldClass::PersonId && identifier::is_32_hex_digits(text);
    md5.then_some(Err(DropReason::Md5))
}

/// The hashes of `null` and `undefined`, which careless code sends, and of `redacted`, which the browser's
/// Pixel sends for every address of Apple's private relay. The hash of an empty text is never made here; one
/// that arrives passes, as in every library of Meta.
const HASHES_OF_NOTHING: [&str; 3] = [
    "b68919aff001d8366249403a2544fba2d833084f1ad22839b6310aadacb6a138",
    "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b",
    "eb045d78d273107348b0300c01d29b7552d622abbc6faf81b3ec55359aa9950c",
];

/// Cuts off the two or eight characters that Meta's parameter builder writes behind a hash and a full stop
/// to mark it as its own.
fn without_appendix(text: &str) -> &str {
    match text.split_once('.') {
        Some((hash, appendix))
            if matches!(appendix.len(), 2 | 8)
                && appendix
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) =>
        {
            hash
        }
        _ => text,
    }
}

/// Whether a text stands for nothing, or is empty, so that its hash would mean nothing.
fn is_nothing(text: &str) -> bool {
    shows_nothing(text) || matches!(text, "null" | "undefined" | "redacted" | "NaN")
}
