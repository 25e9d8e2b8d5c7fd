//! The services over a loopback connection, through the generated client, on a store without a cluster.

mod auth;
mod election;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod server;
mod show;
mod watch;
mod wire;

pub(crate) use server::Server;
use show::{Call, run};
