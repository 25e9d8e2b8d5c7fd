//! The command that repeats a run.

use super::args::RunArgs;
use crate::{
    cli::{duration, settings::Settings, words::quote},
    cluster::{Kind, System},
    runner::Target,
};
use clap::ValueEnum;

/// The command that repeats the run, as one types it.
pub(super) fn command(program: &str, words: &[String]) -> String {
    let all = std::iter::once(program).chain(words.iter().map(String::as_str));
    all.map(quote).collect::<Vec<_>>().join(" ")
}

/// The arguments that repeat the run: every choice in them, whatever the defaults will be.
pub(super) fn words(args: &RunArgs, target: &Target, seed: u64) -> Vec<String> {
    let mut words: Vec<String> = vec!["run".into()];
    let mut flag = |name: &str, value: &str| words.extend([format!("--{name}"), value.to_string()]);
    match target {
        Target::Start { kind, system, nodes } => {
            flag("cluster", &kind.to_string());
            flag("system", &system.to_string());
            match system {
                System::Etcd { .. } if *kind == Kind::Compose => {}
                System::Etcd { dir } => flag("etcd-bin", &dir.display().to_string()),
                System::Assay { plant: Some(plant), .. } => flag("plant", plant),
                System::Assay { plant: None, .. } => {}
            }
            flag("nodes", &nodes.to_string());
        }
        Target::Running { .. } => flag("endpoints", &args.endpoints.join(",")),
    }
    if args.trace {
        words.push("--trace".into());
    }
    let mut flag = |name: &str, value: &str| words.extend([format!("--{name}"), value.to_string()]);
    let profile = args.profile.and_then(|profile| profile.to_possible_value());
    if let Some(profile) = &profile {
        flag("profile", profile.get_name());
    }
    match args.scenario {
        Some(scenario) => flag("scenario", scenario.name),
        None => flag("workload", &args.workload),
    }
    if let Some(faults) = &args.faults {
        flag("faults", faults);
    }
    if args.overlap != 1 {
        flag("overlap", &args.overlap.to_string());
    }
    if let Some(time) = args.fault_time {
        flag("fault-time", &duration::format(time));
    }
    if args.settings != Settings::default() {
        flag("settings", &args.settings.to_string());
    }
    if let Some(which) = args.txn_revisions.and_then(|which| which.to_possible_value()) {
        flag("txn-revisions", which.get_name());
    }
    flag("time-limit", &duration::format(args.time_limit()));
    flag("rate", &args.rate.to_string());
    flag("concurrency", &args.concurrency.to_string());
    flag("deadline", &duration::format(args.deadline));
    if let Some(baseline) = &args.baseline {
        flag("baseline", &baseline.display().to_string());
        flag("baseline-tolerance", &args.baseline_tolerance.to_string());
    }
    flag("seed", &seed.to_string());
    if args.no_online {
        words.push("--no-online".into());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::{super::args::tests::defaults, *};
    use std::path::PathBuf;

    #[test]
    fn the_command_that_repeats_a_run_says_everything() {
        let args = RunArgs { workload: "register,kv".into(), ..defaults() };
        let system = System::Etcd { dir: PathBuf::from("/opt/my etcd") };
        let target = Target::Start { kind: Kind::Local, system, nodes: 5 };
        assert_eq!(
            command("assay", &words(&args, &target, 7)),
            "assay run --cluster local --system etcd --etcd-bin '/opt/my etcd' --nodes 5 --workload register,kv \
             --time-limit 25s --rate 300 --concurrency 9 --deadline 1s --seed 7"
        );
    }
}
