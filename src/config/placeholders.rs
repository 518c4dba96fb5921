//! Finds what documentation and sample files hold in the place of a token.

use secrecy::{ExposeSecret, SecretString};

use crate::config::{Config, ConfigError};

/// Notes the placeholders of enabled syncs. A configuration that holds one can be loaded and tried; it
/// cannot send.
pub fn all(config: &Config) -> Vec<ConfigError> {
    let mut found = Vec::new();
    for (name, sync) in config.syncs.iter().filter(|(_, sync)| sync.enabled) {
        let secrets = [
            ("access_token", Some(&sync.access_token)),
            ("app_secret", sync.app_secret.as_ref()),
        ];
        for (key, secret) in secrets {
            if secret.is_some_and(is_placeholder) {
                found.push(ConfigError::new(
                    format!("sync.{name}.{key}"),
                    "found a placeholder, expected what Meta gave out, or a file that holds it",
                ));
            }
        }
    }
    found
}

/// Whether a text asks to be replaced with a secret. A plain word does not: a test server may take it.
pub(super) fn is_placeholder(secret: &SecretString) -> bool {
    let text = secret.expose_secret().trim().to_ascii_lowercase();
    let words: String = text.replace([' ', '-'], "_");
    let is_cut = text.ends_with("...") || text.ends_with('…');
    // `EAABxxxxxxxx`: the start of a token, and signs for the rest.
    let is_masked = text.len() >= 8
        && ["xxxx", "****", "....", "____"]
            .iter()
            .any(|rest| text.ends_with(rest));
    let is_variable = text.strip_prefix('$').is_some_and(|name| {
        let is_in_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        !name.is_empty() && name.bytes().all(is_in_name)
    });
    let is_bracketed = [("<", ">"), ("{", "}"), ("[", "]"), ("${", "}"), ("%", "%")]
        .iter()
        .any(|(open, close)| text.len() > 2 && text.starts_with(open) && text.ends_with(close));
    let is_one_sign = text.len() >= 3
        && text
            .bytes()
            .all(|byte| matches!(byte, b'x' | b'*' | b'.' | b'_' | b'-' | b'0'));
    let asks = [
        "replace_me",
        "replaceme",
        "change_me",
        "changeme",
        "placeholder",
        "replace_this",
        "replace_with",
        "fill_in",
        "fill_me",
    ];
    let begins = [
        "your_", "insert_", "put_your", "paste_", "enter_", "todo_", "todo:", "fixme",
    ];
    // It names what belongs in its place.
    let ends = ["_here", "access_token", "app_secret", "api_token"];
    is_cut
        || is_masked
        || is_variable
        || is_bracketed
        || is_one_sign
        || matches!(&*words, "todo" | "tbd")
        || ends.iter().any(|word| words.ends_with(word))
        || asks.iter().any(|word| words.contains(word))
        || begins.iter().any(|word| words.starts_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_samples_hold_is_no_token() {
        for text in [
            "REPLACE_ME",
            "Bearer REPLACE_ME",
            "EAAB...",
            "EAAB…",
            "<token>",
            "<YOUR TOKEN>",
            "your-token-here",
            "YOUR_ACCESS_TOKEN",
            "${META_TOKEN}",
            "{{token}}",
            "changeme",
            "xxxxxxxx",
            "***",
            "EAAB_token_here",
            "%TOKEN%",
            "ACCESS_TOKEN",
            "meta-access-token",
            "APP_SECRET",
            "EAABxxxxxxxxxxxx",
            "EAAB****",
            "TODO",
            "todo: token",
            "TBD",
            "FIXME",
            "$META_TOKEN",
            "paste token",
            "REPLACE THIS",
        ] {
            assert!(is_placeholder(&text.into()), "{text}");
        }
        for text in [
            "EAAB",
            "EAABsbCS1iHgBO7ZA",
            "t",
            "x",
            "token",
            "test-token",
            "EAAB-token",
            "live-EAAB",
            "dummy",
            "EAAJZCtodoxxx",
            "todos",
            "1234|abcDEF-_x",
            "EAAJZC0xxxxxBAA",
            "",
        ] {
            assert!(!is_placeholder(&text.into()), "{text}");
        }
    }
}
