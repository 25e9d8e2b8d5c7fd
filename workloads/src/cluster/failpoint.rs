//! System calls of a program that is not changed for it, delayed, failed or made its last, by strace.
//!
//! strace attaches to the process and stops it at every system call, so the program is slower for as long as
//! a failpoint is armed; only calls that touch the chosen files are tampered with. Source: strace(1),
//! "Tampering".

use super::{Cluster, ClusterError, NodeIndex, ProcessState};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// How long strace may take to attach, or to let go, on a loaded machine.
const STRACE_TIMEOUT: Duration = Duration::from_secs(10);

/// What happens to a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tampering {
    /// It begins later.
    Delay(Duration),
    /// It is not done, and gives this error, such as `EIO`.
    Error(&'static str),
    /// The process is killed before it is done.
    Kill,
}

/// Which system calls are tampered with, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failpoint {
    /// Names of the calls, separated by commas.
    pub calls: &'static str,
    /// What happens to them.
    pub tampering: Tampering,
    /// Only the call of this number of each thread, from 1; every one otherwise.
    pub when: Option<u32>,
    /// Whether only calls count that touch the files which the process logs to.
    pub on_log: bool,
}

impl Failpoint {
    /// The words that tell strace.
    fn expressions(&self) -> [String; 2] {
        let tampering = match self.tampering {
            Tampering::Delay(delay) => format!("delay_enter={}", delay.as_micros()),
            Tampering::Error(error) => format!("error={error}"),
            // Delivered on entry: the call itself is not done.
            Tampering::Kill => "error=EINTR:signal=KILL".to_owned(),
        };
        let when = self.when.map(|number| format!(":when={number}")).unwrap_or_default();
        [format!("trace={}", self.calls), format!("inject={}:{tampering}{when}", self.calls)]
    }
}

/// A failpoint at work. It lets go of the process when it is dropped.
#[derive(Debug)]
pub struct Armed {
    strace: Child,
    trace: PathBuf,
    /// The files, calls to which are tampered with; none where all are.
    pub files: Vec<PathBuf>,
    /// The process that strace has attached to.
    pub pid: u32,
}

impl Cluster {
    /// Arms a failpoint in a node's process.
    ///
    /// # Errors
    /// When the process does not run, has no such file open, or strace cannot attach to it.
    pub async fn arm(&self, index: NodeIndex, failpoint: &Failpoint) -> Result<Armed, ClusterError> {
        let node = self.node(index);
        let doing = || ClusterError::io(format!("attaching strace to {}", node.name));
        let ProcessState::Running { pid } = self.state(index).await else {
            return Err(doing()(std::io::Error::other("it does not run")));
        };
        let files = if failpoint.on_log { log_files(pid, &node.data) } else { Vec::new() };
        if failpoint.on_log && files.is_empty() {
            return Err(doing()(std::io::Error::other("it has no log open for writing")));
        }
        let trace = node.log.with_extension(format!("strace-{pid}"));
        // What an earlier failpoint of this process saw is told already.
        let _ = fs::remove_file(&trace);
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &pid.to_string(), "-o"]).arg(&trace);
        for expression in failpoint.expressions() {
            command.args(["-e", &expression]);
        }
        for file in &files {
            command.arg("-P").arg(file);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // Ctrl-C is for the harness.
        command.process_group(0).kill_on_drop(true);
        tracing::debug!(?command, "running");
        let mut strace = command.spawn().map_err(doing())?;
        let mut said = BufReader::new(strace.stderr.take().expect("it is piped")).lines();
        let attached = timeout(STRACE_TIMEOUT, async {
            let mut last = String::new();
            while let Ok(Some(line)) = said.next_line().await {
                // It names the files first, where they are links.
                if line.contains("attached") {
                    return Ok(());
                }
                last = line;
            }
            Err(std::io::Error::other(last))
        });
        match attached.await {
            Ok(attached) => attached.map_err(doing())?,
            Err(_) => return Err(doing()(std::io::ErrorKind::TimedOut.into())),
        }
        // Threads that come up later are told of too: somebody must read it.
        tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
        Ok(Armed { strace, trace, files, pid })
    }
}

impl Armed {
    /// The lines in which strace tells of calls that were tampered with, or are being delayed now.
    pub fn effects(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.trace).unwrap_or_default();
        let told = |line: &&str| {
            ["(DELAYED)", "(INJECTED)", "killed by SIGKILL"].iter().any(|mark| line.contains(mark))
        };
        text.lines().filter(told).map(str::to_owned).collect()
    }

    /// Lets go of the process.
    ///
    /// # Errors
    /// When strace does not end.
    pub async fn disarm(mut self) -> Result<(), ClusterError> {
        let doing = || ClusterError::io("ending strace");
        if let Some(pid) = self.strace.id() {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("the kernel's process ids fit"));
            // It ends by itself with the process.
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        }
        match timeout(STRACE_TIMEOUT, self.strace.wait()).await {
            Ok(ended) => ended.map(drop).map_err(doing()),
            Err(_) => Err(doing()(std::io::ErrorKind::TimedOut.into())),
        }
    }
}

/// The files of its log that a process has open for writing.
fn log_files(pid: u32, data: &Path) -> Vec<PathBuf> {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let mut files: Vec<PathBuf> = open
        .flatten()
        .filter(|entry| {
            let number = entry.file_name();
            let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", number.to_string_lossy()));
            info.is_ok_and(|info| writable(&info))
        })
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter(|file| file.starts_with(data) && is_log(file.strip_prefix(data).unwrap_or(file)))
        .collect();
    files.sort();
    files.dedup();
    files
}

/// Whether /proc says that a file is open for writing: the last octal digit of its flags is the access mode.
fn writable(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.is_some_and(|flags| flags.trim_end().ends_with(['1', '2', '5', '6']))
}

/// Whether this is a file of etcd's log or ours, by its path in the data directory. One that is made ahead
/// of its use, `0.tmp`, is not.
fn is_log(file: &Path) -> bool {
    let name = file.to_string_lossy();
    (name.contains("wal") || name.starts_with("log/")) && !name.ends_with(".tmp")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strace_is_told_what_to_do() {
        let failpoint = |tampering, when| {
            Failpoint { calls: "fdatasync,fsync", tampering, when, on_log: true }.expressions()[1].clone()
        };
        assert_eq!(
            failpoint(Tampering::Delay(Duration::from_millis(80)), None),
            "inject=fdatasync,fsync:delay_enter=80000"
        );
        assert_eq!(failpoint(Tampering::Error("EIO"), Some(3)), "inject=fdatasync,fsync:error=EIO:when=3");
        assert!(failpoint(Tampering::Kill, Some(1)).ends_with("signal=KILL:when=1"));
    }

    #[test]
    fn the_log_is_told_from_other_files() {
        assert!(is_log(Path::new("member/wal/0000000000000000-0000000000000000.wal")));
        assert!(!is_log(Path::new("member/wal/0.tmp")));
        assert!(!is_log(Path::new("member/snap/db")));
        assert!(writable("pos:\t0\nflags:\t0100002\nmnt_id:\t30\n"));
        assert!(!writable("pos:\t0\nflags:\t0100000\n") && !writable(""));
    }
}
