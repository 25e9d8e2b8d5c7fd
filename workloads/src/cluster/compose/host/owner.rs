//! Who made a container, network or volume, and what became of them.

use super::{super::labels::OWNER, docker::docker};
use crate::cluster::ClusterError;
use std::{fs, io};

/// A process that made containers: this machine's boot, the pid namespace, the process's id, and when it
/// started, so that no other process is ever taken for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    boot: String,
    namespace: String,
    pid: u32,
    start_ticks: u64,
}

impl Owner {
    /// This process.
    pub(super) fn own() -> Result<Owner, ClusterError> {
        let own = || -> io::Result<Owner> {
            let pid = std::process::id();
            Ok(Owner {
                boot: fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned(),
                namespace: fs::read_link("/proc/self/ns/pid")?.to_string_lossy().into_owned(),
                pid,
                start_ticks: start_ticks(pid).ok_or_else(|| io::Error::other("no start time"))?,
            })
        };
        own().map_err(ClusterError::io("reading /proc"))
    }

    /// What the label says.
    pub(super) fn label(&self) -> String {
        format!("{}/{}/{}/{}", self.boot, self.namespace, self.pid, self.start_ticks)
    }

    fn parse(label: &str) -> Option<Owner> {
        let mut parts = label.split('/');
        let owner = Owner {
            boot: parts.next()?.to_owned(),
            namespace: parts.next()?.to_owned(),
            pid: parts.next()?.parse().ok()?,
            start_ticks: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(owner)
    }

    /// Whether the process surely is no more. The daemon is this machine's own, and so are its containers:
    /// those of another boot are of an earlier one. Of a namespace whose processes are not to be seen from
    /// here nothing is sure.
    fn is_gone(&self, own: &Owner) -> bool {
        self.boot != own.boot
            || self.namespace == own.namespace && start_ticks(self.pid) != Some(self.start_ticks)
    }
}

/// When a process started, in ticks since the boot; `None` when there is none of that id, or it is but waited
/// for. Source: proc(5), field 22 of /proc/PID/stat.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name stands in parentheses, and may itself hold any character; the state follows it,
    // field 3.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Removes what the fronts of earlier runs have left because they were killed. What belongs to a process that
/// still is, or to somebody's own use of compose, is left alone.
///
/// # Errors
/// When something of theirs cannot be removed.
pub(super) async fn sweep(own: &Owner) -> Result<(), ClusterError> {
    let gone = |label: &str| Owner::parse(label).is_some_and(|owner| owner.is_gone(own));
    // A network or volume goes only after the containers that use it.
    for (kind, name, remove) in [
        ("container", "{{.ID}}", &["rm", "--force", "--volumes"][..]),
        ("network", "{{.ID}}", &["rm"]),
        ("volume", "{{.Name}}", &["rm", "--force"]),
    ] {
        let all = if kind == "container" { &["ls", "--all"][..] } else { &["ls"] };
        let filter = format!("label={OWNER}");
        let format = format!("{name}\t{{{{.Label \"{OWNER}\"}}}}");
        let listed = docker([&[kind], all, &["--filter", &filter, "--format", &format]].concat()).await?;
        let labelled = listed.lines().filter_map(|line| line.split_once('\t'));
        let left: Vec<&str> = labelled.filter(|(_, label)| gone(label)).map(|(id, _)| id).collect();
        if !left.is_empty() {
            tracing::warn!(kind, count = left.len(), "removing what a killed run has left");
            docker([&[kind], remove, &left].concat()).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_gone_only_when_that_is_sure() {
        let own = Owner::own().unwrap();
        assert_eq!(Owner::parse(&own.label()), Some(own.clone()));
        assert!(!own.is_gone(&own), "this process is there");
        let other = Owner { start_ticks: own.start_ticks + 1, ..own.clone() };
        assert!(other.is_gone(&own), "its id belongs to another process now");
        assert!(Owner { boot: "earlier".into(), ..own.clone() }.is_gone(&own), "it ended with its boot");
        assert!(!Owner { namespace: "pid:[1]".into(), ..other }.is_gone(&own), "not to be seen from here");
        for label in ["compose", "", "a/b/c/d", "a/b/1/2/3"] {
            assert_eq!(Owner::parse(label), None, "{label}");
        }
    }

    #[test]
    fn a_process_that_has_ended_is_gone_even_before_it_is_waited_for() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        let begin = std::time::Instant::now();
        while start_ticks(pid).is_some() {
            assert!(begin.elapsed().as_secs() < 30, "`true` does not end");
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(start_ticks(pid), None);
    }
}
