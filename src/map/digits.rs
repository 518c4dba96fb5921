//! Numbers that stand for a text: ids, phone numbers, postal codes.
//!
//! A column of ids that was kept as decimals arrives as `12345.0` or `1.2345e4`. What is meant is the
//! whole number, and its digits are the text.

use std::borrow::Cow;

use crate::event::Json;

/// The largest number up to which a 64-bit float tells every whole number from the next.
const MOST_EXACT: f64 = 9_007_199_254_740_992.0;

/// Gives a scalar as text: a number that is whole as its digits, anything else as it came.
pub(super) fn text_of(value: Json<'_>) -> Option<Cow<'_, str>> {
    let digits = value.is_number().then(|| of_number(value.raw())).flatten();
    digits.or_else(|| value.text())
}

/// Gives the digits of a number as JSON writes it; `None` where it is no whole number, or too large
/// to be sure of its last digits.
pub(super) fn of_number(number: &str) -> Option<Cow<'_, str>> {
    if !number.contains(['.', 'e', 'E']) {
        return Some(Cow::Borrowed(number));
    }
    let value: f64 = number.parse().ok()?;
    if value.fract() != 0.0 || value.abs() > MOST_EXACT {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a whole number within the range checked above"
    )]
    let whole = value as i64;
    Some(Cow::Owned(whole.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_its_digits() {
        for (number, expected) in [
            ("12345", Some("12345")),
            ("16505551212000000000", Some("16505551212000000000")),
            ("12345.0", Some("12345")),
            ("-1.00", Some("-1")),
            ("-0.0", Some("0")),
            ("1.6505551212e10", Some("16505551212")),
            ("1.6505551212E+10", Some("16505551212")),
            ("9007199254740992.0", Some("9007199254740992")),
            ("9.1e15", None),
            ("12345.5", None),
            ("1e-3", None),
            ("1e400", None),
        ] {
            assert_eq!(of_number(number).as_deref(), expected, "{number}");
        }
    }
}
