//! Several runs in a row: the profiles `regression` and `soak`.
//!
//! Each is a run like any other, in a folder of its own, with a report of its own; its histories are gone from
//! memory when it ends. The series has `series.json` and `summary.md`, written anew after every run, so that they are
//! there whatever becomes of the rest.

use super::{
    Failure, Format, colour, duration, log, out, print,
    run::{self, Profile, RunArgs, Setting},
};
use crate::{
    report::{self, Anomaly, Check, Conclusion, Results},
    runner::Stop,
    scenario::Scenario,
};
use serde::Serialize;
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// A run of a soak: long enough for a dozen faults, short enough that what it records is small.
const ROUND: Duration = Duration::from_secs(120);
/// Of the valid runs of a soak, so many of the newest are kept whole; of older ones the results are.
const KEPT_WHOLE: usize = 3;
/// A soak that so often in a row cannot tell anything proves nothing any more.
const UNKNOWN_MAX: usize = 3;
/// Planted bugs that the profile `regression` must find, each with the scenario that has to find it.
#[cfg(feature = "plant")]
const MUST_FIND: [(&str, &str); 5] = [
    ("local-read", "lost-leader"),
    ("ack-before-commit", "power"),
    ("apply-twice-after-restart", "power"),
    ("cas-ignores-compare", "calm"),
    ("stale-range", "calm"),
];
#[cfg(not(feature = "plant"))]
const MUST_FIND: [(&str, &str); 0] = [];

/// Several runs and what came of them.
#[derive(Debug, Serialize)]
struct Series {
    /// Version of this file's format.
    v: u32,
    profile: &'static str,
    verdict: Conclusion,
    /// Why it is not valid, one sentence each.
    reasons: Vec<String>,
    /// The command that repeats it.
    command: String,
    /// How long all of it has taken, in s.
    duration_s: f64,
    runs: Vec<Done>,
    #[serde(skip)]
    out: PathBuf,
}

/// One of the runs.
#[derive(Debug, Serialize)]
struct Done {
    name: String,
    /// Its folder, relative to the series'.
    folder: String,
    /// What it had to be, where that was not `valid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<Conclusion>,
    verdict: Conclusion,
    sentence: String,
    seed: u64,
    operations: u64,
    faults: usize,
    availability: Option<f64>,
    duration_s: f64,
    /// Memory of this program after the run, in KiB.
    resident_kib: Option<u64>,
}

/// Every scenario, and every planted bug that this program carries.
pub(super) fn regression(args: &RunArgs, setting: &Setting) -> Result<u8, Failure> {
    let seed = args.seed_or(1);
    let mut series = Series::begin(Profile::Regression, args, setting, seed)?;
    log();
    run::with_runtime(async |stop| {
        let began = Instant::now();
        for (n, scenario) in (0..).zip(Scenario::ALL) {
            let one = args.of_scenario(scenario, None);
            series.run(setting, &one, scenario.name, seed + n, None, &stop, began).await?;
        }
        for (n, (bug, scenario)) in (0..).zip(MUST_FIND) {
            let one = args.of_scenario(scenario.parse().map_err(Failure::Usage)?, Some(bug));
            let name = format!("planted-{bug}");
            series.run(setting, &one, &name, seed + n, Some(Conclusion::Anomaly), &stop, began).await?;
        }
        Ok(())
    })?;
    series.end(args)
}

/// Run after run, until the time is over or something is found.
pub(super) fn soak(args: &RunArgs, setting: &Setting, seed: u64) -> Result<u8, Failure> {
    let mut series = Series::begin(Profile::Soak, args, setting, seed)?;
    log();
    run::with_runtime(async |stop| {
        let (began, limit) = (Instant::now(), args.soak_time());
        let mut unknown_in_a_row = 0;
        for round in 0u64.. {
            let left = limit.saturating_sub(began.elapsed());
            // What would be too short for a fault proves nothing.
            if stop.is_stopped() || (round > 0 && left < ROUND.min(limit) / 4) {
                break;
            }
            let one = args.of_round(ROUND.min(left));
            let name = format!("round-{:04}", round + 1);
            let verdict =
                series.run(setting, &one, &name, seed.wrapping_add(round), None, &stop, began).await?;
            unknown_in_a_row = if verdict == Conclusion::Unknown { unknown_in_a_row + 1 } else { 0 };
            if verdict == Conclusion::Anomaly || unknown_in_a_row == UNKNOWN_MAX {
                break;
            }
            series.thin_out();
        }
        Ok(())
    })?;
    series.end(args)
}

impl Series {
    fn begin(profile: Profile, args: &RunArgs, setting: &Setting, seed: u64) -> Result<Series, Failure> {
        let profile = match profile {
            Profile::Smoke => "smoke",
            Profile::Regression => "regression",
            Profile::Soak => "soak",
        };
        Ok(Series {
            v: 1,
            profile,
            verdict: Conclusion::Valid,
            reasons: Vec::new(),
            command: setting.command(args, seed),
            duration_s: 0.0,
            runs: Vec::new(),
            out: out::make(args.out_folder(), profile)?,
        })
    }

    #[expect(clippy::too_many_arguments, reason = "what a run is, and what it runs in")]
    async fn run(
        &mut self,
        setting: &Setting,
        args: &RunArgs,
        name: &str,
        seed: u64,
        expected: Option<Conclusion>,
        stop: &Stop,
        began: Instant,
    ) -> Result<Conclusion, Failure> {
        if stop.is_stopped() {
            return Ok(Conclusion::Unknown);
        }
        let dir = self.out.join(name);
        fs::create_dir(&dir)?;
        let _ = writeln!(io::stderr(), "\n{name}");
        let results = run::carry_out(setting.config(args, seed, dir.clone())?, stop.clone()).await?;
        give_memory_back();
        let done = Done::of(name, &results, expected);
        let _ = writeln!(io::stderr(), "{}", done.line());
        self.take(done);
        self.duration_s = began.elapsed().as_secs_f64();
        self.write()?;
        Ok(results.verdict)
    }

    /// Adds a run to the verdict.
    fn take(&mut self, done: Done) {
        let (verdict, reason) = done.judged();
        self.verdict = self.verdict.max(verdict);
        self.reasons.extend(reason);
        self.runs.push(done);
    }

    fn write(&self) -> io::Result<()> {
        let mut json = serde_json::to_string_pretty(self)?;
        json.push('\n');
        fs::write(self.out.join("series.json"), json)?;
        let junit = report::junit(&self.as_results()).map_err(io::Error::other)?;
        fs::write(self.out.join(report::JUNIT), junit)?;
        fs::write(self.out.join(report::SUMMARY), self.summary())
    }

    /// The series as if it were one run, with a check for each of its runs.
    fn as_results(&self) -> Results {
        let check = |done: &Done| {
            let (verdict, reason) = done.judged();
            let reason = reason.unwrap_or_default();
            let mut check = Check { name: done.name.clone(), verdict, ..Check::default() };
            check.elapsed_ms = (done.duration_s * 1000.0) as u64;
            match verdict {
                Conclusion::Valid => {}
                Conclusion::Unknown => check.reasons.push(reason),
                Conclusion::Anomaly => {
                    let kind = Conclusion::Anomaly.to_string();
                    check.anomalies.push(Anomaly { kind, sentence: reason, ..Anomaly::default() });
                }
            }
            check
        };
        let mut results = Results { checks: self.runs.iter().map(check).collect(), ..Results::default() };
        results.run.duration_s = self.duration_s;
        results
    }

    /// Leaves of an older valid run what `assay serve` and a comparison need.
    fn thin_out(&self) {
        let valid: Vec<&Done> = self.runs.iter().filter(|done| done.verdict == Conclusion::Valid).collect();
        if let Some(old) = valid.len().checked_sub(KEPT_WHOLE + 1).and_then(|n| valid.get(n)) {
            let dir = self.out.join(&old.folder);
            if let Err(error) = leave_only(&dir, &[report::RESULTS, report::SUMMARY, report::JUNIT]) {
                tracing::warn!(dir = %dir.display(), %error, "the files of an old run stay");
            }
        }
    }

    fn end(mut self, args: &RunArgs) -> Result<u8, Failure> {
        if self.runs.is_empty() {
            self.verdict = Conclusion::Unknown;
            self.reasons.push("nothing was run".into());
        }
        self.write()?;
        run::tell_ci(&self.summary());
        match args.format() {
            Format::Text => print(&self.text(colour()))?,
            Format::Json => {
                print(&format!("{}\n", serde_json::to_string_pretty(&self).map_err(io::Error::from)?))?
            }
        }
        Ok(self.verdict.exit_code())
    }

    fn text(&self, colour: bool) -> String {
        let mut text = format!("\n{}\n", self.profile);
        for done in &self.runs {
            text.push_str(&format!("  {}\n", done.line()));
        }
        let took = duration::format(Duration::from_secs(self.duration_s as u64));
        text.push_str(&format!(
            "\n{}  {} runs, {} operations, {} faults, {took}\n",
            report::paint(self.verdict, colour),
            self.runs.len(),
            self.runs.iter().map(|done| done.operations).sum::<u64>(),
            self.runs.iter().map(|done| done.faults).sum::<usize>(),
        ));
        for reason in &self.reasons {
            text.push_str(&format!("  {reason}\n"));
        }
        let file = |name: &str| self.out.join(name).display().to_string();
        text.push_str(&format!("\nresults   {}\n", file("series.json")));
        text.push_str(&format!("reports   assay serve {}\n", self.out.display()));
        text.push_str(&format!("repeat    {}\n", self.command));
        text
    }

    fn summary(&self) -> String {
        let mut page = format!("## Assay, {}: {}\n\n", self.profile, self.verdict);
        for reason in &self.reasons {
            page.push_str(&format!("- {}\n", report::escape_markdown(reason)));
        }
        page.push_str(
            "\n| run | verdict | operations | faults | availability | s |\n|---|---|--:|--:|--:|--:|\n",
        );
        for done in &self.runs {
            let expected = done.expected.map_or(String::new(), |expected| format!(" (expected: {expected})"));
            page.push_str(&format!(
                "| {} | {}{expected} | {} | {} | {} | {:.0} |\n",
                report::escape_markdown(&done.name),
                done.verdict,
                done.operations,
                done.faults,
                report::percent(done.availability),
                done.duration_s
            ));
        }
        page.push_str(&format!("\nRepeat it: `{}`\n", self.command));
        page
    }
}

impl Done {
    /// What it means for the series, and why. A planted bug that is missed says nothing against the store: it is
    /// the harness that failed.
    fn judged(&self) -> (Conclusion, Option<String>) {
        let (name, verdict) = (&self.name, self.verdict);
        match self.expected {
            Some(expected) if expected == verdict => (Conclusion::Valid, None),
            Some(expected) => {
                (Conclusion::Unknown, Some(format!("{name}: {verdict} where {expected} was expected")))
            }
            None if verdict == Conclusion::Valid => (verdict, None),
            None => (verdict, Some(format!("{name}: {}", self.sentence))),
        }
    }

    fn of(name: &str, results: &Results, expected: Option<Conclusion>) -> Done {
        Done {
            name: name.into(),
            folder: name.into(),
            expected,
            verdict: results.verdict,
            sentence: results.sentence(),
            seed: results.run.seed,
            operations: results.total().total(),
            faults: results.faults.iter().filter(|fault| fault.is_proved()).count(),
            availability: results.availability.share(),
            duration_s: results.run.duration_s,
            resident_kib: resident_kib(),
        }
    }

    fn line(&self) -> String {
        let as_expected = match self.expected {
            Some(expected) if expected == self.verdict => ", as expected",
            Some(_) => ", NOT as expected",
            None => "",
        };
        let memory = self.resident_kib.map_or(String::new(), |kib| format!(", {} MiB", kib / 1024));
        format!(
            "{:<28} {}{as_expected}: {} operations, {} faults, availability {}, {:.1} s{memory}",
            self.name,
            self.verdict,
            self.operations,
            self.faults,
            report::percent(self.availability),
            self.duration_s
        )
    }
}

/// Has the allocator give back to the system what nobody uses any more. By itself it keeps what a run took, another part
/// of it each time, so that memory seems to grow.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "nix has no call for it")]
fn give_memory_back() {
    // SAFETY: it takes no pointer, and locks what it touches.
    unsafe { nix::libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn give_memory_back() {}

/// Memory that this program holds.
fn resident_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Removes everything else from a folder.
fn leave_only(dir: &Path, names: &[&str]) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if names.iter().any(|kept| name == *kept) {
            continue;
        }
        let path = entry.path();
        if entry.file_type()?.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(name: &str, verdict: Conclusion, expected: Option<Conclusion>) -> Done {
        let results = Results { verdict, ..Results::default() };
        Done::of(name, &results, expected)
    }

    fn series(out: &Path) -> Series {
        Series {
            v: 1,
            profile: "soak",
            verdict: Conclusion::Valid,
            reasons: Vec::new(),
            command: "assay run --profile soak".into(),
            duration_s: 1.0,
            runs: Vec::new(),
            out: out.into(),
        }
    }

    #[test]
    fn a_missed_bug_is_a_failure_of_the_harness_and_no_anomaly() {
        use Conclusion::{Anomaly, Unknown, Valid};
        for (verdict, expected, want) in [
            (Valid, None, Valid),
            (Anomaly, None, Anomaly),
            (Unknown, None, Unknown),
            (Anomaly, Some(Anomaly), Valid),
            (Valid, Some(Anomaly), Unknown),
            (Unknown, Some(Anomaly), Unknown),
        ] {
            let mut series = series(Path::new("."));
            series.take(done("x", verdict, expected));
            assert_eq!(
                (series.verdict, series.reasons.is_empty()),
                (want, want == Valid),
                "{verdict} {expected:?}"
            );
        }
    }

    #[test]
    fn of_old_valid_runs_only_the_results_stay() {
        let dir = tempfile::tempdir().unwrap();
        let mut series = series(dir.path());
        for round in 1..=6 {
            let name = format!("round-{round}");
            let verdict = if round == 2 { Conclusion::Unknown } else { Conclusion::Valid };
            fs::create_dir_all(dir.path().join(&name).join("kv")).unwrap();
            for file in ["results.json", "report.html", "kv/history.jsonl"] {
                fs::write(dir.path().join(&name).join(file), "x").unwrap();
            }
            series.take(done(&name, verdict, None));
            series.thin_out();
        }
        for (round, whole) in [(1, false), (2, true), (3, false), (4, true), (5, true), (6, true)] {
            let dir = dir.path().join(format!("round-{round}"));
            assert!(dir.join("results.json").is_file());
            assert_eq!(dir.join("kv/history.jsonl").is_file(), whole, "round {round}");
        }
        series.write().unwrap();
        let written = fs::read_to_string(dir.path().join("series.json")).unwrap();
        assert!(written.contains("\"round-6\"") && written.contains("resident_kib"), "{written}");
        let junit = fs::read_to_string(dir.path().join("junit.xml")).unwrap();
        assert!(junit.contains("errors=\"1\"") && junit.contains("name=\"round-6\""), "{junit}");
        assert!(series.text(false).ends_with("repeat    assay run --profile soak\n"));
    }

    #[test]
    fn every_bug_that_must_be_found_has_a_scenario() {
        for (bug, scenario) in MUST_FIND {
            assert!(scenario.parse::<Scenario>().is_ok(), "{bug}: {scenario}");
        }
    }
}
