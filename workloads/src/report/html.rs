//! A run's results as one HTML page.

use super::{page, results::Results, series};
use checker::History;
use std::path::Path;

/// The page; `dir` is the run's folder, from which histories, logs and drawings are read. What cannot be
/// read is left out, and the page says so.
pub fn html(results: &Results, dir: &Path) -> String {
    let histories: Vec<History> = results
        .workloads
        .iter()
        .filter_map(|workload| History::load(&dir.join(&workload.history)).ok())
        .collect();
    page::page(results, &series::series(&histories), dir)
}
