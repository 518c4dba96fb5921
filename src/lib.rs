//! pixel-relay streams Amplitude events to Meta Pixel through the Conversions API.
//!
//! The modules stand in the order in which an event meets them. [`ingest`] accepts a request and
//! splits its body into elements; each becomes an [`event`], in which the expressions of the
//! configuration ([`expr`]) find values. For every [`sync`],
//! [`select`] says whether the event goes on and [`map`] makes the bytes that will travel, with
//! personal data in its normal form ([`normalize`]) and hashed, without what cannot be sent
//! ([`dropped`]); what earlier events said of the person is in a [`profile`]. The [`queue`]
//! makes them durable before the request is answered, and [`deliver`] takes them out again in batches,
//! posts them, and settles what Meta answers. Every event ends in one [`outcome`].
//!
//! Around that path: [`http`] is what all listeners share, [`config`] says what the operator wants, [`clock`] tells the time,
//! [`telemetry`] and [`admin`] show how things stand, [`sandbox`] stands in for Meta, [`app`] wires
//! everything together, and [`cli`] is what can be asked on the command line.

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
