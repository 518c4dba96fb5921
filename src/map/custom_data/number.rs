//! Numbers for Meta: plain JSON numbers, whatever form they came in.
//!
//! A number of the event keeps its digits. A text becomes a number only in plain form: digits with at
//! most one decimal point. Grouped thousands, currency signs, decimal commas, exponents, `NaN` and
//! `Infinity` are refused, since guessing wrong would report a hundred times the revenue.

use std::borrow::Cow;

use crate::event::Json;

/// Gives the JSON text of a number.
pub(super) fn number(value: Json<'_>) -> Option<Cow<'_, str>> {
    if value.is_number() {
        return Some(without_sign_of_zero(value.raw().into()));
    }
    plain(value.as_str()?.trim()).map(|text| without_sign_of_zero(text.into()))
}

/// Whether a text is a number with thousands separators, such as `1,234.50`, as a template prints it
/// for some locale. A text in plain form is none: `1.234` is what it says.
pub(super) fn is_grouped(value: Json<'_>) -> bool {
    let Some(text) = value.as_str().filter(|text| plain(text.trim()).is_none()) else {
        return false;
    };
    let text = text.trim().trim_start_matches(['-', '+']);
    let mut groups = text.split([',', '.', '\'', ' ', '\u{a0}', '\u{202f}', '\u{2019}']);
    let is_number = |group: &str| group.bytes().all(|byte| byte.is_ascii_digit());
    let is_group = |group: &str| group.len() == 3 && is_number(group);
    let first = groups.next().unwrap_or_default();
    let others: Vec<&str> = groups.collect();
    let (grouped, last) = match &*others {
        [] => return false,
        [one] => (std::slice::from_ref(one), ""),
        [grouped @ .., last] => (grouped, *last),
    };
    (1..=3).contains(&first.len())
        && is_number(first)
        && grouped.iter().all(|group| is_group(group))
        && is_number(last)
}

/// Gives a whole number; `3.0` is one.
pub(super) fn whole(value: Json<'_>) -> Option<i64> {
    let text = number(value)?;
    if let Ok(whole) = text.parse() {
        return Some(whole);
    }
    match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|byte| byte == b'0') => whole.parse().ok(),
        _ => None,
    }
}

/// Multiplies two numbers exactly; `None` where one is not in plain form or has too many digits.
pub(super) fn product(left: &str, right: &str) -> Option<String> {
    let (left, left_scale) = scaled(left)?;
    let (right, right_scale) = scaled(right)?;
    let scale = left_scale + right_scale;
    let product = left.checked_mul(right)?;
    let digits = format!("{:0>width$}", product.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at_checked(digits.len() - scale)?;
    let sign = if product < 0 { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}"))
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
    let number = format!("{sign}{whole}{point}{fraction}");
    number
        .parse::<f64>()
        .is_ok_and(f64::is_finite)
        .then_some(number)
}

/// `-0` is zero, and not negative.
fn without_sign_of_zero(text: Cow<'_, str>) -> Cow<'_, str> {
    let zero = text.starts_with('-') && text.parse::<f64>().is_ok_and(|number| number == 0.0);
    if zero { "0".into() } else { text }
}

/// A plain number as a whole one and the count of its decimals.
fn scaled(text: &str) -> Option<(i128, usize)> {
    let text = plain(text)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits = format!("{whole}{fraction}");
    Some((digits.parse().ok()?, fraction.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(
            number(Json::of_valid_text(text)).as_deref(),
            expected,
            "{text}"
        );
    }

    #[test]
    fn keeps_the_digits_of_plain_numbers() {
        check("59.90", Some("59.90"));
        check("1e2", Some("1e2"));
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
            "\"1,234.50\"",
            "\"19,90\"",
            "\"$5\"",
            "\"5 €\"",
            "\"1e3\"",
            "\"NaN\"",
            "\"Infinity\"",
            "\"-inf\"",
            "\"\"",
            "\".\"",
            "\"-\"",
            "\"1.2.3\"",
            "\"--1\"",
            "\"0x10\"",
            "\"１２\"",
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
    fn knows_a_number_that_a_template_grouped() {
        for (text, expected) in [
            ("\"1,234.50\"", true),
            ("\"1.234,50\"", true),
            ("\"-1,234\"", true),
            ("\"1,234,567\"", true),
            ("\"1\u{202f}234,5\"", true),
            ("\"12’345.00\"", true),
            ("\"1.234\"", false),
            ("\"19,90\"", false),
            ("\"1234,50\"", false),
            ("\"1,2345\"", false),
            ("\"1,234 EUR\"", false),
            ("\"free\"", false),
            ("\"\"", false),
            ("1234.5", false),
        ] {
            assert_eq!(is_grouped(Json::of_valid_text(text)), expected, "{text}");
        }
    }

    #[test]
    fn knows_whole_numbers() {
        for (text, expected) in [
            ("3", Some(3)),
            ("3.0", Some(3)),
            ("\"4\"", Some(4)),
            ("\"4.00\"", Some(4)),
            ("-1", Some(-1)),
            ("2.5", None),
            ("1e2", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(whole(Json::of_valid_text(text)), expected, "{text}");
        }
    }

    #[test]
    fn multiplies_exactly() {
        for (left, right, expected) in [
            ("19.99", "3", Some("59.97")),
            ("0.1", "0.2", Some("0.02")),
            ("-5", "2", Some("-10")),
            ("5", "0", Some("0")),
            ("1e2", "3", None),
        ] {
            assert_eq!(
                product(left, right).as_deref(),
                expected,
                "{left} × {right}"
            );
        }
    }
}
