//! Differences that are meant to be.

use super::call::Said;

/// Stands in a call for a revision at which the stores were compacted lately.
const COMPACTED: &str = "$compacted";

/// One of them: each part must stand in what it is about.
#[derive(Debug)]
struct Exception {
    call: &'static str,
    etcd: &'static str,
    ours: &'static str,
    times: u64,
}

/// Those that hold for a release of etcd.
#[derive(Debug)]
pub struct Exceptions(Vec<Exception>);

impl Exceptions {
    /// Reads `exceptions.txt`: release, call, etcd's answer, ours, and the reason, with bars in between.
    /// `$compacted` in a call is any revision at which the stores were compacted lately.
    pub fn of(version: &str) -> Exceptions {
        let lines = include_str!("exceptions.txt").lines();
        let lines = lines.filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        let exception = |line: &'static str| {
            let parts: Vec<&str> = line.split('|').map(str::trim).collect();
            let [release, call, etcd, ours, reason] = parts[..] else { panic!("five parts: {line}") };
            assert!(!reason.is_empty(), "an exception has a reason: {line}");
            let holds = release == "all" || version.contains(&format!("etcd Version: {release}."));
            holds.then_some(Exception { call, etcd, ours, times: 0 })
        };
        Exceptions(lines.filter_map(exception).collect())
    }

    /// Whether the two answers may differ. `compactions`: revisions at which the stores were compacted lately.
    pub fn allow(&mut self, call: &str, etcd: &Said, ours: &Said, compactions: &[i64]) -> bool {
        let (etcd, ours) = (format!("{etcd:?}"), format!("{ours:?}"));
        let is_of_call = |part: &str| match part.contains(COMPACTED) {
            true => compactions.iter().any(|at| call.contains(&part.replace(COMPACTED, &at.to_string()))),
            false => call.contains(part),
        };
        let fits = |exception: &&mut Exception| {
            is_of_call(exception.call) && etcd.contains(exception.etcd) && ours.contains(exception.ours)
        };
        let found = self.0.iter_mut().find(fits);
        found.map(|exception| exception.times += 1).is_some()
    }

    /// How often each was of use.
    pub fn used(&self) -> String {
        let used = self.0.iter().filter(|exception| exception.times > 0);
        let used: Vec<String> =
            used.map(|exception| format!("{} {:?}", exception.times, exception.call)).collect();
        if used.is_empty() { "none".into() } else { used.join(", ") }
    }
}
