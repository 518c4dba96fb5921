//! Normalises the spelling of numbers in a text before they are searched for.
//!
//! One number is written in many ways: with the digits of another script, with one of many dashes or blanks,
//! with invisible characters, encoded as in a URL.

use std::borrow::Cow;

use crate::json::any_byte::any_byte;
use crate::normalize::text::digit;

/// A text with ASCII for the digits of every script and the signs between them, without invisible characters,
/// and decoded where it is encoded as in a URL or a page.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if !any_byte(text, |byte| !byte.is_ascii() || matches!(byte, b'%' | b'&')) {
        return Cow::Borrowed(text);
    }
    let text = percent_decoded(text).replace("&#43;", "+");
    let characters = text.chars().filter(|character| !is_invisible(*character));
    Cow::Owned(characters.map(as_ascii).collect())
}

/// Decodes `%2B` and the like; anything else stays as it is.
fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let code = behind.first_chunk::<2>().filter(|_| *first == b'%');
        let byte = code
            .and_then(|code| str::from_utf8(code).ok())
            .filter(|code| !code.starts_with('+'))
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        decoded.push(byte.unwrap_or(*first));
        rest = behind
            .get(if byte.is_some() { 2 } else { 0 }..)
            .unwrap_or_default();
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

/// Whether a character is invisible: of no width, a change of direction, a possible line break, a frame.
const fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{20e3}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
    )
}

fn as_ascii(character: char) -> char {
    if character.is_ascii() {
        return character;
    }
    if let Some(digit) = digit(character) {
        return char::from(b'0' + digit);
    }
    match character {
        '\u{58a}'
        | '\u{5be}'
        | '\u{1806}'
        | '\u{2010}'..='\u{2015}'
        | '\u{2043}'
        | '\u{207b}'
        | '\u{2212}'
        | '\u{2500}'
        | '\u{301c}'
        | '\u{30fc}'
        | '\u{fe58}'
        | '\u{fe63}'
        | '\u{ff0d}'
        | '\u{ff5e}'
        | '\u{ff70}' => '-',
        '\u{b7}' | '\u{387}' | '\u{66b}' | '\u{2022}' | '\u{2024}' | '\u{2027}' | '\u{2219}'
        | '\u{22c5}' | '\u{3002}' | '\u{30fb}' | '\u{ff0e}' | '\u{ff61}' | '\u{ff65}' => '.',
        '\u{2044}' | '\u{2215}' | '\u{ff0f}' => '/',
        '\u{ff3f}' => '_',
        '\u{207a}' | '\u{fe62}' | '\u{ff0b}' => '+',
        '\u{fe59}' | '\u{ff08}' => '(',
        '\u{fe5a}' | '\u{ff09}' => ')',
        '\u{ff3b}' => '[',
        '\u{ff3d}' => ']',
        // The end of a line separates numbers.
        '\u{85}' | '\u{2028}' | '\u{2029}' => '\n',
        other if other.is_whitespace() => ' ',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_one_way() {
        for (text, expected) in [
            ("+1 650-253-0000", "+1 650-253-0000"),
            ("＋１（６５０）２５３－００００", "+1(650)253-0000"),
            ("٠١٢٣٤٥٦٧٨٩ ۰۱۲ ०१२", "0123456789 012 012"),
            ("650−253‐0000–1—2", "650-253-0000-1-2"),
            ("650·253•0000", "650.253.0000"),
            ("650\u{a0}253\u{2009}00\u{3000}00", "650 253 00 00"),
            ("\u{200e}+1\u{200b}650\u{ad}\u{2066}253\u{feff}", "+1650253"),
            ("%2B1%20650%2d253", "+1 650-253"),
            ("5% %zz %+1 %2", "5% %zz %+1 %2"),
            ("%EF%BC%96%FF", "6\u{fffd}"),
            ("&#43;49 a&b", "+49 a&b"),
            ("é 東京", "é 東京"),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
    }
}
