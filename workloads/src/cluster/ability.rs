//! What a cluster can do to its nodes, beyond what every kind can.

use super::{Kind, System, clocks, netns};
use std::{env, fs, path::Path};

/// Something that not every cluster can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ability {
    /// To keep clients from a node.
    ClientLinks,
    /// To delay, lose, double or hold up single packets.
    Packets,
    /// To tamper with system calls.
    Syscalls,
    /// To cut a disk's power, to fill it, to make it read-only.
    Disks,
    /// To hold up what a process writes to its disk.
    SlowDisks,
    /// To change the time of day of a process that runs.
    TimeOfDay,
    /// To start a process with another uptime.
    Uptime,
}

/// Why a cluster cannot do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What is missing, and what to do about it.
    pub text: String,
    /// Whether this machine lacks something, rather than this kind of cluster.
    pub of_machine: bool,
}

impl Ability {
    /// Every one.
    pub const ALL: [Ability; 7] = [
        Ability::ClientLinks,
        Ability::Packets,
        Ability::Syscalls,
        Ability::Disks,
        Ability::SlowDisks,
        Ability::TimeOfDay,
        Ability::Uptime,
    ];

    /// Why a cluster of this kind and system, here, cannot do it; `None` when it can. A `netns` cluster must have
    /// been entered.
    pub fn lack(self, kind: Kind, system: &System) -> Option<Lack> {
        let never = |text: &str| Some(Lack { text: text.to_owned(), of_machine: false });
        let not_here = |text: String| Some(Lack { text, of_machine: true });
        match (self, kind) {
            (Ability::ClientLinks, Kind::Netns | Kind::Compose) => None,
            (Ability::ClientLinks, Kind::Local) => {
                never("clients of a local cluster connect directly; use --cluster netns or compose")
            }
            (Ability::Packets, Kind::Netns) => netns::packets_available().err().and_then(|error| {
                not_here(format!("the kernel hands out no packets ({error}); it needs NFQUEUE"))
            }),
            (Ability::Packets, Kind::Local | Kind::Compose) => {
                never("packets are got hold of in a netns cluster only; use --cluster netns")
            }
            (Ability::Syscalls, Kind::Netns | Kind::Local) => no_strace().and_then(not_here),
            (Ability::Syscalls, Kind::Compose) => {
                never("strace does not reach into containers; use --cluster netns or local")
            }
            (Ability::Disks, Kind::Netns) => no_loop_devices().and_then(not_here),
            (Ability::SlowDisks, Kind::Netns) => {
                no_loop_devices().or_else(netns::no_throttle).and_then(not_here)
            }
            (Ability::Disks | Ability::SlowDisks, Kind::Local | Kind::Compose) => {
                never("disks are mounted where only the run sees them; use --cluster netns, as root")
            }
            (Ability::TimeOfDay | Ability::Uptime, Kind::Compose) => {
                never("clocks are set where the harness starts the processes; use --cluster netns or local")
            }
            (Ability::TimeOfDay, Kind::Netns | Kind::Local) => match system {
                System::Etcd { .. } => {
                    never("libfaketime does not reach a program in Go, such as etcd; clock-monotonic does")
                }
                System::Assay { .. } => no_libfaketime().and_then(not_here),
            },
            (Ability::Uptime, Kind::Netns | Kind::Local) => no_time_namespaces(kind).and_then(not_here),
        }
    }
}

/// What is missing for strace to attach to a node's process.
fn no_strace() -> Option<String> {
    if !on_path("strace") {
        return Some("there is no program `strace`; install it (Debian: strace)".into());
    }
    // 0 and 1 let a process trace its own user's processes, or its descendants, of which ours are not.
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let powerful = nix::unistd::geteuid().is_root();
    match scope.trim() {
        "" | "0" => None,
        "3" => Some("nobody may trace here (kernel.yama.ptrace_scope is 3)".into()),
        _ if powerful => None,
        scope => Some(format!(
            "strace may not attach to processes (kernel.yama.ptrace_scope is {scope}); run as root, use --cluster \
             netns, or set it to 0"
        )),
    }
}

/// What is missing to tell our own server another time of day.
fn no_libfaketime() -> Option<String> {
    if clocks::library().is_none() {
        return Some("there is no libfaketime; install it (Debian: libfaketime)".into());
    }
    (!clocks::is_dynamic())
        .then(|| "this program is linked statically, which libfaketime does not reach".into())
}

/// What is missing for processes with an uptime of their own.
fn no_time_namespaces(kind: Kind) -> Option<String> {
    if !Path::new("/proc/self/timens_offsets").exists() {
        return Some("the kernel has no time namespaces (CONFIG_TIME_NS)".into());
    }
    // A netns cluster has been entered as the root of its user namespace.
    let powerful = kind == Kind::Netns || nix::unistd::geteuid().is_root();
    (!powerful).then(|| "time namespaces need root, or --cluster netns".into())
}

/// What is missing for disks of one's own.
fn no_loop_devices() -> Option<String> {
    for (program, package) in [("mkfs.ext4", "e2fsprogs"), ("mount", "mount"), ("umount", "mount")] {
        if !on_path(program) {
            return Some(format!("there is no program `{program}`; install {package}"));
        }
    }
    // All user ids, mapped to themselves: the machine's own root.
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let own: Vec<&str> = map.split_whitespace().collect();
    if !nix::unistd::geteuid().is_root() || own != ["0", "0", "4294967295"] {
        return Some("disks of one's own need root".into());
    }
    if !Path::new("/dev/loop-control").exists() {
        return Some("the kernel has no loop devices (modprobe loop)".into());
    }
    None
}

fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    env::split_paths(&path).chain(usual).any(|folder| folder.join(program).is_file())
}
