//! Two systems in turns, compared.

use super::{config::command, session::Session, target::Target};
use crate::{
    cli::{
        Failure, Format,
        compare::{self, Compared},
        print,
    },
    load::{self, statistics::Run},
};

impl Session<'_> {
    fn versus_command(&self, other: &str) -> String {
        let mut config = self.args.config(&self.target, &self.workload, &self.load);
        config.insert("vs".to_owned(), other.to_owned());
        config.insert("rounds".to_owned(), self.args.rounds.to_string());
        if let Some(share) = self.args.fail_on_regression {
            config.insert("fail-on-regression".to_owned(), share.to_string());
        }
        if let Some(path) = &self.args.etcd_bin {
            config.insert("etcd-bin".to_owned(), path.display().to_string());
        }
        command(self.program, &config, &self.args.switches())
    }

    /// Runs two systems in turns, first and second, second and first, and compares them.
    pub(super) fn versus(&self, other: &str) -> Result<u8, Failure> {
        let second = Target::parse("--vs", other, self.args.etcd_bin.as_deref(), self.args.nodes)?;
        let (mut before, mut after, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        let mut names = (String::new(), String::new());
        for turn in 0..2 * self.args.rounds {
            // ABBA: what drifts with time, drifts for both.
            let is_first = matches!(turn % 4, 0 | 3);
            let dir = self.dir.join(format!("{}-{}", turn + 1, if is_first { "a" } else { "b" }));
            std::fs::create_dir_all(&dir)?;
            let target = if is_first { &self.target } else { &second };
            let results = self.measure(target, &dir, self.load.clone())?;
            if results.partial {
                return Err(Failure::Unknown("told to stop: there is nothing to compare yet".into()));
            }
            notes
                .extend(results.invalid.iter().map(|reason| format!("{}: INVALID: {reason}", dir.display())));
            let (run, _) = Run::read(&dir).map_err(Failure::Unknown)?;
            if is_first { &mut before } else { &mut after }.push(run);
            *if is_first { &mut names.0 } else { &mut names.1 } = results.target;
        }
        let effect_min = self.args.fail_on_regression.unwrap_or(0.05);
        let metrics = load::statistics::compare(&before, &after, compare::rules(0.01, effect_min)?);
        let compared = [Compared::new(names.0, names.1, metrics)];
        std::fs::write(
            self.dir.join("compare.json"),
            serde_json::to_vec_pretty(&compared).map_err(std::io::Error::from)?,
        )?;
        compare::tell(&compared, &notes, self.args.format)?;
        if self.args.format == Format::Text {
            print(&format!("\nagain      {}\n", self.versus_command(other)))?;
        }
        Ok(compare::status(&compared, !notes.is_empty(), self.args.fail_on_regression.is_some()))
    }
}
