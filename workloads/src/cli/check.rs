//! `assay check`: judges a stored history.

use super::{Failure, Format, colour, duration, print};
use crate::{
    report::{self, Conclusion, WorkloadResult},
    runner,
};
use checker::{Engine, History, Options};
use std::{path::PathBuf, time::Duration};

/// Arguments of `assay check`.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// The history: a history.jsonl of a run.
    file: PathBuf,
    /// Time for all checks together; what is undecided then is unknown.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration::parse)]
    time_limit: Duration,
    /// What searches for an order of the operations.
    #[arg(long, value_enum, default_value_t)]
    engine: EngineArg,
    /// How to print the verdict.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum EngineArg {
    /// Assay's own.
    #[default]
    Assay,
    /// stateright's, for small histories.
    Stateright,
}

pub(super) fn check(args: CheckArgs) -> Result<u8, Failure> {
    let history = History::load(&args.file).map_err(|error| {
        Failure::Usage(format!(
            "{}: {error}; name a history.jsonl that a run has written",
            args.file.display()
        ))
    })?;
    let engine = match args.engine {
        EngineArg::Assay => Engine::Assay,
        EngineArg::Stateright => Engine::Stateright,
    };
    let options = Options { time_limit: args.time_limit, engine, ..Options::default() };
    let mut result = WorkloadResult {
        name: history.header().scenario.clone(),
        history: args.file.clone(),
        verdict: Conclusion::Unknown,
        ..WorkloadResult::default()
    };
    report::measure(&history, &mut result);
    runner::judge(&history, &options, &mut result, None);
    match args.format {
        Format::Text => print(&report::workload_text(&result, colour()))?,
        Format::Json => {
            let json = serde_json::to_string_pretty(&result).map_err(std::io::Error::from)?;
            print(&format!("{json}\n"))?;
        }
    }
    Ok(result.verdict.exit_code())
}
