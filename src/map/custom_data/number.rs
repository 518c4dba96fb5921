//! Numbers for Meta: plain JSON numbers, whatever form they came in.
//!
//! A number of the event keeps its digits, and so does a text of digits with at most one decimal point;
//! an exponent is written out, exactly. Any other text is read as an amount of money where it can mean but one
//! thing: guessing wrong would report a thousand times the revenue.

use std::borrow::Cow;

use crate::event::Json;
use crate::event::decimal::{Decimal, is_in_range};
use crate::map::dropped::DropReason;

use super::money::{self, Amount};

/// A number of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// The whole number; a fraction is rounded up.
    pub(super) whole: i64,
    /// There was a fraction.
    pub(super) is_rounded: bool,
    /// It is below zero, which rounding may hide.
    pub(super) is_negative: bool,
}

/// Gives the JSON text of a number.
pub(super) fn number(value: Json<'_>) -> Result<Cow<'_, str>, DropReason> {
    let text = value.text().filter(|_| value.as_bool().is_none());
    let text = text.ok_or(DropReason::NotANumber)?;
    let text = if value.is_number() && !text.contains(['e', 'E']) {
        text
    } else if let Some(plain) = plain(text.trim()) {
        plain.into()
    } else if let Some(number) = Decimal::parse(text.trim()) {
        return Ok(number.plain().into());
    } else {
        match money::read(&text) {
            Amount::One(plain) => plain.into(),
            Amount::Ambiguous(_) => return Err(DropReason::AmbiguousNumber),
            Amount::None => return Err(DropReason::NotANumber),
        }
    };
    if is_in_range(&text) {
        Ok(without_sign_of_zero(text))
    } else {
        Err(DropReason::NotANumber)
    }
}

/// Reads an amount with a separator that groups thousands, if it is no point: in a currency without a
/// fraction it can mean nothing else.
pub(super) fn grouped(value: Json<'_>) -> Option<String> {
    match money::read(&value.text()?) {
        Amount::Ambiguous(grouped) => Some(grouped),
        _ => None,
    }
}

/// Reads a number of things.
pub(super) fn count(value: Json<'_>) -> Option<Count> {
    let text = number(value).ok()?;
    // Nearly every count is whole and says so.
    if let Ok(whole) = text.parse() {
        return Some(Count {
            whole,
            is_rounded: false,
            is_negative: whole < 0,
        });
    }
    let number = Decimal::parse(&text)?;
    Some(Count {
        whole: number.rounded_up()?,
        is_rounded: !number.is_whole(),
        is_negative: text.starts_with('-'),
    })
}

/// Multiplies two numbers exactly; `None` where the product has too many digits.
pub(super) fn product(left: &str, right: &str) -> Option<String> {
    let product = Decimal::parse(left)?.times(&Decimal::parse(right)?)?;
    Some(product.plain())
}

/// Brings a plain text into the form of a JSON number.
fn plain(text: &str) -> Option<String> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => ("-", unsigned),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}"))
}

/// `-0` is zero, and not negative.
fn without_sign_of_zero(text: Cow<'_, str>) -> Cow<'_, str> {
    let zero = text.starts_with('-') && text.parse::<f64>().is_ok_and(|number| number == 0.0);
    if zero { "0".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(
            number(Json::of_valid_text(text)).as_deref().ok(),
            expected,
            "{text}"
        );
    }

    #[test]
    fn keeps_the_digits_of_plain_numbers() {
        check("59.90", Some("59.90"));
        check("12345678901234567890", Some("12345678901234567890"));
        check("-3", Some("-3"));
        check("-0.0", Some("0"));
        check("\"19.90\"", Some("19.90"));
        check("\" 007.50 \"", Some("7.50"));
        check("\"+5\"", Some("5"));
        check("\".5\"", Some("0.5"));
        check("\"5.\"", Some("5"));
        check("\"-12.3\"", Some("-12.3"));
    }

    #[test]
    fn refuses_what_would_have_to_be_guessed() {
        for text in [
            "\"1e\"",
            "\"e5\"",
            "1e400",
            "\"1e400\"",
            "\"NaN\"",
            "\"Infinity\"",
            "\"-inf\"",
            "\"\"",
            "\".\"",
            "\"-\"",
            "\"1.2.3\"",
            "\"--1\"",
            "\"0x10\"",
            "true",
            "[1]",
            "{}",
        ] {
            check(text, None);
        }
        let huge = format!("\"{}\"", "9".repeat(400));
        check(&huge, None);
    }

    #[test]
    fn reads_amounts_and_tells_what_is_ambiguous() {
        check("\"1.234,50 €\"", Some("1234.50"));
        check("\"5 EUR\"", Some("5"));
        check("\"1.234\"", Some("1.234"));
        for (text, reason) in [
            ("\"1,234\"", DropReason::AmbiguousNumber),
            ("\"free\"", DropReason::NotANumber),
            ("true", DropReason::NotANumber),
        ] {
            assert_eq!(number(Json::of_valid_text(text)), Err(reason), "{text}");
        }
    }

    #[test]
    fn writes_exponents_out() {
        check("1e2", Some("100"));
        check("1.25E7", Some("12500000"));
        check("\" 1.25E7 \"", Some("12500000"));
        check("1e-05", Some("0.00001"));
        check("\"-1.5e-3\"", Some("-0.0015"));
        check("-0e5", Some("0"));
    }

    #[test]
    fn counts_whole_things() {
        for (text, expected) in [
            ("3", Some((3, false))),
            ("3.0", Some((3, false))),
            ("\"4\"", Some((4, false))),
            ("\"4.00\"", Some((4, false))),
            ("1e2", Some((100, false))),
            ("2.5", Some((3, true))),
            ("\"0.5\"", Some((1, true))),
            ("1e-05", Some((1, true))),
            ("0", Some((0, false))),
            ("99999999999999999999", None),
            ("\"many\"", None),
        ] {
            let count = count(Json::of_valid_text(text));
            let found = count.map(|count| (count.whole, count.is_rounded));
            assert_eq!(found, expected, "{text}");
            assert!(!count.is_some_and(|count| count.is_negative), "{text}");
        }
        for text in ["-1", "-0.5", "-2.5"] {
            let count = count(Json::of_valid_text(text));
            assert!(count.unwrap().is_negative, "{text}");
        }
    }

    #[test]
    fn multiplies_exactly() {
        for (left, right, expected) in [
            ("19.99", "3", Some("59.97")),
            ("1.25E7", "1", Some("12500000")),
            ("1e2", "3", Some("300")),
            ("0.1", "3", Some("0.3")),
            ("cheap", "3", None),
        ] {
            assert_eq!(
                product(left, right).as_deref(),
                expected,
                "{left} × {right}"
            );
        }
    }
}
