//! Real processes on real files, driven over the network.
mod authority;
mod discovery;
mod fleet;
mod kill;
mod members;
mod operations;
mod peer_tls;
mod relay;
mod tls;
