//! What a lane does about its access token.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::deliver::verdict::Fix;
use crate::queue::standstill::Standstill;

use super::shared_token::Target;
use super::{Lane, redactor};

impl Lane {
    /// Goes on where an earlier process was paused. A restart is often how a fault is mended, so the
    /// first event that there is probes at once.
    pub fn stay_paused(&mut self, standstills: &[Standstill]) {
        let now = Instant::now();
        let own = standstills
            .iter()
            .filter(|standstill| standstill.whose == self.sync.as_str());
        for fix in own.filter_map(|standstill| Fix::named(&standstill.kind)) {
            self.standing.needs(fix, now, now);
            self.standing.hopes(now);
            warn!(sync = %self.sync, "the lane was paused before the daemon was started: {}", fix.as_str());
        }
        self.agree_on_token();
    }

    /// Takes a new token over, if its file holds one.
    pub(super) async fn read_token(&mut self) {
        let Some(file) = &mut self.token_file else {
            return;
        };
        let Some(token) = file.changed().await else {
            return;
        };
        match self.graph.set_token(&token) {
            Ok(()) => {
                info!(sync = %self.sync, "the access token file has changed; the new token is used");
                self.redactor = redactor(&token, self.app_secret.as_ref());
                self.standing.hopes(Instant::now());
                let target = Target {
                    pixel_id: self.pixel_id.clone(),
                    pixel: Arc::clone(&self.pixel),
                };
                self.shared_token = self.tokens.join(&token, target, self.standing.token());
                self.token_news = self.shared_token.watch();
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                warn!(sync = %self.sync, error, "the access token file has changed; the old token is kept");
            }
        }
    }

    /// Brings together what this lane and those with the same token know of it.
    pub(super) fn agree_on_token(&mut self) {
        let mine = self.standing.token();
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
                self.concurrency.restart();
            }
            (Some(_), None) => {
                info!(sync = %self.sync, "the access token is taken for alive; the lane goes on");
                let mut settlement = self.settlement();
                self.note_mended(&mut settlement);
                self.settle(settlement);
            }
            _ => {}
        }
        self.standing.set_token(agreed);
    }

    /// Whether the lane may send: of those that wait for the same token, one probes.
    pub(super) fn claims_probe(&mut self, now: Instant) -> bool {
        let Some(waiting) = self.standing.token() else {
            return true;
        };
        let probing = waiting.probing(now);
        let claimed = self.shared_token.claim(probing);
        if claimed {
            self.standing.set_token(Some(probing));
        }
        claimed
    }
}
