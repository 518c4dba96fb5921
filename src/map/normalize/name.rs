//! First and last names: lower case, without white space and punctuation, in any script.

use crate::map::normalize::Normalized;
use crate::map::normalize::text::{is_blank, is_punctuation, lower_as_written, lower_kept};

/// What stands before a name with a dot, and is no part of it.
const HONORIFICS: [&str; 10] = [
    "mr", "mrs", "ms", "mx", "dr", "prof", "rev", "hr", "fr", "sr",
];

/// Normalises a name.
///
/// Meta's page allows no punctuation; Meta's libraries and the browser's Pixel delete only that of ASCII,
/// so that the curly apostrophe of `O’Brien` stays, and join no accents. Where the two differ both forms
/// are sent. Of a name behind an honorific, `Dr. Pat`, both the whole and the name alone are.
pub(super) fn normalize<'a>(text: &'a str, [first, second]: [&'a mut String; 2]) -> Normalized<'a> {
    let first = lower_kept(
        text,
        |character| !is_blank(character) && !is_punctuation(character),
        first,
    );
    if let Some(name) = without_honorific(text) {
        let second = lower_kept(
            name,
            |character| !is_blank(character) && !is_punctuation(character),
            second,
        );
        return Normalized::both(first, second);
    }
    if text.is_ascii() {
        return Normalized::to_hash(first);
    }
    let second = lower_as_written(
        text,
        |character| !is_blank(character) && !character.is_ascii_punctuation(),
        second,
    );
    Normalized::both(first, second)
}

/// The name behind an honorific that a dot ends.
fn without_honorific(text: &str) -> Option<&str> {
    let (honorific, name) = text.split_once('.')?;
    HONORIFICS
        .iter()
        .any(|known| known.eq_ignore_ascii_case(honorific))
        .then_some(name)
}
