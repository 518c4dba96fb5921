//! E-mail addresses: trimmed, lower case, and of the form of an address.
//!
//! Dots and `+tags` are part of an address and stay. The form is that of Meta's parameter builder
//! (dot-separated atoms, a domain of at least two labels), with letters beyond ASCII allowed.

use std::borrow::Cow;

use crate::map::dropped::DropReason;
use crate::map::normalize::text::{is_letter, lower_kept};

/// Normalises an address that is already trimmed.
pub(super) fn normalize(text: &str) -> Result<Cow<'_, str>, DropReason> {
    let address = lower_kept(text, |_| true);
    let is_address = address.split_once('@').is_some_and(|(local, domain)| {
        local.split('.').all(is_atom) && domain.contains('.') && domain.split('.').all(is_label)
    });
    if is_address {
        Ok(address)
    } else {
        Err(DropReason::NotAnEmail)
    }
}

fn is_atom(atom: &str) -> bool {
    const SIGNS: &str = "!#$%&'*+/=?^_`{|}~-";
    !atom.is_empty()
        && atom
            .chars()
            .all(|part| is_letter_or_digit(part) || SIGNS.contains(part))
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .chars()
            .all(|part| is_letter_or_digit(part) || part == '-')
}

fn is_letter_or_digit(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_alphanumeric();
    }
    character.is_alphanumeric() || is_letter(character)
}
