//! Tells a token from what documentation and sample files hold in its place.

use secrecy::{ExposeSecret, SecretString};

use crate::config::{Config, ConfigError};

/// Notes every token of a sync that takes events which cannot be one. A configuration with such a token can be
/// loaded and tried; it cannot send.
pub(super) fn mistakes(config: &Config) -> Vec<ConfigError> {
    let enabled = config.syncs.iter().filter(|(_, sync)| sync.enabled);
    enabled
        .flat_map(|(name, sync)| {
            let secrets = [
                ("access_token", Some(&sync.access_token)),
                ("app_secret", sync.app_secret.as_ref()),
            ];
            let placeholders = secrets
                .into_iter()
                .filter(|(_, secret)| secret.is_some_and(is_placeholder));
            placeholders.map(move |(key, _)| {
                ConfigError::new(
                    format!("sync.{name}.{key}"),
                    "found a placeholder, expected what Meta gave out, or a file that holds it",
                )
            })
        })
        .collect()
}

/// Whether a text asks to be replaced by a secret. A plain word does not: a stand-in for Meta may take it.
pub(super) fn is_placeholder(secret: &SecretString) -> bool {
    let text = secret.expose_secret().trim().to_ascii_lowercase();
    let words: String = text.replace([' ', '-'], "_");
    let is_cut = text.ends_with("...") || text.ends_with('…');
    // `EAABxxxxxxxx`: what a token begins with, and signs for the rest.
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
    // What it asks for, in the place of it.
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
