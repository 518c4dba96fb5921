//! Any bytes at the door: decode and map. Run it with
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run door -- -max_total_time=600`.

#![no_main]

#[path = "../../tests/it/any_bytes.rs"]
mod any_bytes;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| any_bytes::check(bytes));
