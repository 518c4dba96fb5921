//! Amounts as people write them: `59,90`, `$1,234.50`, `1.234,50 EUR`, in the digits of any script.
//!
//! A text is read where it can mean but one thing. `1,234` is a thousand and more to one reader and a little
//! over one to another, so it is not read, unless the currency beside it has no fraction. What stands beside the
//! digits must be the sign or the code of a currency; which one plays no other part.

use std::borrow::Cow;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

use super::decimal::Decimal;

/// What a text says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MoneyAmount {
    /// This number, in plain form.
    One(String),
    /// This number, or one with a fraction.
    Ambiguous(String),
    /// No amount.
    None,
}

/// Signs of currencies that are words, or parts of words.
const WORDS: [&str; 48] = [
    "zł",
    "kr",
    "kč",
    "ft",
    "lei",
    "лв",
    "руб",
    "р",
    "грн",
    "rs",
    "rp",
    "rm",
    "fr",
    "sfr",
    "tl",
    "r",
    "s/",
    "b/",
    "bs",
    "gs",
    "ksh",
    "kn",
    "din",
    "дин",
    "ден",
    "тг",
    "сом",
    "euro",
    "euros",
    "dollar",
    "dollars",
    "元",
    "บาท",
    "د.إ",
    "ر.س",
    "ر.ق",
    "د.ك",
    "د.ب",
    "ر.ع",
    "ج.م",
    "د.م",
    "درهم",
    "ريال",
    "دينار",
    "&euro;",
    "&pound;",
    "&dollar;",
    "&yen;",
];

/// Signs of currencies without a fraction.
const WHOLE: [&str; 6] = ["円", "원", "₩", "₫", "đ", "₲"];

/// The digits zero of the scripts that people write amounts in; the others follow each.
const ZEROS: [char; 13] = [
    '\u{660}', '\u{6f0}', '\u{966}', '\u{9e6}', '\u{a66}', '\u{ae6}', '\u{b66}', '\u{be6}',
    '\u{c66}', '\u{ce6}', '\u{d66}', '\u{e50}', '\u{1040}',
];

/// What stands for the missing fraction of a price in whole units: `5,-`.
const NO_FRACTION: [&str; 6] = [",-", ",–", ",—", ".-", ".–", ".—"];

/// The digits, and the longest sign of a currency, that are worth looking at: some programs print all the
/// digits of a 64-bit float, such as 55 of 0.1.
const LONGEST: usize = 120;

/// Whether a text is a code of ISO 4217, in upper case, that something can be paid in: no metal, no test and no
/// `XXX`, which means none. The guilder of the Antilles gave way to that of the Caribbean in 2025; both
/// are in use.
pub(crate) fn is_currency(text: &str) -> bool {
    fraction_digits(text).is_some()
}

/// How many digits the fraction of an amount has in this currency.
pub(crate) fn fraction_digits(code: &str) -> Option<u16> {
    match code {
        "ANG" | "XCG" => Some(2),
        code => iso_currency::Currency::from_code(code)?.exponent(),
    }
}

/// Whether a text names the hundredth of a currency, as `GBp` and `GBX` do pence: an amount in it is none
/// of that currency.
pub(crate) fn is_subunit(text: &str) -> bool {
    let spelt = matches!(text.as_bytes(), [b'A'..=b'Z', b'A'..=b'Z', b'a'..=b'z']);
    spelt || text.eq_ignore_ascii_case("GBX")
}

/// Reads a text that is no plain number.
pub(super) fn read(text: &str) -> MoneyAmount {
    let text = text.trim();
    if text.len() > 3 * LONGEST {
        return MoneyAmount::None;
    }
    let text = in_ascii(text);
    let text = text.trim();
    if text.len() > LONGEST {
        return MoneyAmount::None;
    }
    let is_digit = |c: char| c.is_ascii_digit();
    let (Some(first), Some(end)) = (text.find(is_digit), text.rfind(is_digit)) else {
        return MoneyAmount::None;
    };
    let before = text.get(..first).unwrap_or_default();
    // A point belongs to the digits, as in `.5`, or to a word, as in `Rs.`.
    let without_point = before.strip_suffix(['.', ',']);
    let belongs = |c: char| c.is_whitespace() || is_minus(c) || c == '+' || is_symbol(c);
    let start = match without_point {
        Some(before) if before.chars().next_back().is_none_or(belongs) => before.len(),
        _ => first,
    };
    let (before, number, behind) = (
        text.get(..start).unwrap_or_default(),
        text.get(start..=end).unwrap_or_default(),
        text.get(end + 1..).unwrap_or_default(),
    );
    let Some((before, is_negative)) = without_minus(before) else {
        return MoneyAmount::None;
    };
    let behind = NO_FRACTION
        .iter()
        .find_map(|sign| behind.strip_prefix(sign))
        .unwrap_or(behind);
    if !is_currency_sign(&before) || !is_currency_sign(behind) {
        return MoneyAmount::None;
    }
    let amount = match number.split_once(['e', 'E']) {
        Some((mantissa, power)) => match digits(mantissa) {
            MoneyAmount::One(mantissa) => Decimal::parse(&format!("{mantissa}e{power}"))
                .map_or(MoneyAmount::None, |number| MoneyAmount::One(number.plain())),
            amount => amount,
        },
        None => digits(number),
    };
    let has_no_fraction = [&before, behind].into_iter().any(is_whole_currency);
    let signed = |number: String| {
        if is_negative {
            format!("-{number}")
        } else {
            number
        }
    };
    match amount {
        MoneyAmount::Ambiguous(number) if has_no_fraction => MoneyAmount::One(signed(number)),
        MoneyAmount::Ambiguous(number) => MoneyAmount::Ambiguous(signed(number)),
        MoneyAmount::One(number) => MoneyAmount::One(signed(number)),
        MoneyAmount::None => MoneyAmount::None,
    }
}

/// A text with the digits and signs of ASCII in place of those of other scripts, and without marks of
/// direction, which show nothing.
fn in_ascii(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return text.into();
    }
    let in_ascii = |c: char| {
        let code = u32::from(c);
        match c {
            '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{61c}'
            | '\u{feff}' => None,
            // The full-width forms, in the order of ASCII.
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(code - 0xfee0),
            '\u{66b}' => Some('.'),
            '\u{66c}' => Some('\''),
            _ => {
                let digit = |zero: &char| code.checked_sub(u32::from(*zero)).filter(|n| *n < 10);
                let digit = ZEROS.iter().find_map(digit);
                Some(
                    digit
                        .and_then(|digit| char::from_digit(digit, 10))
                        .unwrap_or(c),
                )
            }
        }
    };
    text.chars().filter_map(in_ascii).collect::<String>().into()
}

const fn is_minus(c: char) -> bool {
    matches!(c, '-' | '\u{2212}')
}

fn is_symbol(c: char) -> bool {
    c.general_category() == GeneralCategory::CurrencySymbol
}

/// Whether the sign or code of a currency without a fraction stands here.
fn is_whole_currency(text: &str) -> bool {
    text.split_whitespace()
        .any(|sign| WHOLE.contains(&sign) || fraction_digits(&sign.to_ascii_uppercase()) == Some(0))
}

/// What stands before the digits without its minus, and whether there is one.
fn without_minus(text: &str) -> Option<(String, bool)> {
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
    let letters = text.trim_end_matches(is_symbol);
    // As in `US$`.
    let is_marked = letters.len() < text.len() && letters.len() <= 3;
    letters.is_empty()
        || is_marked && letters.bytes().all(|byte| byte.is_ascii_alphabetic())
        || WHOLE.contains(&text)
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
fn digits(text: &str) -> MoneyAmount {
    if !text.chars().all(|c| c.is_ascii_digit() || is_separator(c)) {
        return MoneyAmount::None;
    }
    let separators: Vec<char> = text.chars().filter(|c| is_separator(*c)).collect();
    let Some(last) = separators.last().copied() else {
        return MoneyAmount::One(plain(text, ""));
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
        (true, true) => MoneyAmount::Ambiguous(plain(text, "")),
        (true, false) => MoneyAmount::One(plain(whole, fraction)),
        (false, true) => MoneyAmount::One(plain(text, "")),
        (false, false) => MoneyAmount::None,
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
            ("\u{200f}59.90\u{a0}₪", "59.90"),
            ("\u{200e}$59.90", "59.90"),
            ("5900円", "5900"),
            ("5,900円", "5900"),
            ("59,000원", "59000"),
            ("₩59,000", "59000"),
            ("12.500.000đ", "12500000"),
            ("1.234 ₫", "1234"),
            ("1.234 VND", "1234"),
            ("CLP 59.990", "59990"),
            ("-5,900 JPY", "-5900"),
            ("R 59.90", "59.90"),
            ("S/ 59.90", "59.90"),
            ("S/.59.90", "59.90"),
            ("$.99", "0.99"),
            ("59,90 р.", "59.90"),
            ("59,– €", "59"),
            ("59.—", "59"),
            ("59,90 &euro;", "59.90"),
            ("&euro;59,90", "59.90"),
            ("59.90 euros", "59.90"),
            ("59.90 د.إ", "59.90"),
            ("59.90 บาท", "59.90"),
            ("٥٩٫٩٠", "59.90"),
            ("٥٩٬٩٠٠٫٥٠", "59900.50"),
            ("५९.९०", "59.90"),
            ("１２", "12"),
            ("￥５，９００円", "5900"),
            ("12.5e6 VND", "12500000"),
            ("1,25E7", "12500000"),
            ("1,5e-1 €", "0.15"),
            (
                "0.1000000000000000055511151231257827021181583404541015625 EUR",
                "0.1000000000000000055511151231257827021181583404541015625",
            ),
        ] {
            assert_eq!(read(text), MoneyAmount::One(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_can_mean_two_things_is_not() {
        for (text, grouped) in [
            ("1,234", "1234"),
            ("12,345", "12345"),
            ("-1,234", "-1234"),
            ("$1,234", "1234"),
            ("999,999", "999999"),
            ("$1.234", "1234"),
            ("1.234 €", "1234"),
            ("¥5,900", "5900"),
            ("1,234 KWD", "1234"),
        ] {
            assert_eq!(
                read(text),
                MoneyAmount::Ambiguous(grouped.to_owned()),
                "{text}"
            );
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
            "1e2e3",
            "1,234 e5x",
            "1.234'5",
            "2026-11-20",
            "+49 30 123",
            "1/2",
            "a5",
            "$5$x",
        ] {
            assert_eq!(read(text), MoneyAmount::None, "{text}");
        }
        assert_eq!(read(&"9".repeat(400)), MoneyAmount::None);
    }
}
