//! A replicated key-value store that speaks etcd's v3 API.
pub mod error;
pub mod proto;
