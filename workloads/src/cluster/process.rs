//! One node's process.

use super::{ClusterError, Crash, Ended, Node, ProcessState, network::Network};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::{self, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    process::Child,
    time::{sleep, timeout},
};

/// How long a signal may take to show its effect.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a process may take to end once it was asked to: a leader may hand over first.
const TERMINATE_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a log is shown with an error.
const LOG_TAIL_LINES: usize = 20;
const LOG_TAIL_BYTES: u64 = 64 * 1024;

/// One node's process, or the place for one.
#[derive(Debug, Default)]
pub(super) struct Process {
    child: Option<Child>,
    /// Of the present child, or the last.
    pid: u32,
    paused: bool,
    starts: u32,
    /// Whether the end of the present child is among the crashes.
    noted: bool,
    crashes: Vec<Crash>,
    /// Whether a fault is about to make it end by itself.
    end_expected: bool,
    /// How it then did.
    expected_end: Option<Ended>,
}

impl Process {
    /// Starts the process unless it runs. Its output goes to the end of the node's log, after a line that
    /// tells which start this is.
    pub(super) async fn start(
        &mut self,
        node: &Node,
        command: impl FnOnce() -> Result<Command, ClusterError>,
        network: &Network,
    ) -> Result<u32, ClusterError> {
        if let ProcessState::Running { pid } | ProcessState::Paused { pid } = self.state() {
            // What was expected did not come, and is expected no more.
            self.end_expected = false;
            return Ok(pid);
        }
        self.note_crash(node);
        let mut command = command()?;
        let opening = || ClusterError::io(format!("opening {}", node.log.display()));
        let mut log = OpenOptions::new().create(true).append(true).open(&node.log).map_err(opening())?;
        self.starts += 1;
        writeln!(log, "--- start {} of {}: {}", self.starts, node.name, line(&command)).map_err(opening())?;
        let errors = log.try_clone().map_err(opening())?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let program = command.get_program().to_owned();
        let child = network.spawn(node.index, command).await.map_err(|e| ClusterError::Program {
            program: program.into(),
            message: format!("cannot be run: {e}"),
            remedy: "see that the file is there and may be executed".to_owned(),
        })?;
        let pid = child.id().expect("a child that was never waited for has its id");
        self.child = Some(child);
        self.paused = false;
        self.noted = false;
        self.end_expected = false;
        self.expected_end = None;
        self.pid = pid;
        Ok(pid)
    }

    /// Every end that nobody asked for.
    pub(super) fn crashes(&mut self, node: &Node) -> Vec<Crash> {
        self.note_crash(node);
        self.crashes.clone()
    }

    fn note_crash(&mut self, node: &Node) {
        if let ProcessState::Exited { status } = self.state()
            && !self.noted
        {
            self.noted = true;
            self.crashes.push(Crash { node: node.name.clone(), status, log_tail: Process::log_tail(node) });
        }
    }

    /// What the process is doing. Notices one that has ended by itself.
    pub(super) fn state(&mut self) -> ProcessState {
        let Some(child) = &mut self.child else { return ProcessState::Killed };
        match child.try_wait() {
            Ok(None) => {
                let pid = child.id().expect("a child that has not ended has its id");
                if self.paused { ProcessState::Paused { pid } } else { ProcessState::Running { pid } }
            }
            Ok(Some(status)) if self.end_expected => {
                self.expected_end = Some(Ended { pid: self.pid, status: status.to_string() });
                self.child = None;
                self.paused = false;
                ProcessState::Killed
            }
            Ok(Some(status)) => ProcessState::Exited { status: status.to_string() },
            Err(e) => ProcessState::Exited { status: format!("cannot be waited for: {e}") },
        }
    }

    /// From here to the next start an end is no crash.
    pub(super) fn expect_end(&mut self) {
        self.end_expected = true;
    }

    /// How it ended, where that was expected.
    pub(super) fn expected_end(&mut self) -> Option<Ended> {
        self.state();
        self.expected_end.clone()
    }

    /// Ends the process with SIGKILL and waits for it.
    pub(super) async fn kill(&mut self, node: &Node) -> Result<Option<Ended>, ClusterError> {
        self.end(node, Signal::SIGKILL, SIGNAL_TIMEOUT).await
    }

    /// Asks the process to end with SIGTERM and waits for it.
    pub(super) async fn terminate(&mut self, node: &Node) -> Result<Option<Ended>, ClusterError> {
        self.end(node, Signal::SIGTERM, TERMINATE_TIMEOUT).await
    }

    async fn end(
        &mut self,
        node: &Node,
        by: Signal,
        within: Duration,
    ) -> Result<Option<Ended>, ClusterError> {
        let pid = match self.state() {
            ProcessState::Running { pid } | ProcessState::Paused { pid } => pid,
            ProcessState::Killed => return Ok(None),
            ProcessState::Exited { .. } => {
                self.note_crash(node);
                return Ok(None);
            }
        };
        let child = self.child.as_mut().expect("a process that runs is there");
        let doing = || ClusterError::io(format!("ending {}, process {pid}", node.name));
        signal(pid, by)?;
        let status = match timeout(within, child.wait()).await {
            Ok(status) => status.map_err(doing())?,
            Err(_) => return Err(doing()(timed_out())),
        };
        self.child = None;
        self.paused = false;
        Ok(Some(Ended { pid, status: status.to_string() }))
    }

    /// Stops the process with SIGSTOP.
    pub(super) async fn pause(&mut self) -> Result<ProcessState, ClusterError> {
        match self.state() {
            ProcessState::Running { pid } => {
                signal(pid, Signal::SIGSTOP)?;
                self.paused = true;
                wait_until(pid, |state| state == 'T').await?;
            }
            ProcessState::Paused { .. } => {}
            ProcessState::Killed | ProcessState::Exited { .. } => {
                return Err(ClusterError::io("pausing a process")(std::io::Error::other("it does not run")));
            }
        }
        Ok(self.state())
    }

    /// Lets a paused process run on.
    pub(super) async fn resume(&mut self) -> Result<ProcessState, ClusterError> {
        if let ProcessState::Paused { pid } = self.state() {
            signal(pid, Signal::SIGCONT)?;
            wait_until(pid, |state| state != 'T').await?;
            self.paused = false;
        }
        Ok(self.state())
    }

    /// The last lines that a node wrote.
    pub(super) fn log_tail(node: &Node) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = fs::File::open(&node.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        match read() {
            Ok(text) => last_words(&text),
            Err(e) => format!("({}: {e})", node.log.display()),
        }
    }
}

/// The last lines of a log. Where a panic was told of before them, which a long trace of the stack may
/// follow, they are preceded by that and the line after it.
fn last_words(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let (before, last) = lines.split_at(lines.len().saturating_sub(LOG_TAIL_LINES));
    let panic = before.iter().rposition(|line| is_panic(line));
    let told = panic.map_or(&[][..], |at| &before[at..before.len().min(at + 2)]);
    [told, last].concat().join("\n")
}

/// Whether a program written in Rust or in Go tells of a panic here.
pub(crate) fn is_panic(line: &str) -> bool {
    line.contains("panicked at") || line.starts_with("panic:")
}

/// A command as one would type it. None of our arguments needs quotes.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The letter for a process's state in /proc: `R`, `S`, `T` (stopped), `Z`, ... `None` when it is gone.
pub(super) fn proc_state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name stands before it in parentheses, and may itself hold any character.
    stat.rsplit_once(") ")?.1.chars().next()
}

async fn wait_until(pid: u32, reached: impl Fn(char) -> bool) -> Result<(), ClusterError> {
    let start = Instant::now();
    loop {
        match proc_state(pid) {
            Some(state) if reached(state) => return Ok(()),
            Some(_) if start.elapsed() < SIGNAL_TIMEOUT => sleep(Duration::from_millis(2)).await,
            Some(_) => return Err(ClusterError::io(format!("signalling process {pid}"))(timed_out())),
            None => {
                return Err(ClusterError::io(format!("signalling process {pid}"))(std::io::Error::other(
                    "it has ended",
                )));
            }
        }
    }
}

fn signal(pid: u32, signal: Signal) -> Result<(), ClusterError> {
    let pid = i32::try_from(pid).expect("the kernel's process ids fit");
    kill(Pid::from_raw(pid), signal)
        .map_err(|e| ClusterError::io(format!("sending {signal} to {pid}"))(e.into()))
}

fn timed_out() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "no effect in time")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_a_process_hold_its_panic() {
        let trace: String = (0..100).map(|n| format!("{n}: at main.rs\n")).collect();
        let words =
            last_words(&format!("started\nthread 'main' panicked at main.rs:1:\nout of luck\n{trace}"));
        let lines: Vec<&str> = words.lines().collect();
        assert_eq!(lines[..2], ["thread 'main' panicked at main.rs:1:", "out of luck"]);
        assert_eq!(lines.len(), 2 + LOG_TAIL_LINES);
        assert_eq!(lines.last(), Some(&"99: at main.rs"));
        assert_eq!(last_words("one\ntwo"), "one\ntwo");
        assert_eq!(last_words(""), "");
    }

    #[test]
    fn the_kernel_tells_the_state_of_this_process() {
        assert!(matches!(proc_state(std::process::id()), Some('R' | 'S')));
        assert_eq!(proc_state(u32::MAX), None);
    }
}
