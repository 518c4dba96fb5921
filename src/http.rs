//! HTTP as all listeners serve it: connections, credentials, bodies, and the address behind proxies.
//!
//! What a request means is the listener's own concern.

pub mod auth;
pub mod blocking;
pub mod body;
pub mod client_address;
pub mod reply;
pub mod serve;
mod normal_path;
pub mod tls;
