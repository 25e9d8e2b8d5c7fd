//! The command line: one file a subcommand.
//!
//! Exit status: 0 valid, 1 anomaly, 2 usage or configuration, 3 unknown.

mod bench;
mod check;
mod compare;
mod containers;
mod duration;
mod gallery;
mod levels;
mod list;
mod merge;
mod model;
#[cfg(feature = "plant")]
mod mutants;
mod out;
mod report;
mod run;
mod series;
mod serve;
mod settings;
mod shrink;
mod sim;
mod trial;
mod validate;
mod words;

use crate::{cluster::compose, nemesis::PlanFile};
use clap::{Parser, Subcommand, ValueEnum, error::ErrorKind};
use std::{
    ffi::OsString,
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

/// Exit status for what the user has to change.
const USAGE: u8 = 2;
/// Exit status for a verdict that could not be reached.
const UNKNOWN: u8 = 3;

/// Verifies etcd-compatible key-value stores: load, faults, and a verdict.
#[derive(Debug, Parser)]
#[command(name = "assay", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
struct Cli {
    /// What to do; without one, `run`.
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster, run workloads under faults, heal, check, report.
    Run(Box<run::RunArgs>),
    /// Load a cluster or a running store; latency, throughput, plots.
    Bench(Box<bench::BenchArgs>),
    /// Tell what changed between benches, with significance.
    Compare(compare::CompareArgs),
    /// Judge a stored history.
    Check(check::CheckArgs),
    /// Find the known bugs of real etcd releases again.
    Gallery(gallery::GalleryArgs),
    /// Run a failing run again with fewer faults and operations, until nothing can be left out.
    Shrink(shrink::ShrinkArgs),
    /// Make the report of a stored run again.
    Report(report::ReportArgs),
    /// Browse the stored runs in a web page.
    Serve(serve::ServeArgs),
    /// Show what workloads, faults and clusters there are.
    List(list::ListArgs),
    /// Model-check the Raft core: every state within bounds, or random walks.
    Model(Box<model::ModelArgs>),
    /// Simulate clusters of the production replica, deterministically, one a seed.
    Sim(Box<sim::SimArgs>),
    /// Add up what the shards of a simulation found.
    Merge(merge::MergeArgs),
    /// Prove that planted bugs are found: each by the model, by walks, by simulation.
    #[cfg(feature = "plant")]
    Mutants(mutants::MutantsArgs),
    /// Be a machine of a compose cluster.
    #[command(hide = true)]
    Machine,
    /// Watch over a run on containers.
    #[command(hide = true, name = compose::WATCHDOG)]
    Watchdog { compose: String, project: String },
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON document on stdout.
    Json,
}

/// Why a subcommand ends without a verdict.
enum Failure {
    /// The user has to change something.
    Usage(String),
    /// It could not be done, or not be judged.
    Unknown(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Unknown(error.to_string())
    }
}

/// Runs the program with these arguments, the first being its own name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let program = args.first().cloned().unwrap_or_else(|| "assay".into()).to_string_lossy().into_owned();
    let cli = match parse(args.clone()) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let cli = match again(cli, &args) {
        Ok(cli) => cli,
        Err(Replay::Arguments(error)) => return refuse(&error),
        Err(Replay::Folder(text)) => return fail(&text, USAGE),
    };
    let outcome = match cli.command {
        None => run::run(&cli.run, &program),
        Some(Command::Run(args)) => run::run(&args, &program),
        Some(Command::Bench(args)) => bench::bench(&args, &program),
        Some(Command::Compare(args)) => compare::compare_dirs(&args),
        Some(Command::Check(args)) => check::check(args),
        Some(Command::Gallery(args)) => gallery::gallery(&args),
        Some(Command::Shrink(args)) => shrink::shrink(&args),
        Some(Command::Report(args)) => report::report(&args),
        Some(Command::Serve(args)) => serve::serve(&args),
        Some(Command::List(args)) => list::list(&args),
        Some(Command::Model(args)) => model::model(&args),
        Some(Command::Sim(args)) => sim::sim(&args),
        Some(Command::Merge(args)) => merge::merge(&args),
        #[cfg(feature = "plant")]
        Some(Command::Mutants(args)) => mutants::mutants(&args),
        Some(Command::Machine) => containers::machine(),
        Some(Command::Watchdog { compose, project }) => containers::watch(&compose, &project),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(Failure::Usage(text)) => fail(&text, USAGE),
        Err(Failure::Unknown(text)) => fail(&text, UNKNOWN),
    }
}

fn parse(args: Vec<OsString>) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(args)
}

/// Why a run cannot be done again.
enum Replay {
    /// Its folder does not tell how.
    Folder(String),
    /// What it tells, or what was said beside it, is not understood.
    Arguments(clap::Error),
}

/// With `--replay` the arguments are those of the earlier run; what was said beside it comes after them and
/// wins.
fn again(cli: Cli, args: &[OsString]) -> Result<Cli, Replay> {
    let folder = match &cli.command {
        None => cli.run.replay.clone(),
        Some(Command::Run(args)) => args.replay.clone(),
        Some(_) => None,
    };
    let Some(folder) = folder else { return Ok(cli) };
    let file = PlanFile::read(&folder).map_err(|error| Replay::Folder(format!("--replay: {error}")))?;
    let own = args.iter().skip(1).skip_while(|word| *word == "run").cloned();
    let words =
        args.first().cloned().into_iter().chain(file.header.args.iter().map(OsString::from)).chain(own);
    parse(words.collect()).map_err(Replay::Arguments)
}

/// Help and version are no errors; everything else that clap says is about usage.
fn refuse(error: &clap::Error) -> ExitCode {
    // What cannot be printed has nobody to read it.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(USAGE),
    }
}

fn fail(text: &str, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "assay: {text}");
    ExitCode::from(code)
}

/// Sends what the parts log to stderr: warnings, or what `ASSAY_LOG` says.
fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("ASSAY_LOG").unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
}

/// Prints to stdout; a reader that went away, as `head` does, is no error.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether stdout takes colours: a terminal, and nobody asked for none (<https://no-color.org>).
fn colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The program's own definition, for tests.
#[cfg(test)]
fn definition() -> clap::Command {
    use clap::CommandFactory;
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn without_a_subcommand_it_is_a_run() {
        let parse = |words: &[&str]| parse(words.iter().map(Into::into).collect()).unwrap();
        let Some(Command::Run(defaults)) = parse(&["assay", "run"]).command else { panic!("not a run") };
        let bare = parse(&["assay"]);
        assert!(bare.command.is_none());
        assert_eq!(bare.run, *defaults);
        let Some(Command::Run(seeded)) = parse(&["assay", "run", "--seed", "7"]).command else {
            panic!("not a run");
        };
        assert_eq!(parse(&["assay", "--seed", "7"]).run, *seeded);
        assert_ne!(*seeded, *defaults);
    }
}
