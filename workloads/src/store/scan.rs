//! Which runs there are.

use crate::report::{self, Conclusion, Results};
use serde::Serialize;
use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

/// Folders deeper than this below the store are no runs.
const DEPTH_MAX: usize = 5;
/// So many runs are listed; older ones are still there as files.
pub(super) const RUNS_MAX: usize = 5000;

/// A run, in the words of a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct RunSummary {
    /// Its folder below the store, with `/`.
    pub path: String,
    /// Missing where the run has not ended, or ended without results.
    pub verdict: Option<Conclusion>,
    /// The verdict and why.
    pub sentence: String,
    pub started: String,
    pub duration_s: f64,
    pub system: String,
    pub cluster: String,
    pub nodes: usize,
    pub workloads: Vec<String>,
    pub faults: usize,
    pub operations: u64,
    pub availability: Option<f64>,
    pub seed: Option<u64>,
}

impl RunSummary {
    fn of(path: String, results: &Results) -> RunSummary {
        RunSummary {
            path,
            verdict: Some(results.verdict),
            sentence: results.sentence(),
            started: results.run.started.clone(),
            duration_s: results.run.duration_s,
            system: results.run.system.clone(),
            cluster: results.run.cluster.clone(),
            nodes: results.nodes.len(),
            workloads: results.workloads.iter().map(|workload| workload.name.clone()).collect(),
            faults: results.faults.len(),
            operations: results.total().total(),
            availability: results.availability.share(),
            seed: Some(results.run.seed),
        }
    }

    fn without_results(path: String, why: String) -> RunSummary {
        RunSummary {
            path,
            verdict: None,
            sentence: why,
            started: String::new(),
            duration_s: 0.0,
            system: String::new(),
            cluster: String::new(),
            nodes: 0,
            workloads: Vec::new(),
            faults: 0,
            operations: 0,
            availability: None,
            seed: None,
        }
    }
}

/// What was read of a file, with the time and size that the file had.
type Known = HashMap<PathBuf, (SystemTime, u64, Arc<RunSummary>)>;

/// A folder of runs.
pub(super) struct Store {
    /// Without links.
    pub root: PathBuf,
    known: Mutex<Known>,
}

impl Store {
    /// # Errors
    /// When there is no such folder.
    pub(super) fn open(root: &Path) -> io::Result<Store> {
        let root = root.canonicalize()?;
        if !root.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "not a folder"));
        }
        Ok(Store { root, known: Mutex::default() })
    }

    /// All runs, the newest first.
    pub(super) fn runs(&self) -> Vec<Arc<RunSummary>> {
        let mut found = Vec::new();
        self.walk(&self.root, 0, &mut found);
        found.sort_by(|a, b| (&b.started, &b.path).cmp(&(&a.started, &a.path)));
        found.truncate(RUNS_MAX);
        found
    }

    /// The results of the run in a folder below the store.
    ///
    /// # Errors
    /// When there is no such run, or it lies elsewhere.
    pub(super) fn results(&self, path: &str) -> io::Result<Results> {
        report::read(&self.resolve(path)?)
    }

    /// The place of a path below the store, links followed; those that lead out of the store lead nowhere.
    ///
    /// # Errors
    /// When there is nothing, or it lies elsewhere.
    pub(super) fn resolve(&self, path: &str) -> io::Result<PathBuf> {
        let place = self.root.join(path.trim_matches('/')).canonicalize()?;
        if place.starts_with(&self.root) {
            Ok(place)
        } else {
            Err(io::Error::new(io::ErrorKind::NotFound, "not in the store"))
        }
    }

    fn walk(&self, dir: &Path, depth: usize, found: &mut Vec<Arc<RunSummary>>) {
        let name = dir.strip_prefix(&self.root).unwrap_or(dir).display().to_string();
        let results = dir.join(report::RESULTS);
        if let Ok(metadata) = fs::metadata(&results) {
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            found.push(self.summary(name, &results, modified, metadata.len()));
            return;
        }
        // Links such as `latest` show what is there anyway.
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let folders: Vec<PathBuf> = entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|e| e.path())
            .collect();
        if depth > 0 && folders.iter().any(|folder| folder.join("history.jsonl").is_file()) {
            let why = "no results yet: it is running, or ended before it could write them";
            found.push(Arc::new(RunSummary::without_results(name, why.into())));
            return;
        }
        if depth < DEPTH_MAX {
            folders.iter().for_each(|folder| self.walk(folder, depth + 1, found));
        }
    }

    fn summary(&self, name: String, results: &Path, modified: SystemTime, bytes: u64) -> Arc<RunSummary> {
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, size, summary)) = lock().get(results)
            && (*when, *size) == (modified, bytes)
        {
            return Arc::clone(summary);
        }
        let dir = results.parent().unwrap_or(&self.root);
        let summary = Arc::new(match report::read(dir) {
            Ok(read) => RunSummary::of(name, &read),
            Err(error) => RunSummary::without_results(name, error.to_string()),
        });
        lock().insert(results.to_path_buf(), (modified, bytes, Arc::clone(&summary)));
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Run;

    fn run(started: &str) -> Results {
        let run = Run { started: started.into(), seed: 7, ..Run::default() };
        Results { v: report::VERSION, run, ..Results::default() }
    }

    #[test]
    fn runs_are_found_newest_first_and_broken_ones_are_shown_as_such() {
        let dir = tempfile::tempdir().unwrap();
        for (name, started) in [("all/1", "2026-01-01"), ("all/2", "2026-01-02")] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
            report::write(&dir.path().join(name), &run(started)).unwrap();
        }
        std::os::unix::fs::symlink("2", dir.path().join("all/latest")).unwrap();
        fs::create_dir_all(dir.path().join("kv/3/kv")).unwrap();
        fs::write(dir.path().join("kv/3/kv/history.jsonl"), "").unwrap();
        fs::create_dir_all(dir.path().join("kv/4")).unwrap();
        fs::write(dir.path().join("kv/4/results.json"), "{").unwrap();
        let store = Store::open(dir.path()).unwrap();
        for _ in 0..2 {
            let found: Vec<(String, Option<Conclusion>)> =
                store.runs().iter().map(|run| (run.path.clone(), run.verdict)).collect();
            let valid = Some(Conclusion::Valid);
            let want = [("all/2", valid), ("all/1", valid), ("kv/4", None), ("kv/3", None)];
            assert_eq!(found, want.map(|(path, verdict)| (path.to_string(), verdict)));
        }
        // A run that is judged again is read again.
        report::write(&dir.path().join("all/1"), &Results { notes: vec!["x".into()], ..run("2026-01-03") })
            .unwrap();
        assert_eq!(store.runs()[0].path, "all/1");
        assert!(Store::open(&dir.path().join("none")).is_err());
    }

    #[test]
    fn no_path_leads_out_of_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        fs::create_dir(&root).unwrap();
        fs::write(dir.path().join("secret"), "x").unwrap();
        fs::write(root.join("file"), "x").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("link")).unwrap();
        let store = Store::open(&root).unwrap();
        assert!(store.resolve("file").is_ok() && store.resolve("/file/").is_ok());
        for path in ["../secret", "link", "file/../../secret", "/etc/passwd", "none"] {
            assert!(store.resolve(path).is_err(), "{path}");
        }
    }
}
