//! What the operator watches: metrics and logs.

pub mod metrics;
