//! From an Amplitude event to the bytes that travel to Meta.

pub mod payload;
