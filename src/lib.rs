//! pixel-relay streams Amplitude events to Meta Pixel through the Conversions API.

pub mod event;
pub mod path;
pub mod outcome;
pub mod clock;
pub mod config;
pub mod select;
pub mod map;
pub mod sync;
pub mod telemetry;
pub mod sandbox;
