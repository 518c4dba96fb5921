//! pixel-relay streams Amplitude events to Meta Pixel through the Conversions API.
//!
//! An event takes this path. [`ingest`] accepts a request and splits its body into elements; each
//! becomes an [`event`], in which the expressions of the configuration ([`expr`]) find values. For every
//! [`sync`], [`select`] decides whether the event goes on, and [`map`] makes the bytes to send: with
//! personal data normalised ([`normalize`]) and hashed, and without what Meta cannot take ([`dropped`]).
//! A [`profile`] holds what earlier events told of the person. The [`queue`] stores the bytes before the
//! request is answered, and [`deliver`] leases them in batches, posts them, and settles what Meta
//! answers. Every event ends in one [`outcome`].
//!
//! Around that path: [`http`] is what all listeners share, [`config`] holds what the operator wants,
//! [`clock`] tells the time, [`telemetry`] and [`admin`] show the state of the daemon, [`control`] takes
//! commands on its socket, [`sandbox`] simulates Meta, [`app`] wires everything together, and [`cli`] is
//! the command line. [`panics`] says what a fault of the program
//! costs. The macro in `words` declares the enums whose variants have stable names.

mod words;

pub mod panics;
pub mod json;
pub mod event;
pub mod expr;
pub mod outcome;
pub mod clock;
pub mod hash;
pub mod dropped;
pub mod normalize;
pub mod config;
pub mod http;
pub mod payload;
pub mod profile;
pub mod select;
pub mod map;
pub mod sync;
pub mod queue;
pub mod ingest;
pub mod deliver;
pub mod telemetry;
pub mod admin;
pub mod control;
pub mod sandbox;
pub mod app;
pub mod cli;
