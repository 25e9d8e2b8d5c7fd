//! Leases: what keys hang from.
//!
//! Two halves. [`Leases`] is replicated state: which leases there are, what they were granted, which keys hang
//! from them. It knows no clock, and a lease in it ends only by a command of the log. [`Lessor`] is the
//! leader's clock: when which lease runs out, known to nobody else and kept nowhere. Who becomes leader gives
//! every lease its whole TTL again, so a change of leader extends leases and never shortens them.
//!
//! Renewals are not replicated, so they must be safe against a leader that has been deposed and does not know
//! it. It can renew nothing, because a renewal is answered only after a majority has confirmed the leadership,
//! later than the renewal came in: whoever leads next starts its clock after that. And it can expire nothing,
//! because its command to do so names its term, and is void in the log of any other. etcd lacked both for
//! long (issues 12528 and 15247).
//!
//! Left out: who asks whom, and when (`replica::office`), checkpoints of what is left of a TTL.

mod leases;
mod lessor;

pub use leases::{Change, Lease, Leases};
pub use lessor::{Lessor, Renewal};

use std::time::Duration;

/// What is known of a lease's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTime {
    /// What it was granted.
    pub granted_ttl_s: i64,
    /// What is left of it.
    pub remaining: Duration,
}

/// No lease may live longer, in seconds. As etcd.
pub const TTL_S_MAX: i64 = 9_000_000_000;
