//! Reports: live progress, text, `results.json` with its schema, `junit.xml`, `summary.md`, and one self-contained
//! `report.html`.
//!
//! Everything is made from [`Results`] and the stored histories, so a report can be made again from a run's
//! folder. A report is written whatever happened to the run: on failure above all.

mod availability;
mod baseline;
mod bench_curve;
mod bench_dashboard;
mod bench_metrics;
mod bench_page;
mod bench_plot;
mod bench_text;
mod doubt;
mod folder;
mod html;
mod junit;
mod latency;
mod page;
mod progress;
mod results;
mod schema;
mod series;
mod summary;
mod text;
mod time;

pub(crate) use availability::Service;
pub use availability::{Availability, Impact};
pub use baseline::{CHECK as BASELINE, FaultService, Tolerance, compare, differs, service_by_fault};
pub use bench_curve::{Search, curve_html};
pub use bench_dashboard::Dashboard;
pub use bench_metrics::BenchMetrics;
pub use bench_page::bench_html;
pub use bench_text::bench_text;
pub use doubt::{Doubt, DoubtKind};
pub use folder::{PAGE, tell_ci, write_all};
pub use html::html;
pub use junit::{FILE as JUNIT, junit};
pub use latency::Percentiles;
pub use progress::{Progress, Tally, Watched};
pub use results::{
    Anomaly, Check, Conclusion, Counts, FILE as RESULTS, FaultResult, NodeResult, Results, Run, VERSION,
    WorkloadResult, read, write,
};
pub use schema::schema;
pub(crate) use series::faults;
pub use series::measure;
pub use summary::{FILE as SUMMARY, summary};
pub(crate) use summary::{escape as escape_markdown, percent};
pub(crate) use text::paint;
pub use text::{text, workload_text};
pub use time::{file_stamp, rfc3339, rfc3339_ms};
