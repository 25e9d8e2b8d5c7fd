//! A replicated key-value store that speaks etcd's v3 API.
pub mod api;
pub mod backend;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod codec;
pub mod config;
pub mod disk;
pub mod error;
pub mod fake;
pub mod gateway;
pub mod health;
pub mod join;
pub mod lease;
pub mod metrics;
pub mod mvcc;
pub mod net;
pub mod node;
#[cfg(feature = "plant")]
pub mod plant;
pub mod proto;
pub mod replica;
pub mod run;
pub mod state_machine;
pub mod telemetry;

pub use run::run;
