//! The arguments of `assay bench`, and what they mean together.

use super::target::Target;
use crate::{
    cli::{Failure, Format, compare::share, duration},
    load::{
        Arrivals, Bench, Client, Distribution, Endpoint, Kind, Load, Mix, Plan, Security, Shape, Size, Slo,
        Watching, Workload,
    },
};
use clap::ValueEnum;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Arguments of `assay bench`.
#[derive(Clone, Debug, PartialEq, clap::Args)]
pub(in crate::cli) struct BenchArgs {
    /// What the nodes run: assay, etcd (with --etcd-bin), or endpoints:URL,URL for what runs already.
    #[arg(long, value_name = "SYSTEM", default_value = "assay")]
    pub(super) system: String,
    /// Folder that holds etcd's programs.
    #[arg(long, value_name = "PATH")]
    pub(super) etcd_bin: Option<PathBuf>,
    /// A store that runs already: the endpoints of its members, separated by commas.
    #[arg(long, value_name = "URLS", value_delimiter = ',', conflicts_with_all = ["system", "etcd_bin", "nodes"])]
    pub(super) endpoints: Vec<String>,
    /// How many nodes are started.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(super) nodes: usize,
    /// What the load is made of: a name that `assay bench --workload list` shows, or a TOML file.
    #[arg(long, value_name = "NAME|FILE", default_value = "put")]
    pub(super) workload: String,
    /// Operations and their weights for --workload mix: get=95,put=5.
    #[arg(long, value_name = "MIX")]
    pub(super) mix: Option<String>,
    /// Open loop: operations per second: 5000, steps:1000,2000:10s, ramp:1000-9000:30s, sine:5000,2000:10s, trace:FILE.
    #[arg(long, value_name = "RATE", default_value = "1000", allow_hyphen_values = true)]
    pub(super) rate: String,
    /// How arrivals fall on the rate.
    #[arg(long, value_enum, default_value = "uniform")]
    pub(super) arrivals: ArrivalsArg,
    /// Closed loop instead: so many clients, each sending when it has its answer.
    #[arg(long, value_name = "N", conflicts_with = "rate")]
    pub(super) clients: Option<usize>,
    /// How long is measured.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    pub(super) time_limit: Duration,
    /// Load before that, which is not counted: whole seconds.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration::parse)]
    pub(super) warmup: Duration,
    /// How long an operation may take.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    pub(super) deadline: Duration,
    /// Connections, spread over the nodes.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(super) connections: usize,
    /// Threads that make the load.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) workers: usize,
    /// The most calls under way in an open loop; what is due beyond waits in the backlog.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(super) in_flight: usize,
    /// What sends the requests.
    #[arg(long, value_enum, default_value = "raw")]
    pub(super) client: ClientArg,
    /// Send everything to the leader.
    #[arg(long)]
    pub(super) target_leader: bool,
    /// How many keys there are.
    #[arg(long, value_name = "N")]
    pub(super) keys: Option<u64>,
    /// How keys are chosen: uniform, sequential, zipfian, scrambled, latest, hotspot, exponential.
    #[arg(long, value_name = "NAME")]
    pub(super) key_distribution: Option<Distribution>,
    /// Length of a key in bytes.
    #[arg(long, value_name = "BYTES")]
    pub(super) key_size: Option<usize>,
    /// What keys begin with.
    #[arg(long, value_name = "TEXT")]
    pub(super) prefix: Option<String>,
    /// Sizes of values: 256, uniform:1-1000, zipfian:1-1000, histogram:FILE.
    #[arg(long, value_name = "SIZE")]
    pub(super) value_size: Option<Size>,
    /// Share of a value that compresses away, 0 to 1.
    #[arg(long, value_name = "SHARE")]
    pub(super) compressible: Option<f64>,
    /// Puts in a transaction.
    #[arg(long, value_name = "N")]
    pub(super) txn_ops: Option<u64>,
    /// Whether the keys are written first; default: as the workload needs it.
    #[arg(long, value_name = "BOOL")]
    pub(super) preload: Option<bool>,
    /// Watches beside the load: STREAMSxWATCHES, each of one key, or STREAMSxWATCHES:all, each of all keys; with
    /// `:prev` their events bring the value before. 0x0 for none.
    #[arg(long, value_name = "WATCHES")]
    pub(super) watch: Option<Watching>,
    /// Compact so often, all but the newest 1000 revisions; 0s for never.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(super) compact_every: Option<Duration>,
    /// Certificates of who may sign the certificate of an https endpoint, in PEM.
    #[arg(long, value_name = "FILE", requires = "endpoints")]
    pub(super) cacert: Option<PathBuf>,
    /// The client's own certificate for https endpoints, in PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(super) cert: Option<PathBuf>,
    /// Its key, in PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(super) key: Option<PathBuf>,
    /// Take any certificate of an https endpoint.
    #[arg(long, requires = "endpoints", conflicts_with = "cacert")]
    pub(super) insecure_skip_tls_verify: bool,
    /// The user that all requests come from; the password is in ASSAY_PASSWORD if it is not here.
    #[arg(long, value_name = "NAME[:PASSWORD]", requires = "endpoints")]
    pub(super) user: Option<String>,
    /// Seed of all choices.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Search for the highest rate that keeps an objective, from --rate on: p99<10ms,errors<0.1%.
    #[arg(long, value_name = "OBJECTIVE", conflicts_with_all = ["clients", "vs", "suite"])]
    pub(super) slo: Option<Slo>,
    /// Compare with another system in interleaved runs: assay, etcd, etcd:FOLDER, assay:PROGRAM, endpoints:URLS.
    #[arg(long, value_name = "SYSTEM", conflicts_with = "suite")]
    pub(super) vs: Option<String>,
    /// Pairs of runs for --vs.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(super) rounds: usize,
    /// With --vs: exit with 1 when the second system is worse by so much, as 5%.
    #[arg(long, value_name = "SHARE", value_parser = share, requires = "vs")]
    pub(super) fail_on_regression: Option<f64>,
    /// A fixed set of measurements: etcd (this server beside the etcd in --etcd-bin), or generator (this
    /// program's own cost, against a server that does nothing).
    #[arg(long, value_enum, value_name = "SUITE")]
    pub(super) suite: Option<Suite>,
    /// The program that says what the etcd-client crate costs, for --suite generator; `.ci/etcd-client` builds it. Not
    /// given: etcd-client-bench beside this program.
    #[arg(long, value_name = "PROGRAM", requires = "suite")]
    pub(super) etcd_client: Option<PathBuf>,
    /// Let faults strike beside the load, separated by commas, or `all` that can be had here; `assay list` names them.
    #[arg(long, value_name = "NAMES", conflicts_with_all = ["endpoints", "slo", "suite"])]
    pub(super) faults: Option<String>,
    /// Record the operations on so many keys, or `all`, and judge them as `assay run` does.
    #[arg(long, value_name = "KEYS", num_args = 0..=1, default_missing_value = "100",
        conflicts_with_all = ["endpoints", "slo", "suite", "vs"])]
    pub(super) check: Option<String>,
    /// Show the load as charts that are redrawn in place; needs a terminal.
    #[arg(long, conflicts_with = "suite")]
    pub(super) tui: bool,
    /// Serve what is measured in Prometheus' text format at HOST:PORT while the load goes on.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "suite")]
    pub(super) metrics: Option<String>,
    /// Folder for the results; default: store/bench/TIME.
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// How to print the results.
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Suite {
    Etcd,
    Generator,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ArrivalsArg {
    Uniform,
    Poisson,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ClientArg {
    Raw,
    Tonic,
}

/// The largest numbers that make sense on one machine.
const CONNECTIONS_MAX: usize = 10_000;
const WORKERS_MAX: usize = 64;
const CLIENTS_MAX: usize = 1_000_000;
/// The variable that holds the password of --user, which a command line would show to everybody.
const PASSWORD: &str = "ASSAY_PASSWORD";

impl BenchArgs {
    pub(super) fn target(&self) -> Result<Target, Failure> {
        if !self.endpoints.is_empty() {
            return Target::running(&self.endpoints, &self.security());
        }
        Target::parse("--system", &self.system, self.etcd_bin.as_deref(), self.nodes)
    }

    fn security(&self) -> Security {
        Security {
            ca: self.cacert.clone(),
            identity: self.cert.clone().zip(self.key.clone()),
            takes_any: self.insecure_skip_tls_verify,
        }
    }

    /// The user and the password that requests come with.
    pub(super) fn credentials(&self) -> Result<Option<(String, String)>, Failure> {
        let Some(user) = &self.user else { return Ok(None) };
        if let Some((name, password)) = user.split_once(':') {
            return Ok(Some((name.to_owned(), password.to_owned())));
        }
        match std::env::var(PASSWORD) {
            Ok(password) => Ok(Some((user.clone(), password))),
            Err(_) => Err(Failure::Usage(format!(
                "--user {user}: write --user {user}:PASSWORD, or put the password into {PASSWORD}"
            ))),
        }
    }

    pub(super) fn workload(&self) -> Result<Workload, Failure> {
        let usage = |flag: &str, error: String| Failure::Usage(format!("{flag}: {error}"));
        let named = match self.workload.ends_with(".toml") {
            true => Workload::read(Path::new(&self.workload)),
            false => Workload::named(&self.workload),
        };
        let mut workload = named.map_err(|error| usage("--workload", error))?;
        match (&self.mix, self.workload.as_str()) {
            (Some(mix), "mix") => {
                workload.mix = mix.parse::<Mix>().map_err(|error| usage("--mix", error))?;
            }
            (None, "mix") => {
                return Err(Failure::Usage("--workload mix needs --mix, such as --mix get=95,put=5".into()));
            }
            (Some(_), _) => return Err(Failure::Usage("--mix belongs to --workload mix".into())),
            (None, _) => {}
        }
        workload.key_count = self.keys.unwrap_or(workload.key_count);
        workload.keys = self.key_distribution.unwrap_or(workload.keys);
        workload.key_bytes = self.key_size.unwrap_or(workload.key_bytes);
        workload.prefix = self.prefix.clone().unwrap_or(workload.prefix);
        workload.values = self.value_size.clone().unwrap_or(workload.values);
        workload.preload = self.preload.unwrap_or(workload.preload);
        workload.compressible = self.compressible.unwrap_or(workload.compressible);
        workload.txn_ops = self.txn_ops.unwrap_or(workload.txn_ops);
        if let Some(watching) = self.watch {
            workload.watching = Some(watching).filter(|watching| !watching.is_none());
        }
        if let Some(every) = self.compact_every {
            workload.compact_every = Some(every).filter(|every| !every.is_zero());
        }
        if !(1..=1_000_000_000).contains(&workload.key_count) {
            return Err(Failure::Usage("--keys: choose 1 to 1000000000".into()));
        }
        if !(0.0..=1.0).contains(&workload.compressible) {
            return Err(Failure::Usage("--compressible: choose 0 to 1".into()));
        }
        let stamped = workload.watching.is_none() || workload.values.min() >= Watching::VALUE_BYTES_MIN;
        if !stamped {
            return Err(Failure::Usage(format!(
                "--value-size: with watches values have at least {} bytes, to carry their times",
                Watching::VALUE_BYTES_MIN
            )));
        }
        let beside = workload.watching.is_some() || workload.compact_every.is_some();
        if workload.kind == Kind::Store && (self.workers > 1 || beside) {
            let text = "--workload mvcc-put has no server: it goes with neither --workers, --watch nor --compact-every";
            return Err(Failure::Usage(text.into()));
        }
        if workload.key_bytes > 1024 || workload.prefix.len() > 1024 {
            return Err(Failure::Usage("--key-size, --prefix: choose at most 1024 bytes".into()));
        }
        if !(1..=128).contains(&workload.txn_ops) || workload.txn_ops > workload.key_count {
            return Err(Failure::Usage("--txn-ops: choose 1 to 128, and at most as many as --keys".into()));
        }
        Ok(workload)
    }

    /// How many keys are recorded, if any are.
    pub(super) fn check_keys(&self, workload: &Workload) -> Result<Option<u64>, Failure> {
        let Some(text) = &self.check else { return Ok(None) };
        let keys = match text.as_str() {
            "all" => workload.key_count,
            number => number.parse().ok().filter(|keys| *keys > 0).ok_or_else(|| {
                Failure::Usage(format!("--check {text}: write how many keys are to be recorded, or all"))
            })?,
        };
        if self.client == ClientArg::Tonic {
            return Err(Failure::Usage("--check: only --client raw records a history".into()));
        }
        if workload.values.min() < Watching::VALUE_BYTES_MIN {
            return Err(Failure::Usage(format!(
                "--check: values have at least {} bytes, to say which they are; see --value-size",
                Watching::VALUE_BYTES_MIN
            )));
        }
        Ok(Some(keys.min(workload.key_count)))
    }

    pub(super) fn load(&self) -> Result<Load, Failure> {
        if let Some(clients) = self.clients {
            if !(1..=CLIENTS_MAX).contains(&clients) {
                return Err(Failure::Usage(format!("--clients: choose 1 to {CLIENTS_MAX}")));
            }
            return Ok(Load::Closed { clients, operations_max: None });
        }
        let shape: Shape = self.rate.parse().map_err(|error| Failure::Usage(format!("--rate: {error}")))?;
        let arrivals = match self.arrivals {
            ArrivalsArg::Uniform => Arrivals::Uniform,
            ArrivalsArg::Poisson => Arrivals::Poisson,
        };
        Ok(Load::Open { shape, arrivals })
    }

    pub(super) fn bounds(&self) -> Result<(), Failure> {
        let refuse = |text: String| Err(Failure::Usage(text));
        if self.time_limit < Duration::from_secs(1) || self.deadline.is_zero() {
            return refuse("--time-limit must be at least 1s, and --deadline longer than 0".into());
        }
        if self.warmup.subsec_nanos() != 0 || self.time_limit.subsec_nanos() != 0 {
            return refuse("--warmup and --time-limit are whole seconds".into());
        }
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) || !(1..=WORKERS_MAX).contains(&self.workers) {
            return refuse(format!(
                "--connections: choose 1 to {CONNECTIONS_MAX}; --workers: choose 1 to {WORKERS_MAX}"
            ));
        }
        if self.in_flight == 0 {
            return refuse("--in-flight 0 would never do anything: choose 1 or more".into());
        }
        if self.client == ClientArg::Tonic && self.workers > 1 {
            return refuse("--client tonic has one worker".into());
        }
        Ok(())
    }

    /// The run against these endpoints.
    pub(super) fn bench(&self, endpoints: Vec<Endpoint>, workload: Workload, load: Load) -> Bench {
        let mut plan = Plan::new(endpoints, workload, load, self.warmup + self.time_limit);
        plan.deadline = self.deadline;
        plan.connections = self.connections;
        plan.workers = self.workers;
        plan.in_flight_max = self.in_flight;
        plan.seed = self.seed;
        let client = match self.client {
            ClientArg::Raw => Client::Raw,
            ClientArg::Tonic => Client::Tonic,
        };
        Bench { plan, warmup: self.warmup, client, watched: Vec::new() }
    }
}
