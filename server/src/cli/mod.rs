//! The command line of `assay-server`: etcd's flags, `ETCD_*` variables and configuration file, and tools for
//! snapshots.
//!
//! A flag of etcd's that means nothing here is either harmless, and named in a warning, or refused with the reason:
//! nobody should believe to have what is not there.

mod config_file;
mod flags;
mod foreign;
mod peer_flags;
mod program;
mod snapshot;

pub use flags::Flags;
pub use peer_flags::PeerFlags;
pub use program::main;
