//! Runs on containers: the host's end of one, and the parts that a user never starts by hand.

use super::Failure;
use crate::cluster::{ClusterError, System, compose};
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Failure {
        match error.is_usage() {
            true => Failure::Usage(error.to_string()),
            false => Failure::Unknown(error.to_string()),
        }
    }
}

/// Starts this command over in a container among the nodes; its exit status is that of the other.
pub(super) fn front(system: &System, nodes: usize, store: &Path, program: &str) -> Result<u8, Failure> {
    super::log();
    let built = std::env::current_exe().and_then(|program| program.metadata()?.modified());
    let front = compose::Front {
        arguments: std::env::args_os().skip(1).collect(),
        program: program.into(),
        system: system.clone(),
        nodes,
        store: PathBuf::from(store),
        built: built.ok().map(crate::report::rfc3339),
    };
    Ok(runtime()?.block_on(front.run())?)
}

/// What the user calls this program: in a container, what its front is called.
pub(super) fn program(own: &str) -> String {
    let fronts = compose::inside().then(|| std::env::var(compose::PROGRAM).ok()).flatten();
    fronts.unwrap_or_else(|| own.into())
}

/// Removes what a harness among the nodes has left, and gives its results to the user of the host. What
/// remains is said, and changes no verdict.
pub(super) fn leave() {
    let left = runtime().map_err(|error| error.to_string());
    let left = left.and_then(|runtime| runtime.block_on(compose::leave()).map_err(|error| error.to_string()));
    if let Err(error) = left {
        let _ = writeln!(io::stderr(), "assay: something may be left: {error}");
    }
}

/// `assay machine`.
pub(super) fn machine() -> Result<u8, Failure> {
    runtime()?.block_on(compose::machine())?;
    Ok(0)
}

/// `assay compose-watchdog`.
pub(super) fn watch(compose: &str, project: &str) -> Result<u8, Failure> {
    runtime()?.block_on(compose::watch(compose, project))?;
    Ok(0)
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
