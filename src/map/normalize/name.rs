//! First and last names: lower case, without white space and punctuation, in any script.

use crate::map::normalize::Normalized;
use crate::map::normalize::text::{is_blank, is_punctuation, lower_kept};

/// Normalises a name.
///
/// Meta's page allows no punctuation; Meta's libraries delete only that of ASCII, so that the curly
/// apostrophe of `O’Brien` stays. Where the two differ both forms are sent.
pub(super) fn normalize<'a>(text: &'a str, [first, second]: [&'a mut String; 2]) -> Normalized<'a> {
    let first = lower_kept(
        text,
        |character| !is_blank(character) && !is_punctuation(character),
        first,
    );
    if text.is_ascii() {
        return Normalized::to_hash(first);
    }
    let second = lower_kept(
        text,
        |character| !is_blank(character) && !character.is_ascii_punctuation(),
        second,
    );
    Normalized::both(first, second)
}
