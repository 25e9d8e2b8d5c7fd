//! Transactions of reads and appends on lists: which isolation did they have?
//!
//! Every element is appended once, so a list tells who wrote it and in which order (Kingsbury and Alvaro,
//! "Elle: Inferring Isolation Anomalies from Experimental Observations", VLDB 2020). [`versions`] finds what
//! a list shows by itself; [`graph`] holds which transaction must come before which: by writes (ww), by
//! reads of writes (wr), by writes over what was read (rw), and by real time (rt); [`cycles`] finds cycles in
//! it and names them as Adya does. No anomaly and no cycle means strict serializability.
//!
//! Real time takes edges in the number of transactions: a return points to the next barrier, a barrier to
//! the next one and to what begins after it.
pub mod cycles;
pub mod graph;
pub mod versions;
