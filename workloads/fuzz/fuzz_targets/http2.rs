//! Feeds the raw HTTP/2 client whatever octets: every call has one outcome, and nothing panics.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| workloads::load::http2::fuzz(bytes));
