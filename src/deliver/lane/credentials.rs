//! What a lane does about its access token and its app secret.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::deliver::verdict::Fix;
use crate::queue::cooldown::Cooldown;

use super::shared_token::TokenTarget;
use super::{Lane, redactor};

impl Lane {
    /// Goes on where an earlier process was paused. A restart is often how a fault is mended, so the
    /// first event that there is probes at once.
    pub fn restore_pause(&mut self, standstills: &[Cooldown]) {
        let now = Instant::now();
        let own = standstills
            .iter()
            .filter(|standstill| standstill.whose == self.sync.as_str());
        for fix in own.filter_map(|standstill| Fix::from_name(&standstill.kind)) {
            self.standing.pause(fix, now, now);
            self.standing.retry_now(now);
            warn!(sync = %self.sync, "the lane was paused before the daemon was started: {}", fix.as_str());
        }
        self.agree_on_token();
    }

    /// Takes over what the files of the token and of the app secret hold now.
    pub(super) async fn read_credentials(&mut self) {
        let has_new_token = self.token_file.have_changed().await;
        if !self.app_secret_file.have_changed().await && !has_new_token {
            return;
        }
        let Some(token) = self.token_file.secrets().first() else {
            return;
        };
        let app_secret = self.app_secret_file.secrets().first();
        if let Err(error) = self.graph.set_credentials(token, app_secret) {
            let error: &dyn std::error::Error = &error;
            warn!(sync = %self.sync, error, "the old token and app secret stay in use");
            return;
        }
        self.redactor = redactor(token, app_secret);
        self.standing.retry_now(Instant::now());
        if has_new_token {
            let target = TokenTarget {
                pixel_id: self.pixel_id.clone(),
                pixel: Arc::clone(&self.pixel),
            };
            self.shared_token = self.tokens.join(token, target, self.standing.token_retry());
            self.token_news = self.shared_token.watch();
        }
    }

    /// Brings together what this lane and those with the same token know of it.
    pub(super) fn agree_on_token(&mut self) {
        let mine = self.standing.token_retry();
        let agreed = self.shared_token.agree(mine);
        if agreed == mine {
            return;
        }
        match (mine, agreed) {
            (None, Some(_)) => {
                warn!(
                    sync = %self.sync,
                    "lane paused, its events are kept: another sync found that {}",
                    Fix::Token.as_str()
                );
                self.concurrency.reset();
            }
            (Some(_), None) => {
                info!(sync = %self.sync, "the access token is taken for alive; the lane goes on");
                let mut settlement = self.settlement();
                self.note_mended(&mut settlement);
                self.settle(settlement);
            }
            _ => {}
        }
        self.standing.set_token_retry(agreed);
    }

    /// Whether the lane may send: of those that wait for the same token, one probes.
    pub(super) fn claims_probe(&mut self, now: Instant) -> bool {
        let Some(waiting) = self.standing.token_retry() else {
            return true;
        };
        let probing = waiting.probing(now);
        let claimed = self.shared_token.claim(probing);
        if claimed {
            self.standing.set_token_retry(Some(probing));
        }
        claimed
    }
}
