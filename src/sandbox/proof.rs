//! The proof that the caller of an endpoint knows the app's secret (Graph API: Securing Requests).
//!
//! It is the lower-case hex of an HMAC-SHA256, keyed with the app secret, over the access token; or, with a
//! time, over `token|seconds`, valid for five minutes.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::clock::UnixMillis;

/// How long a proof with a time is valid, in either direction.
const GOOD_FOR_SECONDS: u64 = 300;

/// Whether `proof` was made from this secret and token, and is not too old.
pub(super) fn holds(
    secret: &str,
    token: &str,
    proof: &str,
    time: Option<&str>,
    now: UnixMillis,
) -> bool {
    let message = match time {
        None => token.to_owned(),
        Some(time) => {
            let Ok(seconds) = time.parse::<i64>() else {
                return false;
            };
            if seconds.abs_diff(now.seconds()) > GOOD_FOR_SECONDS {
                return false;
            }
            format!("{token}|{time}")
        }
    };
    proof_of(secret, &message) == proof
}

fn proof_of(secret: &str, message: &str) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(message.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_what_openssl_makes() {
        // printf token-1 | openssl dgst -sha256 -hmac KEY; the second key is longer than a block of SHA-256.
        for (secret, expected) in [
            (
                "app-secret",
                "8e4416844a305cc4fe40bc8a5515230210fdd8442bd755396dd7e12d77c01b4f",
            ),
            (
                &*"0123456789".repeat(10),
                "acdcc6df582701a75af0b6f83f082ca09795a59379b48a14d4888de874a07d05",
            ),
        ] {
            let now = UnixMillis::from_seconds(1000);
            assert!(holds(secret, "token-1", expected, None, now), "{secret}");
            assert!(!holds(secret, "token-2", expected, None, now), "{secret}");
        }
    }

    #[test]
    fn a_timed_proof_ages() {
        let proof = proof_of("secret", "token|1000");
        let holds_at = |seconds| {
            let now = UnixMillis::from_seconds(seconds);
            holds("secret", "token", &proof, Some("1000"), now)
        };
        assert!(holds_at(1000) && holds_at(1300));
        assert!(!holds_at(1301) && !holds_at(699));
        assert!(!holds(
            "secret",
            "token",
            &proof,
            None,
            UnixMillis::from_seconds(1000)
        ));
    }
}
