//! `assay report`: makes the report of a stored run again.

use super::{Failure, Format, colour, print};
use crate::report as reports;
use std::path::PathBuf;

/// Arguments of `assay report`.
#[derive(Debug, clap::Args)]
pub(super) struct ReportArgs {
    /// Folder of the run, such as store/latest.
    dir: PathBuf,
    /// How to print the results.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn report(args: &ReportArgs) -> Result<u8, Failure> {
    let results = reports::read(&args.dir).map_err(|error| {
        let dir = args.dir.display();
        Failure::Usage(format!(
            "{dir} is not the folder of a run ({error}); name one that holds results.json"
        ))
    })?;
    reports::write_all(&args.dir, &results)?;
    match args.format {
        Format::Text => print(&reports::text(&results, &args.dir, colour()))?,
        Format::Json => {
            let json = serde_json::to_string_pretty(&results).map_err(std::io::Error::from)?;
            print(&format!("{json}\n"))?;
        }
    }
    Ok(0)
}
