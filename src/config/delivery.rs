//! `[meta]` and `[sync.<name>.delivery]`: where events go, and how requests are made.

use std::num::NonZeroUsize;
use std::time::Duration;

use url::Url;

use crate::config::units::Rate;

/// `[meta]`: where events go.
#[derive(Clone, Debug)]
pub struct MetaConfig {
    /// Base URL of the Graph API; https, unless loopback. Default `https://graph.facebook.com`.
    pub url: Url,
    /// Graph API version. Default `v26.0`.
    pub api_version: String,
}

/// `[sync.<name>.delivery]`: how requests are made.
#[derive(Clone, Debug)]
pub struct DeliveryConfig {
    /// Most events in one request, 1 to 1000. Default 1000.
    pub max_batch_events: NonZeroUsize,
    /// Most bytes in one request. Default 1 MiB.
    pub max_batch_bytes: NonZeroUsize,
    /// Longest wait for a batch to fill. Default 1 s.
    pub max_batch_delay: Duration,
    /// Most requests under way. Default 4.
    pub max_in_flight: NonZeroUsize,
    /// Requests per second. Default 10; `None`: unlimited.
    pub requests_per_second: Option<Rate>,
    /// Events per second. Default `None`: unlimited.
    pub events_per_second: Option<Rate>,
    /// Longest wait for an answer. Default 15 s.
    pub timeout: Duration,
}
