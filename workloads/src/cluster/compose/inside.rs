//! What is different for a harness that is a container among the nodes.

use super::{engine::Engine, fleet, server};
use crate::cluster::ClusterError;
use std::{
    env, fs, io,
    os::unix::fs::{MetadataExt, lchown},
    path::Path,
};

/// Says `inside` in the harness's container.
const PART: &str = "ASSAY_COMPOSE";

/// The folder of the host that the harness writes into.
const STORE: &str = "ASSAY_STORE";

/// What the user calls this program.
pub const PROGRAM: &str = "ASSAY_PROGRAM";

/// Whether this process is in the harness's container, on the nodes' network.
pub fn inside() -> bool {
    env::var(PART).is_ok_and(|part| part == "inside")
}

/// Removes the servers that are left, whatever became of the run, and gives what was written to whom the
/// folder belongs: the harness is root in its container, its user need not be.
///
/// # Errors
/// The first that came up; everything was tried.
pub async fn leave() -> Result<(), ClusterError> {
    let removed = match fleet::own_project(&Engine::mounted()).await {
        Ok(project) => server::remove_leftovers(&Engine::mounted(), &project).await,
        Err(error) => Err(error),
    };
    let given = match env::var(STORE) {
        Ok(store) => {
            give(Path::new(&store)).map_err(ClusterError::io(format!("giving {store} to its owner")))
        }
        Err(_) => Ok(()),
    };
    removed.and(given)
}

/// Gives everything below a folder that belongs to this user to the folder's owner.
fn give(store: &Path) -> io::Result<()> {
    let owner = fs::symlink_metadata(store)?;
    let own = nix::unistd::geteuid().as_raw();
    if owner.uid() == own {
        return Ok(());
    }
    let mut folders = vec![store.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            // What is somebody else's already is of an earlier run.
            if metadata.uid() == own {
                lchown(entry.path(), Some(owner.uid()), Some(owner.gid()))?;
            }
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_root_wrote_goes_to_the_folders_owner() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED: only root can give files away");
            return;
        }
        let store = tempfile::tempdir().unwrap();
        fs::create_dir_all(store.path().join("all/run/nodes")).unwrap();
        fs::write(store.path().join("all/run/nodes/n1.log"), "x").unwrap();
        std::os::unix::fs::symlink("all/run", store.path().join("latest")).unwrap();
        lchown(store.path(), Some(1234), Some(4321)).unwrap();
        lchown(store.path().join("all"), Some(1234), Some(4321)).unwrap();
        give(store.path()).unwrap();
        for path in ["all", "all/run", "all/run/nodes", "all/run/nodes/n1.log", "latest"] {
            let metadata = fs::symlink_metadata(store.path().join(path)).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (1234, 4321), "{path}");
        }
    }
}
