//! Words that a form, a report or a spreadsheet writes where it has no value.

/// Which words of a field mean that it has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placeholders {
    None,
    /// Those that cannot name a person or a place.
    Words,
    /// Also those that may name a place.
    WordsAndNames,
}

/// Of any field.
const OF_ANYTHING: [&str; 7] = [
    "n/a",
    "n.a.",
    "n.a",
    "not set",
    "not provided",
    "not available",
    "redacted",
];
/// Of the name of a person; a city may be called so.
const OF_NAMES: [&str; 3] = ["none", "unknown", "anonymous"];
/// In brackets, where even a possible name is not meant as one.
const IN_BRACKETS: [&str; 8] = [
    "none",
    "unknown",
    "anonymous",
    "na",
    "nan",
    "null",
    "undefined",
    "empty",
];
/// What a spreadsheet writes where it cannot calculate a value.
const OF_SPREADSHEETS: [&str; 9] = [
    "#n/a", "#na", "#null!", "#ref!", "#value!", "#name?", "#num!", "#div/0!", "#error!",
];

/// Whether a text stands for no value. A word that may be a name, such as `Na`, counts as a value.
pub(super) fn is_one(placeholders: Placeholders, text: &str) -> bool {
    let of_names: &[&str] = match placeholders {
        Placeholders::None => return false,
        Placeholders::Words => &[],
        Placeholders::WordsAndNames => &OF_NAMES,
    };
    // Few texts begin like one of these words.
    let is_like_one = |byte: &u8| {
        matches!(byte, b'(' | b'[' | b'{' | b'<' | b'#')
            || matches!(byte.to_ascii_lowercase(), b'a' | b'n' | b'r' | b'u')
    };
    if !text.as_bytes().first().is_some_and(is_like_one) {
        return false;
    }
    let is_among = |words: &[&str], text: &str| {
        let is_it = |word: &&str| word.eq_ignore_ascii_case(text);
        words.iter().any(is_it)
    };
    if is_among(&OF_ANYTHING, text) || is_among(of_names, text) || is_among(&OF_SPREADSHEETS, text)
    {
        return true;
    }
    in_brackets(text)
        .is_some_and(|inside| is_among(&OF_ANYTHING, inside) || is_among(&IN_BRACKETS, inside))
}

/// What stands within the brackets around a text.
fn in_brackets(text: &str) -> Option<&str> {
    let pairs = [('(', ')'), ('[', ']'), ('{', '}'), ('<', '>')];
    let inside = pairs
        .into_iter()
        .find_map(|(open, close)| text.strip_prefix(open)?.strip_suffix(close))?;
    Some(inside.trim())
}
