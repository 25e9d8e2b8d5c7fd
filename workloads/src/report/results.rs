//! What a run came to, as `results.json` holds it.

use super::{
    availability::{Availability, Impact},
    doubt::Doubt,
    latency::Percentiles,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// Version of the format of `results.json`.
pub const VERSION: u32 = 1;
/// Name of the file in a run's folder.
pub const FILE: &str = "results.json";

/// The verdict of a run, a workload or a check. The worst of several is theirs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// Every promise that was checked was kept.
    #[default]
    Valid,
    /// It could not be decided.
    Unknown,
    /// A promise was broken.
    Anomaly,
}

impl Conclusion {
    /// The process's exit status.
    pub fn exit_code(self) -> u8 {
        match self {
            Conclusion::Valid => 0,
            Conclusion::Anomaly => 1,
            Conclusion::Unknown => 3,
        }
    }
}

impl fmt::Display for Conclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Conclusion::Valid => "valid",
            Conclusion::Unknown => "unknown",
            Conclusion::Anomaly => "anomaly",
        })
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Results {
    /// Version of the format: [`VERSION`].
    pub v: u32,
    /// The verdict of all.
    pub verdict: Conclusion,
    /// Why it is not valid, one sentence each.
    pub reasons: Vec<String>,
    /// Those of the reasons that lie in the run and not in the store, with their kinds.
    #[serde(default)]
    pub doubts: Vec<Doubt>,
    /// What was run.
    pub run: Run,
    /// Each workload's part.
    pub workloads: Vec<WorkloadResult>,
    /// Checks of the run as a whole.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// How many of the operations that were due the store served, under faults and without.
    #[serde(default)]
    pub availability: Availability,
    /// The faults, in order.
    pub faults: Vec<FaultResult>,
    /// Faults or clusters that were not to be had here, and why.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The members.
    pub nodes: Vec<NodeResult>,
}

/// What was run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// The command that repeats it.
    pub command: String,
    /// When it began, RFC 3339, to the ms: what all times in s count from.
    pub started: String,
    /// How long it took in all, in s.
    pub duration_s: f64,
    /// The seed.
    pub seed: u64,
    /// The system under test, with its version.
    pub system: String,
    /// What carried the traffic: `netns`, `local`, or `endpoints`.
    pub cluster: String,
    /// Faults that were asked for.
    pub faults: Vec<String>,
    /// Operations per second, all workloads of a phase together.
    pub rate_per_s: u64,
    /// Processes for each workload.
    pub concurrency: usize,
    /// Time under load, all phases together, in s.
    pub time_limit_s: f64,
}

/// A workload's part of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkloadResult {
    /// Its name.
    pub name: String,
    /// In which phase it ran, counted from 1; those of one phase ran at the same time.
    #[serde(default)]
    pub phase: usize,
    /// Its history, relative to the run's folder.
    pub history: PathBuf,
    /// Its share of the rate, per s.
    pub rate_per_s: u64,
    /// Operations that were due by the schedule and not begun, since all processes were busy.
    pub not_begun: u64,
    /// The verdict of its checks.
    pub verdict: Conclusion,
    /// Each check's.
    pub checks: Vec<Check>,
    /// What became of its operations, by function.
    pub counts: BTreeMap<String, Counts>,
    /// Errors, by kind.
    pub errors: BTreeMap<String, u64>,
    /// Time from sending to the answer, of what ended in `ok`, by function.
    pub service: BTreeMap<String, Percentiles>,
    /// Time from being due to the answer, of the same; all functions together.
    pub response: Percentiles,
}

/// How many operations ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Surely took effect.
    pub ok: u64,
    /// Surely took none.
    pub fail: u64,
    /// Nobody knows.
    pub info: u64,
}

impl Counts {
    /// Of all outcomes.
    pub fn total(self) -> u64 {
        self.ok + self.fail + self.info
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Counts) -> Counts {
        Counts { ok: self.ok + other.ok, fail: self.fail + other.fail, info: self.info + other.info }
    }
}

/// What one check concluded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// Its verdict.
    pub verdict: Conclusion,
    /// What decided.
    #[serde(default)]
    pub decided_by: String,
    /// Why it could not decide.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// What it found.
    #[serde(default)]
    pub anomalies: Vec<Anomaly>,
    /// How much it looked at.
    #[serde(default)]
    pub counts: BTreeMap<String, u64>,
    /// How long it took, in ms.
    #[serde(default)]
    pub elapsed_ms: u64,
}

/// A broken promise, with its evidence.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Anomaly {
    /// What kind of promise.
    pub kind: String,
    /// What was promised and what was seen.
    pub sentence: String,
    /// The witness, as text.
    #[serde(default)]
    pub text: String,
    /// The witness, drawn as lanes per process: a file relative to the run's folder.
    #[serde(default)]
    pub drawing: Option<PathBuf>,
    /// The witness's operations: their numbers in the workload's history, in order of invocation.
    #[serde(default)]
    pub operations: Vec<u32>,
    /// From the first invocation to the last answer of the witness, in s from the start of the run.
    #[serde(default)]
    pub span_s: Option<[f64; 2]>,
}

/// A fault, from its effect to its undoing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FaultResult {
    /// In which phase, counted from 1.
    pub phase: usize,
    /// Its number in the plan.
    pub number: u64,
    /// Its name.
    pub f: String,
    /// Whom it hit and how.
    #[serde(default)]
    pub value: Value,
    /// When it had taken effect, in s from the start of the run.
    pub start_s: f64,
    /// When it was undone.
    #[serde(default)]
    pub end_s: Option<f64>,
    /// What showed that it took effect.
    #[serde(default)]
    pub proof: Value,
    /// What went wrong with it.
    #[serde(default)]
    pub errors: Vec<String>,
    /// What it did to the service.
    #[serde(default)]
    pub impact: Option<Impact>,
}

impl FaultResult {
    /// Whether something showed that it took effect.
    pub fn is_proved(&self) -> bool {
        !self.proof.is_null() && self.errors.is_empty()
    }
}

/// A member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeResult {
    /// Its name.
    pub name: String,
    /// Where clients reached it.
    pub url: String,
    /// Its log, relative to the run's folder, where it was started by the run.
    #[serde(default)]
    pub log: Option<PathBuf>,
}

impl Results {
    /// Takes note that the run proves less than it should.
    pub fn doubt(&mut self, doubt: Doubt) {
        self.verdict = self.verdict.max(Conclusion::Unknown);
        self.reasons.push(doubt.sentence.clone());
        self.doubts.push(doubt);
    }

    /// Adds a check of the run as a whole, with what follows from it.
    pub fn add_check(&mut self, check: Check) {
        self.verdict = self.verdict.max(check.verdict);
        let found = check.anomalies.iter().map(|anomaly| (anomaly.kind.as_str(), &anomaly.sentence));
        self.reasons.extend(found.map(|(kind, sentence)| format!("{} ({kind}): {sentence}", check.name)));
        self.reasons.extend(check.reasons.iter().map(|reason| format!("{}: {reason}", check.name)));
        self.checks.push(check);
    }

    /// The verdict and why, in one sentence.
    pub fn sentence(&self) -> String {
        let more = |first: &str, count: usize| match count {
            0 | 1 => first.to_string(),
            count => format!("{first} (and {} more)", count - 1),
        };
        match self.verdict {
            Conclusion::Valid if self.faults.is_empty() => "every check passed; there were no faults".into(),
            Conclusion::Valid => "every check passed, and every fault is proved to have taken effect".into(),
            Conclusion::Anomaly => match self.anomalies().next() {
                Some((name, _, anomaly)) => more(
                    &format!("{} in {name}: {}", anomaly.kind, anomaly.sentence),
                    self.anomalies().count(),
                ),
                None => "a promise was broken".into(),
            },
            Conclusion::Unknown => match self.reasons.first() {
                Some(first) => more(first, self.reasons.len()),
                None => "nothing can be said".into(),
            },
        }
    }

    /// Every anomaly, with the name of what it was found in, and the check that found it.
    pub fn anomalies(&self) -> impl Iterator<Item = (&str, &Check, &Anomaly)> {
        let of_workloads = self
            .workloads
            .iter()
            .flat_map(|workload| workload.checks.iter().map(|check| (workload.name.as_str(), check)));
        let of_run = self.checks.iter().map(|check| ("the run", check));
        of_workloads
            .chain(of_run)
            .flat_map(|(name, check)| check.anomalies.iter().map(move |anomaly| (name, check, anomaly)))
    }

    /// Operations of all workloads.
    pub fn total(&self) -> Counts {
        let all = self.workloads.iter().flat_map(|workload| workload.counts.values());
        all.fold(Counts::default(), |sum, counts| sum.plus(*counts))
    }
}

/// Reads `results.json` from a run's folder.
///
/// # Errors
/// When it is missing, not of this format, or of another version.
pub fn read(dir: &Path) -> io::Result<Results> {
    let path = dir.join(FILE);
    let text = fs::read_to_string(&path)?;
    let results: Results = serde_json::from_str(&text).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
    })?;
    if results.v != VERSION {
        let text =
            format!("{}: version {} of the format, this program knows {VERSION}", path.display(), results.v);
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(results)
}

/// Writes `results.json` into a run's folder.
///
/// # Errors
/// Whatever the file system says.
pub fn write(dir: &Path, results: &Results) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(results)?;
    text.push('\n');
    fs::write(dir.join(FILE), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::DoubtKind;

    #[test]
    fn the_worst_verdict_wins_and_has_its_exit_code() {
        use Conclusion::{Anomaly, Unknown, Valid};
        assert!(Valid < Unknown && Unknown < Anomaly);
        assert_eq!([Valid, Anomaly, Unknown].map(Conclusion::exit_code), [0, 1, 3]);
        let mut results = Results { verdict: Anomaly, ..Results::default() };
        results.doubt(Doubt::new(DoubtKind::FaultWithoutEffect, "a fault did not take effect"));
        assert_eq!((results.verdict, results.reasons.len(), results.doubts.len()), (Anomaly, 1, 1));
    }

    #[test]
    fn results_are_read_back_and_another_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut results = Results { v: VERSION, ..Results::default() };
        results.faults.push(FaultResult { f: "kill".into(), ..FaultResult::default() });
        write(dir.path(), &results).unwrap();
        assert_eq!(read(dir.path()).unwrap(), results);
        results.v = VERSION + 1;
        write(dir.path(), &results).unwrap();
        assert!(read(dir.path()).unwrap_err().to_string().contains("version"));
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(read(dir.path()).is_err());
    }
}
