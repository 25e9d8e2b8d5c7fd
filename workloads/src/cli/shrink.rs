//! `assay shrink`: a failing run, with everything left out that it does not need.
//!
//! A candidate is the run with fewer workloads, faults, time, operations or processes. It is carried out again,
//! several times if need be, for real clusters do not do the same thing twice; it takes the place of the run if
//! it fails by a promise of the same kind. Faults are left out in halves, then quarters, and so on to single
//! ones (Zeller and Hildebrandt, delta debugging).

use super::{
    Failure, duration, print,
    trial::{self, Trial},
};
use crate::{
    nemesis::{PlanFile, PlanLine},
    report::{self, Conclusion, Results, WorkloadResult},
};
use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The run is not made shorter than this, nor slower, nor lonelier.
const TIME_MIN: Duration = Duration::from_secs(2);
const RATE_MIN: u64 = 20;
const PROCESSES_MIN: u64 = 2;
/// Load after the last fault, which may take that long to show.
const AFTERMATH: Duration = Duration::from_secs(2);

/// Arguments of `assay shrink`.
#[derive(Debug, clap::Args)]
pub(super) struct ShrinkArgs {
    /// The folder of the failing run.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// How often a candidate is carried out before it counts as one that does not fail.
    #[arg(long, value_name = "N", default_value_t = 3)]
    tries: u32,
    /// How long all of it may take.
    #[arg(long, value_name = "DURATION", default_value = "20m", value_parser = duration::parse)]
    budget: Duration,
}

/// What is carried out again.
#[derive(Clone, Debug, PartialEq)]
struct Candidate {
    workloads: Vec<String>,
    lines: Vec<PlanLine>,
    time: Duration,
    rate: u64,
    processes: u64,
}

pub(super) fn shrink(args: &ShrinkArgs) -> Result<u8, Failure> {
    let usage = |text: String| Failure::Usage(format!("{}: {text}", args.dir.display()));
    let results = report::read(&args.dir).map_err(|error| usage(error.to_string()))?;
    if results.verdict != Conclusion::Anomaly {
        return Err(usage(format!(
            "the verdict of this run is {}; only a failing one can be shrunk",
            results.verdict
        )));
    }
    let file = PlanFile::read(&args.dir).map_err(Failure::Usage)?;
    let mut shrinker = Shrinker {
        args,
        folder: args.dir.join("shrink"),
        header: file.header.args.clone(),
        kinds: kinds(&results),
        end: Instant::now() + args.budget,
        trials: 0,
        best: None,
    };
    match fs::remove_dir_all(&shrinker.folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let whole = whole(&results, &file);
    let mut best = shrinker.start(&results, &whole)?;
    best = shrinker.fewer_faults(best)?;
    best = shrinker.less_of_the_rest(best)?;
    shrinker.conclude(&whole, &best)
}

/// The run as it was.
fn whole(results: &Results, file: &PlanFile) -> Candidate {
    Candidate {
        workloads: results.workloads.iter().map(|workload| workload.name.clone()).collect(),
        lines: file.lines.clone(),
        time: Duration::from_secs_f64(results.run.time_limit_s),
        rate: results.run.rate_per_s,
        processes: results.run.concurrency as u64,
    }
}

/// The promises that were broken.
fn kinds(results: &Results) -> BTreeSet<String> {
    let of_workloads = results.workloads.iter().flat_map(|workload| &workload.checks);
    let anomalies = of_workloads.chain(&results.checks).flat_map(|check| &check.anomalies);
    anomalies.map(|anomaly| anomaly.kind.clone()).collect()
}

/// How many operations the smallest witness of these kinds has.
fn witness(results: &Results, kinds: &BTreeSet<String>) -> Option<usize> {
    let checks = results.workloads.iter().flat_map(|workload| &workload.checks);
    let anomalies = checks.flat_map(|check| &check.anomalies);
    anomalies.filter(|anomaly| kinds.contains(&anomaly.kind)).map(|anomaly| anomaly.operations.len()).min()
}

/// The run with one workload alone: its own phase of the run, at its own rate, with the faults of that phase.
fn alone(whole: &Candidate, results: &Results, workload: &WorkloadResult) -> Candidate {
    // `kv` runs first and alone, see `scenario::phases`.
    let mixed = results.workloads.len() > 1 && results.workloads.iter().any(|other| other.name == "kv");
    let (phases, phase) = match mixed {
        true => (2, if workload.name == "kv" { 1 } else { 2 }),
        false => (1, 1),
    };
    let lines = whole.lines.iter().filter(|line| line.phase == phase);
    Candidate {
        workloads: vec![workload.name.clone()],
        lines: lines.map(|line| PlanLine { phase: 1, ..line.clone() }).collect(),
        time: whole.time / phases,
        rate: workload.rate_per_s.max(1),
        processes: whole.processes,
    }
}

struct Shrinker<'a> {
    args: &'a ShrinkArgs,
    folder: PathBuf,
    header: Vec<String>,
    kinds: BTreeSet<String>,
    end: Instant,
    trials: u32,
    /// The folder of the smallest run that fails, and its results.
    best: Option<(PathBuf, Results)>,
}

impl Shrinker<'_> {
    /// A candidate that fails again: one of the failing workloads alone, else the whole run.
    fn start(&mut self, results: &Results, whole: &Candidate) -> Result<Candidate, Failure> {
        let failing = results.workloads.iter().filter(|workload| workload.verdict == Conclusion::Anomaly);
        let candidates: Vec<Candidate> = failing.map(|workload| alone(whole, results, workload)).collect();
        for candidate in candidates.into_iter().chain([whole.clone()]) {
            if self.fails(&candidate)? {
                return Ok(candidate);
            }
        }
        Err(Failure::Unknown(format!(
            "the run does not fail again in {} tries, whole or in part; more --tries may help",
            self.trials
        )))
    }

    /// Leaves faults out for as long as it fails without them.
    fn fewer_faults(&mut self, mut best: Candidate) -> Result<Candidate, Failure> {
        let none = Candidate { lines: Vec::new(), ..best.clone() };
        if !best.lines.is_empty() && self.fails(&none)? {
            return Ok(none);
        }
        let mut parts = 2;
        while best.lines.len() > 1 && !self.is_over() {
            let chunk = best.lines.len().div_ceil(parts);
            let mut smaller = None;
            // Later faults are more often beside the point: an anomaly ends what matters.
            let starts: Vec<usize> = (0..best.lines.len()).step_by(chunk).collect();
            for &start in starts.iter().rev() {
                let mut lines = best.lines.clone();
                lines.drain(start..(start + chunk).min(lines.len()));
                let candidate = Candidate { lines, ..best.clone() };
                if self.fails(&candidate)? {
                    smaller = Some(candidate);
                    break;
                }
            }
            match smaller {
                Some(candidate) => {
                    best = candidate;
                    parts = parts.saturating_sub(1).max(2);
                }
                None if chunk == 1 => break,
                None => parts = (parts * 2).min(best.lines.len()),
            }
        }
        Ok(best)
    }

    /// Cuts time, rate and processes for as long as it fails.
    fn less_of_the_rest(&mut self, mut best: Candidate) -> Result<Candidate, Failure> {
        let last_ms = best.lines.iter().map(|line| line.planned.start_ms + line.planned.duration_ms).max();
        let needed = Duration::from_millis(last_ms.unwrap_or(0)) + AFTERMATH;
        if needed < best.time {
            let candidate = Candidate { time: needed, ..best.clone() };
            if self.fails(&candidate)? {
                best = candidate;
            }
        }
        let steps: [fn(&Candidate) -> Candidate; 3] = [
            |c| Candidate { time: whole_seconds(c.time / 2).max(TIME_MIN), ..c.clone() },
            |c| Candidate { rate: (c.rate / 2).max(RATE_MIN), ..c.clone() },
            |c| Candidate { processes: (c.processes / 2).max(PROCESSES_MIN), ..c.clone() },
        ];
        for step in steps {
            loop {
                let candidate = step(&best);
                let smaller = candidate.time < best.time
                    || candidate.rate < best.rate
                    || candidate.processes < best.processes;
                // Faults that would not have their turn are no part of it.
                let room = candidate.lines.is_empty() || candidate.time >= needed;
                if !smaller || !room || self.is_over() || !self.fails(&candidate)? {
                    break;
                }
                best = candidate;
            }
        }
        Ok(best)
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Whether the candidate fails, in one of several tries, by a promise of the same kind.
    fn fails(&mut self, candidate: &Candidate) -> Result<bool, Failure> {
        for _ in 0..self.args.tries {
            if self.is_over() {
                return Ok(false);
            }
            self.trials += 1;
            let folder = self.folder.join(format!("{}", self.trials));
            let outcome = self.carry_out(candidate, &folder)?;
            let failed = !kinds(&outcome).is_disjoint(&self.kinds);
            self.tell(candidate, &outcome, failed)?;
            if failed {
                if let Some((previous, _)) = self.best.replace((folder, outcome)) {
                    // Only the smallest is of use.
                    fs::remove_dir_all(previous)?;
                }
                return Ok(true);
            }
            fs::remove_dir_all(&folder)?;
        }
        Ok(false)
    }

    fn carry_out(&self, candidate: &Candidate, folder: &Path) -> Result<Results, Failure> {
        let plan = folder.join("plan");
        fs::create_dir_all(&plan)?;
        let mut file = PlanFile::new(self.header.clone());
        file.lines.clone_from(&candidate.lines);
        file.write(&plan)?;
        let mut words: Vec<String> = vec!["--replay".into(), plan.display().to_string()];
        let mut flag = |name: &str, value: String| words.extend([format!("--{name}"), value]);
        flag("workload", candidate.workloads.join(","));
        flag("time-limit", duration::format(candidate.time));
        flag("rate", candidate.rate.to_string());
        flag("concurrency", candidate.processes.to_string());
        let limit = candidate.time + trial::OVERHEAD;
        let Trial { results, .. } =
            trial::run(&words, &folder.join("run"), limit).map_err(Failure::Unknown)?;
        Ok(results)
    }

    fn tell(&self, candidate: &Candidate, outcome: &Results, failed: bool) -> io::Result<()> {
        writeln!(
            io::stderr(),
            "try {}: {} under {} faults for {}, {} per s by {} processes: {}",
            self.trials,
            candidate.workloads.join(","),
            candidate.lines.len(),
            duration::format(candidate.time),
            candidate.rate,
            candidate.processes,
            if failed { "fails".to_string() } else { format!("{}, not as before", outcome.verdict) }
        )
    }

    /// Says what is left.
    fn conclude(self, whole: &Candidate, best: &Candidate) -> Result<u8, Failure> {
        let over = self.is_over();
        let Some((folder, results)) = self.best else {
            return Err(Failure::Unknown("nothing failed".into()));
        };
        let operations = |results: &Results| -> u64 {
            let counts = results.workloads.iter().flat_map(|workload| workload.counts.values());
            counts.map(|counts| counts.total()).sum()
        };
        let faults: Vec<String> = best.lines.iter().map(|line| line.planned.fault.to_string()).collect();
        let mut text = String::new();
        for reason in results.reasons.iter().take(3) {
            text.push_str(&format!("anomaly  {reason}\n"));
        }
        text.push_str(&format!(
            "\nfaults      {} of {}{}{}\noperations  {}\n",
            faults.len(),
            whole.lines.len(),
            if faults.is_empty() { "" } else { ": " },
            faults.join(", "),
            operations(&results),
        ));
        if let Some(witness) = witness(&results, &self.kinds) {
            text.push_str(&format!("witness     {witness} operations\n"));
        }
        text.push_str(&format!(
            "tries       {}{}\n",
            self.trials,
            if over { ", then the --budget was used up" } else { "" }
        ));
        let run = folder.join("run");
        text.push_str(&format!(
            "report      {}\nrepeat      assay run --replay {}\n",
            run.join("report.html").display(),
            run.display()
        ));
        print(&text)?;
        Ok(Conclusion::Anomaly.exit_code())
    }
}

fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nemesis::{Fault, Planned, Target};

    fn line(phase: usize, start_ms: u64) -> PlanLine {
        let fault = Fault::Kill(Target::One);
        let planned = Planned { number: 0, fault, start_ms, duration_ms: 500, choice: 1, view: None };
        PlanLine { phase, planned, outcome: serde_json::Value::Null }
    }

    fn workload(name: &str, rate_per_s: u64) -> WorkloadResult {
        WorkloadResult { name: name.into(), rate_per_s, ..WorkloadResult::default() }
    }

    #[test]
    fn a_workload_alone_keeps_its_phase_its_faults_and_its_rate() {
        let results =
            Results { workloads: vec![workload("kv", 300), workload("set", 100)], ..Results::default() };
        let whole = Candidate {
            workloads: vec!["kv".into(), "set".into()],
            lines: vec![line(1, 5), line(2, 7), line(2, 9)],
            time: Duration::from_secs(30),
            rate: 300,
            processes: 9,
        };
        let set = alone(&whole, &results, &results.workloads[1]);
        assert_eq!(
            (set.workloads, set.rate, set.time),
            (vec!["set".to_string()], 100, Duration::from_secs(15))
        );
        assert_eq!(set.lines, [line(1, 7), line(1, 9)]);
        assert_eq!(alone(&whole, &results, &results.workloads[0]).lines, [line(1, 5)]);
    }
}
