//! Finds addresses in texts: a text may be one, in any form, or hold some among other words.

use crate::json::any_byte::any_byte;

use super::{KeptParameters, cut, is_sign};

/// A text whose addresses lack the parts that must not go out; `None` where all may.
pub(in crate::map) fn cut_text(text: &str, kept: &KeptParameters) -> Option<String> {
    if !any_byte(text, is_sign) {
        return None;
    }
    // In a text that begins as an address, a parameter may hold blanks.
    let is_address = scheme_end(text).is_some_and(|(begin, _)| begin == 0);
    let whole = is_address.then(|| cut(text, kept)).flatten();
    let text = whole.as_deref().unwrap_or(text);
    cut_words(text, kept).or(whole)
}

/// Cuts each word of a text that is an address, or holds one.
fn cut_words(text: &str, kept: &KeptParameters) -> Option<String> {
    let mut clean = String::new();
    let mut done = 0;
    let mut begin = 0;
    let mut words = text.split(is_around_address).peekable();
    while let Some(word) = words.next() {
        let is_alone = begin == 0 && words.peek().is_none();
        let next = begin + word.len();
        // In a sentence, its end or a closing bracket is not part of an address.
        let word = if is_alone {
            word
        } else {
            word.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '}'])
        };
        // In a sentence, a number sign begins no address: `Sofa #3=blue`.
        if (is_alone || !word.starts_with('#'))
            && let Some(at) = address_in(word)
            && let Some(cut) = word.get(at..).and_then(|address| cut(address, kept))
        {
            clean.push_str(text.get(done..begin + at).unwrap_or_default());
            clean.push_str(&cut);
            done = begin + word.len();
        }
        let separator = text.get(next..).and_then(|rest| rest.chars().next());
        begin = next + separator.map_or(0, char::len_utf8);
    }
    if done == 0 {
        return None;
    }
    clean.push_str(text.get(done..).unwrap_or_default());
    Some(clean)
}

/// Whether a character separates an address from the text around it.
fn is_around_address(character: char) -> bool {
    character.is_whitespace() || matches!(character, '"' | '<' | '>' | '`')
}

/// Where an address begins in a word that holds one.
fn address_in(word: &str) -> Option<usize> {
    if let Some((begin, _)) = scheme_end(word) {
        return Some(begin);
    }
    if word.starts_with("//") && word.len() > 2 {
        return Some(0);
    }
    let (page, rest) = word.split_at(word.find(['?', '#'])?);
    let holds_parameter = rest.contains('=');
    let is_page = match page.as_bytes() {
        [] => holds_parameter,
        [b'/', ..] => rest.len() > 1,
        _ => holds_parameter && page.contains(['/', '.']),
    };
    is_page.then_some(0)
}

/// Where the first scheme of a text begins, such as `https` or `myapp`, and where the `://` is behind it.
fn scheme_end(text: &str) -> Option<(usize, usize)> {
    let end = text.find("://")?;
    let before = text.get(..end)?;
    let scheme = before
        .trim_end_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    (scheme.len() < end).then_some((scheme.len(), end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::page::may_hold_address;

    #[track_caller]
    fn check_text(text: &str, expected: &str) {
        let kept = KeptParameters::new(&["fbclid".to_owned(), "utm_*".to_owned()]);
        let cut = cut_text(text, &kept);
        assert_eq!(cut.as_deref().unwrap_or(text), expected, "{text}");
        let json = serde_json::Value::from(text).to_string();
        assert!(cut.is_none() || may_hold_address(&json), "{text}");
    }

    #[test]
    fn cuts_addresses_of_every_form() {
        for (text, expected) in [
            ("https://a.de/p?token=x&fbclid=2", "https://a.de/p?fbclid=2"),
            ("myapp://open?token=x&fbclid=2", "myapp://open?fbclid=2"),
            ("android-app://com.x/?token=x", "android-app://com.x/"),
            ("com.shop.app://u:p@open#token=x", "com.shop.app://open"),
            ("//a.de/p?token=x", "//a.de/p"),
            ("//u:p@a.de/p?token=x", "//a.de/p"),
            ("/p?token=x&fbclid=1", "/p?fbclid=1"),
            ("/p?secret", "/p"),
            ("/#/cart?token=x", "/#/cart"),
            ("/?token=x", "/"),
            ("shop.example.com/p?token=x", "shop.example.com/p"),
            (
                "shop.example.com?token=x&utm_id=1",
                "shop.example.com?utm_id=1",
            ),
            ("cart/index.php?token=x", "cart/index.php"),
            ("?token=x&fbclid=1", "?fbclid=1"),
            ("#access_token=x", ""),
        ] {
            check_text(text, expected);
        }
    }

    #[test]
    fn cuts_addresses_within_a_text() {
        for (text, expected) in [
            (
                "see https://a.de/p?token=x&fbclid=2 or http://b.de?t=1.",
                "see https://a.de/p?fbclid=2 or http://b.de.",
            ),
            ("see (https://a.de/?t=1)", "see (https://a.de/)"),
            ("Sofa #3=blue", "Sofa #3=blue"),
            ("C/C++ #1=best", "C/C++ #1=best"),
            (
                "an app (myapp://open?t=1), too",
                "an app (myapp://open), too",
            ),
            (
                "<a href=\"https://a.de/?t=1\">é</a>",
                "<a href=\"https://a.de/\">é</a>",
            ),
            ("url=https://a.de/?t=1", "url=https://a.de/"),
            (
                "from shop.example.com/p?token=x\nto /q?t=1 now",
                "from shop.example.com/p\nto /q now",
            ),
            ("é //u:p@a.de x", "é //a.de x"),
            ("ftp://u:p@a.de x", "ftp://a.de x"),
            (
                "https://a.de/?utm_id=1 and https://b.de/?token=x",
                "https://a.de/?utm_id=1 and https://b.de/",
            ),
            ("https://a.de/?q=a b&utm_id=1", "https://a.de/?utm_id=1"),
        ] {
            check_text(text, expected);
        }
    }

    #[test]
    fn leaves_plain_texts_alone() {
        for text in [
            "what? really",
            "what?really",
            "a/b?",
            "a/b? c",
            "either/or?",
            "/p?",
            "/p",
            "#1",
            "C# = good",
            "a?t=1",
            "?",
            "??",
            "/ # @",
            "size #5/6",
            "you & me @ 5?",
            "why https://a.de/p?",
            "https://a.de/#top",
            "1 > 0 ? a=1 : b=2",
            "a.b",
            "U.S.? yes=no",
        ] {
            check_text(text, text);
        }
    }

    #[test]
    fn a_long_text_is_gone_over_once() {
        let long = "https://a.de/?t=1 ".repeat(50_000);
        let cut = cut_text(&format!("x {long}"), KeptParameters::ALL);
        assert_eq!(cut, None);
        assert!(!may_hold_address(&"\\\"".repeat(100)));
        assert!(may_hold_address("\"a\\u003Ft=1\""));
    }
}
