//! Recognises personal data where it does not belong.
//!
//! Meta's terms forbid e-mail addresses and phone numbers in clear text, and they slip in: a search
//! box, a form's value, a page's query. An e-mail address, a phone number that is written like one (with
//! `+`, or grouped as phones are) and the number of a payment card are recognised anywhere in a text. Plain
//! digits are a phone number only where they are the whole text and its name says so; under another name
//! they are more likely an order number. docs/CONFIG.md lists the forms.

use std::borrow::Cow;

use crate::event::Json;
use crate::event::any_byte::any_byte;
use crate::map::digits;
use crate::map::dropped::DropReason;

mod number;

/// Whether a value, under the name of its property, holds an e-mail address or the number of a phone or
/// card.
pub(super) fn is_personal(name: &str, text: &str) -> bool {
    holds_email(text) || holds_number(name, text)
}

/// Reads a text that must not hold an e-mail address.
pub(super) fn clean_text(value: Json<'_>) -> Result<Cow<'_, str>, DropReason> {
    let text = digits::text_of(value).ok_or(DropReason::NotAText)?;
    if holds_email(&text) {
        return Err(DropReason::PersonalData);
    }
    Ok(text)
}

/// Whether an e-mail address stands anywhere in a text; `%40`, as in a URL, counts as `@`.
pub(super) fn holds_email(text: &str) -> bool {
    if !any_byte(text, |byte| matches!(byte, b'@' | b'%')) {
        return false;
    }
    if text.contains("%40") {
        has_address(&text.replace("%40", "@"))
    } else {
        has_address(text)
    }
}

fn has_address(text: &str) -> bool {
    text.match_indices('@').any(|(at, _)| {
        let local = text.get(..at).and_then(|before| before.chars().next_back());
        let domain = text.get(at + 1..).unwrap_or_default();
        let domain = domain
            .split(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '-')))
            .next()
            .unwrap_or_default()
            .trim_end_matches('.');
        let Some((host, top)) = domain.rsplit_once('.') else {
            return false;
        };
        local.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '%'))
            && !host.is_empty()
            && top.chars().count() >= 2
            && top.chars().all(char::is_alphabetic)
            && !is_image_density(host, top)
    })
}

/// `logo@2x.png` is a picture.
fn is_image_density(host: &str, top: &str) -> bool {
    host.strip_suffix('x')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        && matches!(top, "png" | "jpg" | "jpeg" | "gif" | "webp" | "svg")
}

/// Fewest digits of a phone number within its country.
const FEWEST_DIGITS: usize = 7;

fn holds_number(name: &str, text: &str) -> bool {
    // Most texts end here: they have too few digits.
    if text.bytes().filter(u8::is_ascii_digit).count() < FEWEST_DIGITS {
        return false;
    }
    number::is_in(text) || says_phone(name) && is_phone(text)
}

/// Whether a text holds nothing but what phone numbers are written with.
fn is_phone(text: &str) -> bool {
    let text = text.trim();
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    (FEWEST_DIGITS..=15).contains(&digits)
        && text.bytes().all(|byte| {
            byte.is_ascii_digit() || matches!(byte, b'+' | b'(' | b')' | b'-' | b'.' | b'/' | b' ')
        })
}

fn says_phone(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["phone", "mobile", "msisdn", "whatsapp"]
        .iter()
        .any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_addresses_and_numbers() {
        for (name, text) in [
            ("q", "pat.doe@example.com"),
            ("q", "mail Pat.Doe+x@Example.co.uk please"),
            ("url", "https://shop.example.com/?e=pat%40example.com&x=1"),
            ("q", "müller@bücher.de"),
            ("q", "+1 503 555 0100"),
            ("q", "+4915112345678"),
            ("q", "(650) 555-1212"),
            ("q", "1-650-555-1212"),
            ("Mobile Number", "015112345678"),
            ("phone", "5550100"),
        ] {
            assert!(is_personal(name, text), "{name}: {text}");
        }
    }

    #[test]
    fn leaves_other_values_alone() {
        for (name, text) in [
            ("q", "a@b"),
            ("q", "@handle"),
            ("q", "5 @ 3.99"),
            ("image", "logo@2x.png"),
            ("order_id", "16505551212"),
            ("order_id", "A-1009"),
            ("date", "2026-11-20"),
            ("date", "2026-11-20 18:04:09"),
            ("value", "59.90"),
            ("ean", "4006381333931"),
            ("card", "1234-5678-9012"),
            ("phone_order", "A-16505551212"),
            ("delta", "+12"),
            ("mobile", "true"),
            ("mobile_version", "17.4"),
        ] {
            assert!(!is_personal(name, text), "{name}: {text}");
        }
    }

    #[test]
    fn a_long_hostile_text_is_read_once() {
        assert!(!holds_email(&"@".repeat(1 << 20)));
        assert!(!holds_email(&"a@".repeat(1 << 20)));
    }
}
