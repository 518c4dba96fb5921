//! Phone numbers: digits alone, with the country's calling code, without leading zeros.

use std::borrow::Cow;

use crate::dropped::DropReason;
use crate::event::decimal::whole_digits;
use crate::json::any_byte::any_byte;
use crate::normalize::calling_codes;
use crate::normalize::text::digit;

/// Fewest digits of a phone number; shorter ones are dialled nowhere from abroad.
const FEWEST: usize = 7;
/// Most digits of a phone number (E.164).
const MOST: usize = 15;

/// Most digits that a spreadsheet shows of a number for which its column has no room.
const MOST_IN_A_CELL: usize = 6;

/// Most bytes of an extension with its word.
const LONGEST_EXTENSION: usize = 32;

/// Normalises a number. One that is not international gets the default calling code; where there is none,
/// the number is taken as it is, since nothing tells its country.
pub(super) fn normalize<'a>(
    text: &'a str,
    calling_code: Option<&str>,
    digits: &'a mut String,
) -> Result<&'a str, DropReason> {
    let plain = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain && calling_code.is_none() && text.len() >= FEWEST {
        return Ok(text);
    }
    let text = &*as_printed_number(text)?.unwrap_or(Cow::Borrowed(text));
    let number = without_extension(text);
    let international = read(number, digits);
    if let Some(code) = calling_code.filter(|_| !international) {
        put_calling_code(digits, code);
    }
    let digits = digits.trim_start_matches('0');
    // Meta's libraries take a number of any length. But a text with letters and more digits than a phone
    // number has is an id or a broken hash.
    let is_text =
        digits.len() > MOST && number.contains(|character: char| character.is_ascii_alphabetic());
    if digits.len() < FEWEST || is_text {
        return Err(DropReason::NotAPhone);
    }
    Ok(digits)
}

/// Reads a number that a computer printed, such as `16505551212.0` or `1.6505551212e10`. A spreadsheet cuts
/// the digits that its column has no room for: the last five of `1.65055E+10` are lost, and so is the number.
fn as_printed_number(text: &str) -> Result<Option<Cow<'_, str>>, DropReason> {
    if !any_byte(text, |byte| matches!(byte, b'.' | b'e' | b'E')) {
        return Ok(None);
    }
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if let Some((number, exponent)) = text.split_once(['e', 'E']) {
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let exponent = exponent.strip_prefix('+').unwrap_or(exponent);
        let is_number = whole.len() == 1 && [whole, fraction, exponent].into_iter().all(is_digits);
        if !is_number {
            return Ok(None);
        }
        let digits = whole_digits(text).ok_or(DropReason::NotAPhone)?;
        let is_cut = whole.len() + fraction.len() <= MOST_IN_A_CELL
            && digits.len() > whole.len() + fraction.len();
        return if is_cut {
            Err(DropReason::NotAPhone)
        } else {
            Ok(Some(digits))
        };
    }
    let Some((whole, fraction)) = text.split_once('.') else {
        return Ok(None);
    };
    let dialled = whole.strip_prefix('+').unwrap_or(whole);
    let is_decimal =
        is_digits(dialled) && dialled.len() >= FEWEST && matches!(fraction, "0" | "00");
    Ok(is_decimal.then_some(Cow::Borrowed(whole)))
}

/// Reads the digits of a number as it is written, and says whether it is international.
fn read(number: &str, digits: &mut String) -> bool {
    digits.clear();
    let mut plus = false;
    let mut rest = number.chars();
    while let Some(character) = rest.next() {
        if let Some(value) = digit(character) {
            digits.push(char::from(b'0' + value));
        } else if matches!(character, '+' | '＋') && digits.is_empty() {
            plus = true;
        } else if character == '('
            && rest.as_str().starts_with("0)")
            && (plus || digits.starts_with("00"))
            && drops_zero(digits.trim_start_matches('0'))
        {
            rest.nth(1);
        }
    }
    plus || digits.starts_with("00")
}

/// Whether the zero in `+49 (0) 30` is left out from abroad: yes, except where a leading zero is part of the
/// number.
fn drops_zero(international: &str) -> bool {
    calling_codes::plan_of_international(international).is_none_or(|plan| !plan.trunk.is_empty())
}

/// Puts a calling code before a number as it is dialled within the country.
fn put_calling_code(digits: &mut String, code: &str) {
    let plan = calling_codes::plan(code);
    let longest = plan.map_or(MOST, |plan| plan.longest);
    // Too long for a number within the country: the code is there, only the plus is not.
    if digits.starts_with(code) && digits.len() > longest {
        return;
    }
    let national = match plan.map_or("0", |plan| plan.trunk) {
        "" => digits,
        "0" => digits.trim_start_matches('0'),
        trunk if digits.len() > longest => digits.strip_prefix(trunk).unwrap_or(digits),
        _ => digits,
    };
    let prefix = digits.len() - national.len();
    let code = if national.is_empty() { "" } else { code };
    digits.replace_range(..prefix, code);
}

/// Cuts off an extension: a word or sign for it after a whole number, and digits to the end.
fn without_extension(text: &str) -> &str {
    let may_begin_one = |byte: u8| !byte.is_ascii() || byte == b'#' || byte.is_ascii_alphabetic();
    if !any_byte(text, may_begin_one) {
        return text;
    }
    let mut digits = 0;
    let mut previous_is_letter = false;
    for (at, character) in text.char_indices() {
        if digit(character).is_some() {
            digits += 1;
        } else if digits >= FEWEST
            && !previous_is_letter
            && (character == '#' || character.is_alphabetic())
        {
            let (number, rest) = text.split_at(at);
            if is_extension(rest) {
                return number;
            }
        }
        previous_is_letter = character.is_alphabetic();
    }
    text
}

fn is_extension(text: &str) -> bool {
    if text.len() > LONGEST_EXTENSION {
        return false;
    }
    let rest = text.trim_start_matches(char::is_alphabetic);
    let word = text.strip_suffix(rest).unwrap_or_default();
    let is_sign = text.starts_with('#')
        || matches!(word, "内線" | "доб")
        || ["ext", "extn", "extension", "x"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(word));
    is_sign
        && !rest.contains(char::is_alphabetic)
        && rest.chars().any(|character| digit(character).is_some())
}
