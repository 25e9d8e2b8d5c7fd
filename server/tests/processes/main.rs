//! Real processes on real files, driven over the network.
mod discovery;
mod fleet;
mod kill;
mod members;
mod operations;
mod tls;
