//! A run's results as one HTML page.

use super::{page, results::Results, series};
use checker::History;
use std::path::Path;

/// The page; `dir` is the run's folder, from which histories, logs and drawings are read. What cannot be
/// read is left out, and the page says so.
pub fn html(results: &Results, dir: &Path) -> String {
    let load = |(index, workload): (usize, &super::WorkloadResult)| {
        History::load(&dir.join(&workload.history)).ok().map(|history| (index, history))
    };
    let histories: Vec<(usize, History)> = results.workloads.iter().enumerate().filter_map(load).collect();
    let all: Vec<&History> = histories.iter().map(|(_, history)| history).collect();
    page::page(results, &series::series(&all), &histories, dir)
}
