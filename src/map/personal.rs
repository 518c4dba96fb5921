//! Recognises personal data where it does not belong.
//!
//! Meta's terms forbid e-mail addresses and phone numbers in clear text, and they slip in: through a search
//! box, a form's value, a page's query. An e-mail address, a phone number that is written like one (with
//! `+`, or grouped as phone numbers are) and the number of a payment card are recognised anywhere in a text.
//! Plain digits count as a phone number only if they are the whole text, and its name or that of an object
//! around it says so; under another name they are more likely an order number. docs/CONFIG.md lists the forms.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::dropped::DropReason;
use crate::event::arena::DEEPEST;
use crate::event::decimal::whole_digits;
use crate::event::number::text_of;
use crate::json::Json;
use crate::json::any_byte::any_byte;

mod number;
mod plain;

/// The name of a value, and those of the objects around it.
#[derive(Clone, Debug)]
pub(super) struct Name<'n> {
    own: &'n str,
    above: Option<&'n Self>,
    says_phone: OnceCell<bool>,
}

impl<'n> Name<'n> {
    /// The name of a member of the object that has this name.
    pub(super) const fn member(&'n self, own: &'n str) -> Self {
        Self {
            own,
            above: Some(self),
            says_phone: OnceCell::new(),
        }
    }

    /// Whether it is that of a member.
    pub(super) const fn is_of_member(&self) -> bool {
        self.above.is_some()
    }

    /// Evaluated once, however many values have the name.
    fn says_phone(&self) -> bool {
        *self
            .says_phone
            .get_or_init(|| self.above.is_some_and(Name::says_phone) || says_phone(self.own))
    }
}

impl<'n> From<&'n str> for Name<'n> {
    fn from(own: &'n str) -> Self {
        Self {
            own,
            above: None,
            says_phone: OnceCell::new(),
        }
    }
}

/// Whether a value, under the name of its property, holds an e-mail address or the number of a phone or
/// card.
pub(super) fn is_personal(name: &Name<'_>, text: &str) -> bool {
    holds_email(text) || holds_number(name, text)
}

/// Reads a text that must not hold an e-mail address, without the blanks around it.
pub(super) fn clean_text(value: Json<'_>) -> Result<Cow<'_, str>, DropReason> {
    let text = text_of(value).ok_or(DropReason::NotAText)?;
    if holds_email(&text) {
        return Err(DropReason::PersonalData);
    }
    Ok(trimmed(text))
}

/// A text without the blanks around it.
pub(super) fn trimmed(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => text.trim().into(),
        Cow::Owned(text) => text.trim().to_owned().into(),
    }
}

/// Whether a text holds an e-mail address; `%40`, as in a URL, counts as `@`.
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

/// Most levels of JSON, also of JSON in texts, that are searched.
const MOST_LEVELS: usize = 100;
/// A text in a text is read once more, so it counts as so many levels.
const LEVELS_OF_TEXT: usize = MOST_LEVELS / DEEPEST;
/// Fewest digits of a phone number within its country.
const FEWEST_DIGITS: usize = 7;

fn holds_number(name: &Name<'_>, text: &str) -> bool {
    // Most texts have too few digits. A digit of another script takes two bytes or more.
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
    number::is_in(&plain) || holds_number_by_name(name, &plain, MOST_LEVELS)
}

/// Whether digits are a phone number because a name says so; JSON in a text has names of its own.
fn holds_number_by_name(name: &Name<'_>, text: &str, levels: usize) -> bool {
    let text = text.trim();
    if text.starts_with(['{', '[', '"']) {
        let mut json = serde_json::Deserializer::from_str(text);
        let looked = PhoneSearch { name, levels }.deserialize(&mut json);
        match looked.and_then(|()| json.end()) {
            Ok(()) => return false,
            Err(error) if error.is_data() => return true,
            // It is no JSON.
            Err(_) => {}
        }
    }
    name.says_phone() && text.split([',', ';', '|']).any(is_phone)
}

/// Reads JSON in one pass, and fails at the first phone number. Deeper levels than `levels` are not searched, so
/// the reader fails there too.
#[derive(Clone, Copy)]
struct PhoneSearch<'n> {
    name: &'n Name<'n>,
    levels: usize,
}

impl PhoneSearch<'_> {
    fn below(self) -> Option<Self> {
        let levels = self.levels.checked_sub(1)?;
        Some(Self { levels, ..self })
    }

    fn text<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        let below = self.levels.saturating_sub(LEVELS_OF_TEXT);
        if self.levels == 0 || holds_number_by_name(self.name, text, below) {
            return Err(E::custom("a number"));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for PhoneSearch<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PhoneSearch<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        self.text(&number.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<(), E> {
        self.text(&number.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<(), E> {
        self.text(&number.to_string())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.text(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let below = self.below().ok_or_else(|| A::Error::custom("too deep"))?;
        while list.next_element_seed(below)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let below = self.below().ok_or_else(|| A::Error::custom("too deep"))?;
        while let Some(own) = object.next_key::<Cow<'_, str>>()? {
            let name = self.name.member(&own);
            object.next_value_seed(PhoneSearch {
                name: &name,
                ..below
            })?;
        }
        Ok(())
    }
}

/// Whether a text holds only digits and the signs between them in phone numbers, or is a phone number that was
/// printed as a float.
fn is_phone(text: &str) -> bool {
    let text = text.trim();
    let text = text.strip_prefix("tel:").unwrap_or(text);
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let is_float = unsigned.contains(['e', 'E']);
    let printed = is_float.then(|| whole_digits(unsigned)).flatten();
    let text = printed.unwrap_or(Cow::Borrowed(text));
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

/// Whether a name is that of a phone number.
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

/// Whether a name is that of the number of a payment card.
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
            assert!(is_personal(&name.into(), text), "{name}: {text}");
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
            assert!(!is_personal(&name.into(), text), "{name}: {text}");
        }
    }

    #[test]
    fn a_name_counts_for_what_it_holds() {
        let (phone, order) = (Name::from("phone"), Name::from("order"));
        let (home, number) = (phone.member("home"), order.member("number"));
        assert!(is_personal(&home.member("a"), "6502530000"));
        assert!(is_personal(&phone.member("number"), "6502530000"));
        assert!(!is_personal(&number, "6502530000"));
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
            assert!(!is_personal(&"phone".into(), text));
        }
        // What is too deep to be looked into stays behind.
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let nested = |times| format!("{}6502530000{}", open.repeat(times), close.repeat(times));
            assert!(is_personal(&"phone".into(), &nested(3)), "{open}");
            assert!(!is_personal(&"n".into(), &nested(3)), "{open}");
            for times in [101, 1 << 18] {
                assert!(is_personal(&"n".into(), &nested(times)), "{open}");
            }
        }
        let in_texts = |times| {
            (0..times).fold("\"6502530000\"".to_owned(), |json, _| {
                format!("[{}]", serde_json::Value::from(json))
            })
        };
        for (times, is_withheld) in [(2, false), (DEEPEST + 2, true)] {
            assert_eq!(is_personal(&"n".into(), &in_texts(times)), is_withheld);
        }
        let long = "k".repeat(1 << 20);
        let name = Name::from(&*long);
        for _ in 0..1 << 12 {
            assert!(!is_personal(&name, "123450000001"));
        }
        assert!(!holds_email(&"@".repeat(1 << 20)));
        assert!(!holds_email(&"a@".repeat(1 << 20)));
    }
}
