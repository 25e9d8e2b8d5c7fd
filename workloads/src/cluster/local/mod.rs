//! Plain processes on 127.0.0.1; a proxy in front of every node's peer port.
//!
//! All members must be told the same address of a member (etcd derives identities from them), so there is
//! one proxy a destination, and who connects is found out by asking the kernel which process owns the other
//! end of the connection (Linux's /proc). A blocked link holds bytes back and keeps connections open, as a network that
//! loses packets does: what was held back goes on its way when the link opens. No packet is lost for good
//! and there is no kernel back-off, so healing shows at once: `netns` is the harder test.
mod owner;
mod ports;
mod proxy;

pub(super) use proxy::Loopback;
