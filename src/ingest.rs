//! HTTP in.

pub mod auth;
pub mod decode;
