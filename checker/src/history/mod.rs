//! Histories: what was asked of a system, what it answered, and which faults were active.
//!
//! [`mod@file`] reads events from a file, [`History`] pairs them into operations, and [`lint`] says
//! whether the result can be judged at all.
mod assemble;
pub mod event;
pub mod file;
pub mod import;
pub mod lint;
pub mod operation;

pub use assemble::{Builder, History, Observation, Phase};
pub use event::Header;
pub use file::Reader;
pub use operation::{Fault, Moment, OpId, Operation, Outcome};
