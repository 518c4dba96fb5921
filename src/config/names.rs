//! Writes keys as TOML does, and finds the one that was meant.

use strsim::levenshtein;

/// Appends a name to a key, quoted where TOML wants it.
pub(super) fn join(at: &str, name: &str) -> String {
    let name = quoted(name);
    if at.is_empty() {
        name
    } else {
        format!("{at}.{name}")
    }
}

/// Appends several names to a key.
pub(super) fn join_all(at: &str, names: &[&str]) -> String {
    names.iter().fold(at.to_owned(), |at, name| join(&at, name))
}

/// A key as TOML writes it.
pub(super) fn quoted(name: &str) -> String {
    let bare = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if bare {
        name.to_owned()
    } else {
        basic_string(name)
    }
}

/// A text between double quotes, as TOML writes it.
pub(super) fn basic_string(text: &str) -> String {
    // JSON's escapes are TOML's, but for DEL, which TOML wants escaped.
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
}

/// The name that was most likely meant.
pub(super) fn nearest(
    name: &str,
    known: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    let name = name.to_lowercase();
    let tolerated = (name.chars().count() / 3).clamp(1, 3);
    known
        .map(|known| (levenshtein(&name, known), known))
        .filter(|(distance, _)| *distance <= tolerated)
        .min()
        .map(|(_, known)| known)
}

/// The name that one is a slip of the pen away from, case, spaces and punctuation aside; `None` where it is
/// one of them.
pub(crate) fn slip_of(
    name: &str,
    known: impl Iterator<Item = &'static str> + Clone,
) -> Option<&'static str> {
    if known.clone().any(|known| known == name) {
        return None;
    }
    let written = letters(name);
    known
        .map(|known| (levenshtein(&written, &letters(known)), known))
        .filter(|(distance, known)| *distance <= if known.len() <= 6 { 1 } else { 2 })
        .min()
        .map(|(_, known)| known)
}

/// The letters and digits of a name, in lower case.
pub(crate) fn letters(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_quoted_where_toml_wants_it() {
        assert_eq!(join("", "sync"), "sync");
        assert_eq!(
            join("sync.web.events", "Order Completed"),
            "sync.web.events.\"Order Completed\""
        );
        for (name, expected) in [
            ("a-b_1", "a-b_1"),
            ("", "\"\""),
            ("a.b", "\"a.b\""),
            ("Größe", "\"Größe\""),
            ("q\"\\", r#""q\"\\""#),
            ("line\nend\u{7f}", r#""line\nend\u007f""#),
        ] {
            assert_eq!(quoted(name), expected);
            let written: toml::Table = format!("{expected} = 1").parse().unwrap();
            assert!(written.contains_key(name), "{expected}");
        }
    }

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        let known = ["listen", "max_body", "trusted_proxies"];
        let near = |name| nearest(name, known.into_iter());
        assert_eq!(near("maxbody"), Some("max_body"));
        assert_eq!(near("LISTEN"), Some("listen"));
        assert_eq!(near("trusted_proxy"), Some("trusted_proxies"));
        assert_eq!(near("lis"), None);
        assert_eq!(near("secret"), None);
        assert_eq!(near(""), None);
    }
}
