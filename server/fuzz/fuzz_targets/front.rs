//! Feeds whatever bytes to what looks at connections before the HTTP/2 library does.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| server::fuzz::front(bytes));
