//! How a path that nothing answers is shown in the log.
//!
//! A path may hold a secret or an address, so a part of it is shown only where it is a word that SDKs,
//! probes and this program use. The first part tells what was meant, so any short word is shown there.

/// Parts of paths that are shown as they are.
const WORDS: &[&str] = &[
    "2",
    "amplitude",
    "api",
    "batch",
    "collect",
    "config",
    "event",
    "events",
    "favicon.ico",
    "groupidentify",
    "health",
    "healthz",
    "httpapi",
    "identify",
    "live",
    "metrics",
    "ready",
    "robots.txt",
    "sessions",
    "track",
    "usermap",
    "v1",
    "v2",
    "v3",
    "version",
    "webhook",
    "webhooks",
];

/// Longest first part that is shown although it is not one of these words, in characters.
const SHORT: usize = 16;

/// Parts that are shown.
const PARTS: usize = 5;

/// Writes a path so that anyone may read it.
pub(super) fn safe_form(path: &str) -> String {
    let mut shown = String::new();
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    for (place, part) in parts.by_ref().take(PARTS).enumerate() {
        let is_word = |part: &str| {
            part.len() <= SHORT
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'_' | b'.'))
        };
        shown.push('/');
        if WORDS.contains(&part) || (place == 0 && is_word(part)) {
            shown.push_str(part);
        } else {
            shown.push('…');
        }
    }
    if parts.next().is_some() {
        shown.push_str("/…");
    }
    if shown.is_empty() {
        shown.push('/');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_words_and_nothing_that_could_be_secret() {
        for (path, expected) in [
            ("/", "/"),
            ("", "/"),
            ("/2/httpapi/v3", "/2/httpapi/v3"),
            ("/amplitude/2/httpapi", "/amplitude/2/httpapi"),
            ("/my-proxy/batch", "/my-proxy/batch"),
            ("/webhook/web/hunter", "/webhook/…/…"),
            ("/EAABsbCS1234", "/…"),
            ("/0123456789abcdef0123456789abcdef", "/…"),
            ("/jane@example.com/x", "/…/…"),
            ("/averyveryverylongsecretword", "/…"),
            ("/%2Fetc%2Fpasswd", "/…"),
            ("/api/v1/events/track/2/batch/x", "/api/v1/events/track/2/…"),
        ] {
            assert_eq!(safe_form(path), expected, "{path}");
        }
    }
}
