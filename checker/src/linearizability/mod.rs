//! Is there an order of the operations, consistent with real time, that explains every answer?
//!
//! [`split`] finds the parts of a history that have nothing to do with each other, and [`decide_parts`] decides
//! them, several at once, by the first layer that can: what the spec itself knows
//! ([`SequentialSpec::shortcut`](crate::spec::SequentialSpec::shortcut); for registers [`unique`]), else
//! [`search`], which decides exactly for any spec, within a [`Budget`](crate::budget::Budget). [`stateright`] asks
//! another implementation the same question.
mod call;
mod frontier;
mod online;
mod parts;
mod search;
pub mod stateright;
mod table;
mod trail;
pub mod unique;

pub use call::Call;
pub use online::{Found, Online};
pub use parts::{Decided, Layer, Part, decide_part, decide_parts, split};
pub use search::{Border, Decision, Stuck, search, search_between, search_from_width};
pub use trail::{Longest, longest_order};
