//! Is there an order of the operations, consistent with real time, that explains every answer?
//!
//! [`search`] decides exactly for any [`SequentialSpec`](crate::spec::SequentialSpec), within a
//! [`Budget`](crate::budget::Budget). [`decide_parts`] splits a history by the spec's parts first and works
//! on several at once. [`stateright`] asks another implementation the same question.
mod call;
mod frontier;
mod parts;
mod search;
pub mod stateright;
mod table;
mod trail;

pub use call::Call;
pub use parts::{Part, decide_parts, split};
pub use search::{Decision, Stuck, search};
pub use trail::{Longest, longest_order};
