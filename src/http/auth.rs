//! Authentication: a secret in a header, compared in constant time.
//!
//! The relay keeps and compares only SHA-256 digests, and compares with that of every secret: the time
//! tells neither a secret's bytes nor its length nor which secret matches.

use std::fmt;
use std::sync::RwLock;

use axum::http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::config::live::LiveConfig;
use crate::config::secret_files::SecretFiles;

/// Authenticates requests by their header, with the current configuration and the current secrets of its
/// files.
pub struct Authenticator {
    config: LiveConfig,
    rule: fn(&Config) -> AuthRule,
    guard: RwLock<Option<AuthGuard>>,
}

/// How a request stands to the secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It has one of them.
    WithSecret,
    /// None is asked for.
    ForAnyone,
    /// It has none, or a wrong one.
    Refused,
}

/// The requests that a configuration accepts.
#[derive(Debug)]
pub struct AuthRule {
    /// The header of the secret, and the text before the secret in it; `None` accepts every request.
    header: Option<(HeaderName, &'static str)>,
    secrets: SecretFiles,
}

/// The secrets that a request must have one of.
struct AuthGuard {
    header: HeaderName,
    /// SHA-256 of each secret with the text before it. Without any, no request is accepted.
    digests: Vec<[u8; 32]>,
}

impl AuthRule {
    /// For the event endpoints: the header's whole value is the secret.
    pub fn to_ingest(config: &Config) -> Self {
        let ingest = &config.ingest;
        let is_open = ingest.secrets.is_empty() && ingest.allow_unauthenticated;
        Self {
            header: (!is_open).then(|| (ingest.header_name(), "")),
            secrets: SecretFiles::new(
                "ingest.secret_file",
                ingest.secret_files.clone(),
                ingest.secrets.clone(),
            ),
        }
    }

    /// For the operators' listener: `Authorization: Bearer …`, if a secret is set.
    pub fn to_admin(config: &Config) -> Self {
        let admin = &config.admin;
        Self {
            header: admin.secret.is_some().then_some((AUTHORIZATION, "Bearer ")),
            secrets: SecretFiles::new(
                "admin.secret_file",
                admin.secret_file.iter().cloned().collect(),
                admin.secret.iter().cloned().collect(),
            ),
        }
    }

    fn guard(&self) -> Option<AuthGuard> {
        self.header.clone().map(|(header, scheme)| AuthGuard {
            header,
            digests: digests(scheme, self.secrets.secrets()),
        })
    }
}

impl Authenticator {
    pub fn new(config: LiveConfig, rule: fn(&Config) -> AuthRule) -> Self {
        let guard = RwLock::new(rule(&config.now()).guard());
        Self {
            config,
            rule,
            guard,
        }
    }

    /// Follows changes of the configuration and of its files of secrets until the shutdown.
    pub async fn follow(&self, shutdown: &CancellationToken) {
        let mut changed = self.config.watch();
        let mut rule = (self.rule)(&self.config.now());
        loop {
            *self.guard.write().expect("no holder of this lock panics") = rule.guard();
            let next = rule.secrets.next();
            tokio::select! {
                () = shutdown.cancelled() => return,
                Ok(()) = changed.changed() => rule = (self.rule)(&self.config.now()),
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    rule.secrets.have_changed().await;
                }
            }
        }
    }

    /// Whether a request with these headers may come in.
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        self.admission(headers) != Admission::Refused
    }

    /// Judges a request with these headers.
    pub fn admission(&self, headers: &HeaderMap) -> Admission {
        let guard = self.guard.read().expect("no holder of this lock panics");
        let Some(guard) = &*guard else {
            return Admission::ForAnyone;
        };
        let Some(shown) = headers.get(&guard.header) else {
            return Admission::Refused;
        };
        let shown: [u8; 32] = Sha256::digest(shown).into();
        let digests = guard.digests.iter();
        let matches = digests.fold(Choice::from(0), |any, digest| any | digest.ct_eq(&shown));
        if matches.into() {
            Admission::WithSecret
        } else {
            Admission::Refused
        }
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use tokio::task::JoinSet;

    use crate::config::load::from_toml;

    fn config(text: &str) -> Config {
        let sync = "[sync.web]\npixel_id = \"1\"\naccess_token = \"t\"";
        from_toml(&format!("{text}\n{sync}"), &[]).unwrap()
    }

    fn ingest(table: &str) -> Authenticator {
        let config = config(&format!("[ingest]\n{table}"));
        Authenticator::new(LiveConfig::new(config), AuthRule::to_ingest)
    }

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn admits_each_secret_and_nothing_like_it() {
        let authenticator = ingest(r#"secret = ["Bearer old", "Bearer new"]"#);
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
                authenticator.admits(&headers("authorization", value)),
                admitted,
                "{value}"
            );
        }
        assert!(!authenticator.admits(&headers("x-secret", "Bearer new")));
        assert!(!authenticator.admits(&HeaderMap::new()));
        let other = ingest("header = \"X-Secret\"\nsecret = \"s\"");
        assert!(other.admits(&headers("x-secret", "s")));
        assert_eq!(
            other.admission(&headers("x-secret", "s")),
            Admission::WithSecret
        );
        let open = ingest("allow_unauthenticated = true");
        let admission = open.admission(&headers("x-secret", "s"));
        assert_eq!(admission, Admission::ForAnyone);
    }

    #[test]
    fn without_a_secret_is_open_only_where_that_was_said() {
        assert!(ingest("allow_unauthenticated = true").admits(&HeaderMap::new()));
        let for_sdks_alone = ingest("api_keys = [\"0123456789abcdef0123456789abcdef\"]");
        assert!(!for_sdks_alone.admits(&headers("authorization", "")));
        assert!(!ingest("secret = \"s\"").admits(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn goes_by_the_configuration_that_holds() {
        let with = |secret: &str| {
            config(&format!(
                "[ingest]\nallow_unauthenticated = true\n[admin]\n{secret}"
            ))
        };
        let live = LiveConfig::new(with("secret = \"s\""));
        let authenticator = Arc::new(Authenticator::new(live.clone(), AuthRule::to_admin));
        assert!(authenticator.admits(&headers("authorization", "Bearer s")));
        assert!(!authenticator.admits(&headers("authorization", "s")));
        let mut following = JoinSet::new();
        let follower = Arc::clone(&authenticator);
        following.spawn(async move { follower.follow(&CancellationToken::new()).await });
        tokio::task::yield_now().await;
        for (secret, [is_old, is_new, is_nobody]) in [
            ("secret = \"t\"", [false, true, false]),
            ("", [true, true, true]),
        ] {
            live.replace(with(secret));
            while authenticator.admits(&headers("authorization", "Bearer s")) != is_old
                || authenticator.admits(&headers("authorization", "Bearer t")) != is_new
            {
                tokio::task::yield_now().await;
            }
            assert_eq!(authenticator.admits(&HeaderMap::new()), is_nobody);
        }
        following.abort_all();
    }

    #[test]
    fn never_shows_a_secret() {
        let shown = format!("{:?}", ingest("secret = \"hunter2\""));
        assert_eq!(shown, "Authenticator { .. }");
    }
}
