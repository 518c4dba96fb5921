//! Authentication: a secret in a header, compared in constant time.
//!
//! Only SHA-256 digests of the secrets are kept, and only digests are compared, each with every
//! secret: neither a secret's bytes nor its length nor which one of them matched shows in the time taken.

use std::fmt;
use std::sync::{Arc, RwLock};

use axum::http::header::{AUTHORIZATION, HeaderMap, HeaderName, InvalidHeaderName};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::config::ingest::IngestConfig;
use crate::config::secret_files::SecretFiles;
use crate::config::server::AdminConfig;

/// Authenticates requests by their header.
pub enum Authenticator {
    /// Anyone may come in; the configuration said so aloud.
    Open,
    /// One of the secrets must be shown.
    Guarded {
        /// The header that carries it.
        header: HeaderName,
        /// What stands before the secret in it.
        scheme: &'static str,
        /// SHA-256 of each, with the scheme. None: nobody comes in.
        digests: RwLock<Vec<[u8; 32]>>,
    },
}

impl Authenticator {
    /// Builds that of the event endpoints: the header's whole value is the secret.
    pub fn for_ingest(config: &IngestConfig) -> Result<Self, InvalidHeaderName> {
        if config.secrets.is_empty() && config.allow_unauthenticated {
            return Ok(Self::Open);
        }
        Ok(Self::guarded(config.header.parse()?, "", &config.secrets))
    }

    /// Builds that of the operators' listener: `Authorization: Bearer …`, where a secret is set.
    pub fn for_admin(config: &AdminConfig) -> Self {
        match &config.secret {
            None => Self::Open,
            Some(secret) => Self::guarded(AUTHORIZATION, "Bearer ", std::slice::from_ref(secret)),
        }
    }

    fn guarded(header: HeaderName, scheme: &'static str, secrets: &[SecretString]) -> Self {
        Self::Guarded {
            header,
            scheme,
            digests: RwLock::new(digests(scheme, secrets)),
        }
    }

    /// Lets the secrets of files in, and no others, as they change until the shutdown.
    pub async fn follow(self: Arc<Self>, mut files: SecretFiles, shutdown: CancellationToken) {
        loop {
            let Some(next) = files.next() else {
                return shutdown.cancelled().await;
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep_until(next) => {}
            }
            if files.have_changed().await {
                self.replace(files.secrets());
            }
        }
    }

    fn replace(&self, secrets: &[SecretString]) {
        let Self::Guarded {
            scheme,
            digests: present,
            ..
        } = self
        else {
            return;
        };
        *present.write().expect("no holder of this lock panics") = digests(scheme, secrets);
    }

    /// Whether a request with these headers may come in.
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Open => true,
            Self::Guarded {
                header, digests, ..
            } => {
                let Some(shown) = headers.get(header) else {
                    return false;
                };
                let shown = digest(shown.as_bytes());
                let mut matches = Choice::from(0);
                let digests = digests.read().expect("no holder of this lock panics");
                for digest in digests.iter() {
                    matches |= digest.ct_eq(&shown);
                }
                matches.into()
            }
        }
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("Open"),
            Self::Guarded { header, .. } => f
                .debug_struct("Guarded")
                .field("header", header)
                .finish_non_exhaustive(),
        }
    }
}

fn digests(scheme: &str, secrets: &[SecretString]) -> Vec<[u8; 32]> {
    let with_scheme = |secret: &SecretString| {
        let mut hash = Sha256::new_with_prefix(scheme);
        hash.update(secret.expose_secret());
        hash.finalize().into()
    };
    secrets.iter().map(with_scheme).collect()
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ingest::WhenFull;

    fn ingest(header: &str, secrets: &[&str], allow_unauthenticated: bool) -> Authenticator {
        Authenticator::for_ingest(&IngestConfig {
            header: header.to_owned(),
            secrets: secrets.iter().map(|secret| (*secret).into()).collect(),
            secret_files: Vec::new(),
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
        let gate = Authenticator::for_admin(&AdminConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            secret: Some("s".into()),
            secret_file: None,
        });
        assert!(gate.admits(&headers("authorization", "Bearer s")));
        assert!(!gate.admits(&headers("authorization", "s")));
        gate.replace(&["t".into()]);
        assert!(gate.admits(&headers("authorization", "Bearer t")));
        assert!(!gate.admits(&headers("authorization", "Bearer s")));
    }

    #[test]
    fn never_shows_a_secret() {
        let shown = format!("{:?}", ingest("X-Secret", &["hunter2"], false));
        assert_eq!(shown, r#"Guarded { header: "x-secret", .. }"#);
    }
}
