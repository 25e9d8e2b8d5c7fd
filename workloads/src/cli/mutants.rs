//! `assay mutants`: every planted bug, and what finds it. In builds with the feature `plant`.

mod gallery;
mod searches;

use super::{Failure, duration, print};
use gallery::{CI, Mutant, elsewhere, equivalent};
use searches::{Altitude, Cell};
use std::{fmt::Write as _, path::PathBuf, time::Duration};

/// Exit status where a bug was not found, or where one was that is not there.
const ANOMALY: u8 = 1;

/// Arguments of `assay mutants`.
#[derive(Debug, clap::Args)]
pub(super) struct MutantsArgs {
    /// Only these, by name.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// Only some, which are quick to find: `ci` fails where one is not found by all that found it before, or
    /// where anything is found in a server without any.
    #[arg(long, value_enum, conflicts_with = "only")]
    subset: Option<Subset>,
    /// Seeds of each search by chance: the median and the worst are told.
    #[arg(long, default_value_t = 10)]
    repeat: u64,
    /// Processor time for one search.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    cpu_limit: Duration,
    /// Distinct states of a search breadth first.
    #[arg(long, default_value_t = 1_500_000)]
    states: usize,
    /// Simulated seeds of one search.
    #[arg(long, default_value_t = 3000)]
    seeds: u64,
    /// Where the matrix is written; nowhere with --subset, unless it is given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Some of the mutants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Subset {
    /// For every change.
    Ci,
}

/// What came of one mutant.
struct Row {
    mutant: Mutant,
    cells: [Cell; 3],
}

impl Row {
    fn new(args: &MutantsArgs, mutant: Mutant) -> Row {
        Row { mutant, cells: Altitude::ALL.map(|altitude| searches::search(args, mutant, altitude)) }
    }

    fn is_found(&self) -> bool {
        self.cells.iter().any(Cell::is_found)
    }

    /// Median processor time of the altitude that is quickest, in seconds.
    fn cpu_s(&self) -> Option<f64> {
        self.cells.iter().filter_map(Cell::median_s).min_by(f64::total_cmp)
    }

    fn text(&self) -> String {
        let cells = self.cells.each_ref().map(Cell::text);
        let mut line = format!("| `{}` | {} |", self.mutant, cells.join(" | "));
        if let Some(why) = equivalent(self.mutant.name()) {
            let _ = write!(line, " equivalent: {why} |");
        } else if let Some(by) = elsewhere(self.mutant.name()) {
            let _ = write!(line, " {by} |");
        } else if self.mutant.is_in_gate() {
            line += " found by `assay run` in the gate |";
        } else {
            line += " |";
        }
        line + "\n"
    }

    /// What is wrong with the result.
    fn complaint(&self) -> Option<String> {
        let name = self.mutant.name();
        match (self.is_found(), equivalent(name)) {
            (false, None) if elsewhere(name).is_none() => Some(format!("{name}: not found")),
            (true, Some(_)) => Some(format!("{name}: said to be equivalent, and found")),
            (_, None) | (false, Some(_)) => None,
        }
    }
}

pub(super) fn mutants(args: &MutantsArgs) -> Result<u8, Failure> {
    // A broken invariant of the core is a panic there, and a finding here.
    std::panic::set_hook(Box::new(|_| {}));
    match args.subset {
        Some(Subset::Ci) => ci(args),
        None => matrix(args),
    }
}

fn matrix(args: &MutantsArgs) -> Result<u8, Failure> {
    let all = Mutant::all();
    if let Some(name) = args.only.iter().find(|name| !all.iter().any(|mutant| mutant.name() == *name)) {
        let names: Vec<&str> = all.iter().map(|mutant| mutant.name()).collect();
        return Err(Failure::Usage(format!("no mutant is named `{name}`; there are {}", names.join(", "))));
    }
    let chosen =
        |mutant: &&Mutant| args.only.is_empty() || args.only.iter().any(|name| name == mutant.name());
    let mut table = String::new();
    let mut rows = Vec::new();
    let mut area = "";
    for mutant in all.iter().filter(chosen) {
        let mut text = String::new();
        if mutant.area() != area {
            area = mutant.area();
            let _ = write!(
                text,
                "\n## {area}\n\n| mutant | breadth first | walks | simulation | |\n|---|---|---|---|---|\n"
            );
        }
        let row = Row::new(args, *mutant);
        text += &row.text();
        print(&text)?;
        table += &text;
        rows.push(row);
    }
    let sum = summary(args, &rows);
    if let Some(file) = &args.out {
        std::fs::write(file, format!("{}\n{sum}\n{table}", head()))?;
    }
    print(&format!("\n{sum}\n"))?;
    let complaints: Vec<String> = rows.iter().filter_map(Row::complaint).collect();
    print(&complaints.iter().map(|line| format!("{line}\n")).collect::<String>())?;
    Ok(if complaints.is_empty() { 0 } else { ANOMALY })
}

fn head() -> &'static str {
    "# Planted bugs and what finds them\n\n\
     Written by `assay mutants --out FILE` in a build with `--features plant`. A cell tells how many of the searches \
     found the bug, the processor time that took (median and worst), and what gave it away; `-`: this altitude does \
     not have the code. *Breadth first* and *walks* are `assay model`, *simulation* is `assay sim`. A search breadth \
     first knows no chance, so there is one.\n"
}

fn summary(args: &MutantsArgs, rows: &[Row]) -> String {
    let equivalents = rows.iter().filter(|row| equivalent(row.mutant.name()).is_some()).count();
    let found = rows.iter().filter(|row| row.is_found()).count();
    let elsewhere =
        rows.iter().filter(|row| !row.is_found() && elsewhere(row.mutant.name()).is_some()).count();
    let mut times: Vec<f64> = rows.iter().filter_map(Row::cpu_s).collect();
    times.sort_by(f64::total_cmp);
    let median = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);
    let worst = times.last().copied().unwrap_or(f64::NAN);
    format!(
        "{found} of {} mutants that are not equivalent are found here, {elsewhere} by tests of the core alone; \
         {equivalents} are equivalent. By whoever is quickest it takes {median:.2} CPU-seconds (median over the mutants; worst {worst:.1}). {} seeds a search by \
         chance; limits: {} CPU-seconds a search, {} states breadth first, {} simulated seeds.\n",
        rows.len() - equivalents,
        args.repeat,
        args.cpu_limit.as_secs(),
        args.states,
        args.seeds
    )
}

/// The quick part: what was found must be found, and nothing where there is nothing. The first is the canary: a
/// gate that does not see even that one says nothing.
fn ci(args: &MutantsArgs) -> Result<u8, Failure> {
    let mut complaints = Vec::new();
    for (name, altitudes) in CI {
        let mutant = Mutant::all().into_iter().find(|mutant| mutant.name() == *name);
        let mutant =
            mutant.ok_or_else(|| Failure::Unknown(format!("there is no mutant `{name}` any more")))?;
        for altitude in *altitudes {
            let cell = searches::search(args, mutant, *altitude);
            print(&format!("{name}: {altitude}: {}\n", cell.text()))?;
            if !cell.is_found() {
                complaints.push(format!("{name}: {altitude} finds it no longer\n"));
            }
        }
    }
    for altitude in Altitude::ALL {
        let cell = searches::search(args, Mutant::None, altitude);
        print(&format!("no bug: {altitude}: {}\n", cell.text()))?;
        if cell.is_found() {
            complaints.push(format!("{altitude} finds a bug where none is planted\n"));
        }
    }
    print(&complaints.concat())?;
    if !complaints.is_empty() {
        return Ok(ANOMALY);
    }
    print(&format!("{} planted bugs are found as before\n", CI.len()))?;
    Ok(0)
}
