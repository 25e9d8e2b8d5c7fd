//! What a cluster can do to its nodes, beyond what every kind can.

use super::{Kind, System, netns};
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
    /// To change who is a member.
    Membership,
    /// To write snapshots for an operator.
    Snapshots,
}

/// Why a cluster cannot do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What is missing, and what to do about it.
    pub text: String,
    /// Whether this machine lacks something, rather than this kind of cluster or system.
    pub of_machine: bool,
}

impl Ability {
    /// Every one.
    pub const ALL: [Ability; 6] = [
        Ability::ClientLinks,
        Ability::Packets,
        Ability::Syscalls,
        Ability::Disks,
        Ability::Membership,
        Ability::Snapshots,
    ];

    /// Why a cluster of this kind, here, cannot do it; `None` when it can. A `netns` cluster must have been
    /// entered.
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
            (Ability::Disks, Kind::Local | Kind::Compose) => {
                never("disks are mounted where only the run sees them; use --cluster netns, as root")
            }
            (Ability::Membership, _) => match system {
                System::Etcd { .. } => None,
                System::Assay { .. } => never("assay-server does not change its members yet"),
            },
            (Ability::Snapshots, _) => match system {
                System::Etcd { .. } => None,
                System::Assay { .. } => never("assay-server hands out no snapshots"),
            },
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
