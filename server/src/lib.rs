//! A replicated key-value store that speaks etcd's v3 API.
pub mod backend;
pub mod error;
pub mod lease;
pub mod mvcc;
#[cfg(feature = "plant")]
pub mod plant;
pub mod proto;
pub mod state_machine;
