//! What all HTTP listeners share: connections, credentials, bodies, and the address behind proxies.

pub mod auth;
pub mod blocking;
pub mod body;
pub mod client_address;
pub mod reply;
pub mod resolver;
pub mod server;
mod normal_path;
pub mod tls;

pub use auth::{AuthRule, Authenticator};
pub use blocking::{Work, block_in_place_if_long};
pub use reply::{HttpError, json_response};
pub use resolver::Resolver;
pub use server::{ConnectionLimits, serve};
pub use tls::client_config;
