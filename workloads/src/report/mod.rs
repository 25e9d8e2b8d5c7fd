//! Reports: live progress, text, `results.json`, and one self-contained `report.html`.
//!
//! Everything is made from [`Results`] and the stored histories, so a report can be made again from a run's
//! folder. A report is written whatever happened to the run: on failure above all.

mod bench_page;
mod bench_plot;
mod bench_text;
mod html;
mod latency;
mod page;
mod progress;
mod results;
mod series;
mod svg;
mod text;
mod time;

pub use bench_page::bench_html;
pub use bench_text::bench_text;
pub use html::html;
pub use latency::Percentiles;
pub use progress::{Progress, Tally, Watched};
pub use results::{
    Anomaly, Check, Conclusion, Counts, FaultResult, NodeResult, Results, Run, VERSION, WorkloadResult, read,
    write,
};
pub(crate) use series::faults;
pub use series::measure;
pub use text::{text, workload_text};
pub use time::{file_stamp, rfc3339};
