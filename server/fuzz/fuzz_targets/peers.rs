//! Feeds the peer protocol whatever bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| server::fuzz::peers(bytes));
