//! Delivery to Meta.

pub mod backoff;
pub mod client;
pub mod concurrency;
pub mod isolate;
pub mod lane;
pub mod limit;
pub mod redact;
pub mod size;
pub mod streak;
pub mod token;
pub mod usage;
pub mod verdict;
