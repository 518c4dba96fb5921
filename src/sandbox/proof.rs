//! The proof that the caller of an endpoint knows the app's secret (Graph API: Securing Requests).
//!
//! Lower-case hex of HMAC-SHA256 keyed with the app secret over the access token, or, where a time goes with it,
//! over `token|seconds`, good for five minutes.

use sha2::{Digest, Sha256};

use crate::clock::UnixMillis;

/// How long a proof with a time in it is good, in either direction.
const GOOD_FOR_SECONDS: u64 = 300;

/// Whether `proof` was made from this secret and token, and not too long ago.
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
    hex::encode(hmac_sha256(secret.as_bytes(), message.as_bytes())) == proof
}

/// HMAC of RFC 2104 with SHA-256.
fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let digest = Sha256::digest(key);
    let short = if key.len() > BLOCK {
        digest.as_slice()
    } else {
        key
    };
    let mut inner = [0x36_u8; BLOCK];
    let mut outer = [0x5c_u8; BLOCK];
    for (at, byte) in short.iter().enumerate() {
        inner[at] ^= byte;
        outer[at] ^= byte;
    }
    let inner = Sha256::new().chain_update(inner).chain_update(message);
    let outer = Sha256::new().chain_update(outer);
    outer.chain_update(inner.finalize()).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_rfc_4231() {
        let cases: [(&[u8], &[u8], &str); 2] = [
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (key, message, expected) in cases {
            assert_eq!(hex::encode(hmac_sha256(key, message)), expected);
        }
    }

    #[test]
    fn a_timed_proof_ages() {
        let proof = hex::encode(hmac_sha256(b"secret", b"token|1000"));
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
