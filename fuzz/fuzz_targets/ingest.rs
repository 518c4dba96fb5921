//! Decodes and maps any bytes, as ingest does. Run it with
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run ingest -- -max_total_time=600`.

#![no_main]

#[path = "../../tests/it/any_bytes.rs"]
mod any_bytes;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| any_bytes::check(bytes));
