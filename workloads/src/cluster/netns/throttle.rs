//! A process that may write to a device only so many times a second: the throttle of a control group.
//!
//! Version 1 of control groups (`blkio`) and version 2 (`io`) both count what is written through and what a sync writes,
//! on behalf of who syncs. The groups are the only thing of a run that lies outside of its namespaces: those of runs that
//! have died are removed by the next one. Source: Linux, Documentation/admin-guide/cgroup-v{1/blkio-controller,2}.rst.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const BLKIO: &str = "/sys/fs/cgroup/blkio";
const UNIFIED: &str = "/sys/fs/cgroup";
/// What the names of our groups begin with.
const PREFIX: &str = "assay-";

/// A control group that holds processes up.
#[derive(Clone, Debug)]
pub(super) struct Throttle {
    group: PathBuf,
    /// Where its processes go in the end: back where the harness itself is.
    home: PathBuf,
}

impl Throttle {
    /// Why there can be none here.
    pub(super) fn lack() -> Option<String> {
        match root() {
            None => {
                Some("the kernel throttles no disks here (neither blkio of cgroup v1 nor io of v2)".into())
            }
            Some(root) => {
                let probe = root.join(format!("{PREFIX}probe-{}", std::process::id()));
                let made = fs::create_dir(&probe).and_then(|()| fs::remove_dir(&probe));
                made.err()
                    .map(|error| format!("no control groups can be made in {}: {error}", root.display()))
            }
        }
    }

    /// Lets a process write `per_s` times a second to a device.
    pub(super) fn begin(
        name: &str,
        pid: u32,
        (major, minor): (u64, u64),
        per_s: u32,
    ) -> io::Result<Throttle> {
        let root = root().ok_or_else(|| io::Error::other("the kernel throttles no disks here"))?;
        remove_leftovers(&root);
        let group = root.join(format!("{PREFIX}{}-{name}", harness()?));
        match fs::create_dir(&group) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let home = home(&root)?;
        let throttle = Throttle { group, home };
        if throttle.group.join("io.max").exists() {
            throttle.write("io.max", &format!("{major}:{minor} wiops={per_s}"))?;
        } else {
            throttle.write("blkio.throttle.write_iops_device", &format!("{major}:{minor} {per_s}"))?;
        }
        throttle.write("cgroup.procs", &pid.to_string())?;
        Ok(throttle)
    }

    /// How long so many synced writes to a new file take whoever is held up.
    pub(super) fn time(&self, file: &Path, writes: u32) -> io::Result<Duration> {
        let procs = self.group.join("cgroup.procs");
        // A shell that joins the group before it becomes dd.
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "echo $$ > \"$1\" && exec dd if=/dev/zero of=\"$2\" bs=4096 count=\"$3\" oflag=dsync",
                "sh",
            ])
            .arg(procs)
            .arg(file)
            .arg(writes.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let start = Instant::now();
        let output = command.output()?;
        let took = start.elapsed();
        // It may not be there.
        let _ = fs::remove_file(file);
        match output.status.success() {
            true => Ok(took),
            false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        }
    }

    /// Sets whoever is held up free.
    pub(super) fn end(self) -> io::Result<()> {
        for pid in fs::read_to_string(self.group.join("cgroup.procs"))?.lines() {
            // One that has just ended need not be moved.
            let _ = fs::write(self.home.join("cgroup.procs"), pid);
        }
        let start = Instant::now();
        loop {
            match fs::remove_dir(&self.group) {
                // A process that has just ended is gone a moment later.
                Err(error) if start.elapsed() > Duration::from_secs(2) => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
                Ok(()) => return Ok(()),
            }
        }
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        let path = self.group.join(file);
        fs::write(&path, text).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
    }
}

/// The group in which ours are made.
fn root() -> Option<PathBuf> {
    if Path::new(BLKIO).join("blkio.throttle.write_iops_device").exists() {
        return Some(BLKIO.into());
    }
    let children = fs::read_to_string(Path::new(UNIFIED).join("cgroup.subtree_control")).ok()?;
    children.split_whitespace().any(|controller| controller == "io").then(|| UNIFIED.into())
}

/// The group in which this process is.
fn home(root: &Path) -> io::Result<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let of = |line: &str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let ours = controllers.split(',').any(|name| name == "blkio")
            || (root == Path::new(UNIFIED) && controllers.is_empty());
        ours.then(|| root.join(path.trim_start_matches('/')))
    };
    groups
        .lines()
        .find_map(of)
        .ok_or_else(|| io::Error::other("/proc/self/cgroup does not tell this process's group"))
}

/// What tells this harness from all others that run now: its namespace of process ids, and its id in there.
fn harness() -> io::Result<String> {
    let namespace = fs::read_link("/proc/self/ns/pid")?;
    let digits: String = namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    Ok(format!("{digits}-{}", std::process::id()))
}

/// Removes groups of runs that have ended without doing so: a group without processes, older than any fault lasts.
fn remove_leftovers(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let old = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|made| made.elapsed().is_ok_and(|age| age > Duration::from_secs(600)));
        if old && entry.file_name().to_string_lossy().starts_with(PREFIX) {
            // The kernel refuses while anybody is in there.
            let _ = fs::remove_dir(entry.path());
        }
    }
}
