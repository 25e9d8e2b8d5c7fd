//! Judges histories whose answers carry the store's revision: the revisions are the order.
//!
//! A write that was answered with revision r is the only operation that can have made r, and a read that
//! was answered with r happened after r was made and before r + 1. So there is one order to check, in
//! n log n: it must agree with real time ([`backwards`]), and every answer must be what a store that does the
//! operations in that order gives ([`replay()`]). Only operations of unknown outcome leave a choice: each
//! revision that nobody was answered with was made by one of them. What later answers show decides which;
//! where several fit, the replay tries them in turn.
//!
//! Left out: a compaction does not take part in the replay, its place is checked afterwards
//! ([`compactions`]); an operation of unknown outcome is never refused for a compaction.
mod blame;
mod compaction;
mod cursor;
mod demand;
mod doubt;
mod evidence;
mod makers;
mod order;
mod places;
mod plan;
mod replay;
mod step;

pub(crate) use blame::mentioned;
pub use compaction::{Misplaced, compactions};
pub use evidence::{Seen, may_put, seen};
pub use order::{Backwards, Stamp, Twice, backwards, sessions, twice};
pub use replay::{Beginning, Outcome, Replay, Wrong, replay};
pub use step::{Expect, Step, from_kv, from_register, kv_requests, register_requests};
