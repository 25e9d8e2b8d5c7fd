//! What `assay run` can be told, and what of it cannot be.

use crate::{
    cli::{Failure, Format, duration, settings::Settings},
    cluster::{SERVER_ARGV0, Spec, System, compose, etcd_dir},
    generator::Rate,
    nemesis::{FaultSet, LeftOut},
    report,
    runner::Target,
    scenario::{Scenario, WorkloadName},
    workload::TxnRevisions,
};
use clap::ValueEnum;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

/// What strikes unless told otherwise.
const DEFAULT_FAULTS: &str = "kill,pause,partition";

/// Arguments of `assay run`.
#[derive(Clone, Debug, PartialEq, clap::Args)]
#[command(args_override_self = true)]
pub(in crate::cli) struct RunArgs {
    /// What carries the traffic between the nodes; auto: netns where it works, else local.
    #[arg(long, value_enum, value_name = "KIND", default_value = "auto")]
    pub(super) cluster: ClusterArg,
    /// What the nodes run.
    #[arg(long, value_enum, default_value = "assay")]
    pub(super) system: SystemArg,
    /// Folder that holds etcd's programs; needed for --system etcd.
    #[arg(long, value_name = "PATH")]
    pub(super) etcd_bin: Option<PathBuf>,
    /// How many nodes.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(super) nodes: usize,
    /// Workloads, separated by commas, or `all`.
    #[arg(long, value_name = "NAMES", default_value = "all")]
    pub(super) workload: String,
    /// Which transactions of `kv` may range at past, compacted and future revisions; default: any, but
    /// read-only ones for etcd, whose members differ after some others (etcd-io/etcd#18667).
    #[arg(long, value_enum, value_name = "WHICH")]
    pub(super) txn_revisions: Option<TxnRevisionsArg>,
    /// Faults, separated by commas, or `all` that the cluster can do, or `none`; default: kill, pause and
    /// partition, and none with --endpoints.
    #[arg(long, value_name = "NAMES")]
    pub(super) faults: Option<String>,
    /// How many faults may be under way at a time, of different kinds.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) overlap: usize,
    /// How long each fault lasts; default: by the length of the run, and drawn from the seed.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(super) fault_time: Option<Duration>,
    /// Check only after the load. Else workloads that allow it (register, kv, set) are checked while they go on too, and
    /// end at the first anomaly.
    #[arg(long)]
    pub(super) no_online: bool,
    /// Settings of the nodes: `default`, `swarm` to draw them from the seed, or NAME=VALUE,... of
    /// snapshot-count, heartbeat, election, batch-interval, batch-limit.
    #[arg(long, value_name = "SETTINGS", default_value = "default")]
    pub(super) settings: Settings,
    /// The folder of an earlier run: do the same again, seed, faults and targets; flags beside it win.
    #[arg(long, value_name = "DIR", conflicts_with = "endpoints")]
    pub(in crate::cli) replay: Option<PathBuf>,
    /// Workloads and faults that go well together, by name; `assay list` tells what each catches.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["workload", "faults"])]
    pub(super) scenario: Option<Scenario>,
    /// What the run is for, which sets how long it takes and whether it is one of several.
    #[arg(long, value_enum)]
    pub(super) profile: Option<Profile>,
    /// Time under load: 60s, 2m, 1m30s; default: 25s, or what the profile says.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(super) time_limit: Option<Duration>,
    /// Operations per second.
    #[arg(long, value_name = "PER_S", default_value = "300")]
    pub(super) rate: Rate,
    /// Processes of each workload.
    #[arg(long, value_name = "N", default_value_t = 9)]
    pub(super) concurrency: usize,
    /// How long an operation may take before its outcome counts as unknown.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration::parse)]
    pub(super) deadline: Duration,
    /// Seed of all choices; default: a new one.
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// Folder for the results; default: store/NAME/TIME.
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Folder of an earlier run that this one must not serve worse than.
    #[arg(long, value_name = "DIR")]
    pub(super) baseline: Option<PathBuf>,
    /// By how much the run may serve worse than its baseline, in percent of the times and of the share that was not
    /// served.
    #[arg(long, value_name = "PERCENT", default_value_t = 25, requires = "baseline")]
    pub(super) baseline_tolerance: u32,
    /// How to print the results.
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
    /// Keep what each member's raft core took and gave out, for `assay model --validate`; not with containers.
    #[arg(long)]
    pub(super) trace: bool,
    /// A bug to plant in the nodes; only in a build with the feature `plant`.
    #[arg(long, value_name = "NAME")]
    pub(super) plant: Option<String>,
    /// A store that runs already: the endpoints of its members, separated by commas. No faults then.
    #[arg(long, value_name = "URLS", value_delimiter = ',', conflicts_with_all = ["cluster", "system", "etcd_bin", "nodes", "plant"])]
    pub(super) endpoints: Vec<String>,
}

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Profile {
    /// One short run of everything: under a minute in all.
    Smoke,
    /// Every scenario once, each with a seed of its own that stays the same; a build with planted bugs must find them
    /// too.
    Regression,
    /// Run after run for hours, each with another seed, until the first anomaly.
    Soak,
}

impl Profile {
    /// What it does, in one line.
    pub(in crate::cli) fn about(self) -> &'static str {
        match self {
            Profile::Smoke => "one short run of everything, under a minute in all",
            Profile::Regression => {
                "every scenario once, with seeds that stay the same: all must be valid, and planted bugs must be found \
                 by a build that carries them; about five minutes"
            }
            Profile::Soak => {
                "run after run until --time-limit (2h) has passed or something is found, each checked as it ends; \
                 memory and disk stay bounded"
            }
        }
    }

    fn time_limit(self) -> Duration {
        match self {
            Profile::Smoke => Duration::from_secs(20),
            Profile::Regression => Duration::from_secs(10),
            Profile::Soak => Duration::from_secs(7200),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ClusterArg {
    Auto,
    Netns,
    Local,
    Compose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TxnRevisionsArg {
    Any,
    ReadOnly,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SystemArg {
    Assay,
    Etcd,
}

impl RunArgs {
    pub(super) fn time_limit(&self) -> Duration {
        const ONE_RUN: Duration = Duration::from_secs(25);
        self.time_limit.unwrap_or_else(|| self.profile.map_or(ONE_RUN, Profile::time_limit))
    }

    /// The seed, or another where none was asked for.
    pub(in crate::cli) fn seed_or(&self, other: u64) -> u64 {
        self.seed.unwrap_or(other)
    }

    /// How long a soak lasts.
    pub(in crate::cli) fn soak_time(&self) -> Duration {
        self.time_limit()
    }

    /// Where the results are to go.
    pub(in crate::cli) fn out_folder(&self) -> Option<&Path> {
        self.out.as_deref()
    }

    /// How to print them.
    pub(in crate::cli) fn format(&self) -> Format {
        self.format
    }

    /// One run of a scenario.
    pub(in crate::cli) fn of_scenario(&self, scenario: Scenario, plant: Option<&str>) -> RunArgs {
        RunArgs {
            scenario: Some(scenario),
            plant: plant.map(String::from),
            // A bug may need some faults before it shows.
            ..self.of_round(if plant.is_some() { self.time_limit() * 2 } else { self.time_limit() })
        }
    }

    /// One run of so long.
    pub(in crate::cli) fn of_round(&self, time_limit: Duration) -> RunArgs {
        RunArgs { profile: None, time_limit: Some(time_limit), ..self.clone() }
    }

    pub(super) fn workloads(&self) -> Result<BTreeSet<WorkloadName>, Failure> {
        let workload = self.scenario.map_or(self.workload.as_str(), |scenario| scenario.workloads);
        if workload == "all" {
            return Ok(WorkloadName::ALL.into());
        }
        let names = workload.split(',').map(str::trim).filter(|name| !name.is_empty());
        let workloads: Result<BTreeSet<WorkloadName>, String> = names.map(str::parse).collect();
        let workloads = workloads.map_err(|error| Failure::Usage(format!("--workload: {error}")))?;
        if workloads.is_empty() {
            return Err(Failure::Usage("--workload names none; `assay list` shows those there are".into()));
        }
        Ok(workloads)
    }

    /// The faults that the target can do; what it cannot is noted.
    pub(super) fn faults(&self, target: &Target, notes: &mut Vec<String>) -> Result<FaultSet, Failure> {
        let parse = |names: &str| {
            FaultSet::parse(names)
                .map_err(|error| Failure::Usage(format!("--faults: {error}; see `assay list`")))
        };
        let named = self.scenario.map(|scenario| scenario.faults).or(self.faults.as_deref());
        match target {
            Target::Start { kind, nodes, system } => {
                let (faults, left_out) = parse(named.unwrap_or(DEFAULT_FAULTS))?.for_nodes(*nodes);
                if !left_out.is_empty() {
                    let names: Vec<String> = left_out.iter().map(ToString::to_string).collect();
                    notes.push(format!("{nodes} nodes are too few for {}", names.join(", ")));
                }
                let (faults, left_out) = faults.for_cluster(*kind, system);
                self.leave_out(&faults, &left_out, notes)?;
                Ok(faults)
            }
            Target::Running { .. } => {
                let faults = parse(named.unwrap_or("none"))?;
                if faults.is_empty() {
                    return Ok(faults);
                }
                let text =
                    "--endpoints: a store that was not started here gets no faults; leave --faults out";
                Err(Failure::Usage(text.into()))
            }
        }
    }

    /// Notes what the cluster cannot do of what was asked for. It is an error where that was asked for by its
    /// own name, or nothing is left of its kind.
    fn leave_out(
        &self,
        possible: &FaultSet,
        left_out: &[LeftOut],
        notes: &mut Vec<String>,
    ) -> Result<(), Failure> {
        let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for LeftOut { fault, lack } in left_out {
            by_reason.entry(&lack.text).or_default().push(fault.to_string());
        }
        let texts: Vec<String> = by_reason
            .iter()
            .map(|(reason, faults)| format!("{} left out: {reason}", faults.join(", ")))
            .collect();
        let possible = possible.families();
        let essential = |out: &&LeftOut| {
            self.asks_for(&out.fault.to_string())
                || (!self.asks_for_all() && !possible.contains(&out.fault.family()))
        };
        let essential: Vec<&LeftOut> = left_out.iter().filter(essential).collect();
        if essential.is_empty() {
            notes.extend(texts);
            return Ok(());
        }
        let text = format!("--faults: {}", texts.join("; "));
        match essential.iter().any(|out| !out.lack.of_machine) {
            true => Err(Failure::Usage(text)),
            false => Err(Failure::Unknown(text)),
        }
    }

    pub(super) fn asks_for_all(&self) -> bool {
        self.asks_for("all")
    }

    fn asks_for(&self, name: &str) -> bool {
        let named = self.scenario.map(|scenario| scenario.faults).or(self.faults.as_deref());
        named.is_some_and(|names| names.split(',').any(|other| other.trim() == name))
    }

    /// The same as one run, with what a scenario or a profile stands for spelt out.
    pub(super) fn in_full(&self) -> RunArgs {
        let mut full = RunArgs { time_limit: Some(self.time_limit()), profile: None, ..self.clone() };
        if let Some(scenario) = full.scenario.take() {
            full.workload = scenario.workloads.to_owned();
            full.faults = Some(scenario.faults.to_owned());
        }
        full
    }

    /// Read before anything is started, since without it the run would be for nothing.
    pub(super) fn baseline(&self) -> Result<Option<(report::Results, report::Tolerance)>, Failure> {
        let Some(dir) = &self.baseline else { return Ok(None) };
        let results = report::read(dir).map_err(|error| {
            let dir = dir.display();
            Failure::Usage(format!(
                "--baseline {dir}: {error}; name the folder of a run, one with results.json"
            ))
        })?;
        Ok(Some((results, report::Tolerance { share: f64::from(self.baseline_tolerance) / 100.0 })))
    }

    pub(super) fn system(&self) -> Result<System, Failure> {
        if let Some(plant) = &self.plant {
            known_plant(plant)?;
        }
        if self.trace && (self.cluster == ClusterArg::Compose || self.system == SystemArg::Etcd) {
            let text = "--trace: only our own server, outside of containers, writes traces";
            return Err(Failure::Usage(text.into()));
        }
        if self.cluster == ClusterArg::Compose {
            return self.system_in_image();
        }
        match (self.system, &self.etcd_bin) {
            (SystemArg::Etcd, _) if self.plant.is_some() => {
                Err(Failure::Usage("--plant: bugs can be planted in --system assay only".into()))
            }
            (SystemArg::Etcd, Some(path)) => {
                let system = System::Etcd { dir: etcd_dir(path) };
                // Asked before anything is made for the run.
                system.version().map_err(|error| Failure::Usage(error.to_string()))?;
                Ok(system)
            }
            (SystemArg::Etcd, None) => Err(Failure::Usage(
                "--system etcd needs --etcd-bin PATH, the folder that holds `etcd`".into(),
            )),
            (SystemArg::Assay, Some(_)) => {
                Err(Failure::Usage("--etcd-bin belongs to --system etcd; add that".into()))
            }
            (SystemArg::Assay, None) => {
                Ok(System::Assay { program: std::env::current_exe()?, plant: self.plant.clone() })
            }
        }
    }

    /// A system whose programs are in an image.
    fn system_in_image(&self) -> Result<System, Failure> {
        match (self.system, &self.etcd_bin, &self.plant) {
            (_, Some(_), _) => Err(Failure::Usage(
                "--etcd-bin: --cluster compose takes etcd out of an image; name one in ETCD_IMAGE, or make one with \
                 `.docker/build-images etcd DIR`"
                    .into(),
            )),
            (SystemArg::Etcd, None, Some(_)) => {
                Err(Failure::Usage("--plant: bugs can be planted in --system assay only".into()))
            }
            (SystemArg::Etcd, None, None) => Ok(System::Etcd { dir: PathBuf::new() }),
            (SystemArg::Assay, None, plant) => {
                Ok(System::Assay { program: SERVER_ARGV0.into(), plant: plant.clone() })
            }
        }
    }

    /// A store that is, or may be, etcd is spared what is known to break it, unless asked for.
    pub(super) fn txn_revisions(&self, target: &Target, notes: &mut Vec<String>) -> TxnRevisions {
        let spared = match target {
            Target::Start { system: System::Assay { .. }, .. } => false,
            Target::Start { system: System::Etcd { .. }, .. } | Target::Running { .. } => true,
        };
        match self.txn_revisions {
            Some(TxnRevisionsArg::Any) => TxnRevisions::Any,
            Some(TxnRevisionsArg::ReadOnly) => TxnRevisions::ReadOnly,
            None if spared => {
                notes.push(
                    "transactions that write do not range at revisions, for that is known to part etcd's members \
                     (etcd-io/etcd#18667); --txn-revisions any brings it in"
                        .into(),
                );
                TxnRevisions::ReadOnly
            }
            None => TxnRevisions::Any,
        }
    }

    /// What is wrong with the numbers.
    pub(super) fn bounds(&self) -> Result<(), Failure> {
        let refuse = |text: String| Err(Failure::Usage(text));
        let nodes_max = match self.cluster {
            ClusterArg::Compose => compose::NODES_MAX,
            ClusterArg::Auto | ClusterArg::Netns | ClusterArg::Local => Spec::NODES_MAX,
        };
        if !(1..=nodes_max).contains(&self.nodes) {
            return refuse(format!("--nodes {}: such a cluster has 1 to {nodes_max} nodes", self.nodes));
        }
        if !(1..=1000).contains(&self.concurrency) {
            return refuse(format!("--concurrency {}: choose 1 to 1000 processes", self.concurrency));
        }
        if self.deadline.is_zero() || self.time_limit().is_zero() {
            return refuse("--time-limit and --deadline must be longer than 0".into());
        }
        if !(1..=8).contains(&self.overlap) {
            return refuse(format!("--overlap {}: choose 1 to 8 faults at a time", self.overlap));
        }
        Ok(())
    }
}

/// Whether this program carries that planted bug.
#[cfg(feature = "plant")]
fn known_plant(name: &str) -> Result<(), Failure> {
    use server::plant::Plant;
    let known = || Plant::ALL.iter().map(|plant| plant.name()).collect::<Vec<_>>().join(", ");
    match name.parse::<Plant>() {
        Ok(_) => Ok(()),
        Err(_) => Err(Failure::Usage(format!("--plant: there is no bug `{name}`; known are {}", known()))),
    }
}

/// Whether this program carries that planted bug: an ordinary build carries none.
#[cfg(not(feature = "plant"))]
fn known_plant(_name: &str) -> Result<(), Failure> {
    let text = "--plant: this program carries no planted bugs; build it with `--features plant`";
    Err(Failure::Usage(text.into()))
}
#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use clap::Parser;

    /// What `assay run` without any flag means.
    pub(in crate::cli::run) fn defaults() -> RunArgs {
        #[derive(Parser)]
        struct Alone {
            #[command(flatten)]
            args: RunArgs,
        }
        Alone::parse_from(["assay"]).args
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_remedy() {
        let usage = |args: RunArgs| match (args.bounds(), args.workloads(), args.system()) {
            (Err(Failure::Usage(text)), _, _)
            | (_, Err(Failure::Usage(text)), _)
            | (_, _, Err(Failure::Usage(text))) => text,
            _ => panic!("taken: {args:?}"),
        };
        for (args, say) in [
            (RunArgs { workload: "bnak".into(), ..defaults() }, "`assay list`"),
            (RunArgs { workload: ",".into(), ..defaults() }, "names none"),
            (RunArgs { system: SystemArg::Etcd, ..defaults() }, "--etcd-bin PATH"),
            (RunArgs { etcd_bin: Some("/x".into()), ..defaults() }, "--system etcd"),
            (RunArgs { nodes: 0, ..defaults() }, "1 to 99"),
            (RunArgs { concurrency: 0, ..defaults() }, "1 to 1000"),
            (RunArgs { time_limit: Some(Duration::ZERO), ..defaults() }, "longer than 0"),
        ] {
            let text = usage(args);
            assert!(text.contains(say), "{text}");
        }
    }
}
