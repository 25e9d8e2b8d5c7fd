//! The settings of a bench by flag, and the command that repeats it.

use super::{
    args::{BenchArgs, ClientArg},
    target::Target,
};
use crate::{
    cli::{duration, words::Words},
    load::{Load, Workload},
};
use clap::ValueEnum;
use std::collections::BTreeMap;

impl BenchArgs {
    /// The flags that have no value.
    pub(super) fn switches(&self) -> Vec<&'static str> {
        let all = [
            (self.target_leader, "--target-leader"),
            (self.insecure_skip_tls_verify, "--insecure-skip-tls-verify"),
        ];
        all.into_iter().filter(|(given, _)| *given).map(|(_, flag)| flag).collect()
    }

    /// Every setting, by flag.
    pub(super) fn config(
        &self,
        target: &Target,
        workload: &Workload,
        load: &Load,
    ) -> BTreeMap<String, String> {
        let mut config: BTreeMap<String, String> = target.config();
        let mut set = |name: &str, value: String| drop(config.insert(name.to_owned(), value));
        set("workload", self.workload.clone());
        if workload.name == "mix" {
            set("mix", workload.mix.to_string());
        }
        match load {
            Load::Open { shape, .. } => {
                set("rate", shape.to_string());
                let arrivals = self.arrivals.to_possible_value();
                set("arrivals", arrivals.map(|value| value.get_name().to_owned()).unwrap_or_default());
                set("in-flight", self.in_flight.to_string());
            }
            Load::Closed { clients, .. } => set("clients", clients.to_string()),
        }
        set("time-limit", duration::format(self.time_limit));
        set("warmup", duration::format(self.warmup));
        set("deadline", duration::format(self.deadline));
        set("connections", self.connections.to_string());
        set("workers", self.workers.to_string());
        set("client", if self.client == ClientArg::Raw { "raw" } else { "tonic" }.to_owned());
        set("keys", workload.key_count.to_string());
        set("key-distribution", workload.keys.to_string());
        set("key-size", workload.key_bytes.to_string());
        set("prefix", workload.prefix.clone());
        set("value-size", workload.values.to_string());
        set("compressible", workload.compressible.to_string());
        set("txn-ops", workload.txn_ops.to_string());
        set("preload", workload.preload.to_string());
        if let Some(watching) = workload.watching {
            set("watch", watching.to_string());
        }
        if let Some(every) = workload.compact_every {
            set("compact-every", duration::format(every));
        }
        if let Some(faults) = &self.faults {
            set("faults", faults.clone());
        }
        if let Some(keys) = &self.check {
            set("check", keys.clone());
        }
        for (name, file) in [("cacert", &self.cacert), ("cert", &self.cert), ("key", &self.key)] {
            if let Some(file) = file {
                set(name, file.display().to_string());
            }
        }
        if let Some(user) = &self.user {
            // Never with the password.
            set("user", user.split(':').next().unwrap_or_default().to_owned());
        }
        set("seed", self.seed.to_string());
        config
    }
}

/// The command that repeats a run with these settings.
pub(super) fn command(program: &str, config: &BTreeMap<String, String>, switches: &[&str]) -> String {
    let mut words = Words::new(program, "bench");
    for (name, value) in config {
        words.flag(name, value);
    }
    for switch in switches {
        words.word(switch);
    }
    words.to_string()
}
