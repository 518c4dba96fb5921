//! From an Amplitude event to the bytes that travel to Meta.

pub mod dropped;
pub mod hash;
pub mod normalize;
pub mod payload;
