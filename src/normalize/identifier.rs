//! Ids: the site's own, Meta's lead and login ids, a device's advertising id.

use std::borrow::Cow;

use crate::dropped::DropReason;
use crate::event::decimal::whole_digits;
use crate::normalize::Normalized;
use crate::normalize::text::lower_kept;

/// What happens to the case of an external id before it is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ExternalIdCase {
    /// `lower`: lower case, white space deleted.
    #[default]
    Lower,
    /// `keep`: only trimmed, for sites whose ids differ by case alone.
    Keep,
}

/// Normalises the site's own id.
///
/// Meta's code treats 32 hexadecimal digits, which may be a UUID without dashes, as a hash and sends them in
/// lower case. Only equality counts here, so such an id is sent both as it is and hashed.
pub(super) fn external_id<'a>(
    text: &'a str,
    case: ExternalIdCase,
    buffer: &'a mut String,
) -> Normalized<'a> {
    if is_32_hex_digits(text) {
        return Normalized::HashAndPlain(lower_kept(text, |_| true, buffer));
    }
    Normalized::to_hash(cased(text, case, buffer))
}

/// Whether Meta's code would treat a text as an MD5.
pub(super) fn is_32_hex_digits(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Unlike a name, an id is not composed: its bytes count.
fn cased<'a>(text: &'a str, case: ExternalIdCase, buffer: &'a mut String) -> &'a str {
    if case == ExternalIdCase::Keep {
        return text;
    }
    if text.is_ascii() {
        return lower_kept(text, |character| !character.is_whitespace(), buffer);
    }
    // The byte order mark counts as white space in JavaScript, where the browser's Pixel runs.
    let kept: String = text
        .chars()
        .filter(|character| !character.is_whitespace() && *character != '\u{FEFF}')
        .collect();
    *buffer = kept.to_lowercase();
    buffer
}

/// Takes the id of a lead: 15 to 17 digits. Meta refuses a whole request for any other.
pub(super) fn lead_id(text: &str) -> Result<u64, DropReason> {
    // Meta's own export of leads writes `l:` before it.
    let digits = text.strip_prefix("l:").unwrap_or(text);
    let digits = &*as_printed_number(digits);
    match digits.len() {
        15..=17 => number(digits),
        _ => Err(DropReason::NotAnId),
    }
}

/// Takes the id that Facebook Login gave.
pub(super) fn facebook_login_id(text: &str) -> Result<u64, DropReason> {
    number(&as_printed_number(text))
}

/// The digits of a number that a computer printed with an exponent.
fn as_printed_number(text: &str) -> Cow<'_, str> {
    let is_printed = text.contains(['e', 'E']);
    let digits = is_printed.then(|| whole_digits(text)).flatten();
    digits.unwrap_or(Cow::Borrowed(text))
}

/// Takes a device's advertising id as it is. Apple's and Google's are UUIDs, but other stores have other
/// forms, and Meta asks for none.
pub(super) fn mobile_advertiser_id(text: &str) -> Result<&str, DropReason> {
    let is_id_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    // A word without a digit was mapped by mistake, such as the platform's name.
    if !text.bytes().all(is_id_byte) || !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return Err(DropReason::NotAnId);
    }
    if text.bytes().all(|byte| matches!(byte, b'0' | b'-')) {
        return Err(DropReason::AllZero);
    }
    Ok(text)
}

fn number(text: &str) -> Result<u64, DropReason> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if is_number && number > 0 => Ok(number),
        _ => Err(DropReason::NotAnId),
    }
}
