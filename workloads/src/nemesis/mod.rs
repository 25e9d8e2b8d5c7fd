//! Faults: which there are, when they strike, and the proof that they did.
//!
//! A [`Plan`] is drawn from the seed before the run, and says which [`Fault`] strikes when and for how long;
//! whom it strikes is settled when it does, from the plan's own random number and from who leads then.
//! [`run`] carries a plan out beside the load. Every fault is proved when it begins and when it ends, by
//! something other than the call that brought it about, and whatever happens everything is undone at the end.
mod catalog;
mod kill;
mod partition;
mod pause;
mod plan;
mod run;
mod shape;
mod strike;
mod summary;
mod target;

pub use catalog::{Family, Fault, FaultSet, Shape, Target, UnknownFault};
pub use plan::{Options, Pace, Plan, Planned};
pub use run::{Sink, run};
pub use summary::{Outcome, Result, Summary};
