//! What starts, stops and reaches the servers of a run, and what cuts the links between them.
//!
//! A [`Cluster`] is made of processes of one [`System`] and of a network between them, of one [`Kind`]:
//! [`netns`] gives every node a network namespace of its own behind iptables; [`local`] runs plain processes
//! on the loopback address with a proxy in front of every node. Both do the same faults; the packets of
//! `netns` meet the kernel's real TCP, while `local` needs no privilege at all. [`compose`] has containers of
//! either system on a docker network.
//!
//! A cluster knows no plan and writes no history: that is the nemesis's work.
mod ability;
mod admin;
mod clocks;
pub mod compose;
mod error;
mod failpoint;
mod handle;
mod links;
pub mod local;
mod memory;
pub mod netns;
mod network;
mod node_process;
mod place;
mod probe;
mod process;
mod resources;
mod shape;
mod spec;
mod status;
mod system;
mod tool;

pub use ability::{Ability, Lack};
pub use error::{ClusterError, Tool};
pub use failpoint::{Armed, Failpoint, Tampering};
pub use handle::{Cluster, Crash, Ended, ProcessState};
pub use links::{Block, Cuts, Disturbance, Disturbed, Hindrance, Link, Probe};
pub use memory::MemoryLimit;
pub(crate) use process::is_panic;
pub use spec::{Kind, Node, NodeIndex, Spec, Tuning};
pub use status::MemberStatus;
pub use system::{SERVER_ARGV0, System, etcd_dir};
