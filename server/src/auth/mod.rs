//! Users, roles and what they may do: part of the replicated state.
//!
//! Nothing here hashes a password, makes a token or reads a clock: that is decided before a change is proposed,
//! or by the API. The rules are those of etcd 3.5.30.

mod check;
mod range;
mod store;

pub use check::{Needs, Principal, needs_of, range_needs, txn_needs};
pub use store::{AuthStore, ROOT, User};
