//! Amounts as people write them: `59,90`, `$1,234.50`, `1.234,50 EUR`, in the digits of any script.
//!
//! Some texts are ambiguous: `1,234` is a thousand and more to one reader and a little over one to another,
//! unless the currency beside it has no fraction. Only the sign or the code of a currency may be beside the
//! digits; which one it is does not matter otherwise.

use std::borrow::Cow;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

use super::decimal::{Decimal, joined};

/// The amount that a text says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MoneyAmount {
    /// In plain form.
    pub(super) number: String,
    /// Whether a number with a fraction may be meant instead.
    pub(super) is_ambiguous: bool,
}

/// Abbreviations that stand for a currency.
const ABBREVIATIONS: [&str; 36] = [
    "zł", "kr", "kč", "ft", "lei", "лв", "руб", "р", "грн", "rs", "rp", "rm", "fr", "sfr", "tl",
    "r", "s/", "b/", "bs", "gs", "ksh", "kn", "din", "дин", "ден", "тг", "сом", "元", "د.إ", "ر.س",
    "ر.ق", "د.ك", "د.ب", "ر.ع", "ج.م", "د.م",
];

/// Words and HTML entities that stand for a currency.
const WORDS: [&str; 12] = [
    "euro",
    "euros",
    "dollar",
    "dollars",
    "บาท",
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

/// What people write in place of the fraction of a whole price: `5,-`.
const NO_FRACTION: [&str; 6] = [",-", ",–", ",—", ".-", ".–", ".—"];

/// Room for the digits and for the longest sign of a currency: some programs print all the digits of a
/// 64-bit float, 55 of them for 0.1.
const LONGEST: usize = 120;

/// Whether a text is an ISO 4217 code, in upper case, of a currency that people pay in: no metal, no test
/// code and no `XXX`.
pub(crate) fn is_currency(text: &str) -> bool {
    fraction_digits(text).is_some()
}

/// How many digits the fraction of an amount has in this currency.
pub(crate) fn fraction_digits(code: &str) -> Option<u16> {
    match code {
        // The guilder of the Caribbean replaced that of the Antilles in 2025; both are in use.
        "ANG" | "XCG" => Some(2),
        code => iso_currency::Currency::from_code(code)?.exponent(),
    }
}

/// Whether a text names the hundredth of a currency, as `GBp` and `GBX` name pence: an amount in it is not
/// one in the currency.
pub(crate) fn is_subunit(text: &str) -> bool {
    let spelt = matches!(text.as_bytes(), [b'A'..=b'Z', b'A'..=b'Z', b'a'..=b'z']);
    spelt || text.eq_ignore_ascii_case("GBX")
}

/// Reads a text that is not a plain number; `None` if it is not an amount.
pub(super) fn read(text: &str) -> Option<MoneyAmount> {
    let text = text.trim();
    if text.len() > 3 * LONGEST {
        return None;
    }
    let text = in_ascii(text);
    let text = text.trim();
    if text.len() > LONGEST {
        return None;
    }
    let is_digit = |c: char| c.is_ascii_digit();
    let (first, end) = (text.find(is_digit)?, text.rfind(is_digit)?);
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
    let (before, is_negative) = without_minus(before)?;
    let behind = NO_FRACTION
        .iter()
        .find_map(|sign| behind.strip_prefix(sign))
        .unwrap_or(behind);
    if !is_currency_sign(&before) || !is_currency_sign(behind) {
        return None;
    }
    let (mantissa, power) = match number.split_once(['e', 'E']) {
        Some((mantissa, power)) => (mantissa, Some(power)),
        None => (number, None),
    };
    let mut amount = digits(mantissa)?;
    if let Some(power) = power.filter(|_| !amount.is_ambiguous) {
        amount.number = Decimal::parse(&format!("{}e{power}", amount.number))?.plain();
    }
    amount.is_ambiguous &= ![&before, behind].into_iter().any(is_whole_currency);
    if is_negative {
        amount.number.insert(0, '-');
    }
    Some(amount)
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
                digit.map_or(Some(c), |digit| char::from_digit(digit, 10))
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

/// Whether a text holds the sign or code of a currency without a fraction.
fn is_whole_currency(text: &str) -> bool {
    text.split_whitespace()
        .any(|sign| WHOLE.contains(&sign) || fraction_digits(&sign.to_ascii_uppercase()) == Some(0))
}

/// The text before the digits without its sign, and whether the sign is a minus.
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

/// Whether a text is empty, or the sign or code of a currency.
fn is_currency_sign(text: &str) -> bool {
    let text = text.trim().trim_end_matches('.');
    let letters = text.trim_end_matches(is_symbol);
    // As in `US$`.
    let is_marked = letters.len() < text.len() && letters.len() <= 3;
    letters.is_empty()
        || is_marked && letters.bytes().all(|byte| byte.is_ascii_alphabetic())
        || WHOLE.contains(&text)
        || ABBREVIATIONS.contains(&&*text.to_lowercase())
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
fn digits(text: &str) -> Option<MoneyAmount> {
    if !text.chars().all(|c| c.is_ascii_digit() || is_separator(c)) {
        return None;
    }
    let separators: Vec<char> = text.chars().filter(|c| is_separator(*c)).collect();
    let (as_decimal, as_groups) = match &*separators {
        [] => (None, true),
        [others @ .., last] => {
            let is_decimal = |whole: &str| {
                !is_group_separator(*last)
                    && !others.contains(last)
                    && are_alike(others)
                    && (others.is_empty() || is_grouped(whole))
            };
            let parts = text.rsplit_once(*last);
            let as_decimal = parts.filter(|(whole, _)| is_decimal(whole));
            (as_decimal, are_alike(&separators) && is_grouped(text))
        }
    };
    let plain = |whole: &str, fraction| {
        let whole: String = whole.chars().filter(char::is_ascii_digit).collect();
        joined(&whole, fraction)
    };
    let number = match as_decimal {
        _ if as_groups => plain(text, ""),
        Some((whole, fraction)) => plain(whole, fraction),
        None => return None,
    };
    Some(MoneyAmount {
        number,
        is_ambiguous: as_decimal.is_some() && as_groups,
    })
}

fn are_alike(separators: &[char]) -> bool {
    separators.windows(2).all(|pair| pair[0] == pair[1])
}

/// Whether digits are grouped as thousands are: by three or, as in India, the last three and then by two.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(number: &str, is_ambiguous: bool) -> MoneyAmount {
        MoneyAmount {
            number: number.to_owned(),
            is_ambiguous,
        }
    }

    #[test]
    fn what_can_mean_only_one_amount_is_read() {
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
            assert_eq!(read(text), Some(amount(expected, false)), "{text}");
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
            assert_eq!(read(text), Some(amount(grouped, true)), "{text}");
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
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read(&"9".repeat(400)), None);
    }
}
