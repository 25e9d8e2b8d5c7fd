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
    /// Where the matrix is written, after each mutant. Rows that the file has of mutants that are not searched for
    /// now stay in it, so a matrix can be made in parts.
    #[arg(long, value_name = "FILE", conflicts_with = "subset")]
    out: Option<PathBuf>,
    /// Search only for mutants that the file of --out has no row of: go on where an earlier command ended.
    #[arg(long, requires = "out", conflicts_with = "only")]
    missing: bool,
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

    /// Reads back a line that [`text`](Row::text) wrote; `None` for any other.
    fn parse(line: &str) -> Option<Row> {
        let mut columns = line.strip_prefix("| `")?.split(" | ");
        let name = columns.next()?.strip_suffix('`')?;
        let mutant = Mutant::all().into_iter().find(|mutant| mutant.name() == name)?;
        let mut cell = || Cell::parse(columns.next()?);
        Some(Row { mutant, cells: [cell()?, cell()?, cell()?] })
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
    let mut rows = kept(args)?;
    let chosen = |mutant: &&Mutant| {
        let named = args.only.is_empty() || args.only.iter().any(|name| name == mutant.name());
        named && !(args.missing && rows.iter().any(|row| row.mutant == **mutant))
    };
    let chosen: Vec<Mutant> = all.iter().filter(chosen).copied().collect();
    for mutant in &chosen {
        let row = Row::new(args, *mutant);
        print(&row.text())?;
        rows.retain(|known| known.mutant != *mutant);
        rows.push(row);
        rows.sort_by_key(|row| all.iter().position(|mutant| *mutant == row.mutant));
        if let Some(file) = &args.out {
            std::fs::write(file, format!("{}\n{}\n{}", head(), summary(args, &rows), table(&rows)))?;
        }
    }
    print(&format!("\n{}\n", summary(args, &rows)))?;
    let looked_at = rows.iter().filter(|row| args.missing || chosen.contains(&row.mutant));
    let complaints: Vec<String> = looked_at.filter_map(Row::complaint).collect();
    print(&complaints.iter().map(|line| format!("{line}\n")).collect::<String>())?;
    Ok(if complaints.is_empty() { 0 } else { ANOMALY })
}

/// The rows that the file has.
fn kept(args: &MutantsArgs) -> Result<Vec<Row>, Failure> {
    let Some(file) = args.out.as_ref().filter(|file| file.exists()) else { return Ok(Vec::new()) };
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::Usage(format!("--out {}: {error}", file.display())))?;
    Ok(text.lines().filter_map(Row::parse).collect())
}

/// All rows under their headings.
fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut area = "";
    for row in rows {
        if row.mutant.area() != area {
            area = row.mutant.area();
            let _ = write!(
                text,
                "\n## {area}\n\n| mutant | breadth first | walks | simulation | |\n|---|---|---|---|---|\n"
            );
        }
        text += &row.text();
    }
    text
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
        "{found} of {} mutants that are not equivalent are found here, {elsewhere} by tests or runs alone; \
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_back_and_other_lines_are_left() {
        let cells = ["0.03 s: log matching, depth 8", "10/10, 0.00 s, 0.01 s: log matching", "not found"];
        let cells = cells.map(|text| Cell::parse(text).expect("a cell"));
        let rows = [
            Row { mutant: Mutant::all()[0], cells: cells.clone() },
            Row { mutant: Mutant::all()[70], cells },
        ];
        let text = format!("{}\n{}", head(), table(&rows));
        let read: Vec<Row> = text.lines().filter_map(Row::parse).collect();
        assert_eq!(table(&read), table(&rows));
        assert_eq!(read.len(), 2, "{text}");
        let searched_otherwise = "| `torn-tail-accepted` | not searched | at once: log matching (c) | - | |";
        assert!(Row::parse(searched_otherwise).is_none());
    }
}
