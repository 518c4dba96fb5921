//! Makes Meta's free text fit to be stored and logged.
//!
//! An error message may echo what was sent, the access token included. Promises that no configured
//! secret, no long word that looks like one, no query string of a URL and no e-mail address is left, and
//! that the text is short and on one line. Pure.

use secrecy::{ExposeSecret, SecretString};

/// Longest text kept, in characters.
const LONGEST: usize = 300;
/// A word of this many characters that mixes letters and digits may be a token.
const SECRET_WORD: usize = 24;
/// This many characters of a configured secret give too much of it away.
const SECRET_PART: usize = 8;
const REDACTED: &str = "[redacted]";

/// Removes what must not be stored or logged.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    secrets: Vec<SecretString>,
}

impl Redactor {
    /// Takes the secrets that must not appear.
    pub fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        let is_set = |secret: &SecretString| !secret.expose_secret().is_empty();
        Self {
            secrets: secrets.into_iter().filter(is_set).collect(),
        }
    }

    /// Returns the text without secrets, on one line and not too long.
    pub fn text(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.secrets {
            clean = clean.replace(secret.expose_secret(), REDACTED);
        }
        let words: Vec<String> = clean
            .split(|character: char| character.is_whitespace() || character.is_control())
            .filter(|word| !word.is_empty())
            .map(|word| self.word(word))
            .collect();
        shortened(&words.join(" "))
    }

    /// Returns a text that can only be an identifier: few characters, none of them unusual, no secret.
    pub fn identifier(&self, text: &str) -> Option<String> {
        let plain = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        (plain && !self.gives_away(text)).then(|| text.to_owned())
    }

    fn word(&self, word: &str) -> String {
        let lower = word.to_ascii_lowercase();
        let holds_value = ["access_token", "appsecret_proof"].iter().any(|name| {
            lower.split_once(name).is_some_and(|(before, after)| {
                (before.chars().chain(after.chars())).any(char::is_alphanumeric)
            })
        });
        match word.split_once('?') {
            _ if holds_value => REDACTED.to_owned(),
            Some((address, _)) if lower.contains("://") => {
                format!("{}?{REDACTED}", self.pieces(address))
            }
            _ if word.contains('@') => REDACTED.to_owned(),
            _ => self.pieces(word),
        }
    }

    /// Replaces each piece that looks like a secret, and leaves what stands between the pieces.
    fn pieces(&self, word: &str) -> String {
        let mut clean = String::with_capacity(word.len());
        let mut piece = String::new();
        for character in word.chars().chain([' ']) {
            if character.is_alphanumeric() || "-_.|+=%~".contains(character) {
                piece.push(character);
                continue;
            }
            if self.gives_away(&piece) || looks_secret(&piece) {
                clean.push_str(REDACTED);
            } else {
                clean.push_str(&piece);
            }
            piece.clear();
            clean.push(character);
        }
        clean.pop();
        clean
    }

    fn gives_away(&self, piece: &str) -> bool {
        self.secrets.iter().any(|secret| {
            let secret = secret.expose_secret();
            piece.contains(secret) || (piece.len() >= SECRET_PART && secret.contains(piece))
        })
    }
}

fn looks_secret(piece: &str) -> bool {
    piece.chars().count() >= SECRET_WORD
        && piece.contains(|character: char| character.is_ascii_digit())
        && piece.contains(char::is_alphabetic)
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "EAAshortsecret";

    fn redactor() -> Redactor {
        Redactor::new([SecretString::from(TOKEN), SecretString::from("")])
    }

    #[test]
    fn secrets_go_and_the_sense_stays() {
        let cases = [
            ("Invalid parameter", "Invalid parameter"),
            (
                "Unexpected key \"advertiser_tracking_enabled\" on param \"$['data'][0]\"",
                "Unexpected key \"advertiser_tracking_enabled\" on param \"$['data'][0]\"",
            ),
            (
                "Malformed access token EAAshortsecret",
                "Malformed access token [redacted]",
            ),
            ("token 'EAAshortsecretX9'", "token '[redacted]X9'"),
            ("begins with EAAshorts…", "begins with [redacted]…"),
            (
                "token EAABsbCS1iHgBO0ZCZBZAq7ZCm9 expired",
                "token [redacted] expired",
            ),
            (
                "see https://graph.facebook.com/v26.0/1/events?fields=a&x=b now",
                "see https://graph.facebook.com/v26.0/1/events?[redacted] now",
            ),
            ("?access_token=abc&x=1 failed", "[redacted] failed"),
            ("\"Access_Token\":\"abc\"", "[redacted]"),
            ("appsecret_proof=0a1b is wrong", "[redacted] is wrong"),
            (
                "Invalid appsecret_proof provided in the API argument",
                "Invalid appsecret_proof provided in the API argument",
            ),
            (
                "require an appsecret_proof, or \"access_token\".",
                "require an appsecret_proof, or \"access_token\".",
            ),
            ("em: jo@example.com is plain", "em: [redacted] is plain"),
            ("two\r\nlines\u{0}here", "two lines here"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(redactor().text(text), expected, "{text}");
        }
    }

    #[test]
    fn the_text_is_short() {
        let text = redactor().text(&"ä ".repeat(4000));
        assert_eq!(text.chars().count(), LONGEST);
        assert!(text.ends_with('…'));
    }

    #[test]
    fn an_identifier_is_kept_only_where_it_can_be_nothing_else() {
        let cases = [
            ("A6UyEgg_HdoiRX9duxcBOjb", true),
            ("", false),
            ("with blank", false),
            ("EAAshortsecret", false),
            ("xEAAshortsecretx", false),
            ("EAAshort", false),
        ];
        for (text, kept) in cases {
            assert_eq!(redactor().identifier(text).is_some(), kept, "{text}");
        }
        assert_eq!(redactor().identifier(&"x".repeat(65)), None);
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(
            format!("{:?}", redactor()),
            "Redactor { secrets: [SecretBox<str>([REDACTED])] }"
        );
    }
}
