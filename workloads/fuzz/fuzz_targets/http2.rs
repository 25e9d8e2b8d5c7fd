//! Feeds the raw HTTP/2 client whatever octets: every call has one outcome, and nothing panics.
//!
//! The seeds are what etcd 3.4, etcd 3.5 and assay-server said to the first seven calls on a connection, behind the two
//! octets that `http2::fuzz` takes for itself. `cargo test` feeds the same function mutants of them.
#![no_main]

/// The client's own sources, since all else of its crate is a long build.
#[path = "../../src/load"]
#[expect(dead_code, unused_imports, reason = "the load generator uses more of it")]
mod load {
    pub mod http2;
    mod stamp;
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| load::http2::fuzz(bytes));
