//! `assay gallery`: the known bugs of real etcd releases, found again.
//!
//! What finds a bug is an ordinary run, general workloads under general faults; only where to look is known. The
//! same run on a release that has the fix must find nothing: a control that alarms says that the harness cries
//! wolf.

mod bugs;

use super::{
    Failure, Format, duration, print,
    trial::{self, Trial},
};
use crate::{
    cluster::System,
    report::{Conclusion, Results, file_stamp},
    scenario::WorkloadName,
};
use bugs::{BUGS, Bug};
use serde::Serialize;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Arguments of `assay gallery`.
#[derive(Debug, clap::Args)]
pub(super) struct GalleryArgs {
    /// Folder that holds a folder for each release of etcd, named by its version, with the program `etcd` in it.
    #[arg(long, value_name = "DIR")]
    etcd_root: PathBuf,
    /// Only these bugs, by number, separated by commas.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    bug: Vec<u32>,
    /// How often a bug is to be found, for the spread of the time that it takes.
    #[arg(long, value_name = "N", default_value_t = 1)]
    finds: u32,
    /// How many runs may pass without finding it.
    #[arg(long, value_name = "N", default_value_t = 6)]
    tries: u32,
    /// Runs on the release that has the fix.
    #[arg(long, value_name = "N", default_value_t = 1)]
    controls: u32,
    /// Every release known to have the bug, instead of the first.
    #[arg(long)]
    all_releases: bool,
    /// Seed of the first run; the next have the next.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder for the runs; default: store/gallery/TIME.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How to print the table.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// A row of the table.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Row {
    bug: String,
    what: String,
    release: String,
    control: bool,
    workload: String,
    faults: String,
    tries: u32,
    found: u32,
    /// Of each find: from the start of the first run after the last find to the verdict, in s.
    time_to_find_s: Vec<f64>,
    /// What was found, or why nothing could be.
    said: String,
    /// Whether it came out as it must.
    pass: bool,
    /// Whether it could not be tried, or not be judged.
    unknown: bool,
}

pub(super) fn gallery(args: &GalleryArgs) -> Result<u8, Failure> {
    let unknown: Vec<String> = args
        .bug
        .iter()
        .filter(|number| BUGS.iter().all(|bug| bug.issue != **number))
        .map(u32::to_string)
        .collect();
    if !unknown.is_empty() {
        let known: Vec<String> = BUGS.iter().map(|bug| bug.issue.to_string()).collect();
        return Err(Failure::Usage(format!(
            "--bug {}: the gallery has {}",
            unknown.join(","),
            known.join(", ")
        )));
    }
    if args.finds == 0 || args.tries == 0 {
        return Err(Failure::Usage("--finds and --tries must be at least 1".into()));
    }
    let chosen: Vec<&Bug> =
        BUGS.iter().filter(|bug| args.bug.is_empty() || args.bug.contains(&bug.issue)).collect();
    let all = |bug: &&'static Bug| releases(args, bug).iter().copied().chain(controlled(args, bug));
    for release in chosen.iter().flat_map(all) {
        // Before anything is run: one that is missing would be found out late.
        System::Etcd { dir: args.etcd_root.join(release) }
            .version()
            .map_err(|error| Failure::Usage(format!("--etcd-root: {error}")))?;
    }
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| Path::new(super::out::STORE).join("gallery").join(file_stamp(SystemTime::now())));
    let mut rows = Vec::new();
    for bug in chosen {
        for release in releases(args, bug) {
            rows.push(search(args, bug, release, &out));
            tell(&rows)?;
        }
        if controlled(args, bug).is_some() {
            rows.push(control(args, bug, &out));
            tell(&rows)?;
        }
    }
    let text = match args.format {
        Format::Text => format!("{}\nruns in {}\n", table(&rows), out.display()),
        Format::Json => format!("{}\n", serde_json::to_string_pretty(&rows).map_err(io::Error::from)?),
    };
    print(&text)?;
    let wrong = rows.iter().any(|row| !row.pass && !row.unknown);
    let unknown = rows.iter().any(|row| row.unknown);
    Ok(match (wrong, unknown) {
        (true, _) => Conclusion::Anomaly,
        (false, true) => Conclusion::Unknown,
        (false, false) => Conclusion::Valid,
    }
    .exit_code())
}

/// The releases to look at.
fn releases(args: &GalleryArgs, bug: &Bug) -> &'static [&'static str] {
    let count = if args.all_releases { bug.releases.len() } else { 1 };
    &bug.releases[..count]
}

/// The release that must be clean, where that is to be seen.
fn controlled(args: &GalleryArgs, bug: &Bug) -> Option<&'static str> {
    (args.controls > 0).then_some(bug.control.release)
}

/// Says how the last one came out.
fn tell(rows: &[Row]) -> io::Result<()> {
    rows.last().map_or(Ok(()), |row| writeln!(io::stderr(), "{}", line(row)))
}

fn row(bug: &Bug, release: &str, control: bool) -> Row {
    let value = |flag: &str| bug.value(flag).unwrap_or_default().to_string();
    Row {
        bug: format!("#{}", bug.issue),
        what: bug.what.into(),
        release: release.into(),
        control,
        workload: value("--workload"),
        faults: value("--faults"),
        ..Row::default()
    }
}

/// Why this program cannot look for the bug.
fn lacks(bug: &Bug) -> Option<String> {
    bug.value("--workload")?.split(',').find_map(|name| name.parse::<WorkloadName>().err())
}

/// Looks for a bug until it was found as often as asked for.
fn search(args: &GalleryArgs, bug: &Bug, release: &str, out: &Path) -> Row {
    let mut row = row(bug, release, false);
    if let Some(lack) = lacks(bug) {
        return Row { said: lack, unknown: true, ..row };
    }
    let (mut since, mut in_vain) = (Duration::ZERO, 0);
    while row.found < args.finds && in_vain < args.tries {
        let folder = out.join(format!("{}-{release}-{}", bug.issue, row.tries + 1));
        let seed = args.seed + u64::from(row.tries);
        row.tries += 1;
        match one(args, bug, release, &[], seed, &folder) {
            Ok(Trial { results, took }) => {
                since += took;
                if let Some(sentence) = bug.shown(&results) {
                    row.found += 1;
                    row.time_to_find_s.push(since.as_secs_f64());
                    row.said = sentence;
                    (since, in_vain) = (Duration::ZERO, 0);
                } else {
                    in_vain += 1;
                    row.unknown = results.verdict == Conclusion::Unknown && row.found == 0;
                    if row.found == 0 {
                        let other = results.reasons.first().map(|reason| format!("; instead: {reason}"));
                        row.said = format!("not found{}", other.unwrap_or_default());
                    }
                }
            }
            Err(error) => {
                in_vain += 1;
                row.said = error;
            }
        }
    }
    row.pass = row.found >= args.finds;
    row.unknown &= !row.pass;
    row
}

/// Sees that nothing is found where nothing is.
fn control(args: &GalleryArgs, bug: &Bug, out: &Path) -> Row {
    let mut row = row(bug, bug.control.release, true);
    row.release = [&[bug.control.release], bug.control.args].concat().join(" ");
    if let Some(lack) = lacks(bug) {
        return Row { said: lack, unknown: true, ..row };
    }
    row.pass = true;
    while row.tries < args.controls {
        let release = bug.control.release;
        let folder = out.join(format!("{}-control-{release}-{}", bug.issue, row.tries + 1));
        let seed = args.seed + u64::from(row.tries);
        row.tries += 1;
        match one(args, bug, release, bug.control.args, seed, &folder) {
            Ok(Trial { results, .. }) if results.verdict == Conclusion::Valid => {}
            Ok(Trial { results, .. }) => {
                row.pass = false;
                row.unknown = results.verdict == Conclusion::Unknown;
                row.found += u32::from(results.verdict == Conclusion::Anomaly);
                row.said = results.reasons.first().cloned().unwrap_or_default();
            }
            Err(error) => (row.pass, row.unknown, row.said) = (false, true, error),
        }
    }
    row
}

/// One run; where flags stand twice, the later ones count, which are those of `more`.
fn one(
    args: &GalleryArgs,
    bug: &Bug,
    release: &str,
    more: &[&str],
    seed: u64,
    folder: &Path,
) -> Result<Trial, String> {
    let mut words: Vec<String> = ["--system", "etcd", "--etcd-bin"].map(String::from).into();
    words.push(args.etcd_root.join(release).display().to_string());
    words.extend(bug.words().map(String::from));
    words.extend(more.iter().map(|word| (*word).to_string()));
    words.extend(["--seed".to_string(), seed.to_string()]);
    trial::run(&words, folder, bug.time_limit() + trial::OVERHEAD)
}

impl Bug {
    /// How a run shows it, in a sentence.
    fn shown(&self, results: &Results) -> Option<String> {
        let of_workloads = results.workloads.iter().flat_map(|workload| &workload.checks);
        let mut anomalies = of_workloads.chain(&results.checks).flat_map(|check| &check.anomalies);
        let shows = |kind: &str| self.shown_by.is_empty() || self.shown_by.contains(&kind);
        let anomaly = anomalies.find(|anomaly| shows(&anomaly.kind))?;
        Some(format!("{}: {}", anomaly.kind, anomaly.sentence))
    }

    fn time_limit(&self) -> Duration {
        let time = self.value("--time-limit").and_then(|time| duration::parse(time).ok());
        time.unwrap_or(Duration::from_secs(60))
    }
}

/// Times as a table has them: one, or the middle of several with the least and the largest.
fn spread(times_s: &[f64]) -> String {
    let mut sorted = times_s.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.as_slice() {
        [] => "-".into(),
        [one] => format!("{one:.0} s"),
        [least, .., most] => format!("{:.0} s ({least:.0}-{most:.0})", sorted[sorted.len() / 2]),
    }
}

fn outcome(row: &Row) -> &'static str {
    match (row.pass, row.unknown, row.control) {
        (_, true, _) => "UNKNOWN",
        (true, false, false) => "found",
        (true, false, true) => "clean",
        (false, false, false) => "MISSED",
        (false, false, true) => "FALSE ALARM",
    }
}

fn line(row: &Row) -> String {
    format!(
        "{:<7} {:<7} {:<11} {:>2} tries  {:<16} {}",
        row.bug,
        row.release,
        outcome(row),
        row.tries,
        spread(&row.time_to_find_s),
        row.said.lines().next().unwrap_or_default()
    )
}

/// A table that is readable as it is and as Markdown.
fn table(rows: &[Row]) -> String {
    let head = ["bug", "what", "release", "workload", "faults", "outcome", "tries", "time to find"]
        .map(String::from);
    let cells: Vec<[String; 8]> = std::iter::once(head)
        .chain(rows.iter().map(|row| {
            [
                row.bug.clone(),
                row.what.clone(),
                if row.control { format!("{} (control)", row.release) } else { row.release.clone() },
                row.workload.clone(),
                row.faults.clone(),
                outcome(row).into(),
                row.tries.to_string(),
                spread(&row.time_to_find_s),
            ]
        }))
        .collect();
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..8).map(width).collect();
    let mut text = String::new();
    for (number, row) in cells.iter().enumerate() {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!(" {cell:<width$} "));
        text.push_str(&format!("|{}|\n", padded.collect::<Vec<_>>().join("|")));
        if number == 0 {
            let dashes: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
            text.push_str(&format!("|{}|\n", dashes.join("|")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_is_looked_for_by_a_run_that_the_command_line_takes() {
        use clap::CommandFactory;
        for bug in BUGS {
            let differs = !bug.releases.contains(&bug.control.release) || !bug.control.args.is_empty();
            assert!(differs, "#{}", bug.issue);
            let words =
                ["assay", "run"].into_iter().chain(bug.words()).chain(bug.control.args.iter().copied());
            let parsed = crate::cli::Cli::command().try_get_matches_from(words);
            assert!(parsed.is_ok(), "#{}: {}", bug.issue, parsed.unwrap_err());
            assert!(crate::nemesis::FaultSet::parse(&row(bug, "", false).faults).is_ok(), "#{}", bug.issue);
            assert!(bug.time_limit() >= Duration::from_secs(5), "#{}", bug.issue);
        }
    }

    #[test]
    fn only_what_shows_a_bug_counts_as_its_find() {
        use crate::report::{Anomaly, Check};
        let found = |kind: &str| {
            let anomaly = Anomaly { kind: kind.into(), sentence: "it is so".into(), ..Anomaly::default() };
            let check = Check { anomalies: vec![anomaly], ..Check::default() };
            Results { checks: vec![check], ..Results::default() }
        };
        let watch = BUGS.iter().find(|bug| bug.issue == 15271).unwrap();
        assert_eq!(watch.shown(&found("watch-duplicate")).unwrap(), "watch-duplicate: it is so");
        assert_eq!(watch.shown(&found("watch-bookmark-broken")), None, "another bug of the same release");
        let any = BUGS.iter().find(|bug| bug.issue == 14685).unwrap();
        assert!(any.shown(&found("divergence")).is_some() && any.shown(&Results::default()).is_none());
    }

    #[test]
    fn the_kinds_that_show_a_bug_are_kinds_that_checks_give() {
        use checker::AnomalyKind::{
            Divergence, LeaseExpiredEarly, WatchBookmarkBroken, WatchDuplicate, WatchNotOrdered,
        };
        let known = [Divergence, LeaseExpiredEarly, WatchBookmarkBroken, WatchDuplicate, WatchNotOrdered]
            .map(|kind| kind.to_string());
        for kind in BUGS.iter().flat_map(|bug| bug.shown_by) {
            assert!(known.iter().any(|known| known == kind), "{kind}");
        }
    }

    #[test]
    fn a_miss_and_a_false_alarm_are_told_apart_from_what_is_unknown() {
        let row = |pass, unknown, control| Row { pass, unknown, control, ..Row::default() };
        assert_eq!(outcome(&row(true, false, false)), "found");
        assert_eq!(outcome(&row(false, false, false)), "MISSED");
        assert_eq!(outcome(&row(true, false, true)), "clean");
        assert_eq!(outcome(&row(false, false, true)), "FALSE ALARM");
        assert_eq!(outcome(&row(false, true, true)), "UNKNOWN");
        assert_eq!(spread(&[3.0, 9.0, 5.0]), "5 s (3-9)");
        let text = table(&[row(true, false, true)]);
        assert!(text.lines().all(|line| line.starts_with('|') && line.ends_with('|')), "{text}");
    }
}
