//! The host's end of a run on containers: what makes them, watches over them and removes them.
mod docker;
mod front;
mod owner;
mod project;
mod subnet;
mod watchdog;

pub use front::Front;
pub use watchdog::{SUBCOMMAND as WATCHDOG, watch};
