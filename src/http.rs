//! What all HTTP listeners share: connections, credentials, bodies, and the address behind proxies.

pub mod auth;
pub mod blocking;
pub mod body;
pub mod body_budget;
pub mod client_address;
mod connection_metrics;
pub mod reply;
pub mod resolver;
pub mod server;
mod normal_path;
mod slots;
pub mod tls;
mod write_limit;

pub use auth::{AuthRule, Authenticator};
pub use blocking::{LongWork, Work};
pub use connection_metrics::{ConnectionEnd, ConnectionMetrics};
pub use reply::{HttpError, json_response, unavailable};
pub use resolver::Resolver;
pub use server::{ConnectionLimits, HttpServer};
pub use tls::client_config;

/// Users filter the log by what they know: to them a listener belongs to the ingest.
const LOG_TARGET: &str = "pixel_relay::ingest";
