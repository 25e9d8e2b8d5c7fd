//! The folder that a run writes into.

use super::Failure;
use crate::report::file_stamp;
use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Where runs are stored unless told otherwise.
pub(super) const STORE: &str = "store";
/// So many runs of the same second get folders of their own.
const SAME_SECOND_MAX: u32 = 1000;

/// Makes the folder: `out`, which must be empty or not exist, or else a new one below `store/NAME`, to which
/// links named `latest` are pointed.
///
/// # Errors
/// When `out` holds something, or the folder cannot be made.
pub(super) fn make(out: Option<&Path>, name: &str) -> Result<PathBuf, Failure> {
    match out {
        Some(out) => {
            let usage = |error: io::Error| Failure::Usage(format!("--out {}: {error}", out.display()));
            fs::create_dir_all(out).map_err(usage)?;
            if fs::read_dir(out).map_err(usage)?.next().is_some() {
                let text = format!("--out {}: the folder is not empty; name another", out.display());
                return Err(Failure::Usage(text));
            }
            Ok(out.to_path_buf())
        }
        None => below(Path::new(STORE), name, SystemTime::now()).map_err(|error| {
            Failure::Usage(format!(
                "no folder for the results can be made in {STORE}/: {error}; name one with --out"
            ))
        }),
    }
}

fn below(store: &Path, name: &str, now: SystemTime) -> io::Result<PathBuf> {
    let parent = store.join(name);
    fs::create_dir_all(&parent)?;
    let stamp = file_stamp(now);
    for n in 1..=SAME_SECOND_MAX {
        let folder = if n == 1 { stamp.clone() } else { format!("{stamp}-{n}") };
        match fs::create_dir(parent.join(&folder)) {
            Ok(()) => {
                point(&parent.join("latest"), Path::new(&folder));
                point(&store.join("latest"), &Path::new(name).join(&folder));
                return Ok(parent.join(folder));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!("{SAME_SECOND_MAX} runs began in this second")))
}

/// Points a link to a folder. It is only a convenience: a run without it is as good.
fn point(link: &Path, to: &Path) {
    let is_link = fs::symlink_metadata(link).is_ok_and(|metadata| metadata.is_symlink());
    if is_link {
        let _ = fs::remove_file(link);
    }
    if let Err(error) = symlink(to, link) {
        tracing::debug!(link = %link.display(), %error, "no link to the latest run");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_second_have_folders_of_their_own_and_latest_is_the_last() {
        let store = tempfile::tempdir().unwrap();
        let now = SystemTime::UNIX_EPOCH;
        let first = below(store.path(), "all", now).unwrap();
        let second = below(store.path(), "all", now).unwrap();
        assert_eq!(first, store.path().join("all/19700101T000000Z"));
        assert_eq!(second, store.path().join("all/19700101T000000Z-2"));
        for link in ["latest", "all/latest"] {
            let target = fs::canonicalize(store.path().join(link)).unwrap();
            assert_eq!(target, fs::canonicalize(&second).unwrap());
        }
    }

    #[test]
    fn a_folder_with_something_in_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(make(Some(&dir.path().join("new")), "x").is_ok());
        let Err(Failure::Usage(text)) = make(Some(dir.path()), "x") else { panic!("taken") };
        assert!(text.contains("not empty"), "{text}");
    }
}
