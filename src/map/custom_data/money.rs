//! Amounts as people write them: `59,90`, `$1,234.50`, `1.234,50 EUR`.
//!
//! A text is read where it can mean but one thing. `1,234` is a thousand and more to one reader and a little
//! over one to another, so it is not read. What stands beside the digits must be the sign or the code of a
//! currency; which one plays no part.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

use crate::config::is_currency;

/// What a text says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    /// This number, in plain form.
    One(String),
    /// One of two numbers.
    Ambiguous,
    /// No amount.
    None,
}

/// Signs of currencies that are words.
const WORDS: [&str; 14] = [
    "zł", "kr", "kč", "ft", "lei", "лв", "руб", "грн", "rs", "rp", "rm", "fr", "sfr", "tl",
];

/// The digits, and the longest sign of a currency, that are worth looking at.
const LONGEST: usize = 60;

/// Reads a text that is no plain number.
pub(super) fn read(text: &str) -> Amount {
    let text = text.trim();
    if text.len() > LONGEST {
        return Amount::None;
    }
    let is_in_number = |c: char| c.is_ascii_digit() || is_separator(c);
    let is_digit = |c: char| c.is_ascii_digit();
    let (Some(first), Some(end)) = (text.find(is_digit), text.rfind(is_digit)) else {
        return Amount::None;
    };
    let before = text.get(..first).unwrap_or_default();
    // A point belongs to the digits, as in `.5`, or to a word, as in `Rs.`.
    let without_point = before.strip_suffix(['.', ',']);
    let start = match without_point {
        Some(before) if !before.ends_with(char::is_alphabetic) => before.len(),
        _ => first,
    };
    let (before, number, behind) = (
        text.get(..start).unwrap_or_default(),
        text.get(start..=end).unwrap_or_default(),
        text.get(end + 1..).unwrap_or_default(),
    );
    let Some((before, is_negative)) = without_minus(before) else {
        return Amount::None;
    };
    // A price in whole units: `5,-`.
    let behind = behind.strip_prefix(",-").unwrap_or(behind);
    if !number.chars().all(is_in_number) || !is_currency_sign(&before) || !is_currency_sign(behind)
    {
        return Amount::None;
    }
    match digits(number) {
        Amount::One(number) if is_negative => Amount::One(format!("-{number}")),
        amount => amount,
    }
}

/// What stands before the digits without its minus, and whether there is one.
fn without_minus(text: &str) -> Option<(String, bool)> {
    let is_minus = |c: char| matches!(c, '-' | '\u{2212}');
    let rest: String = text
        .chars()
        .filter(|c| !is_minus(*c) && *c != '+')
        .collect();
    match text.chars().count() - rest.chars().count() {
        0 => Some((rest, false)),
        1 => Some((rest, text.chars().any(is_minus))),
        _ => None,
    }
}

/// Whether a text is nothing, or the sign or code of a currency.
fn is_currency_sign(text: &str) -> bool {
    let text = text.trim().trim_end_matches('.');
    let is_sign = |c: char| c.general_category() == GeneralCategory::CurrencySymbol;
    let letters = text.trim_end_matches(is_sign);
    // As in `US$`.
    let is_marked = letters.len() < text.len() && letters.len() <= 3;
    letters.is_empty()
        || is_marked && letters.bytes().all(|byte| byte.is_ascii_alphabetic())
        || WORDS.contains(&&*text.to_lowercase())
        || is_currency(&text.to_ascii_uppercase())
        || text.split_once(' ').is_some_and(|(one, other)| {
            !other.contains(' ') && is_currency_sign(one) && is_currency_sign(other)
        })
}

const fn is_separator(c: char) -> bool {
    matches!(c, '.' | ',') || is_group_separator(c)
}

/// Signs that only ever group digits.
const fn is_group_separator(c: char) -> bool {
    matches!(
        c,
        ' ' | '\u{a0}' | '\u{202f}' | '\u{2009}' | '\'' | '\u{2019}'
    )
}

/// Reads digits with separators, which end with a digit.
fn digits(text: &str) -> Amount {
    let separators: Vec<char> = text.chars().filter(|c| is_separator(*c)).collect();
    let Some(last) = separators.last().copied() else {
        return Amount::One(plain(text, ""));
    };
    let others = separators
        .split_last()
        .map_or(&[][..], |(_, others)| others);
    let (whole, fraction) = text.rsplit_once(last).unwrap_or((text, ""));
    let groups_alike = |separators: &[char]| {
        separators
            .first()
            .is_none_or(|first| separators.iter().all(|one| one == first))
    };
    let as_decimal = !is_group_separator(last)
        && !others.contains(&last)
        && groups_alike(others)
        && (others.is_empty() || is_grouped(whole));
    let as_groups = groups_alike(&separators) && is_grouped(text);
    match (as_decimal, as_groups) {
        (true, true) => Amount::Ambiguous,
        (true, false) => Amount::One(plain(whole, fraction)),
        (false, true) => Amount::One(plain(text, "")),
        (false, false) => Amount::None,
    }
}

/// Whether digits are grouped as thousands are: by three, or as in India by two but for the last three.
fn is_grouped(text: &str) -> bool {
    let groups: Vec<&str> = text.split(is_separator).collect();
    let [first, between @ .., last] = &*groups else {
        return false;
    };
    let most = |size| between.iter().all(|group| group.len() == size) && first.len() <= size;
    let begins = !first.is_empty() && !first.starts_with('0');
    let is_indian = !between.is_empty() && !text.contains(|c| c != ',' && is_separator(c));
    begins && last.len() == 3 && (most(3) || is_indian && most(2))
}

/// A number in plain form.
fn plain(whole: &str, fraction: &str) -> String {
    let whole: String = whole.chars().filter(char::is_ascii_digit).collect();
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{whole}{point}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_mean_but_one_thing_is_read() {
        for (text, expected) in [
            ("59,90", "59.90"),
            ("0,5", "0.5"),
            (",5", "0.5"),
            ("0,123", "0.123"),
            ("1234,567", "1234.567"),
            ("1,2345", "1.2345"),
            ("$59.90", "59.90"),
            ("$ 59.90", "59.90"),
            ("59.90 EUR", "59.90"),
            ("eur 59,90", "59.90"),
            ("59,90€", "59.90"),
            ("US$ 5", "5"),
            ("R$ 1.234,50", "1234.50"),
            ("$5 USD", "5"),
            ("USD $5.00", "5.00"),
            ("Rs. 500", "500"),
            ("12,50 zł", "12.50"),
            ("5,- €", "5"),
            ("₹12,34,567.00", "1234567.00"),
            ("1.234,50", "1234.50"),
            ("1,234.50", "1234.50"),
            ("1 234,50 €", "1234.50"),
            ("1\u{202f}234\u{a0}€", "1234"),
            ("1'234.50", "1234.50"),
            ("1 234", "1234"),
            ("1,234,567", "1234567"),
            ("1.234.567", "1234567"),
            ("1.234.567,8", "1234567.8"),
            ("12,34,567", "1234567"),
            ("-59,90", "-59.90"),
            ("-$5", "-5"),
            ("$-5", "-5"),
            ("\u{2212}5 €", "-5"),
            ("+59,90", "59.90"),
            ("007,50", "7.50"),
        ] {
            assert_eq!(read(text), Amount::One(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_can_mean_two_things_is_not() {
        for text in [
            "1,234",
            "12,345",
            "-1,234",
            "$1,234",
            "999,999",
            "$1.234",
            "1.234 €",
        ] {
            assert_eq!(read(text), Amount::Ambiguous, "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_none() {
        for text in [
            "",
            ",",
            "$",
            "free",
            "5 apples",
            "10%",
            "5kg",
            "1.2.3",
            "1,2,3",
            "1,23,4",
            "1..5",
            "1,,5",
            "12,",
            "--5",
            "5-10",
            "1.234,567.8",
            "1 2",
            "1 234 56",
            "1,234 567.8",
            "0x10",
            "１２",
            "1.234'5",
            "2026-11-20",
            "+49 30 123",
            "1/2",
            "a5",
            "$5$x",
        ] {
            assert_eq!(read(text), Amount::None, "{text}");
        }
        assert_eq!(read(&"9".repeat(400)), Amount::None);
    }
}
