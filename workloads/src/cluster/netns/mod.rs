//! Every node in a network namespace of its own, behind iptables; no root needed where user namespaces are
//! allowed.
//!
//! [`enter`] moves the whole harness into new user, network, mount and pid namespaces: everything that is
//! made in there, links and rules and processes, goes when the outermost process ends, in whatever way. The
//! harness's namespace is the hub: it routes between the nodes, so that every packet from node to node
//! passes its FORWARD chain, and no route leads out of it. (A bridge would not do: whether iptables sees
//! bridged frames depends on a kernel module that only root can load.)
//!
//! Addresses: the hub is 10.99.0.1, node `nI` is 10.99.0.(10+I).
mod disk;
mod enter;
mod lab;
mod rules;
mod shaper;
mod throttle;

pub(super) use disk::Disk;
pub use enter::{Why, available, enter};
pub(super) use lab::Lab;
pub(super) use rules::PAYLOAD;
pub(super) use shaper::available as packets_available;

/// Why a process's writes cannot be held up here; `None` when they can.
pub(super) fn no_throttle() -> Option<String> {
    throttle::Throttle::lack()
}
