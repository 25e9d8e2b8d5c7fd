//! What a node's process takes for the time: the time of day by libfaketime, its uptime by a time namespace.
//!
//! libfaketime stands before the C library's functions and reads how far off it is to be from a file, so a running
//! process can be told another time at any moment; the monotonic clock is left as it is. What asks the kernel without
//! the C library, as every Go program, is not reached. Source: libfaketime's README.
//!
//! A time namespace moves the monotonic clock and the uptime of all that is started in it, whatever the program, and
//! cannot be changed later. Source: time_namespaces(7).

use super::{Cluster, ClusterError, Node, NodeIndex};
use nix::libc;
use std::{
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// The metric in which our own server tells the time of day.
const TIME_METRIC: &str = "assay_time_seconds";
/// How long a member may take to tell it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// More than all metrics take.
const ANSWER_MAX: u64 = 1 << 20;
/// For kernel headers of before 2020. Source: Linux, include/uapi/linux/sched.h.
const CLONE_NEWTIME: libc::c_int = 0x80;

/// Where libfaketime is, in the form for programs with threads.
pub(super) fn library() -> Option<PathBuf> {
    const NAME: &str = "faketime/libfaketimeMT.so.1";
    let of_architectures = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let usual = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from);
    usual.into_iter().chain(of_architectures).map(|folder| folder.join(NAME)).find(|path| path.is_file())
}

/// Whether this program, which is our server too, uses the C library that libfaketime stands before.
pub(super) fn is_dynamic() -> bool {
    fs::read_to_string("/proc/self/maps").is_ok_and(|maps| maps.contains("/libc.so"))
}

/// Has a process take the time of day from the node's file.
pub(super) fn follow_file(command: &mut Command, node: &Node) -> Result<(), ClusterError> {
    let Some(library) = library() else {
        return Err(ClusterError::Spec("libfaketime is gone since the run began".to_owned()));
    };
    write_offset(&file(node), 0)?;
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", file(node))
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    Ok(())
}

fn file(node: &Node) -> PathBuf {
    node.log.with_extension("clock")
}

/// In one step: a process may read it at any moment.
fn write_offset(path: &Path, seconds: i64) -> Result<(), ClusterError> {
    let new = path.with_extension("clock-new");
    let written = fs::write(&new, format!("{seconds:+}\n")).and_then(|()| fs::rename(&new, path));
    written.map_err(ClusterError::io(format!("writing {}", path.display())))
}

/// Has a process begin in a time namespace whose machine has been up for longer, by whole seconds.
#[expect(unsafe_code, reason = "only the child itself can move there, between fork and exec")]
pub(super) fn begin_later(command: &mut Command, by: Duration) {
    let seconds = by.as_secs();
    let offsets = format!("monotonic {seconds} 0\nboottime {seconds} 0\n");
    // SAFETY: between fork and exec only async-signal-safe functions may be called; these are plain system calls on
    // memory that was made before, and an error made of errno does not allocate.
    unsafe {
        command.pre_exec(move || {
            let check = |result: libc::c_int| match result {
                -1 => Err(io::Error::last_os_error()),
                result => Ok(result),
            };
            check(libc::unshare(CLONE_NEWTIME))?;
            let file =
                check(libc::open(c"/proc/self/timens_offsets".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC))?;
            let written = libc::write(file, offsets.as_ptr().cast(), offsets.len());
            if written != isize::try_from(offsets.len()).unwrap_or(-1) {
                return Err(io::Error::last_os_error());
            }
            let namespace = c"/proc/self/ns/time_for_children".as_ptr();
            let namespace = check(libc::open(namespace, libc::O_RDONLY | libc::O_CLOEXEC))?;
            check(libc::setns(namespace, CLONE_NEWTIME)).map(drop)
        });
    }
}

/// The seconds by which the clocks of a process's time namespace are ahead.
pub(super) fn uptime_offset(pid: u32) -> Option<u64> {
    let offsets = fs::read_to_string(format!("/proc/{pid}/timens_offsets")).ok()?;
    let monotonic = offsets.lines().find_map(|line| line.strip_prefix("monotonic"))?;
    monotonic.split_whitespace().next()?.parse().ok()
}

impl Cluster {
    /// Has a node's process believe a time of day that is so many seconds off. Only where the cluster was made for
    /// it ([`Spec::clocks`](super::Spec::clocks)).
    ///
    /// # Errors
    /// When that cannot be written down.
    pub fn set_time_of_day(&self, index: NodeIndex, seconds: i64) -> Result<(), ClusterError> {
        if !self.spec().clocks {
            return Err(ClusterError::Spec("the clocks of this cluster cannot be set".to_owned()));
        }
        write_offset(&file(self.node(index)), seconds)
    }

    /// By how many seconds the time of day that a member tells differs from ours.
    ///
    /// # Errors
    /// When it does not answer, or tells no time, as etcd does not.
    pub async fn time_of_day_off(&self, index: NodeIndex) -> Result<f64, ClusterError> {
        let asking = ClusterError::io(format!("asking {index} for the time"));
        let address = self.node(index).client_url.trim_start_matches("http://").to_owned();
        let asked = timeout(ANSWER_TIMEOUT, metrics(&address)).await;
        let metrics = asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(asking)?;
        let told =
            metrics.lines().find_map(|line| line.strip_prefix(TIME_METRIC)?.trim().parse::<f64>().ok());
        let told = told.ok_or_else(|| ClusterError::Spec(format!("{index} has no metric {TIME_METRIC}")))?;
        let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(told - ours.as_secs_f64())
    }
}

async fn metrics(address: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_written_as_libfaketime_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n1.clock");
        for (seconds, text) in [(0, "+0\n"), (3600, "+3600\n"), (-60, "-60\n")] {
            write_offset(&path, seconds).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn this_process_lives_in_the_time_of_its_machine() {
        if Path::new("/proc/self/timens_offsets").exists() {
            assert_eq!(uptime_offset(std::process::id()), Some(0));
        }
        assert_eq!(uptime_offset(u32::MAX), None);
    }
}
