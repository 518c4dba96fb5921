//! Numbers in whatever form they come, as long as only one number can be meant.
//!
//! A number of the event keeps its digits, and so does a text of digits with at most one decimal point;
//! an exponent is written out, exactly. Any other text is read as an amount of money if it can mean only
//! one: a wrong guess would report a thousand times the revenue.

use std::borrow::Cow;

use super::decimal::{Decimal, are_digits, is_in_range, joined, whole_digits, without_sign};
use super::money;
use crate::json::Json;

/// Why a value is not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoNumber {
    /// It is one of two numbers.
    Ambiguous,
    /// It is something else, or out of range.
    Other,
}

/// The JSON text of a number.
pub(crate) fn number(value: Json<'_>) -> Result<Cow<'_, str>, NoNumber> {
    let text = value.text().filter(|_| value.as_bool().is_none());
    let text = text.ok_or(NoNumber::Other)?;
    if value.is_number() && !text.contains(['e', 'E']) {
        return in_range(text);
    }
    in_text(&text).map(Cow::Owned)
}

/// A scalar as text: a whole number as its digits, anything else as it came. Ids, phone numbers and
/// postal codes that a sender stores as decimals arrive as `12345.0` or `1.2345e4`.
pub(crate) fn text_of(value: Json<'_>) -> Option<Cow<'_, str>> {
    let number = Some(value.raw()).filter(|_| value.is_number());
    number.and_then(whole_digits).or_else(|| value.text())
}

/// The JSON text of the number that a text holds.
pub(crate) fn in_text(text: &str) -> Result<String, NoNumber> {
    if let Some(plain) = plain(text.trim()) {
        return in_range(plain.into()).map(Cow::into_owned);
    }
    if let Some(number) = Decimal::parse(text.trim()) {
        return Ok(number.plain());
    }
    let amount = money::read(text).ok_or(NoNumber::Other)?;
    if amount.is_ambiguous {
        return Err(NoNumber::Ambiguous);
    }
    in_range(amount.number.into()).map(Cow::into_owned)
}

/// Reads an ambiguous amount as if its separator groups thousands. A currency without a fraction leaves
/// no other meaning.
pub(crate) fn grouped(value: Json<'_>) -> Option<String> {
    let amount = money::read(&value.text()?)?;
    amount.is_ambiguous.then_some(amount.number)
}

fn in_range(text: Cow<'_, str>) -> Result<Cow<'_, str>, NoNumber> {
    if is_in_range(&text) {
        Ok(without_sign_of_zero(text))
    } else {
        Err(NoNumber::Other)
    }
}

/// A text of digits as a JSON number.
fn plain(text: &str) -> Option<String> {
    let (is_negative, unsigned) = without_sign(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    if whole.is_empty() && fraction.is_empty() || !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    let mut plain = joined(whole, fraction);
    if is_negative {
        plain.insert(0, '-');
    }
    Some(plain)
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
            ("\"1,234\"", NoNumber::Ambiguous),
            ("\"free\"", NoNumber::Other),
            ("true", NoNumber::Other),
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
}
