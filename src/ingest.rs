//! HTTP in.

pub mod auth;
pub mod blocking;
pub mod body;
pub mod decode;
pub mod reply;
pub mod serve;
