//! Histories: what was asked of a system, what it answered, and which faults were active.
pub mod event;
