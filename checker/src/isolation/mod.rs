//! Transactions on lists and registers: which isolation did they have?
//!
//! Every element is appended once, so a list tells who wrote it and in which order; a register does so with the
//! store's revisions, or in part (Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from Experimental
//! Observations", VLDB 2020). [`mod@lists`] and [`registers`] find what versions show by themselves ([`Wrong`]);
//! [`graph`] holds which transaction must come before which: by writes (ww), by reads of writes (wr), by writes
//! over what was read (rw), by processes and by real time; [`cycles`] finds cycles in it and names them as Adya
//! does; [`mod@levels`] tells which levels that rules out. No anomaly and no cycle means strict serializability
//! as far as the order of versions is known, and all of it is for lists. [`weak`] judges the weak levels by their
//! own definition, where no order of versions is known at all, and [`mod@serial`] looks for any order of small histories.
pub mod components;
pub mod cycles;
pub mod dependencies;
pub mod graph;
pub mod levels;
pub mod lists;
pub mod registers;
pub mod serial;
pub mod txns;
pub mod weak;
mod wrong;

pub use wrong::Wrong;
