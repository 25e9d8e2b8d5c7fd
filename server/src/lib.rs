//! A replicated key-value store that speaks etcd's v3 API.
pub mod backend;
pub mod cluster;
pub mod codec;
pub mod disk;
pub mod error;
pub mod lease;
pub mod metrics;
pub mod mvcc;
pub mod net;
pub mod node;
#[cfg(feature = "plant")]
pub mod plant;
pub mod proto;
pub mod replica;
pub mod state_machine;
