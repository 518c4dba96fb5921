//! What the configuration says about events: paths, conditions, and what a mapping takes.

pub mod condition;
mod glob;
pub mod path;
pub mod value;
