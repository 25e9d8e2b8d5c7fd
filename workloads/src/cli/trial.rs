//! Runs that this program starts of itself, and waits for.

use crate::report::{self, Results};
use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// What a run may take beyond its load: to start, to heal and settle, to check.
pub(super) const OVERHEAD: Duration = Duration::from_secs(240);

/// What a run came to.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) results: Results,
    /// From its start to its end, as a user would wait for it.
    pub(super) took: Duration,
}

/// Carries out `assay run` with these arguments into `out`, within a time limit. What it says is beside `out`,
/// in a file of the same name with `.log` after it.
///
/// # Errors
/// A text, when it leaves no results.
pub(super) fn run(words: &[String], out: &Path, limit: Duration) -> Result<Trial, String> {
    let failed = |what: String| format!("a run into {} {what}", out.display());
    let parent = out.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|error| failed(format!("cannot begin: {error}")))?;
    // Not `with_extension`: a version in the folder's name has dots of its own.
    let mut log_name = out.as_os_str().to_owned();
    log_name.push(".log");
    let log_path = PathBuf::from(log_name);
    let log = File::create(&log_path).map_err(|error| failed(format!("cannot begin: {error}")))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0(std::env::args_os().next().unwrap_or_else(|| "assay".into()));
    command.arg("run").args(words).arg("--out").arg(out);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let start = Instant::now();
    let mut child = command.spawn().map_err(|error| failed(format!("cannot begin: {error}")))?;
    while child.try_wait().map_err(|error| failed(error.to_string()))?.is_none() {
        if start.elapsed() > limit {
            // Its cluster dies with it.
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(format!("takes longer than {} s", limit.as_secs())));
        }
        thread::sleep(Duration::from_millis(20));
    }
    let took = start.elapsed();
    match report::read(out) {
        Ok(results) => Ok(Trial { results, took }),
        Err(error) => {
            let said = fs::read_to_string(&log_path).unwrap_or_default();
            let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("and said nothing");
            Err(failed(format!("left no results ({error}): {last}")))
        }
    }
}
