//! Numbers for Meta: plain JSON numbers, whatever form they came in, and counts of things.

use std::borrow::Cow;

use crate::dropped::DropReason;
use crate::event::decimal::Decimal;
use crate::event::number::{self, NoNumber};
use crate::json::Json;

/// A number of things, from zero on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// The whole number; a fraction is rounded up.
    pub(super) whole: i64,
    /// There was a fraction.
    pub(super) is_rounded: bool,
}

impl Count {
    /// The sum; `None` where it is out of range.
    pub(super) fn plus(self, other: Self) -> Option<Self> {
        Some(Self {
            whole: self.whole.checked_add(other.whole)?,
            is_rounded: self.is_rounded || other.is_rounded,
        })
    }
}

/// Gives the JSON text of a number.
pub(super) fn number(value: Json<'_>) -> Result<Cow<'_, str>, DropReason> {
    number::number(value).map_err(|why| match why {
        NoNumber::Ambiguous => DropReason::AmbiguousNumber,
        NoNumber::Other => DropReason::NotANumber,
    })
}

/// Reads a number of things.
pub(super) fn count(value: Json<'_>) -> Result<Count, DropReason> {
    let text = number(value)?;
    // Nearly every count is whole and says so. Zero may be what a float makes of more than nothing.
    if let Ok(whole) = text.parse()
        && whole > 0
    {
        return Ok(Count {
            whole,
            is_rounded: false,
        });
    }
    let as_it_came = value.text().and_then(|text| Decimal::parse(text.trim()));
    let number = as_it_came.or_else(|| Decimal::parse(&text));
    let number = number.ok_or(DropReason::NotANumber)?;
    let whole = number.rounded_up().ok_or(DropReason::NotANumber)?;
    // Rounding may hide that it is below zero.
    if number.is_negative() {
        return Err(DropReason::Negative);
    }
    Ok(Count {
        whole,
        is_rounded: !number.is_whole(),
    })
}

/// Multiplies two numbers; `None` where the product is out of range.
pub(super) fn product(left: &str, right: &str) -> Option<String> {
    let product = Decimal::parse(left)?.times(&Decimal::parse(right)?)?;
    Some(product.plain())
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("1e-400", Some((1, true))),
            ("\"1e-400\"", Some((1, true))),
            (&format!("0.{}1", "0".repeat(400)), Some((1, true))),
            ("0", Some((0, false))),
            ("-0", Some((0, false))),
            ("\"0,0\"", Some((0, false))),
            ("0e-400", Some((0, false))),
            ("99999999999999999999", None),
            ("\"many\"", None),
        ] {
            let count = count(Json::of_valid_text(text)).ok();
            let found = count.map(|count| (count.whole, count.is_rounded));
            assert_eq!(found, expected, "{text}");
        }
        for text in ["-1", "-0.5", "-2.5", "-1e-400", "-9223372036854775808"] {
            let count = count(Json::of_valid_text(text));
            assert_eq!(count, Err(DropReason::Negative), "{text}");
        }
    }

    #[test]
    fn multiplies() {
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
