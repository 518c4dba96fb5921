//! Who may come in: a secret in a header, compared in constant time.
//!
//! Only SHA-256 digests of the secrets are kept, and only digests are compared, each with every
//! secret: neither a secret's bytes nor its length nor which one of them matched shows in the time taken.

use std::fmt;

use axum::http::header::{AUTHORIZATION, HeaderMap, HeaderName, InvalidHeaderName};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::config::{AdminConfig, IngestConfig};

/// Lets requests in by their header.
pub enum Gate {
    /// Anyone may come in; the configuration said so aloud.
    Open,
    /// One of the secrets must be shown.
    Guarded {
        /// The header that carries it.
        header: HeaderName,
        /// SHA-256 of each. None: nobody comes in.
        digests: Vec<[u8; 32]>,
    },
}

impl Gate {
    /// Builds the gate of the event doors: the header's whole value is the secret.
    pub fn for_ingest(config: &IngestConfig) -> Result<Self, InvalidHeaderName> {
        if config.secrets.is_empty() && config.allow_unauthenticated {
            return Ok(Self::Open);
        }
        Ok(Self::Guarded {
            header: config.header.parse()?,
            digests: config
                .secrets
                .iter()
                .map(|secret| digest(secret.expose_secret().as_bytes()))
                .collect(),
        })
    }

    /// Builds the gate of the operators' listener: `Authorization: Bearer …`, where a secret is set.
    pub fn for_admin(config: &AdminConfig) -> Self {
        match &config.secret {
            None => Self::Open,
            Some(secret) => Self::Guarded {
                header: AUTHORIZATION,
                digests: vec![digest(bearer(secret).expose_secret().as_bytes())],
            },
        }
    }

    /// Whether a request with these headers may come in.
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Open => true,
            Self::Guarded { header, digests } => {
                let Some(shown) = headers.get(header) else {
                    return false;
                };
                let shown = digest(shown.as_bytes());
                let mut matches = Choice::from(0);
                for digest in digests {
                    matches |= digest.ct_eq(&shown);
                }
                matches.into()
            }
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("Open"),
            Self::Guarded { header, digests } => f
                .debug_struct("Guarded")
                .field("header", header)
                .field("secrets", &digests.len())
                .finish(),
        }
    }
}

fn bearer(secret: &SecretString) -> SecretString {
    format!("Bearer {}", secret.expose_secret()).into()
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::WhenFull;

    fn ingest(header: &str, secrets: &[&str], allow_unauthenticated: bool) -> Gate {
        Gate::for_ingest(&IngestConfig {
            header: header.to_owned(),
            secrets: secrets.iter().map(|secret| (*secret).into()).collect(),
            allow_unauthenticated,
            api_keys: Vec::new(),
            address_requests_per_second: None,
            upstream: None,
            upstream_when_full: WhenFull::PassOn,
            silence_after: None,
        })
        .unwrap()
    }

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn admits_each_secret_and_nothing_like_it() {
        let gate = ingest("Authorization", &["Bearer old", "Bearer new"], false);
        for (value, admitted) in [
            ("Bearer old", true),
            ("Bearer new", true),
            ("Bearer ne", false),
            ("Bearer newer", false),
            ("bearer new", false),
            ("new", false),
            ("", false),
        ] {
            assert_eq!(
                gate.admits(&headers("authorization", value)),
                admitted,
                "{value}"
            );
        }
        assert!(!gate.admits(&headers("x-secret", "Bearer new")));
        assert!(!gate.admits(&HeaderMap::new()));
        assert!(ingest("X-Secret", &["s"], false).admits(&headers("x-secret", "s")));
    }

    #[test]
    fn without_a_secret_is_open_only_where_that_was_said() {
        assert!(ingest("Authorization", &[], true).admits(&HeaderMap::new()));
        assert!(!ingest("Authorization", &[], false).admits(&headers("authorization", "")));
        assert!(!ingest("Authorization", &["s"], true).admits(&HeaderMap::new()));
    }

    #[test]
    fn operators_show_a_bearer_token() {
        let gate = Gate::for_admin(&AdminConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            secret: Some("s".into()),
        });
        assert!(gate.admits(&headers("authorization", "Bearer s")));
        assert!(!gate.admits(&headers("authorization", "s")));
    }

    #[test]
    fn never_shows_a_secret() {
        let shown = format!("{:?}", ingest("X-Secret", &["hunter2"], false));
        assert_eq!(shown, r#"Guarded { header: "x-secret", secrets: 1 }"#);
    }
}
