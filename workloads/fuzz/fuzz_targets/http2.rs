//! Feeds the raw HTTP/2 client whatever octets: every call has one outcome, and nothing panics. In `workloads`:
//!
//! ```console
//! $ cargo +nightly fuzz run http2 fuzz/corpus/http2 fuzz/seeds/http2 -- -max_total_time=600
//! ```
//!
//! The seeds are what etcd 3.4, etcd 3.5 and assay-server said to the first seven calls on a connection, behind the two
//! octets that `http2::fuzz` takes for itself. `cargo test` feeds the same function mutants of them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| workloads::load::http2::fuzz(bytes));
