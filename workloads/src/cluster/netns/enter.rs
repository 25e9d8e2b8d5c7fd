//! Moving the harness into namespaces of its own.
//!
//! Three processes come of one: the outermost, which made the namespaces and waits; the first inside, which
//! mounts what a pid namespace needs and takes in orphans, as process 1 must; and the harness itself, an
//! ordinary process. Signals sent to the outer ones are passed on inwards, the exit status outwards. Each
//! dies with the one outside it, and with process 1 the kernel ends all others of its pid namespace.

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{
        prctl::set_pdeathsig,
        signal::{SigSet, Signal, kill},
        signalfd::SignalFd,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, getegid, geteuid},
};
use std::{
    env,
    ffi::OsString,
    fmt, fs, io,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio, exit},
};

/// Tells a process its part: `init:PID` for process 1 of a new pid namespace, whose parent is PID outside;
/// `inside:NETNS` for the harness in network namespace NETNS.
const PART: &str = "ASSAY_NETNS";

/// Where the network tools are: often not on the path of an ordinary user.
const TOOL_DIRS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Why network namespaces are not to be had. Displays with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// This process has not called [`enter`].
    NotEntered,
    /// A program is missing.
    Missing {
        /// Which.
        program: String,
        /// What installs it, by Debian's name.
        package: String,
    },
    /// The kernel does not let this user make namespaces.
    Refused {
        /// What it said.
        message: String,
    },
    /// The namespaces came about, but not the network in them.
    Network {
        /// What went wrong.
        message: String,
    },
    /// A folder that the harness works in would be hidden by the namespaces' own /run.
    Hidden {
        /// Which.
        path: PathBuf,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::NotEntered => f.write_str("this process has not entered namespaces of its own"),
            Why::Missing { program, package } => {
                write!(f, "no program `{program}`; install {package}, or use --cluster local")
            }
            Why::Refused { message } => write!(
                f,
                "namespaces are not allowed here ({message}); run as root, allow user namespaces \
                 (sysctl kernel.apparmor_restrict_unprivileged_userns=0, kernel.unprivileged_userns_clone=1, \
                 user.max_user_namespaces), or use --cluster local"
            ),
            Why::Network { message } => write!(
                f,
                "no network can be made inside namespaces ({message}); the kernel needs veth, iptables' filter \
                 table and its bpf match; or use --cluster local"
            ),
            Why::Hidden { path } => write!(
                f,
                "{} lies below /run, which is not to be seen inside namespaces; work elsewhere, or use \
                 --cluster local",
                path.display()
            ),
        }
    }
}

impl std::error::Error for Why {}

/// Whether this process is the one that [`enter`] made.
pub(super) fn entered() -> bool {
    matches!(part(), Part::Inside)
}

enum Part {
    Outside,
    Init { parent: String },
    Inside,
}

fn part() -> Part {
    let Ok(value) = env::var(PART) else { return Part::Outside };
    match value.split_once(':') {
        // Nothing but process 1 may change mounts, whatever a stray variable says.
        Some(("init", parent)) if std::process::id() == 1 => Part::Init { parent: parent.to_owned() },
        // Names the namespace, so that a variable that strayed elsewhere counts for nothing.
        Some(("inside", namespace)) if current_namespace().is_ok_and(|own| own == namespace) => Part::Inside,
        Some(_) | None => Part::Outside,
    }
}

fn current_namespace() -> io::Result<String> {
    Ok(fs::read_link("/proc/self/ns/net")?.to_string_lossy().into_owned())
}

/// Whether a `netns` cluster can be had here: tries it out in namespaces that vanish at once. Takes some 50 ms.
///
/// # Errors
/// What is missing.
pub fn available() -> Result<(), Why> {
    const TRIAL: &str = "mount -t tmpfs tmpfs /run && ip link set lo up && \
        ip link add v0 type veth peer name v1 && iptables-restore -w -n && iptables-save -c -t filter >&2 && \
        echo 1 > /proc/sys/net/ipv4/ip_forward && echo works";
    if entered() {
        return Ok(());
    }
    let needed = [
        ("unshare", "util-linux"),
        ("mount", "mount"),
        ("ip", "iproute2"),
        ("iptables-restore", "iptables"),
        ("iptables-save", "iptables"),
    ];
    let path = tool_path();
    for (program, package) in needed {
        if !env::split_paths(&path).any(|dir| dir.join(program).is_file()) {
            return Err(Why::Missing { program: program.to_owned(), package: package.to_owned() });
        }
    }
    visible()?;
    let refused = |e: io::Error| Why::Refused { message: e.to_string() };
    let mut command = Command::new("unshare");
    if !geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c"]);
    command.arg(format!("echo in; {TRIAL}")).env("PATH", path);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(refused)?;
    // A trial that fails before it reads tells why in its output.
    let _ = child.stdin.take().expect("its input is a pipe").write_all(super::rules::trial().as_bytes());
    let output = child.wait_with_output().map_err(refused)?;
    let (said, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() && said.trim_end().ends_with("works") {
        return Ok(());
    }
    let message = complaint.trim().to_owned();
    Err(if said.starts_with("in") { Why::Network { message } } else { Why::Refused { message } })
}

/// What the harness works with must not lie where the namespaces have their own file system.
fn visible() -> Result<(), Why> {
    for path in [env::current_dir(), env::current_exe()].into_iter().flatten() {
        if path.starts_with("/run") {
            return Err(Why::Hidden { path });
        }
    }
    Ok(())
}

/// The caller's search path, and the folders of the network tools.
fn tool_path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain(TOOL_DIRS.iter().map(PathBuf::from));
    env::join_paths(dirs).unwrap_or(path)
}

/// Moves this program into namespaces of its own: it starts over in there, with the same arguments and
/// working directory, and here the call does not return but ends this process with the other's exit status.
/// In the process inside, the same call returns `Ok`.
///
/// Must be called before any thread is made and before anything is written, at the very start of `main`.
///
/// # Errors
/// What the kernel refused; then nothing has happened. See [`available`] for a full trial.
pub fn enter() -> Result<(), Why> {
    match part() {
        Part::Inside => {
            // The mask came along from the process outside, which takes its signals another way.
            supervised_signals().thread_unblock().map_err(refused("signals"))
        }
        Part::Init { parent } => {
            let failure = init(&parent);
            // Nobody outside can go on from here: the trial of `available` is what falls back.
            eprintln!("assay: setting up namespaces: {failure}");
            exit(3)
        }
        Part::Outside => {
            visible()?;
            separate()?;
            let signals = hold_signals().map_err(refused("signals"))?;
            let child = again(&format!("init:{}", std::process::id())).map_err(refused("starting over"))?;
            supervise(&child, &signals)
        }
    }
}

fn refused<E: fmt::Display>(doing: &'static str) -> impl FnOnce(E) -> Why {
    move |error| Why::Refused { message: format!("{doing}: {error}") }
}

/// Leaves all namespaces that count. Children of this process are in the new pid namespace; it is not.
fn separate() -> Result<(), Why> {
    let spaces = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    let (user, group) = (geteuid(), getegid());
    if user.is_root() {
        match unshare(spaces) {
            // Root of a container, without root's powers: goes on like anybody else.
            Err(Errno::EPERM) => {}
            outcome => return outcome.map_err(refused("unshare")),
        }
    }
    unshare(spaces | CloneFlags::CLONE_NEWUSER).map_err(refused("unshare"))?;
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {user} 1")),
        ("/proc/self/gid_map", format!("0 {group} 1")),
    ] {
        fs::write(file, text).map_err(refused(file))?;
    }
    Ok(())
}

/// Process 1 of the new pid namespace: never returns unless something fails.
fn init(parent: &str) -> String {
    let prepare = || -> io::Result<(Child, SignalFd)> {
        set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before that; its /proc is still to be seen.
        // A process that has ended, and was not waited for yet, has no command line.
        if !fs::read(Path::new("/proc").join(parent).join("cmdline")).is_ok_and(|line| !line.is_empty()) {
            return Err(io::Error::other("the outer process has ended"));
        }
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), "/proc", Some("proc"), flags, none)?;
        mount(Some("tmpfs"), "/run", Some("tmpfs"), flags, none)?;
        let signals = hold_signals()?;
        let child = again(&format!("inside:{}", current_namespace()?))?;
        Ok((child, signals))
    };
    match prepare() {
        Ok((child, signals)) => supervise(&child, &signals),
        Err(error) => error.to_string(),
    }
}

/// Starts this program over with another part.
fn again(part: &str) -> io::Result<Child> {
    let mut arguments = env::args_os();
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).env(PART, part).env("PATH", tool_path()).spawn()
}

/// The signals that [`supervise`] takes.
fn supervised_signals() -> SigSet {
    SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGCHLD])
}

/// Holds back the signals that [`supervise`] takes, so that they wait to be read.
fn hold_signals() -> io::Result<SignalFd> {
    let signals = supervised_signals();
    signals.thread_block()?;
    Ok(SignalFd::new(&signals)?)
}

/// Waits for the child, passes signals on to it, and ends with its exit status, or 128 + the signal that
/// ended it. Other children that fall to this process are waited for too.
fn supervise(child: &Child, signals: &SignalFd) -> ! {
    let child = Pid::from_raw(i32::try_from(child.id()).expect("the kernel's process ids fit"));
    loop {
        let Ok(Some(received)) = signals.read_signal() else { continue };
        let signal = i32::try_from(received.ssi_signo).ok().and_then(|n| Signal::try_from(n).ok());
        match signal {
            Some(Signal::SIGCHLD) => {
                if let Some(status) = reap(child) {
                    exit(status);
                }
            }
            // What a terminal sends goes to its whole foreground group, the child included; only what was
            // sent to this process alone (by a process: code 0 or less) is passed on.
            Some(signal) if received.ssi_code <= 0 => {
                // The child may have ended: then its status comes next.
                let _ = kill(child, signal);
            }
            Some(_) | None => {}
        }
    }
}

/// Waits for all children that have ended; gives the exit status of the one that counts, if it is among them.
fn reap(child: Pid) -> Option<i32> {
    let mut status = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => status = Some(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => status = Some(128 + signal as i32),
            Ok(WaitStatus::StillAlive) => return status,
            Ok(_) | Err(Errno::EINTR) => {}
            // No children are left.
            Err(_) => return status,
        }
    }
}
