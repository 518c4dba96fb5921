//! The access token and the app secret of a lane.

use std::sync::Arc;

use secrecy::SecretString;
use tokio::time::Instant;
use tracing::warn;

use crate::config::SyncName;
use crate::config::secret_files::SecretFiles;
use crate::config::sync::SyncConfig;
use crate::deliver::client::GraphClient;
use crate::deliver::limiter::PixelLimiter;
use crate::deliver::redact::Redactor;

use super::breaker::Breaker;
use super::shared_token::{SharedToken, TokenRegistry};

#[derive(Debug)]
pub(super) struct Credentials {
    token_file: SecretFiles,
    app_secret_file: SecretFiles,
    pub(super) redactor: Arc<Redactor>,
    registry: TokenRegistry,
    pub(super) token: SharedToken,
}

impl Credentials {
    pub(super) fn new(
        sync: &SyncName,
        config: &SyncConfig,
        registry: &TokenRegistry,
        limiter: &Arc<PixelLimiter>,
    ) -> Self {
        let (token, app_secret) = (&config.access_token, config.app_secret.as_ref());
        let file = |name, file, secret| {
            SecretFiles::of_meta(format!("sync.{sync}.{name}_file"), file, secret)
        };
        Self {
            token_file: file(
                "access_token",
                config.access_token_file.as_ref(),
                Some(token),
            ),
            app_secret_file: file("app_secret", config.app_secret_file.as_ref(), app_secret),
            redactor: redactor(token, app_secret),
            registry: registry.clone(),
            token: registry.join(token, limiter, None),
        }
    }

    pub(super) fn have_app_secret(&self) -> bool {
        !self.app_secret_file.secrets().is_empty()
    }

    /// When the files are due to be read again.
    pub(super) fn next_read(&self) -> Option<Instant> {
        let files = [&self.token_file, &self.app_secret_file];
        files.into_iter().filter_map(SecretFiles::next).min()
    }

    /// Uses what the files hold now. That may fix what was wrong, so the lane tries at once.
    pub(super) async fn reread(
        &mut self,
        sync: &SyncName,
        graph: &GraphClient,
        breaker: &mut Breaker,
    ) {
        let is_new_token = self.token_file.have_changed().await;
        if !self.app_secret_file.have_changed().await && !is_new_token {
            return;
        }
        let Some(token) = self.token_file.secrets().first() else {
            return;
        };
        let app_secret = self.app_secret_file.secrets().first();
        if let Err(error) = graph.set_credentials(token, app_secret) {
            let error: &dyn std::error::Error = &error;
            warn!(sync = %sync, error, "the old access token and app secret stay in use");
            return;
        }
        self.redactor = redactor(token, app_secret);
        breaker.retry_now(Instant::now());
        if is_new_token {
            let limiter = &self.token.limiter;
            self.token = self.registry.join(token, limiter, breaker.token_retry());
        }
    }

    /// Whether the lane may send: of the lanes that wait for another token, one probes.
    pub(super) fn claim_probe(&mut self, breaker: &mut Breaker, now: Instant) -> bool {
        let Some(retry) = breaker.token_retry() else {
            return true;
        };
        let probing = retry.probing(now);
        let claimed = self.token.claim(probing);
        if claimed {
            breaker.set_token_retry(Some(probing));
        }
        claimed
    }
}

fn redactor(token: &SecretString, app_secret: Option<&SecretString>) -> Arc<Redactor> {
    let secrets = [token.clone()].into_iter().chain(app_secret.cloned());
    Arc::new(Redactor::new(secrets))
}
