//! Behaviour from outside: one binary, a file per behaviour.

mod cli;
mod crash;
mod delivery;
mod layers;
mod process;
mod retry;
mod shutdown;
mod support;
