//! The search for the highest rate that keeps an objective.

use super::{config::command, session::Session, target::Place};
use crate::{
    cli::{Failure, Format, UNKNOWN, print},
    load::{Found, Load, Machine, Probe, Shape, Slo, Workload, search},
    report,
};
use std::{io::Write, path::Path, time::Duration};

/// How long one rate is tried in a search.
const PROBE: Duration = Duration::from_secs(3);
/// A search goes no higher.
const RATE_MAX: f64 = 1e6;

impl Session<'_> {
    fn slo_command(&self, slo: &Slo) -> String {
        let mut config = self.args.config(&self.target, &self.workload, &self.load);
        config.insert("slo".to_owned(), slo.to_string());
        command(self.program, &config, &self.args.switches())
    }

    /// Searches for the highest rate that keeps the objective.
    pub(super) fn objective(&self, slo: &Slo) -> Result<u8, Failure> {
        let Load::Open { shape: Shape::Constant { per_s: start }, arrivals } = self.load else {
            return Err(Failure::Usage("--slo begins at a constant --rate, such as --rate 1000".into()));
        };
        let place = self.runtime.block_on(Place::make(&self.target, &self.dir, None, &self.stop))?;
        let name = place.name();
        let mut failure = None;
        let mut preload = self.workload.preload;
        let found = search(slo, start, RATE_MAX, |rate, longer| {
            let load = Load::Open { shape: Shape::Constant { per_s: rate }, arrivals };
            let workload = Workload { preload, ..self.workload.clone() };
            preload = false;
            let mut bench = self.args.bench(Vec::new(), workload, load);
            if !longer {
                bench.plan.duration = self.args.warmup + PROBE.min(self.args.time_limit);
            }
            let tried =
                self.drive(&self.target, &place, None, bench).and_then(|results| match results.partial {
                    true => Err(Failure::Unknown("told to stop before the search was over".into())),
                    false => Ok(Probe::of(rate, &results)),
                });
            match tried {
                Ok(probe) => {
                    let kept = if slo.is_kept(&probe) { "kept" } else { "broken" };
                    let _ = writeln!(
                        std::io::stderr(),
                        "{rate:>10.0}/s  {:>9.0}/s done  p99 {:>8.2} ms  {kept}",
                        probe.per_s,
                        probe.response.p99_ms
                    );
                    Some(probe)
                }
                Err(error) => {
                    failure = Some(error);
                    None
                }
            }
        });
        self.runtime.block_on(place.end());
        std::fs::write(
            self.dir.join("slo.json"),
            serde_json::to_vec_pretty(&found).map_err(std::io::Error::from)?,
        )?;
        if let Some(error) = failure {
            return Err(error);
        }
        let command = self.slo_command(slo);
        let search = report::Search {
            target: &name,
            slo: &slo.to_string(),
            command: &command,
            machine: &Machine::here(),
            found: &found,
        };
        std::fs::write(self.dir.join("report.html"), report::curve_html(&search))?;
        match self.args.format {
            Format::Text => print(&told(&found, slo, &command, &self.dir))?,
            Format::Json => {
                let json = serde_json::to_string_pretty(&found).map_err(std::io::Error::from)?;
                print(&format!("{json}\n"))?;
            }
        }
        Ok(if found.rate.is_some() && found.doubts().is_empty() { 0 } else { UNKNOWN })
    }
}

/// What a search found, and all that it tried by rate: the curve of latency against throughput.
fn told(found: &Found, slo: &Slo, command: &str, dir: &Path) -> String {
    let broken = found.broken_at.map_or("nothing that was tried".to_owned(), |rate| format!("{rate:.0}/s"));
    let mut text = match found.rate {
        Some(rate) => format!("{rate:.0}/s keeps {slo}; {broken} breaks it\n"),
        None => format!("no rate keeps {slo}; {broken} breaks it\n"),
    };
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    line(format!(
        "{:>10}{:>12}{:>10}{:>10}{:>10}  objective",
        "rate/s", "done/s", "p50 ms", "p99 ms", "errors"
    ));
    let mut probes = found.probes.clone();
    probes.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    for Probe { rate, per_s, errors, response, kept, invalid } in &probes {
        line(format!(
            "{rate:>10.0}{per_s:>12.0}{:>10.2}{:>10.2}{:>9.2}%  {}{}",
            response.p50_ms,
            response.p99_ms,
            errors * 100.0,
            if *kept { "kept" } else { "broken" },
            if invalid.is_empty() { "" } else { ", INVALID" }
        ));
    }
    for doubt in found.doubts() {
        line(format!("INVALID    what bounds the rate may not be the server: {doubt}"));
    }
    line(format!("\nreport     {}", dir.join("report.html").display()));
    line(format!("\nagain      {command}"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_tells_its_bracket_its_curve_and_its_doubts() {
        let probe = |rate, kept| Probe { rate, per_s: rate, kept, ..Probe::default() };
        let mut found = Found {
            rate: Some(900.0),
            broken_at: Some(1000.0),
            probes: vec![probe(1000.0, false), probe(900.0, true)],
        };
        let slo: Slo = "p99<10ms".parse().unwrap_or_else(|_| panic!("an objective"));
        let text = told(&found, &slo, "assay bench --slo X", Path::new("out"));
        assert!(text.starts_with("900/s keeps p99<10ms; 1000/s breaks it\n"), "{text}");
        assert!(
            text.find("kept") < text.find("broken") && text.ends_with("again      assay bench --slo X\n"),
            "{text}"
        );
        found.rate = None;
        found.probes[0].invalid.push("the generator was late".into());
        let text = told(&found, &slo, "again", Path::new("out"));
        assert!(
            text.contains("no rate keeps") && text.contains("at 1000/s: the generator was late"),
            "{text}"
        );
    }
}
