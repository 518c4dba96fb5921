//! The steps that several fields share: trimming, composing (NFC), lower case, digits of any script.
//!
//! ASCII text takes a fast path. Where nothing changes, the text itself is returned; else the result is
//! written into the caller's buffer.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

use crate::json::any_byte::any_byte;
use crate::normalize::Normalized;

/// Cuts white space off both ends, and the invisible characters that copying leaves there.
pub(super) fn trimmed(text: &str) -> &str {
    // Most values have nothing to cut off.
    if let [first, .., last] = text.as_bytes()
        && first.is_ascii_graphic()
        && last.is_ascii_graphic()
    {
        return text;
    }
    text.trim_matches(is_blank)
}

/// White space, and characters of no width that are not part of a word.
pub(super) fn is_blank(character: char) -> bool {
    character.is_whitespace()
        || matches!(
            character,
            '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2060}' | '\u{FEFF}'
        )
}

/// Letters of any script, with the marks that belong to them. A variation selector belongs to an emoji.
pub(super) fn is_letter(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_alphabetic();
    }
    if matches!(character, '\u{FE00}'..='\u{FE0F}') {
        return false;
    }
    character.is_alphabetic() || character.general_category_group() == GeneralCategoryGroup::Mark
}

/// What a keyboard or a program writes for a dash, other than the ASCII one: hyphens, minus signs, the mark
/// of a long vowel in Japanese.
pub(super) const fn is_dash(character: char) -> bool {
    matches!(
        character,
        '\u{2010}'
            ..='\u{2015}'
                | '\u{2043}'
                | '\u{2212}'
                | '\u{30FC}'
                | '\u{FE58}'
                | '\u{FE63}'
                | '\u{FF0D}'
                | '\u{FF70}'
    )
}

/// Punctuation of any script; of ASCII also the symbols, as in Meta's parameter builder.
pub(super) fn is_punctuation(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_punctuation();
    }
    !character.is_alphabetic()
        && (is_dash(character)
            || character.general_category_group() == GeneralCategoryGroup::Punctuation)
}

/// The text with every accent joined to its letter (NFC), so that one word has one spelling.
pub(super) fn composed(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        return Cow::Borrowed(text);
    }
    let mut joined = String::with_capacity(text.len());
    joined.extend(stream_safe(text).nfc());
    Cow::Owned(joined)
}

/// The text with no more than 30 marks in a row (UAX #15: Stream-Safe Text Format), so that whoever sorts them needs
/// little memory. No language has so many.
fn stream_safe(text: &str) -> impl Iterator<Item = char> {
    text.chars().stream_safe()
}

/// The characters that `keep` accepts.
fn kept(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut kept = String::with_capacity(text.len());
    kept.extend(text.chars().filter(|character| keep(*character)));
    kept
}

/// The characters that `keep` accepts, composed and in lower case.
pub(super) fn lower_kept<'a>(
    text: &'a str,
    keep: impl Fn(char) -> bool,
    buffer: &'a mut String,
) -> &'a str {
    if !text.is_ascii() {
        *buffer = kept(&composed(text), keep).to_lowercase();
        // What was deleted may have stood between a letter and its accent.
        if let Cow::Owned(joined) = composed(buffer) {
            *buffer = joined;
        }
        return buffer;
    }
    let changes = |byte: u8| byte.is_ascii_uppercase() || !keep(char::from(byte));
    if !any_byte(text, changes) {
        return text;
    }
    buffer.clear();
    buffer.reserve(text.len());
    let kept = text.chars().filter(|character| keep(*character));
    buffer.extend(kept.map(|character| character.to_ascii_lowercase()));
    buffer
}

/// The characters that `keep` accepts, in lower case and with accents apart or joined as they came.
pub(super) fn lower_as_written<'a>(
    text: &str,
    keep: impl Fn(char) -> bool,
    buffer: &'a mut String,
) -> &'a str {
    *buffer = kept(text, keep).to_lowercase();
    buffer
}

/// The letters of a word with its accents joined, and as it was written: where the two differ, Meta's page
/// asks for the first, and its libraries hash the second.
pub(super) fn as_joined_and_as_written<'a>(
    joined: &'a str,
    text: &str,
    buffer: &'a mut String,
) -> Normalized<'a> {
    match composed(text) {
        Cow::Borrowed(_) => Normalized::to_hash(joined),
        Cow::Owned(_) => Normalized::both(joined, lower_as_written(text, is_letter, buffer)),
    }
}

/// Room for every name of a country or state, and for what may stand before or behind it.
const LONGEST_KEY: usize = 64;

/// The letters of a text as a key for the tables: `a` to `z` alone, accents taken off.
pub(super) struct TableKey {
    letters: [u8; LONGEST_KEY],
    count: usize,
}

impl TableKey {
    /// The key of a text; of a long one, the first letters, which are more than any table has.
    pub(super) fn of(text: &str) -> Self {
        let mut key = Self {
            letters: [0; LONGEST_KEY],
            count: 0,
        };
        if text.is_ascii() {
            key.extend(text.bytes().filter(u8::is_ascii_alphabetic));
        } else {
            let letters = stream_safe(text).nfd().filter(char::is_ascii_alphabetic);
            key.extend(letters.filter_map(|letter| u8::try_from(letter).ok()));
        }
        key
    }

    /// The key as a text.
    pub(super) fn as_str(&self) -> &str {
        let letters = self.letters.get(..self.count).unwrap_or_default();
        std::str::from_utf8(letters).unwrap_or_default()
    }

    fn extend(&mut self, letters: impl Iterator<Item = u8>) {
        for (place, letter) in self.letters.iter_mut().zip(letters) {
            *place = letter.to_ascii_lowercase();
            self.count += 1;
        }
    }
}

/// The value of a decimal digit of any script.
pub fn digit(character: char) -> Option<u8> {
    if character.is_ascii() {
        return u8::try_from(character.to_digit(10)?).ok();
    }
    let code = u32::from(character);
    let after = ZEROS.partition_point(|zero| *zero <= code);
    let zero = ZEROS.get(after.checked_sub(1)?)?;
    u8::try_from(code - zero).ok().filter(|value| *value < 10)
}

/// The digit zero of every script; its nine others follow it.
#[rustfmt::skip] // a table reads better in rows
const ZEROS: &[u32] = &[
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6,
    0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50,
    0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
    0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650,
    0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50,
    0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];
