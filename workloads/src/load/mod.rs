//! Load: an open-loop generator, what it measures, and what is made of that.
//!
//! [`drive`] sends operations of a [`Workload`] at the times that a [`Shape`] gives, through the raw client in
//! [`http2`], and hands over what it measured, interval by interval. Response time counts from when an operation was due,
//! service time from when it was sent; where the two part, the server was busy with others.

mod bench;
mod clock;
mod compactor;
mod drive;
mod endpoint;
mod files;
pub mod http2;
mod interval;
mod keys;
mod mix;
mod mix_file;
mod null_server;
mod outage;
mod request;
mod resources;
mod schedule;
mod slo;
mod socket;
mod source;
mod stamp;
pub mod statistics;
mod store_drive;
mod summary;
mod tasks;
#[cfg(test)]
mod tests;
mod trace;
mod trace_ends;
mod values;
mod watchers;
mod worker;

pub use bench::{Bench, BenchError, Client, unwritten};
pub use drive::{Load, Plan, drive};
pub use endpoint::{Endpoint, Security, Unreachable, reach};
pub use files::{HLOG, Journal, Tagged, read_hlog, read_results, rewrite_results, write_results};
pub use interval::{Interval, LATENCY_NS_MAX, Tally, histogram};
pub use keys::Distribution;
pub use mix::{Action, Kind, Mix, Workload};
pub use null_server::{Behaviour, NullServer};
pub use outage::Outage;
pub use resources::{Sampler, Usage, Watched, folder_bytes};
pub use schedule::{Arrivals, Shape};
pub use slo::{Found, Probe, Slo, search};
pub use summary::{BenchResults, Checked, Collected, Generator, Machine, OpSummary, Quantiles, Row};
pub use trace::{Act, Trace};
pub use values::{Size, VALUE_BYTES_MAX};
pub use watchers::Watching;
