//! Behaviour from outside: one binary, a file per behaviour.

mod layers;
mod mapping;
mod mapping_properties;
