//! `assay check`: judges stored histories, of this program or of others.

use super::{Failure, colour, duration, levels, print};
use crate::{
    nemesis::PlanFile,
    report::{self, Conclusion, Results, WorkloadResult},
    runner,
};
use checker::{
    Engine, History, Options,
    history::import::file::{self, Form},
    isolation,
};
use std::{
    fmt::Write as _,
    fs,
    io::{self, IsTerminal, Write as _},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Endings of files that a folder is searched for; a further `.gz` or `.zst` is no matter.
const ENDINGS: [&str; 5] = ["edn", "json", "jsonl", "log", "txt"];
/// Bytes that a state of a search takes, with all that refers to it, on average.
const STATE_BYTES: u64 = 256;
/// How often a long check shows that it is alive.
const ALIVE: Duration = Duration::from_secs(2);

/// Arguments of `assay check`.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// Histories, or folders with histories: history.jsonl of a run, Jepsen's history.edn, the same as JSON,
    /// Jepsen's log of 2014, Porcupine's key-value logs, transactions by session as AWDIT's or Plume's text; plain,
    /// gzip or zstd. Of several, those that cannot be read are named, and make the whole unknown at least.
    #[arg(required_unless_present = "explain")]
    files: Vec<PathBuf>,
    /// What to judge them as: a workload's name, where the file does not say it or says it wrongly.
    #[arg(long, value_name = "WORKLOAD")]
    spec: Option<String>,
    /// The consistency level that transactions are asked for, as serializable or causal; --explain tells what they
    /// mean [default: strict-serializable].
    #[arg(long, value_name = "LEVEL", value_parser = model)]
    model: Option<&'static str>,
    /// Time for all checks of a history together; what is undecided then is unknown.
    #[arg(long, alias = "time-limit", value_name = "DURATION", default_value = "60s", value_parser = duration::parse)]
    time: Duration,
    /// Memory that a search may take beyond the history itself, as 512MiB or 2GiB; one that needs more ends in unknown.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = bytes)]
    memory: u64,
    /// What searches for an order of the operations.
    #[arg(long, value_enum, default_value_t)]
    engine: EngineArg,
    /// Threads for parts of a history that have nothing to do with each other [default: one a core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Says what a consistency level means, with a small example, and checks nothing.
    #[arg(long, value_name = "LEVEL", conflicts_with = "files")]
    explain: Option<String>,
    /// How to print the verdict.
    #[arg(long, value_enum, default_value_t)]
    format: CheckFormat,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum EngineArg {
    /// Assay's own.
    #[default]
    Assay,
    /// stateright's, for small histories.
    Stateright,
}

/// How the verdict is printed.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum CheckFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
    /// JUnit's XML, a test case for each check.
    Junit,
    /// One self-contained page.
    Html,
}

/// A level by its name.
fn model(text: &str) -> Result<&'static str, String> {
    isolation::levels::named(text).ok_or_else(|| {
        let names: Vec<&str> = isolation::levels::names().collect();
        format!("there is no such level; there are {}", names.join(", "))
    })
}

/// A size: a number with a unit.
fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 0_u64,
    };
    let number = digits.parse::<u64>().ok().filter(|number| *number > 0);
    match number.and_then(|number| number.checked_mul(unit)) {
        Some(bytes) if bytes > 0 => Ok(bytes),
        Some(_) | None => Err("write a whole number with a unit, as 512MiB or 2GiB".to_owned()),
    }
}

pub(super) fn check(args: CheckArgs) -> Result<u8, Failure> {
    if let Some(level) = &args.explain {
        print(&levels::explain(level).map_err(Failure::Usage)?)?;
        return Ok(0);
    }
    let files = files(&args.files)?;
    let started = Instant::now();
    let mut results = Vec::new();
    for file in &files {
        let begun = Instant::now();
        let result = match read(file) {
            Ok((form, history)) => judge(&args, file, form, history),
            // One among many must not hide the others.
            Err(why) if files.len() > 1 => unreadable(file, why),
            Err(why) => return Err(Failure::Usage(why)),
        };
        if files.len() > 1 {
            let line = one_line(&result, begun.elapsed());
            if matches!(args.format, CheckFormat::Text) {
                print(&line)?;
            }
        }
        results.push(result);
    }
    let verdict = results.iter().map(|result| result.verdict).max().unwrap_or(Conclusion::Unknown);
    match (args.format, results.as_slice()) {
        (CheckFormat::Text, [result]) => print(&report::workload_text(result, colour()))?,
        (CheckFormat::Text, results) => print(&sum(results, started.elapsed()))?,
        (CheckFormat::Json, [result]) => print_json(result)?,
        (CheckFormat::Json, results) => print_json(results)?,
        (CheckFormat::Html | CheckFormat::Junit, _) => {
            let results = Results { v: report::VERSION, verdict, workloads: results, ..Results::default() };
            let page = match args.format {
                CheckFormat::Junit => {
                    report::junit(&results).map_err(|error| Failure::Unknown(error.to_string()))?
                }
                CheckFormat::Html | CheckFormat::Text | CheckFormat::Json => {
                    report::html(&results, Path::new("."))
                }
            };
            print(&page)?;
        }
    }
    Ok(verdict.exit_code())
}

fn print_json<T: serde::Serialize + ?Sized>(value: &T) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
    print(&format!("{json}\n"))
}

/// The files that are named, and those in folders that are named, in order.
fn files(named: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in named {
        if path.is_dir() {
            let before = files.len();
            below(path, &mut files)
                .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
            if files.len() == before {
                let endings = ENDINGS.join(", .");
                let text = format!("{}: no file there ends in .{endings}", path.display());
                return Err(Failure::Usage(text));
            }
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// Adds the histories below a folder. Of a run's, those that it recorded: its members' logs are no histories.
fn below(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    entries.sort();
    let of_run = entries.iter().any(|path| path.ends_with(PlanFile::NAME));
    for path in entries {
        if of_run {
            let history = path.join("history.jsonl");
            files.extend(history.is_file().then_some(history));
        } else if path.is_dir() {
            below(&path, files)?;
        } else if is_history(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn is_history(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".gz").or(name.strip_suffix(".zst")).unwrap_or(&name);
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    // A folder of a run holds results too, and some folders of histories hold others' verdicts.
    ENDINGS.contains(&ending) && name != "results.json" && !name.contains(".verdict.")
}

fn read(path: &Path) -> Result<(Form, History), String> {
    file::read(path).map_err(|error| {
        format!(
            "{error}; name a history.jsonl of a run, a history of Jepsen or Porcupine, or text of AWDIT or Plume"
        )
    })
}

/// What is said of a file that is no history: nothing is known, and why.
fn unreadable(path: &Path, why: String) -> WorkloadResult {
    let name = "file".to_owned();
    let check =
        report::Check { name, verdict: Conclusion::Unknown, reasons: vec![why], ..report::Check::default() };
    WorkloadResult {
        name: "unreadable".to_owned(),
        history: path.to_owned(),
        verdict: Conclusion::Unknown,
        checks: vec![check],
        ..WorkloadResult::default()
    }
}

fn judge(args: &CheckArgs, path: &Path, form: Form, mut history: History) -> WorkloadResult {
    if let Some(spec) = &args.spec {
        history = history.with_scenario(spec);
    }
    let engine = match args.engine {
        EngineArg::Assay => Engine::Assay,
        EngineArg::Stateright => Engine::Stateright,
    };
    let defaults = Options::default();
    let options = Options {
        time_limit: args.time,
        states_max: usize::try_from((args.memory / STATE_BYTES).max(1)).unwrap_or(usize::MAX),
        memory_max: Some(args.memory),
        engine,
        model: args.model,
        threads: args.threads.map_or(defaults.threads, usize::from),
        ..defaults
    };
    let mut result = WorkloadResult {
        name: history.header().scenario.clone(),
        history: path.to_owned(),
        verdict: Conclusion::Unknown,
        ..WorkloadResult::default()
    };
    report::measure(&history, &mut result);
    let alive = Alive::new(path, &history);
    match form {
        Form::Assay => runner::judge(&history, &options, &mut result, None),
        // Others say neither how much is enough nor who else wrote: what there is, is judged.
        Form::Edn | Form::Json | Form::JepsenLog | Form::Sessions(_) => {
            let options = Options { ok_min: 0, ..options };
            runner::conclude(&checker::check(&history, &options), &mut result, None);
        }
    }
    drop(alive);
    if let Some(torn) = history.torn()
        && result.verdict == Conclusion::Valid
    {
        // What the last line would have said might have been the anomaly.
        let reason = format!("line {} is torn after {} bytes: {}", torn.line, torn.bytes, torn.reason);
        result.verdict = Conclusion::Unknown;
        let name = "file".to_owned();
        let verdict = Conclusion::Unknown;
        result.checks.push(report::Check {
            name,
            verdict,
            reasons: vec![reason],
            ..report::Check::default()
        });
    }
    result
}

/// Says on a terminal, now and then, what is being checked, until it is dropped.
struct Alive {
    ended: Option<mpsc::Sender<()>>,
    teller: Option<thread::JoinHandle<()>>,
}

impl Alive {
    fn new(path: &Path, history: &History) -> Alive {
        if !io::stderr().is_terminal() {
            return Alive { ended: None, teller: None };
        }
        let (ended, wait) = mpsc::channel();
        let what = format!("{}, {} operations", path.display(), history.operations().len());
        let started = Instant::now();
        let tell = move || {
            while wait.recv_timeout(ALIVE) == Err(mpsc::RecvTimeoutError::Timeout) {
                let seconds = started.elapsed().as_secs();
                // What cannot be told has nobody to hear it.
                let _ = write!(io::stderr(), "\rchecking {what}: {seconds} s");
            }
            if started.elapsed() >= ALIVE {
                let _ = writeln!(io::stderr());
            }
        };
        Alive { ended: Some(ended), teller: Some(thread::spawn(tell)) }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        drop(self.ended.take());
        if let Some(teller) = self.teller.take() {
            // It only prints.
            let _ = teller.join();
        }
    }
}

/// A verdict among many: `anomaly  register  85 ops  1.2 ms  FILE: sentence`.
fn one_line(result: &WorkloadResult, took: Duration) -> String {
    let operations: u64 = result.counts.values().map(|counts| counts.total()).sum();
    let mut line = format!(
        "{:<8} {:<15} {operations:>7} operations {:>9.1} ms  {}",
        result.verdict.to_string(),
        result.name,
        took.as_secs_f64() * 1e3,
        result.history.display(),
    );
    let checks = result.checks.iter().filter(|check| check.verdict == result.verdict);
    if result.verdict != Conclusion::Valid {
        let said = checks.flat_map(|check| {
            check
                .anomalies
                .iter()
                .map(|anomaly| anomaly.sentence.as_str())
                .chain(check.reasons.iter().map(String::as_str))
        });
        if let Some(first) = said.take(1).next() {
            let _ = write!(line, "\n         {first}");
        }
    }
    line.push('\n');
    line
}

fn sum(results: &[WorkloadResult], took: Duration) -> String {
    let count = |verdict| results.iter().filter(|result| result.verdict == verdict).count();
    format!(
        "{} histories in {:.2} s: {} valid, {} anomaly, {} unknown\n",
        results.len(),
        took.as_secs_f64(),
        count(Conclusion::Valid),
        count(Conclusion::Anomaly),
        count(Conclusion::Unknown),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("512MiB"), Ok(512 << 20));
        assert_eq!(bytes("2GiB"), Ok(2 << 30));
        for wrong in ["", "5", "0GiB", "1.5GiB", "GiB", "99999999999GiB", "1 GiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_folder_is_searched_for_histories_only() {
        for (name, is) in [
            ("history.jsonl", true),
            ("history.edn.gz", true),
            ("etcd_000.log", true),
            ("h.json.zst", true),
            ("results.json", false),
            ("h.verdict.edn", false),
            ("report.html", false),
            ("LICENSE", false),
        ] {
            assert_eq!(is_history(Path::new(name)), is, "{name}");
        }
    }

    #[test]
    fn of_a_run_only_what_it_recorded_is_read() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["run/kv", "run/nodes/n1.data/log", "other"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let recorded = ["other/etcd_000.log", "run/kv/history.jsonl"];
        let others =
            ["run/faults.jsonl", "run/results.json", "run/nodes/n1.log", "run/nodes/n1.data/log/1.log"];
        for file in recorded.iter().chain(&others) {
            fs::write(dir.path().join(file), "").unwrap();
        }
        let files = files(&[dir.path().to_owned()]).unwrap_or_default();
        assert_eq!(files, recorded.map(|file| dir.path().join(file)));
    }
}
