//! What a configuration makes of a lane.

use std::sync::Arc;
use std::time::Duration;

use crate::config::SyncName;
use crate::config::sync::SyncConfig;
use crate::deliver::adaptive::{AdaptiveSize, BatchSize, Concurrency};
use crate::deliver::client::GraphClient;
use crate::deliver::limiter::PixelLimiter;
use crate::telemetry::metrics::LaneState;

use super::credentials::Credentials;
use super::shared_token::TokenRegistry;

/// All that a lane takes from the configuration. Another one may take its place while the lane runs.
#[derive(Debug)]
pub struct LaneSetup {
    /// The state to show without trouble.
    pub(super) normal: LaneState,
    pub(super) max_delay: Duration,
    pub(super) graph: Arc<GraphClient>,
    pub(super) credentials: Credentials,
    pub(super) size: AdaptiveSize,
    pub(super) concurrency: Concurrency,
}

impl LaneSetup {
    /// The lane shares `limiter` with the other syncs of its pixel id, and what is known of its token with
    /// the syncs of the same token.
    pub fn new(
        sync: &SyncName,
        config: &SyncConfig,
        graph: GraphClient,
        limiter: &Arc<PixelLimiter>,
        tokens: &TokenRegistry,
    ) -> Self {
        let delivery = &config.delivery;
        let events = delivery.max_batch_events.get().min(limiter.most_events());
        let frame = graph.frame_bytes(events);
        let size = BatchSize {
            events,
            bytes: delivery.max_batch_bytes.get().saturating_sub(frame).max(1),
        };
        Self {
            normal: if config.enabled {
                LaneState::Running
            } else {
                LaneState::Draining
            },
            max_delay: delivery.max_batch_delay,
            graph: Arc::new(graph),
            credentials: Credentials::new(sync, config, tokens, limiter),
            size: AdaptiveSize::new(size),
            concurrency: Concurrency::new(delivery.max_in_flight),
        }
    }

    pub(super) fn limiter(&self) -> &Arc<PixelLimiter> {
        &self.credentials.token.limiter
    }
}
