//! What was carried out, in a file of the run's folder, so that it can be carried out again.
//!
//! `faults.jsonl`: the first line tells how the run was started, every other line is one fault: when it began, how
//! long it lasted, what its choice of nodes was drawn from and who led then; and what came of it, for whoever
//! reads it.

use super::{Outcome, Plan, Planned, Summary};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    fs,
    io::{self, Write},
    path::Path,
};

/// Version of the format.
const VERSION: u32 = 1;

/// How a run was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanHeader {
    /// Version of the format.
    pub v: u32,
    /// The arguments of `assay` that repeat the run, `run` first.
    pub args: Vec<String>,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanLine {
    /// The phase in which it strikes, from 1.
    pub phase: usize,
    /// The fault.
    #[serde(flatten)]
    pub planned: Planned,
    /// What came of it, where it had its turn.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub outcome: Value,
}

/// The faults of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanFile {
    /// How the run was started.
    pub header: PlanHeader,
    /// Its faults, by phase and time.
    pub lines: Vec<PlanLine>,
}

impl PlanFile {
    /// Its name in a run's folder.
    pub const NAME: &str = "faults.jsonl";

    /// A run's, before its first phase.
    pub fn new(args: Vec<String>) -> PlanFile {
        PlanFile { header: PlanHeader { v: VERSION, args }, lines: Vec::new() }
    }

    /// Notes what a phase is to do.
    pub fn plan(&mut self, phase: usize, plan: &Plan) {
        self.lines.retain(|line| line.phase != phase);
        let line = |&planned: &Planned| PlanLine { phase, planned, outcome: Value::Null };
        self.lines.extend(plan.faults.iter().map(line));
    }

    /// Notes what came of it.
    pub fn carried_out(&mut self, phase: usize, summary: &Summary) {
        self.lines.retain(|line| line.phase != phase);
        for Outcome { planned, result } in &summary.outcomes {
            let outcome = serde_json::to_value(result).unwrap_or_default();
            self.lines.push(PlanLine { phase, planned: *planned, outcome });
        }
        self.lines.sort_by_key(|line| (line.phase, line.planned.start_ms, line.planned.number));
    }

    /// What a phase did, to be done again: all but what never had its turn.
    pub fn of_phase(&self, phase: usize) -> Vec<Planned> {
        let reached =
            |line: &&PlanLine| line.outcome.get("result").is_none_or(|result| result != "not_reached");
        self.lines
            .iter()
            .filter(|line| line.phase == phase)
            .filter(reached)
            .map(|line| line.planned)
            .collect()
    }

    /// Writes it into a run's folder.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec(&self.header)?;
        text.push(b'\n');
        for line in &self.lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        // In one step: a reader finds the old one or the new one.
        let path = folder.join(PlanFile::NAME);
        let fresh = path.with_extension("jsonl.new");
        let mut file = fs::File::create(&fresh)?;
        file.write_all(&text)?;
        fs::rename(fresh, path)
    }

    /// Reads it from a run's folder.
    ///
    /// # Errors
    /// A text that names the file and what is wrong with it.
    pub fn read(folder: &Path) -> Result<PlanFile, String> {
        let path = folder.join(PlanFile::NAME);
        let text = fs::read_to_string(&path).map_err(|error| {
            format!(
                "{}: {error}; name the folder of a run that this version of assay has made",
                path.display()
            )
        })?;
        let mut lines = text.lines().enumerate();
        let fault =
            |number: usize, error: serde_json::Error| format!("{}:{}: {error}", path.display(), number + 1);
        let Some((_, first)) = lines.next() else { return Err(format!("{} is empty", path.display())) };
        let header: PlanHeader = serde_json::from_str(first).map_err(|error| fault(0, error))?;
        if header.v != VERSION {
            return Err(format!(
                "{}: version {}, and this program knows {VERSION}",
                path.display(),
                header.v
            ));
        }
        let parsed = lines
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(number, line)| serde_json::from_str(line).map_err(|error| fault(number, error)));
        Ok(PlanFile { header, lines: parsed.collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::NodeIndex,
        nemesis::{Fault, Result as FaultResult, Target, View},
    };

    fn planned(number: u64, start_ms: u64) -> Planned {
        let view = Some(View { leader: Some(NodeIndex(2)), lagging: None });
        let fault = Fault::Kill(Target::Leader);
        Planned { number, fault, start_ms, duration_ms: 900, choice: u64::MAX, view }
    }

    #[test]
    fn what_was_carried_out_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = PlanFile::new(vec!["run".into(), "--seed".into(), "7".into()]);
        file.plan(1, &Plan::again(vec![planned(0, 5), planned(1, 10), planned(2, 20)], Default::default()));
        let outcome = |planned, result| Outcome { planned, result };
        let proved = FaultResult::Proved { start_ms: 12, end_ms: 30 };
        file.carried_out(
            1,
            &Summary {
                outcomes: vec![
                    outcome(planned(0, 11), proved),
                    outcome(planned(1, 10), FaultResult::Skipped),
                    outcome(planned(2, 20), FaultResult::NotReached),
                ],
                ..Summary::default()
            },
        );
        file.write(folder.path()).unwrap();
        let read = PlanFile::read(folder.path()).unwrap();
        assert_eq!(read, file);
        assert_eq!(
            read.of_phase(1),
            [planned(1, 10), planned(0, 11)],
            "by their true times, without the last"
        );
        assert!(read.of_phase(2).is_empty());
    }

    #[test]
    fn a_torn_file_is_refused_with_its_name_and_line() {
        let folder = tempfile::tempdir().unwrap();
        assert!(PlanFile::read(folder.path()).unwrap_err().contains("faults.jsonl"));
        fs::write(folder.path().join(PlanFile::NAME), "{\"v\":1,\"args\":[]}\n{\"phase\":1,\"numb").unwrap();
        assert!(PlanFile::read(folder.path()).unwrap_err().contains("faults.jsonl:2:"));
        fs::write(folder.path().join(PlanFile::NAME), "{\"v\":9,\"args\":[]}\n").unwrap();
        assert!(PlanFile::read(folder.path()).unwrap_err().contains("version 9"));
    }
}
