//! Reads the texts of JSON strings, whatever they hold.
//!
//! U+FFFD replaces an escape without a meaning, such as half a surrogate pair.

use std::iter;

const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// Whether a text is blank or a word for no value.
pub(crate) fn is_absent_text(text: &str) -> bool {
    // Most texts begin like none of these words.
    if let Some(first) = text.bytes().next()
        && first.is_ascii_alphanumeric()
        && !matches!(first, b'E' | b'n' | b'u')
    {
        return false;
    }
    matches!(text.trim(), "" | "EMPTY" | "(none)" | "null" | "undefined")
}

/// Whether a string between two quotes means such a text. Only the blanks around its first word are read: a long text
/// is looked at for each value that may be made of it.
pub(crate) fn means_absent_text(inner: &str) -> bool {
    const LONGEST: usize = "undefined".len();
    let mut characters = characters(inner).skip_while(|one| one.is_whitespace());
    let mut word = String::new();
    for character in characters.by_ref().take_while(|one| !one.is_whitespace()) {
        word.push(character);
        if word.len() > LONGEST {
            return false;
        }
    }
    is_absent_text(&word) && characters.all(char::is_whitespace)
}

/// Whether a text has only broken, control and invisible characters.
pub(crate) fn shows_nothing(text: &str) -> bool {
    // Most texts begin with a visible character.
    !text.starts_with(|first: char| first.is_ascii_graphic())
        && text.chars().all(|character| {
            character.is_whitespace()
                || character.is_control()
                || matches!(
                    character,
                    '\u{FFFD}' | '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{2060}' | '\u{FEFF}'
                )
        })
}

/// The text that a string between two quotes means.
pub(crate) fn unescaped(inner: &str) -> String {
    let mut text = String::new();
    unescape(inner, &mut text);
    text
}

/// Writes the text that a string between two quotes means behind another.
pub(super) fn unescape(inner: &str, text: &mut String) {
    let bytes = inner.as_bytes();
    text.reserve(inner.len());
    let mut begin = 0;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if *byte != b'\\' {
            at += 1;
            continue;
        }
        text.push_str(inner.get(begin..at).unwrap_or_default());
        let escape = inner.get(at + 1..).unwrap_or_default();
        let (character, behind) = character(escape);
        text.push(character);
        at = inner.len() - behind.len();
        begin = at;
    }
    text.push_str(inner.get(begin..).unwrap_or_default());
}

/// The characters that a string between two quotes means.
pub(super) fn characters(mut inner: &str) -> impl Iterator<Item = char> {
    iter::from_fn(move || {
        let mut behind = inner.chars();
        let first = behind.next()?;
        let (own, rest) = match first {
            '\\' => character(behind.as_str()),
            own => (own, behind.as_str()),
        };
        inner = rest;
        Some(own)
    })
}

/// The character that an escape means, and the text behind it.
fn character(escape: &str) -> (char, &str) {
    let character = match escape.as_bytes().first() {
        Some(same @ (b'"' | b'\\' | b'/')) => char::from(*same),
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return code_point(escape.get(1..).unwrap_or_default()),
        _ => {
            let mut chars = escape.chars();
            chars.next();
            return (REPLACEMENT, chars.as_str());
        }
    };
    (character, escape.get(1..).unwrap_or_default())
}

/// The character that four digits mean, or that two escapes of four digits mean together.
fn code_point(digits: &str) -> (char, &str) {
    let Some((first, behind)) = unit(digits) else {
        let count = digits.bytes().take(3).take_while(u8::is_ascii_hexdigit);
        return (REPLACEMENT, digits.get(count.count()..).unwrap_or_default());
    };
    if let Some(character) = char::from_u32(first) {
        return (character, behind);
    }
    let second = behind.strip_prefix("\\u").and_then(unit);
    match second {
        Some((second @ 0xDC00..=0xDFFF, behind)) if first < 0xDC00 => {
            let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
            (char::from_u32(code).unwrap_or(REPLACEMENT), behind)
        }
        _ => (REPLACEMENT, behind),
    }
}

/// The number of four hexadecimal digits, and the text behind them.
fn unit(digits: &str) -> Option<(u32, &str)> {
    let mut unit = 0;
    for digit in digits.as_bytes().first_chunk::<4>()? {
        unit = unit << 4 | char::from(*digit).to_digit(16)?;
    }
    Some((unit, digits.get(4..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_absent_as_its_text_is() {
        for inner in [
            "",
            " ",
            r"\n\u00a0 \t",
            "EMPTY",
            r" (no\u006ee) ",
            r"\u006eull\n",
            "undefined ",
            "undefined x",
            "undefinedx",
            "null null",
            r"\u0001",
            r"\u0001null",
            r"\ud83d",
            "u",
            r"\x",
            "é",
            "\u{3000}",
        ] {
            let expected = is_absent_text(&unescaped(inner));
            assert_eq!(means_absent_text(inner), expected, "{inner}");
        }
    }

    #[test]
    fn a_broken_escape_costs_one_character() {
        for (inner, expected) in [
            ("", ""),
            (r#"a\"\\\/\b\f\n\r\tz"#, "a\"\\/\u{8}\u{c}\n\r\tz"),
            (r"\u00e9\u0000", "é\0"),
            (r"\ud83d\ude00!", "😀!"),
            (r"a\ud83d", "a\u{fffd}"),
            (r"\ud83dx", "\u{fffd}x"),
            (r"\ude00", "\u{fffd}"),
            (r"\ud83d\ud83d\ude00", "\u{fffd}😀"),
            (r"\ud83d\u0041", "\u{fffd}A"),
            (r"\ud83d\n", "\u{fffd}\n"),
            (r"\x41", "\u{fffd}41"),
            (r"\é", "\u{fffd}"),
            (r"\u12", "\u{fffd}"),
            (r"\u12gh", "\u{fffd}gh"),
            (r"\u+123", "\u{fffd}+123"),
            (r"\u00é", "\u{fffd}é"),
            ("\\", "\u{fffd}"),
        ] {
            assert_eq!(unescaped(inner), expected, "{inner}");
        }
    }

    proptest::proptest! {
        #[test]
        fn reads_as_a_parser_does_what_one_reads(text: String) {
            let json = serde_json::Value::from(text.as_str()).to_string();
            let inner = json.strip_prefix('"').and_then(|json| json.strip_suffix('"'));
            proptest::prop_assert_eq!(unescaped(inner.unwrap()), text);
        }

        #[test]
        fn reads_any_escapes_that_a_parser_reads(
            inner in r#"(\\u[dD][89ab][0-9a-f]{2}|\\u[dD][c-f][0-9a-f]{2}|\\u[0-9a-f]{4}|\\[bfnrt/"]|[a-zé]){0,8}"#
        ) {
            if let Ok(text) = serde_json::from_str::<String>(&format!("\"{inner}\"")) {
                proptest::prop_assert_eq!(unescaped(&inner), text);
            }
        }
    }
}
