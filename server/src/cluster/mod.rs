//! Who the members are: identities as etcd computes them, names and addresses, and how that changes.
//!
//! The roster is part of the replicated state and says who *shall* take part. Raft's membership follows it:
//! whoever leads compares the two and proposes what is missing ([`next_change`]). So a change of members is
//! validated where every command is, when it is applied, and no change is forgotten when a leader dies.

mod follow;
mod ids;
mod origin;
mod roster;

pub use follow::{change_to_propose, next_change};
pub use ids::{cluster_id, joining_member_id, member_id};
pub use origin::Origin;
pub use roster::{Member, Roster};
