//! The memory that a node's process may have.
//!
//! A process gets no more than it has by the limit on its data segment, which counts all memory of its own that it may
//! write: the program is told that there is none, as on a machine that does not overcommit. Sources: prlimit(2),
//! proc(5). A container gets a limit of docker's, beyond which the kernel kills.

use super::ClusterError;
use nix::libc;
use std::{fs, io};

/// What a limit on memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// What there may be, in bytes.
    pub limit: u64,
    /// What there was when the limit was set, in bytes.
    pub in_use: u64,
}

/// Sets the limit of a process to what it has.
pub(super) fn limit(pid: u32) -> Result<MemoryLimit, ClusterError> {
    let doing = || ClusterError::io(format!("limiting the memory of process {pid}"));
    let in_use = data_segment(pid).map_err(doing())?;
    let old = exchange(pid, None).map_err(doing())?;
    let new = libc::rlimit { rlim_cur: in_use.min(old.rlim_max), rlim_max: old.rlim_max };
    exchange(pid, Some(new)).map_err(doing())?;
    let now = exchange(pid, None).map_err(doing())?;
    Ok(MemoryLimit { limit: now.rlim_cur, in_use })
}

/// Takes the limit back. A process that has ended needs nothing.
pub(super) fn unlimit(pid: u32) -> Result<(), ClusterError> {
    let lifted = exchange(pid, None).and_then(|old| {
        exchange(pid, Some(libc::rlimit { rlim_cur: old.rlim_max, rlim_max: old.rlim_max })).map(drop)
    });
    match lifted {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
            Err(ClusterError::io(format!("giving process {pid} its memory back"))(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What counts as a process's data, in bytes.
fn data_segment(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("it has no memory any more"))
}

/// Gives a process another limit, if one is given, and returns the one that it had.
#[expect(unsafe_code, reason = "nix has no call for other processes")]
fn exchange(pid: u32, new: Option<libc::rlimit>) -> io::Result<libc::rlimit> {
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    let new = new.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both pointers are null or to values of the right type that live until the call returns.
    match unsafe { libc::prlimit(pid, libc::RLIMIT_DATA, new, &raw mut old) } {
        0 => Ok(old),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_is_limited_to_what_it_has_and_freed_again() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let pid = child.id();
        // Until the program is there, what the fork left counts.
        while !fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().starts_with("sleep") {
            std::thread::yield_now();
        }
        let limit = super::limit(pid).unwrap();
        assert!(limit.in_use > 0 && limit.limit == limit.in_use, "{limit:?}");
        unlimit(pid).unwrap();
        let now = exchange(pid, None).unwrap();
        assert_eq!(now.rlim_cur, now.rlim_max);
        child.kill().unwrap();
        child.wait().unwrap();
        unlimit(pid).expect("there is nobody to free");
        assert!(super::limit(pid).is_err());
    }
}
