//! A replicated key-value store that speaks etcd's v3 API.
pub mod codec;
pub mod disk;
pub mod error;
pub mod proto;
