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

use crate::clock::{Clock as _, CorrectedClock, UnixMillis};
use crate::config::sync::SyncConfig;
use crate::config::{Config, SyncName};
use crate::queue::Queue;
use crate::queue::cooldown::Cooldown;
use crate::telemetry::metrics::Metrics;

use client::{ClientError, GraphClient};
use lane::setup::LaneSetup;
use lane::shared_token::TokenRegistry;
use limiter::{PixelLimiter, Rates};
use transport::Network;

pub mod lane;
mod shared_value;
pub mod transport;
pub mod client;
pub mod skew_watch;
pub mod verdict;
pub mod usage;
pub mod bisect;
pub mod quarantine;
pub mod limiter;
pub mod backoff;
pub mod adaptive;
pub mod redact;

pub use lane::Lane;
pub use lane::status::{LaneHandle, LaneHandles, LaneRestarts, LaneStatus};
pub use skew_watch::SkewWatch;
pub use transport::Internet;

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

/// What lanes share, and what outlives a configuration: the limits of each pixel id, and what is known of
/// each access token.
#[derive(Debug)]
pub struct SharedLimits {
    network: Box<dyn Network>,
    pixels: BTreeMap<String, Arc<PixelLimiter>>,
    tokens: TokenRegistry,
    /// Those of an earlier process.
    cooldowns: Vec<Cooldown>,
}

impl SharedLimits {
    pub fn new(queue: &Queue, network: Box<dyn Network>) -> Self {
        Self {
            network,
            pixels: BTreeMap::new(),
            tokens: TokenRegistry::default(),
            cooldowns: queue.cooldowns(),
        }
    }

    /// Makes the setup of each sync's lane, enabled or not: a disabled one still drains. After an error
    /// everything is as before.
    pub fn setups(
        &mut self,
        config: &Config,
        clock: &Arc<CorrectedClock>,
    ) -> Result<Vec<(SyncName, LaneSetup)>, LaneError> {
        let failed = |sync, source| LaneError { sync, source };
        let transports = self.network.transports(config);
        let transports = transports.map_err(|(sync, error)| failed(sync, error.into()))?;
        let client = |(name, transport)| {
            let sync = &config.syncs[&name];
            let client = GraphClient::new(transport, &config.meta, sync, Arc::clone(clock));
            client.map_err(|error| failed(name, error))
        };
        let clients = (transports.into_iter().map(client)).collect::<Result<Vec<_>, _>>()?;
        self.set_rates(config, clock.now());
        let setup = |((name, sync), client): ((&SyncName, &SyncConfig), GraphClient)| {
            let limiter = &self.pixels[&sync.pixel_id];
            let setup = LaneSetup::new(name, sync, client, limiter, &self.tokens);
            (name.clone(), setup)
        };
        Ok(config.syncs.iter().zip(clients).map(setup).collect())
    }

    /// Watches how far the system's clock is off, by the answers of the endpoint that lanes deliver to; `None`
    /// where there is no lane.
    pub fn skew_watch(&self, lanes: &[Lane], clock: &Arc<CorrectedClock>) -> Option<SkewWatch> {
        let graph = lanes.first()?.graph();
        let limiters = self.pixels.values().cloned().collect();
        Some(SkewWatch::new(Arc::clone(clock), graph, limiters))
    }

    /// Sets the rates of each pixel id; where syncs differ, the stricter one counts.
    fn set_rates(&mut self, config: &Config, now: UnixMillis) {
        let mut rates: BTreeMap<&str, Rates> = BTreeMap::new();
        for sync in config.syncs.values() {
            let own = Rates {
                requests: sync.delivery.requests_per_second,
                events: sync.delivery.events_per_second,
            };
            let strictest = rates.entry(&sync.pixel_id).or_default();
            *strictest = strictest.stricter(own);
        }
        for (pixel_id, rates) in rates {
            if let Some(pixel) = self.pixels.get(pixel_id) {
                pixel.set_rates(rates);
                continue;
            }
            let pixel = PixelLimiter::new(pixel_id, rates);
            restore_cooldowns(&pixel, &self.cooldowns, now);
            self.pixels.insert(pixel_id.to_owned(), pixel);
        }
    }
}

/// Prepares a lane for each sync, and the handles on them. From now on their answers, and those to [`SkewWatch`], may
/// tell the time.
pub fn lanes(
    limits: &mut SharedLimits,
    config: &Config,
    queue: &Queue,
    clock: &Arc<CorrectedClock>,
    metrics: &Arc<Metrics>,
) -> Result<(Vec<Lane>, LaneHandles), LaneError> {
    clock.begin_to_wait();
    let setups = limits.setups(config, clock)?;
    let mut lanes = Vec::with_capacity(setups.len());
    let mut handles = LaneHandles::default();
    for (name, setup) in setups {
        let (clock, metrics) = (Arc::clone(clock), Arc::clone(metrics));
        let (mut lane, handle) = Lane::new(name.clone(), setup, queue.clone(), clock, metrics);
        lane.restore_pause(&limits.cooldowns);
        lanes.push(lane);
        handles.0.insert(name, handle);
    }
    Ok((lanes, handles))
}

/// Continues the waits that Meta asked of an earlier process. The clock may have changed since: no wait
/// lasts longer than Meta asked for.
fn restore_cooldowns(pixel: &PixelLimiter, cooldowns: &[Cooldown], now: UnixMillis) {
    for cooldown in cooldowns {
        let why = limiter::CooldownReason::parse(&cooldown.kind);
        let Some(why) = why.filter(|_| cooldown.whose == pixel.pixel_id()) else {
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
