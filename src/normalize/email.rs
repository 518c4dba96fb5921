//! E-mail addresses: trimmed, lower case, and of the form of an address.
//!
//! Dots and `+tags` are part of an address and stay; one comma behind it, which a list may leave, is cut off.
//! The form is that of Meta's parameter builder (dot-separated atoms, a domain of at least two labels), and
//! letters beyond ASCII are allowed.

use crate::dropped::DropReason;
use crate::normalize::text::{is_letter, lower_kept, trimmed};

/// Normalises an address that is already trimmed.
pub(super) fn normalize<'a>(text: &'a str, buffer: &'a mut String) -> Result<&'a str, DropReason> {
    let text = text.strip_suffix(',').map_or(text, trimmed);
    let address = lower_kept(text, |_| true, buffer);
    let mut halves = address.as_bytes().splitn(2, |byte| *byte == b'@');
    let (local, domain) = (halves.next(), halves.next());
    let is_dot = |byte: &u8| *byte == b'.';
    let is_address = local.is_some_and(|local| local.split(is_dot).all(is_atom))
        && domain
            .is_some_and(|domain| domain.contains(&b'.') && domain.split(is_dot).all(is_label))
        && (address.is_ascii() || address.chars().all(may_stand));
    if is_address {
        Ok(address)
    } else {
        Err(DropReason::NotAnEmail)
    }
}

/// Whether the ASCII characters of a part of an address are allowed.
fn is_atom(atom: &[u8]) -> bool {
    let is_part = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || !byte.is_ascii()
            || matches!(
                byte,
                b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'/' | b'=' | b'?' | b'^'..=b'`' | b'{'..=b'~'
            )
    };
    !atom.is_empty() && atom.iter().all(is_part)
}

/// Whether the ASCII characters of a label of a domain are allowed.
fn is_label(label: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || *byte == b'-';
    let (first, last) = (label.first(), label.last());
    first.is_some_and(|byte| *byte != b'-') && last != Some(&b'-') && label.iter().all(is_part)
}

/// Whether a character is ASCII, or a letter or digit of any script.
fn may_stand(character: char) -> bool {
    character.is_ascii() || character.is_alphanumeric() || is_letter(character)
}
