//! Numbers that stand for a text: ids, phone numbers, postal codes.
//!
//! A column of ids that was kept as decimals arrives as `12345.0` or `1.2345e4`. What is meant is the
//! whole number, and its digits are the text.

use std::borrow::Cow;

use crate::event::decimal::whole_digits;
use crate::json::Json;

/// Gives a scalar as text: a number that is whole as its digits, anything else as it came.
pub(super) fn text_of(value: Json<'_>) -> Option<Cow<'_, str>> {
    let digits = value
        .is_number()
        .then(|| whole_digits(value.raw()))
        .flatten();
    digits.or_else(|| value.text())
}
