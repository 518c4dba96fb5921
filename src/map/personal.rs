//! Recognises personal data where it does not belong.
//!
//! Meta's terms forbid e-mail addresses and phone numbers in clear text, and they slip in: a search
//! box, a form's value, a page's query. An e-mail address, a phone number that is written like one (with
//! `+`, or grouped as phones are) and the number of a payment card are recognised anywhere in a text. Plain
//! digits are a phone number only where they are the whole text and its name says so, or that of an object
//! that holds it; under another name they are more likely an order number. docs/CONFIG.md lists the forms.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use crate::event::Json;
use crate::event::any_byte::any_byte;
use crate::event::decimal::whole_digits;
use crate::map::digits;
use crate::map::dropped::DropReason;

mod number;
mod plain;

/// The name of a value, and those of the objects that hold it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'n> {
    own: &'n str,
    above: Option<&'n Self>,
}

impl<'n> Name<'n> {
    /// The name of a member of what has this name.
    pub(super) const fn member(&'n self, own: &'n str) -> Self {
        Self {
            own,
            above: Some(self),
        }
    }

    /// Whether it is that of a member.
    pub(super) const fn is_of_member(&self) -> bool {
        self.above.is_some()
    }

    fn says_phone(&self) -> bool {
        says_phone(self.own) || self.above.is_some_and(Name::says_phone)
    }
}

impl<'n> From<&'n str> for Name<'n> {
    fn from(own: &'n str) -> Self {
        Self { own, above: None }
    }
}

/// Whether a value, under the name of its property, holds an e-mail address or the number of a phone or
/// card.
pub(super) fn is_personal<'n>(name: impl Into<Name<'n>>, text: &str) -> bool {
    holds_email(text) || holds_number(&name.into(), text)
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

fn holds_number(name: &Name<'_>, text: &str) -> bool {
    // Most texts end here: they have too few digits, of which one of another script takes two bytes or more.
    let (digits, others) = text.bytes().fold((0, 0), |(digits, others), byte| {
        (
            digits + usize::from(byte.is_ascii_digit()),
            others + usize::from(!byte.is_ascii()),
        )
    });
    if digits + others / 2 < FEWEST_DIGITS {
        return false;
    }
    let plain = plain::plain(text);
    number::is_in(&plain) || holds_number_by_name(name, &plain)
}

/// Whether digits are a phone number, since a name says so; JSON in a text has names of its own.
fn holds_number_by_name(name: &Name<'_>, text: &str) -> bool {
    let text = text.trim();
    if text.starts_with(['{', '[', '"']) && serde_json::from_str::<IgnoredAny>(text).is_ok() {
        return any_by_name(name, Json::of_valid_text(text));
    }
    name.says_phone() && text.split([',', ';', '|']).any(is_phone)
}

fn any_by_name(name: &Name<'_>, value: Json<'_>) -> bool {
    if let Some(mut elements) = value.elements() {
        return elements.any(|element| any_by_name(name, element));
    }
    if value.is_object() {
        let members = value.all_members();
        let mut members = members.iter();
        return members.any(|(own, value)| any_by_name(&name.member(own), *value));
    }
    // Each time that a text is read it gets shorter.
    value
        .text()
        .is_some_and(|text| holds_number_by_name(name, &text))
}

/// Whether a text holds nothing but what phone numbers are written with, or is one as a computer prints a
/// float.
fn is_phone(text: &str) -> bool {
    let text = text.trim();
    let text = text.strip_prefix("tel:").unwrap_or(text);
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let printed = unsigned
        .contains(['e', 'E'])
        .then(|| whole_digits(unsigned));
    let text = match printed.flatten() {
        Some(digits) => digits,
        None => Cow::Borrowed(text),
    };
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    (FEWEST_DIGITS..=15).contains(&digits)
        && text.bytes().all(|byte| {
            byte.is_ascii_digit()
                || matches!(
                    byte,
                    b'+' | b'(' | b')' | b'[' | b']' | b'-' | b'.' | b'/' | b'_' | b' ' | b'\t'
                )
        })
}

/// Whether a name says that what it names is the number of a phone.
pub(super) fn says_phone(name: &str) -> bool {
    let name = name.to_lowercase();
    [
        "phone",
        "mobile",
        "msisdn",
        "whatsapp",
        "telefon",
        "teléfon",
        "téléphon",
    ]
    .iter()
    .any(|word| name.contains(word))
        || name
            .split(|character: char| !character.is_alphanumeric())
            .any(|word| word == "tel")
}

/// Whether a name says that what it names is the number of a payment card.
pub(super) fn says_card(name: &str) -> bool {
    let letters = name.chars().filter(|character| character.is_alphanumeric());
    let name: String = letters.flat_map(char::to_lowercase).collect();
    ["cardn", "creditcard", "debitcard", "paymentcard"]
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
            ("phone", "1.6502530000E10"),
            ("phone", "6502530000.0"),
            ("phone", "６５０２５３００００"),
            ("phone", "tel:6502530000"),
            ("phones", "6502530000, 6502530001"),
            ("phones", r#"["6502530000"]"#),
            ("contact", r#"{"phone":{"home":"6502530000"}}"#),
            ("contact", r#"{"phone":6502530000}"#),
            ("contact", r#""{\"phone\":\"6502530000\"}""#),
            ("tel", "6502530000"),
            ("Teléfono", "6502530000"),
            ("q", "%2B16502530000"),
            ("q", "+1%20650%20253%200000"),
            ("q", "＋１６５０２５３００００"),
            ("q", "+１ ６５０ ２５３ ００００"),
            ("q", "٦٥٠-٢٥٣-٠٠٠٠"),
            ("q", "650−253−0000"),
            ("q", "090‑1234‑5678"),
            ("q", "650·253·0000"),
            ("q", "650\u{200b}-253-\u{200b}0000"),
            ("q", "\u{200e}+16502530000"),
            ("q", "&#43;16502530000"),
            ("q", "４１１１１１１１１１１１１１１１"),
            ("q", "4111–1111–1111–1111"),
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
            ("hotel", "16505551212"),
            ("mobile_price", "1,234,567"),
            ("contact", r#"{"order":"6502530000"}"#),
            ("q", "2026−11−20"),
            ("q", "東京都千代田区丸の内一丁目"),
            ("q", "١٢٣٤٥٦٧٨٩٠"),
            ("q", "100%20of%206502530000"),
        ] {
            assert!(!is_personal(name, text), "{name}: {text}");
        }
    }

    #[test]
    fn a_name_counts_for_what_it_holds() {
        let (phone, order) = (Name::from("phone"), Name::from("order"));
        let (home, number) = (phone.member("home"), order.member("number"));
        assert!(is_personal(home.member("a"), "6502530000"));
        assert!(is_personal(phone.member("number"), "6502530000"));
        assert!(!is_personal(number, "6502530000"));
    }

    #[test]
    fn a_long_hostile_text_is_read_once() {
        let nested = format!("{}7{}", "[".repeat(1 << 20), "]".repeat(1 << 20));
        for text in [
            &*nested,
            &"\"".repeat(1 << 20),
            &"%".repeat(1 << 20),
            &"é1".repeat(1 << 20),
        ] {
            assert!(!is_personal("phone", text));
        }
        assert!(!holds_email(&"@".repeat(1 << 20)));
        assert!(!holds_email(&"a@".repeat(1 << 20)));
    }
}
