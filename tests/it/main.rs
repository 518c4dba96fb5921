//! Behaviour from outside: one binary, a file per behaviour.

#![allow(
    unreachable_pub,
    missing_debug_implementations,
    reason = "a test binary has no outside"
)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic and spawn"
)]
#![allow(
    clippy::print_stdout,
    reason = "a test says what it passes over, and why"
)]
#![allow(clippy::float_cmp, reason = "counters are whole numbers")]

mod any_bytes;
mod broken_values;
mod apart;
mod backfill;
mod browser_request;
mod cli;
mod clocks;
mod clicks;
mod consent;
mod control;
mod cost;
mod crash;
mod crowd;
mod dead;
mod delivery;
mod false_clock;
mod faults;
mod files;
mod forget;
mod host;
mod hostile;
mod hours;
mod mapping;
mod mapping_properties;
mod memory;
mod old_stores;
mod privacy;
#[path = "../shim/preload.rs"]
mod preload;
mod process;
mod retry;
mod secrets;
mod sdk;
mod shutdown;
mod sqlite;
mod standstill;
mod storage;
mod stuck;
mod structure;
mod support;
mod trace;
mod webhook;
