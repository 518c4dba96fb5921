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
    let (local, domain) = address.split_once('@').ok_or(DropReason::NotAnEmail)?;
    let labels = domain.split('.');
    if local.split('.').all(is_atom) && domain.contains('.') && labels.into_iter().all(is_label) {
        Ok(address)
    } else {
        Err(DropReason::NotAnEmail)
    }
}

fn is_atom(atom: &str) -> bool {
    !atom.is_empty()
        && atom.chars().all(|character| {
            is_letter_or_digit(character) || "!#$%&'*+/=?^_`{|}~-".contains(character)
        })
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .chars()
            .all(|character| is_letter_or_digit(character) || character == '-')
}

fn is_letter_or_digit(character: char) -> bool {
    character.is_alphanumeric() || is_letter(character)
}
