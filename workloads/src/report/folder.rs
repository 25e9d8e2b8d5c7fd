//! The files of a run's folder that people and machines read.

use super::{junit, results, results::Results, summary};
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::Path,
};

/// The page for people.
pub const PAGE: &str = "report.html";
/// GitHub names the file that makes the page of a step in this variable.
const GITHUB_SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// Writes `results.json`, `summary.md`, `junit.xml` and `report.html` into a run's folder: all of them even
/// where one cannot be written.
///
/// # Errors
/// The first that could not be written, and why.
pub fn write_all(out: &Path, results: &Results) -> io::Result<()> {
    let write = |name: &str, text: io::Result<String>| {
        let written = text.and_then(|text| fs::write(out.join(name), text));
        written
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", out.join(name).display())))
    };
    let all = [
        results::write(out, results),
        write(summary::FILE, Ok(summary::summary(results))),
        write(junit::FILE, junit::junit(results).map_err(io::Error::other)),
        write(PAGE, Ok(super::html(results, out))),
    ];
    all.into_iter().collect()
}

/// Adds a summary to the page of the CI job, where the service says in `variable` which file makes it.
///
/// # Errors
/// When that file cannot be written.
pub fn tell_ci(summary: &str, variable: impl Fn(&str) -> Option<String>) -> io::Result<()> {
    let Some(path) = variable(GITHUB_SUMMARY).filter(|path| !path.is_empty()) else { return Ok(()) };
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(summary.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_that_cannot_be_written_does_not_keep_the_others_from_it() {
        let dir = tempfile::tempdir().unwrap();
        // A folder in the place of the file.
        fs::create_dir(dir.path().join(summary::FILE)).unwrap();
        let error = write_all(dir.path(), &Results::default()).unwrap_err();
        assert!(error.to_string().contains("summary.md"), "{error}");
        for file in [results::FILE, junit::FILE, PAGE] {
            assert!(dir.path().join(file).is_file(), "{file}");
        }
    }

    #[test]
    fn the_summary_is_added_to_what_the_job_has_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("step.md");
        fs::write(&path, "before\n").unwrap();
        let variable = |name: &str| (name == "GITHUB_STEP_SUMMARY").then(|| path.display().to_string());
        tell_ci("## Assay\n", variable).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before\n## Assay\n");
        tell_ci("nowhere", |_| None).unwrap();
    }
}
