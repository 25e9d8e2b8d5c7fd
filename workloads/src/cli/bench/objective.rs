//! The search for the highest rate that keeps an objective.

use super::{config::command, session::Session, target::Place};
use crate::{
    cli::{Failure, UNKNOWN, print},
    load::{Load, Machine, Probe, Shape, Slo, Workload, search},
    report,
};
use std::{io::Write, time::Duration};

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
        let search = report::Search {
            target: &name,
            slo: &slo.to_string(),
            command: &self.slo_command(slo),
            machine: &Machine::here(),
            found: &found,
        };
        std::fs::write(self.dir.join("report.html"), report::curve_html(&search))?;
        let broken =
            found.broken_at.map_or("nothing that was tried".to_owned(), |rate| format!("{rate:.0}/s"));
        let mut text = match found.rate {
            Some(rate) => format!("{rate:.0}/s keeps {slo}; {broken} breaks it\n"),
            None => format!("no rate keeps {slo}; {broken} breaks it\n"),
        };
        let mut probes = found.probes.clone();
        probes.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        text.push_str(&format!(
            "{:>10}{:>12}{:>10}{:>10}{:>10}\n",
            "rate/s", "done/s", "p50 ms", "p99 ms", "errors"
        ));
        for probe in &probes {
            let q = &probe.response;
            text.push_str(&format!(
                "{:>10.0}{:>12.0}{:>10.2}{:>10.2}{:>9.2}%\n",
                probe.rate,
                probe.per_s,
                q.p50_ms,
                q.p99_ms,
                probe.errors * 100.0
            ));
        }
        print(&text)?;
        Ok(if found.rate.is_some() { 0 } else { UNKNOWN })
    }
}
