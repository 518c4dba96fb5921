//! Cities and postal codes.

use std::borrow::Cow;

use crate::map::dropped::DropReason;
use crate::map::normalize::Normalized;
use crate::map::normalize::text::{composed, is_blank, is_letter, lower_kept};

/// Normalises a city.
///
/// The first form keeps the letters of every script, as Meta's page allows and Meta's SDKs do. The
/// second is that of Meta's parameter builder: ASCII letters and digits, beginning with a letter.
pub(super) fn city(text: &str) -> Normalized<'_> {
    let first = lower_kept(text, is_letter);
    let composed = composed(text);
    let ascii = || composed.chars().filter(char::is_ascii_alphanumeric);
    if !ascii()
        .next()
        .is_some_and(|character| character.is_ascii_alphabetic())
    {
        return Normalized::to_hash(first);
    }
    let second = || ascii().map(|character| character.to_ascii_lowercase());
    if second().eq(first.chars()) {
        return Normalized::to_hash(first);
    }
    let second = second().collect();
    Normalized::both(first, Cow::Owned(second))
}

/// Normalises a postal code.
///
/// Spaces and dashes go. What stands behind a dash is part of the code in most countries, but not in
/// the USA; Meta's libraries always cut it off. Where the country is not known and the code is not
/// plainly American, both forms are sent.
pub(super) fn zip_code<'a>(
    text: &'a str,
    country: Option<&str>,
) -> Result<Normalized<'a>, DropReason> {
    let spaceless = lower_kept(text, |character| !is_blank(character));
    let (area, rest) = match spaceless.split_once('-') {
        Some((area, rest)) => (area.len(), Some(rest)),
        None => (spaceless.len(), None),
    };
    let normalized = match (country, rest) {
        (Some("us"), _) if area == 9 && is_number(head(&spaceless, area)) => {
            Normalized::to_hash(shortened(spaceless, 5))
        }
        (_, None) => Normalized::to_hash(spaceless),
        (Some("us"), Some(_)) => Normalized::to_hash(shortened(spaceless, area)),
        (Some(_), Some(_)) => Normalized::to_hash(dashless(&spaceless)),
        (None, Some(rest)) => {
            let one_dash = area > 0 && !rest.is_empty() && !rest.contains('-');
            let american = area == 5
                && rest.len() == 4
                && is_number(rest)
                && is_number(head(&spaceless, area));
            if one_dash && !american {
                Normalized::both(dashless(&spaceless), shortened(spaceless, area))
            } else {
                Normalized::to_hash(shortened(spaceless, area))
            }
        }
    };
    match &normalized {
        Normalized::ToHash { first, .. } if first.chars().nth(1).is_none() => {
            Err(DropReason::TooShort)
        }
        _ => Ok(normalized),
    }
}

fn shortened(text: Cow<'_, str>, bytes: usize) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(head(text, bytes)),
        Cow::Owned(mut text) => {
            text.truncate(bytes);
            Cow::Owned(text)
        }
    }
}

fn head(text: &str, bytes: usize) -> &str {
    text.get(..bytes).unwrap_or(text)
}

fn dashless<'a>(text: &str) -> Cow<'a, str> {
    Cow::Owned(text.replace('-', ""))
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}
