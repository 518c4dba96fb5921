//! Delivery: from the queue to Meta's Conversions API.
//!
//! One [`Lane`] per sync takes batches from the queue, posts them and settles what Meta answers. It
//! promises that every event it leased is delivered, set aside with Meta's reason, or given back;
//! that a bad event never costs a good one (`bisect`, `quarantine`); and that it obeys Meta's limits,
//! blocks and permissions (`verdict`, `limiter`). Lanes do not know each other; those with the same pixel
//! id share a [`PixelLimiter`], since Meta's limits are per account, and those with the same access token
//! share what is known of it.
//!
//! `verdict`, `usage`, `backoff`, `bisect`, `quarantine`, `adaptive` and `redact` are pure: time, random
//! values and texts are arguments.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::info;

use crate::clock::{Clock, UnixMillis};
use crate::config::{Config, SyncName};
use crate::http::tls;
use crate::queue::Queue;
use crate::queue::cooldown::Cooldown;
use crate::telemetry::metrics::Metrics;

use client::{ClientError, GraphClient};
use lane::shared_token::TokenRegistry;
use limiter::{PixelLimiter, Rates};

pub mod lane;
pub mod client;
pub mod verdict;
pub mod usage;
pub mod bisect;
pub mod quarantine;
pub mod limiter;
pub mod backoff;
pub mod adaptive;
pub mod redact;

pub use lane::Lane;
pub use lane::status::{LaneStatus, LaneStatuses};

/// A lane that could not be prepared.
#[derive(Debug, thiserror::Error)]
#[error("sync {sync} cannot deliver")]
pub struct LaneError {
    /// Its sync.
    pub sync: SyncName,
    /// Why.
    #[source]
    pub source: ClientError,
}

/// Prepares a lane for each sync, enabled or not: a disabled one still drains. Gives the lanes and their
/// statuses.
pub fn lanes(
    config: &Config,
    queue: &Queue,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<(Vec<Lane>, LaneStatuses), LaneError> {
    let pixels = pixels(config);
    let cooldowns = queue.cooldowns();
    restore_cooldowns(&pixels, &cooldowns, clock.now());
    let tokens = TokenRegistry::default();
    let mut tls = None;
    let mut lanes = Vec::with_capacity(config.syncs.len());
    for (name, sync) in &config.syncs {
        let failed = |source| LaneError {
            sync: name.clone(),
            source,
        };
        let tls = match &tls {
            Some(tls) => tls,
            None => tls.insert(
                tls::client_config(&config.meta.url).map_err(|error| failed(error.into()))?,
            ),
        };
        let graph = GraphClient::new(tls, &config.meta, sync, Arc::clone(clock)).map_err(failed)?;
        let mut lane = Lane::new(
            name.clone(),
            sync,
            graph,
            Arc::clone(&pixels[sync.pixel_id.as_str()]),
            &tokens,
            queue.clone(),
            Arc::clone(clock),
            Arc::clone(metrics),
        );
        lane.restore_pause(&cooldowns);
        lanes.push(lane);
    }
    let statuses = lanes
        .iter()
        .map(|lane| (lane.sync().clone(), lane.status()));
    let statuses = LaneStatuses(statuses.collect());
    Ok((lanes, statuses))
}

/// Continues the waits that Meta asked of an earlier process. The clock may have changed since: no wait
/// lasts longer than Meta asked for.
fn restore_cooldowns(
    pixels: &BTreeMap<&str, Arc<PixelLimiter>>,
    cooldowns: &[Cooldown],
    now: UnixMillis,
) {
    for cooldown in cooldowns {
        let why = limiter::CooldownReason::from_name(&cooldown.kind);
        let (Some(pixel), Some(why)) = (pixels.get(cooldown.whose.as_str()), why) else {
            continue;
        };
        let asked = cooldown.until.since(cooldown.since);
        let left = cooldown.until.since(now);
        pixel.restore(why, asked, left);
        if !left.is_zero() {
            info!(
                pixel_id = cooldown.whose,
                kind = cooldown.kind,
                until = %cooldown.until,
                "Meta asked to wait before the daemon started; the wait goes on"
            );
        }
    }
}

/// The limits of each pixel id; where syncs differ, the stricter one counts.
fn pixels(config: &Config) -> BTreeMap<&str, Arc<PixelLimiter>> {
    let mut rates: BTreeMap<&str, Rates> = BTreeMap::new();
    for sync in config.syncs.values() {
        let own = Rates {
            requests: sync.delivery.requests_per_second,
            events: sync.delivery.events_per_second,
        };
        let strictest = rates.entry(&sync.pixel_id).or_default();
        *strictest = strictest.stricter(own);
    }
    rates
        .into_iter()
        .map(|(pixel_id, rates)| (pixel_id, PixelLimiter::new(pixel_id, rates)))
        .collect()
}
