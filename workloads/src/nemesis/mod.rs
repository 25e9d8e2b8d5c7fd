//! Faults: which there are, when they strike, and the proof that they did.
//!
//! A [`Plan`] is drawn from the seed before the run, and says which [`Fault`] strikes when and for how long;
//! whom it strikes is settled when it does, from the plan's own random number and from who leads and lags
//! then. [`run`] carries a plan out beside the load. Every fault is proved when it begins and when it ends, by
//! something other than the call that brought it about, and whatever happens everything is undone at the end.
//! A [`PlanFile`] keeps what was carried out, so that it can be carried out again.
mod admin;
mod catalog;
mod client;
mod clock;
mod cpu;
mod disk;
mod kill;
mod kinds;
mod member;
mod memory;
mod moment;
mod packet;
mod partition;
mod pause;
mod plan;
mod plan_file;
mod repeat;
mod rolling;
mod run;
mod shape;
mod stop;
mod strike;
mod summary;
mod syscall;
mod target;
mod vanish;

pub use catalog::{Fault, FaultSet, LeftOut, UnknownFault, prepare};
pub use kinds::{Call, Change, ClockTrouble, DiskTrouble, Effect, Family, Moment, Shape, Target, Task};
pub use plan::{Options, Pace, Plan, Planned};
pub use plan_file::{PlanFile, PlanHeader, PlanLine};
pub use run::{Sink, run};
pub use summary::{Outcome, Result, Summary};
pub use target::View;
