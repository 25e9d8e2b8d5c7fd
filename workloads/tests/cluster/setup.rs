//! What the cases stand on: a folder with the programs, and helpers to look at processes.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use workloads::cluster::{Kind, Spec, System};

/// A folder that anybody may read, with this program in it, and a program `etcd`: real etcd's where
/// `ASSAY_ETCD_BIN` names it, else a link to this one. In it a folder `out` that anybody may write.
pub(crate) struct Bench {
    folder: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let bench = Bench { folder };
        open_to_all(bench.dir(), 0o755);
        fs::create_dir(bench.out()).expect("a folder");
        open_to_all(&bench.out(), 0o777);
        let own = env::current_exe().expect("this program's path");
        if fs::hard_link(&own, bench.program()).is_err() {
            fs::copy(&own, bench.program()).expect("a copy of this program");
        }
        let etcd = bench.dir().join("etcd");
        match env::var_os("ASSAY_ETCD_BIN") {
            // A copy, since its own folder may be closed to the user that a case becomes.
            Some(programs) => {
                fs::copy(Path::new(&programs).join("etcd"), &etcd).expect("ASSAY_ETCD_BIN holds `etcd`");
                open_to_all(&etcd, 0o755);
            }
            None => symlink(bench.program(), etcd).expect("a link"),
        }
        bench
    }

    pub(crate) fn dir(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.dir().join("out")
    }

    /// This program, where anybody may run it.
    pub(crate) fn program(&self) -> PathBuf {
        self.dir().join("cases")
    }
}

fn open_to_all(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions of our own file");
}

/// A cluster whose programs and files are in `dir`, as [`Bench::new`] laid it out.
pub(crate) fn spec(kind: Kind, nodes: usize, dir: &Path) -> Spec {
    Spec::new(kind, System::Etcd { dir: dir.to_path_buf() }, nodes, dir.join("out/nodes"))
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

/// Waits until `condition` holds, for `limit` at most.
pub(crate) fn eventually(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

/// The processes in whose command line `text` stands.
pub(crate) fn processes_with(text: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let named = |id: &u32| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    };
    ids.filter(|id| *id != std::process::id() && named(id)).collect()
}
