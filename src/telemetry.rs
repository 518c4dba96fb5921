//! What the operator watches: metrics and logs.

pub mod logs;
pub mod metrics;

pub use metrics::{LaneState, Metrics, PanickedPart, SyncLabel};
