//! Containers on a docker network, ours or real etcd.
//!
//! The file `docker-compose.yml` at the root describes it. A node is two containers: a [machine], which compose
//! makes, and which holds the node's address, disk and rules; and a server, which the harness makes, and which shares
//! the machine's network and disk. The harness is a container on the same network, so that nothing outside ever dials
//! a node: once a docker network is gone, packets to its addresses would leave by the default route. It kills, pauses
//! and starts servers through docker's socket, and has machines cut links and send probes.
//!
//! Every rule is in a machine's own network namespace, and goes with the machine, or as soon as the harness is silent.
//! Nothing on the host is changed beyond what docker does itself.
mod docker;
mod engine;
mod fleet;
mod follower;
mod frames;
mod front;
mod images;
mod inside;
mod leash;
mod machine;
mod owner;
mod project;
mod protocol;
mod rules;
mod server;
mod subnet;
mod watchdog;

pub(super) use fleet::Fleet;
pub use fleet::NODES_MAX;
pub use front::Front;
pub use inside::{PROGRAM, inside, leave};
pub use machine::machine;
pub(super) use server::Server;
pub use watchdog::{SUBCOMMAND as WATCHDOG, watch};
