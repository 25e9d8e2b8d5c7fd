//! The services over a loopback connection, through the generated client, on a store without a cluster.

mod auth;
mod kv;
mod maintenance;
mod server;
mod show;
mod wire;

pub(crate) use server::Server;
use show::{Call, run};
