//! Cities and postal codes.

use crate::dropped::DropReason;
use crate::normalize::Normalized;
use crate::normalize::text::{
    as_joined_and_as_written, digit, is_blank, is_dash, is_letter, lower_kept, trimmed,
};

/// Normalises a city.
///
/// The first form keeps the letters of every script, as Meta's page allows and Meta's SDKs do. The
/// second is that of Meta's parameter builder and the browser's Pixel: the ASCII letters and digits of
/// the text as it came.
pub(super) fn city<'a>(
    text: &'a str,
    [first, second]: [&'a mut String; 2],
) -> Result<Normalized<'a>, DropReason> {
    if begins_with_glued_number(text) {
        return Err(DropReason::NotACity);
    }
    let first = lower_kept(text, is_letter, first);
    if text.is_ascii() && !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return Ok(Normalized::to_hash(first));
    }
    second.clear();
    second.extend(
        text.chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|character| character.to_ascii_lowercase()),
    );
    // The parameter builder takes no city that begins with a digit.
    if second.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Ok(Normalized::both(first, second));
    }
    Ok(as_joined_and_as_written(first, text, second))
}

/// As in `42ndStreet`, which without its digits would become a word that means nothing. A postal code with
/// a space behind it does no harm.
fn begins_with_glued_number(text: &str) -> bool {
    let rest = text.trim_start_matches(|character| digit(character).is_some());
    rest.len() < text.len() && rest.starts_with(is_letter)
}

/// Normalises a postal code.
///
/// Meta's page wants neither spaces nor dashes. What stands behind a dash is part of the code in most
/// countries, but not in the USA. The parameter builder and the browser's Pixel cut it off everywhere, and
/// keep spaces: their form is sent second.
pub(super) fn zip_code<'a>(
    text: &'a str,
    country: Option<&str>,
    [first, second]: [&'a mut String; 2],
) -> Result<Normalized<'a>, DropReason> {
    if let Some(dashed) = with_plain_dashes(text) {
        let mut own = <[String; 2]>::default();
        let Normalized::ToHash {
            first: page,
            second: area,
        } = zip_code(&dashed, country, own.each_mut())?
        else {
            return Err(DropReason::TooShort);
        };
        page.clone_into(first);
        area.unwrap_or_default().clone_into(second);
        return Ok(Normalized::both(first, second));
    }
    if let Some(ascii) = as_on_any_keyboard(text) {
        // The form of another keyboard goes second, as Meta's libraries hash it.
        let mut own = <[String; 2]>::default();
        let code = trimmed(&ascii);
        let Normalized::ToHash { first: page, .. } = zip_code(code, country, own.each_mut())?
        else {
            return Err(DropReason::TooShort);
        };
        page.clone_into(first);
        let second = lower_kept(text, |_| true, second);
        let (area, _) = second.split_once('-').unwrap_or((second, ""));
        let area = trimmed(area);
        return Ok(match area.chars().nth(1) {
            Some(_) => Normalized::both(first, area),
            None => Normalized::to_hash(first),
        });
    }
    let lower = lower_kept(without_decimals(text), |_| true, first);
    if lower.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        let code = match country {
            Some("us") => american(lower),
            _ => lower,
        };
        return long_enough(Normalized::to_hash(code));
    }
    let (area, rest) = lower.split_once('-').unwrap_or((lower, ""));
    let (area, rest) = (trimmed(area), trimmed(rest));
    let zip_plus_four = is_number_of(5, area) && is_number_of(4, rest);
    let halves = !area.is_empty() && !rest.is_empty() && !rest.contains('-');
    let keeps_rest = match country {
        Some("us") => false,
        Some(_) => true,
        None => halves && !zip_plus_four,
    };
    let page = without_signs(if keeps_rest { lower } else { area }, second);
    // Without its dash a code may show as a number that was printed with decimals.
    let page = without_decimals(page);
    let normalized = match country {
        Some("us") => Normalized::to_hash(american(page)),
        // The parameter builder takes no code of one character, as `D-10115` would give.
        _ if area.chars().nth(1).is_none() => Normalized::to_hash(page),
        _ => Normalized::both(page, area),
    };
    long_enough(normalized)
}

/// The signs that mark a postal code in Japan.
const POSTAL_MARKS: [char; 3] = ['〒', '〠', '〶'];

/// A code without what Meta's page does not want.
fn without_signs<'a>(code: &'a str, buffer: &'a mut String) -> &'a str {
    let is_sign = |character: char| is_blank(character) || character == '-';
    if !code.contains(is_sign) {
        return code;
    }
    buffer.clear();
    buffer.extend(code.chars().filter(|character| !is_sign(*character)));
    buffer
}

/// A code with ASCII dashes in place of others; `None` where it has no others, or also has digits of another
/// script.
fn with_plain_dashes(text: &str) -> Option<String> {
    let is_foreign = |character: char| !character.is_ascii() && digit(character).is_some();
    if text.is_ascii() || !text.contains(is_dash) || text.contains(is_foreign) {
        return None;
    }
    let plain = |character| match character {
        dash if is_dash(dash) => '-',
        character => character,
    };
    Some(text.chars().map(plain).collect())
}

/// A code without its postal mark, and with ASCII digits in place of those of another script or of full
/// width; `None` where it has neither.
fn as_on_any_keyboard(text: &str) -> Option<String> {
    let is_foreign = |character: char| {
        !character.is_ascii() && (digit(character).is_some() || POSTAL_MARKS.contains(&character))
    };
    (!text.is_ascii() && text.contains(is_foreign)).then(|| {
        text.chars()
            .filter(|character| !POSTAL_MARKS.contains(character))
            .map(|character| match digit(character) {
                Some(value) => char::from(b'0' + value),
                None if is_dash(character) => '-',
                None => character,
            })
            .collect()
    })
}

/// Without the decimals that a column of numbers adds, as in `94025.0`: no country's codes have a point.
fn without_decimals(text: &str) -> &str {
    match text.strip_suffix(".0").or_else(|| text.strip_suffix(".00")) {
        Some(code) if code.bytes().all(|byte| byte.is_ascii_digit()) => code,
        _ => text,
    }
}

/// The five digits of an American code, without the four that may follow them.
fn american(code: &str) -> &str {
    match code.get(..5) {
        Some(first) if is_number_of(9, code) => first,
        _ => code,
    }
}

fn is_number_of(digits: usize, text: &str) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// No country has a postal code of one character, and the parameter builder takes none.
fn long_enough(code: Normalized<'_>) -> Result<Normalized<'_>, DropReason> {
    match &code {
        Normalized::ToHash { first, .. } if first.chars().nth(1).is_none() => {
            Err(DropReason::TooShort)
        }
        _ => Ok(code),
    }
}
