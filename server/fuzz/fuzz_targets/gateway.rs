//! Feeds the JSON gateway's decoders whatever bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| server::fuzz::gateway(bytes));
