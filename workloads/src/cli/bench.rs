//! `assay bench`: load, latency, throughput.

use super::{
    Failure, Format, colour,
    compare::{self, Compared, share},
    duration, log, out, print, suite,
    target::{Place, Target},
    words::Words,
};
use crate::{
    load::{
        self, Arrivals, Bench, BenchResults, Client, Distribution, Endpoint, Load, Machine, Mix, Plan, Probe,
        Row, Shape, Size, Slo, Workload, search, statistics::Run,
    },
    report,
    runner::Stop,
};
use clap::ValueEnum;
use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

/// Arguments of `assay bench`.
#[derive(Clone, Debug, PartialEq, clap::Args)]
pub(super) struct BenchArgs {
    /// What the nodes run: assay, etcd (with --etcd-bin), or endpoints:URL,URL for what runs already.
    #[arg(long, value_name = "SYSTEM", default_value = "assay")]
    system: String,
    /// Folder that holds etcd's programs.
    #[arg(long, value_name = "PATH")]
    etcd_bin: Option<PathBuf>,
    /// A store that runs already: the endpoints of its members, separated by commas.
    #[arg(long, value_name = "URLS", value_delimiter = ',', conflicts_with_all = ["system", "etcd_bin", "nodes"])]
    endpoints: Vec<String>,
    /// How many nodes are started.
    #[arg(long, value_name = "N", default_value_t = 3)]
    nodes: usize,
    /// What the load is made of; `assay bench --workload list` shows what there is.
    #[arg(long, value_name = "NAME", default_value = "put")]
    workload: String,
    /// Operations and their weights for --workload mix: get=95,put=5.
    #[arg(long, value_name = "MIX")]
    mix: Option<String>,
    /// Open loop: operations per second: 5000, steps:1000,2000:10s, ramp:1000-9000:30s, sine:5000,2000:10s, trace:FILE.
    #[arg(long, value_name = "RATE", default_value = "1000")]
    rate: String,
    /// How arrivals fall on the rate.
    #[arg(long, value_enum, default_value = "uniform")]
    arrivals: ArrivalsArg,
    /// Closed loop instead: so many clients, each sending when it has its answer.
    #[arg(long, value_name = "N", conflicts_with = "rate")]
    clients: Option<usize>,
    /// How long is measured.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    time_limit: Duration,
    /// Load before that, which is not counted: whole seconds.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration::parse)]
    warmup: Duration,
    /// How long an operation may take.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    deadline: Duration,
    /// Connections, spread over the nodes.
    #[arg(long, value_name = "N", default_value_t = 8)]
    connections: usize,
    /// Threads that make the load.
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: usize,
    /// The most calls under way in an open loop; what is due beyond waits in the backlog.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    in_flight: usize,
    /// What sends the requests.
    #[arg(long, value_enum, default_value = "raw")]
    client: ClientArg,
    /// Send everything to the leader.
    #[arg(long)]
    target_leader: bool,
    /// How many keys there are.
    #[arg(long, value_name = "N")]
    keys: Option<u64>,
    /// How keys are chosen: uniform, sequential, zipfian, scrambled, latest, hotspot, exponential.
    #[arg(long, value_name = "NAME")]
    key_distribution: Option<Distribution>,
    /// Length of a key in bytes.
    #[arg(long, value_name = "BYTES")]
    key_size: Option<usize>,
    /// What keys begin with.
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Sizes of values: 256, uniform:1-1000, zipfian:1-1000, histogram:FILE.
    #[arg(long, value_name = "SIZE")]
    value_size: Option<Size>,
    /// Share of a value that compresses away, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    compressible: f64,
    /// Puts in a transaction.
    #[arg(long, value_name = "N", default_value_t = 1)]
    txn_ops: u64,
    /// Whether the keys are written first; default: as the workload needs it.
    #[arg(long, value_name = "BOOL")]
    preload: Option<bool>,
    /// Seed of all choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Search for the highest rate that keeps an objective, from --rate on: p99<10ms,errors<0.1%.
    #[arg(long, value_name = "OBJECTIVE", conflicts_with_all = ["clients", "vs", "suite"])]
    slo: Option<Slo>,
    /// Compare with another system in interleaved runs: assay, etcd, etcd:FOLDER, assay:PROGRAM, endpoints:URLS.
    #[arg(long, value_name = "SYSTEM", conflicts_with = "suite")]
    vs: Option<String>,
    /// Pairs of runs for --vs.
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// With --vs: exit with 1 when the second system is worse by so much, as 5%.
    #[arg(long, value_name = "SHARE", value_parser = share, requires = "vs")]
    fail_on_regression: Option<f64>,
    /// A fixed set of measurements: etcd (this server beside the etcd in --etcd-bin), or generator (this
    /// program's own cost, against a server that does nothing).
    #[arg(long, value_enum, value_name = "SUITE")]
    suite: Option<Suite>,
    /// Folder for the results; default: store/bench/TIME.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How to print the results.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Suite {
    Etcd,
    Generator,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ArrivalsArg {
    Uniform,
    Poisson,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ClientArg {
    Raw,
    Tonic,
}

/// The largest numbers that make sense on one machine.
const CONNECTIONS_MAX: usize = 10_000;
const WORKERS_MAX: usize = 64;
const CLIENTS_MAX: usize = 1_000_000;

impl BenchArgs {
    fn target(&self) -> Result<Target, Failure> {
        if !self.endpoints.is_empty() {
            return Target::running(&self.endpoints);
        }
        Target::parse("--system", &self.system, self.etcd_bin.as_deref(), self.nodes)
    }

    fn workload(&self) -> Result<Workload, Failure> {
        let usage = |flag: &str, error: String| Failure::Usage(format!("{flag}: {error}"));
        let mut workload = Workload::named(&self.workload).map_err(|error| usage("--workload", error))?;
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
        if self.compressible > 0.0 {
            workload.compressible = self.compressible;
        }
        workload.txn_ops = self.txn_ops;
        if !(1..=1_000_000_000).contains(&workload.key_count) {
            return Err(Failure::Usage("--keys: choose 1 to 1000000000".into()));
        }
        if !(0.0..=1.0).contains(&self.compressible) {
            return Err(Failure::Usage("--compressible: choose 0 to 1".into()));
        }
        if workload.key_bytes > 1024 || workload.prefix.len() > 1024 {
            return Err(Failure::Usage("--key-size, --prefix: choose at most 1024 bytes".into()));
        }
        if !(1..=128).contains(&self.txn_ops) || self.txn_ops > workload.key_count {
            return Err(Failure::Usage("--txn-ops: choose 1 to 128, and at most as many as --keys".into()));
        }
        Ok(workload)
    }

    fn load(&self) -> Result<Load, Failure> {
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

    fn bounds(&self) -> Result<(), Failure> {
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
    fn bench(&self, endpoints: Vec<Endpoint>, workload: Workload, load: Load) -> Bench {
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

    /// Every setting, by flag.
    fn config(&self, target: &Target, workload: &Workload, load: &Load) -> BTreeMap<String, String> {
        let mut config: BTreeMap<String, String> = target.config();
        let mut set = |name: &str, value: String| drop(config.insert(name.to_owned(), value));
        set("workload", workload.name.clone());
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
        set("seed", self.seed.to_string());
        config
    }
}

/// The command that repeats a run with these settings.
fn command(program: &str, config: &BTreeMap<String, String>, target_leader: bool) -> String {
    let mut words = Words::new(program, "bench");
    for (name, value) in config {
        words.flag(name, value);
    }
    if target_leader {
        words.word("--target-leader");
    }
    words.to_string()
}

pub(super) fn bench(args: &BenchArgs, program: &str) -> Result<u8, Failure> {
    if args.workload == "list" {
        let lines = Workload::NAMES.map(|(name, what)| format!("{name:<20}{what}\n"));
        print(&lines.concat())?;
        return Ok(0);
    }
    args.bounds()?;
    log();
    if let Some(suite) = args.suite {
        return suite::run(suite, args.etcd_bin.as_deref(), args.out.as_deref());
    }
    let session = Session::new(args, program)?;
    match (&args.vs, &args.slo) {
        (Some(other), _) => session.versus(other),
        (None, Some(slo)) => session.objective(slo),
        (None, None) => {
            let results = session.measure(&session.target, &session.dir, session.load.clone())?;
            tell(&results, &session.dir, args.format)?;
            let valid = results.invalid.is_empty() && !results.partial;
            Ok(if valid { 0 } else { super::UNKNOWN })
        }
    }
}

/// What all runs of one command share.
struct Session<'a> {
    args: &'a BenchArgs,
    program: &'a str,
    target: Target,
    workload: Workload,
    load: Load,
    dir: PathBuf,
    runtime: tokio::runtime::Runtime,
    stop: Arc<AtomicBool>,
}

impl<'a> Session<'a> {
    fn new(args: &'a BenchArgs, program: &'a str) -> Result<Session<'a>, Failure> {
        let (target, workload, load) = (args.target()?, args.workload()?, args.load()?);
        if args.vs.is_some() && !(1..=100).contains(&args.rounds) {
            return Err(Failure::Usage("--rounds: choose 1 to 100".into()));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let stop = Arc::new(AtomicBool::new(false));
        runtime.block_on(stop_on_signals(&stop))?;
        let dir = out::make(args.out.as_deref(), "bench")?;
        Ok(Session { args, program, target, workload, load, dir, runtime, stop })
    }

    /// Starts the target, drives it, and ends it again.
    fn measure(&self, target: &Target, dir: &Path, load: Load) -> Result<BenchResults, Failure> {
        let place = self.runtime.block_on(Place::make(target, dir, &self.stop))?;
        let outcome =
            self.drive(target, &place, Some(dir), self.args.bench(Vec::new(), self.workload.clone(), load));
        let crashes = self.runtime.block_on(place.end());
        let mut results = outcome?;
        if !crashes.is_empty() {
            results.invalid.extend(crashes);
            load::rewrite_results(dir, &results)?;
        }
        std::fs::write(dir.join("report.html"), report::bench_html(&results))?;
        Ok(results)
    }

    /// Drives what runs.
    fn drive(
        &self,
        target: &Target,
        place: &Place,
        dir: Option<&Path>,
        mut bench: Bench,
    ) -> Result<BenchResults, Failure> {
        bench.plan.endpoints = self.runtime.block_on(place.endpoints(self.args.target_leader))?;
        bench.watched = self.runtime.block_on(place.watched());
        let config = self.args.config(target, &self.workload, &bench.plan.load);
        let results = BenchResults {
            command: command(self.program, &config, self.args.target_leader),
            started: report::rfc3339(SystemTime::now()),
            target: place.name(),
            config,
            machine: Machine::here(),
            ..BenchResults::default()
        };
        let each = |row: &Row| {
            if dir.is_some() {
                show_row(row);
            }
        };
        let outcome = bench.run(dir, results, &self.stop, each);
        outcome.map(|(results, _)| results).map_err(|error| Failure::Unknown(error.to_string()))
    }

    /// Runs two systems in turns, first and second, second and first, and compares them.
    fn versus(&self, other: &str) -> Result<u8, Failure> {
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
        compare::tell(&compared, &notes, self.args.format)?;
        Ok(compare::status(&compared, !notes.is_empty(), self.args.fail_on_regression.is_some()))
    }

    /// Searches for the highest rate that keeps the objective.
    fn objective(&self, slo: &Slo) -> Result<u8, Failure> {
        let Load::Open { shape: Shape::Constant { per_s: start }, arrivals } = self.load else {
            return Err(Failure::Usage("--slo begins at a constant --rate, such as --rate 1000".into()));
        };
        let place = self.runtime.block_on(Place::make(&self.target, &self.dir, &self.stop))?;
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
        Ok(if found.rate.is_some() { 0 } else { super::UNKNOWN })
    }
}

/// How long one rate is tried in a search.
const PROBE: Duration = Duration::from_secs(3);
/// A search goes no higher.
const RATE_MAX: f64 = 1e6;

/// Prints the results.
fn tell(results: &BenchResults, dir: &Path, format: Format) -> Result<(), Failure> {
    match format {
        Format::Text => print(&report::bench_text(results, Some(dir), colour())),
        Format::Json => {
            let json = serde_json::to_string_pretty(results).map_err(std::io::Error::from)?;
            print(&format!("{json}\n"))
        }
    }
}

/// One line a second on stderr.
fn show_row(row: &Row) {
    let _ = writeln!(
        std::io::stderr(),
        "{:>5.0} s {:>9.0}/s {:>7} failed  response p50 {:>8.2} p99 {:>8.2} max {:>8.2} ms  service p99 {:>8.2} ms  backlog {}{}",
        row.t_s,
        row.ok as f64 / row.length_s,
        row.failed,
        row.response.p50_ms,
        row.response.p99_ms,
        row.response.max_ms,
        row.service.p99_ms,
        row.backlog_max,
        if row.outside { "  (not counted)" } else { "" }
    );
}

/// From now on a Ctrl-C ends the load, not the program.
pub(super) async fn stop_on_signals(flag: &Arc<AtomicBool>) -> Result<(), Failure> {
    let (stop, flag) = (Stop::default(), Arc::clone(flag));
    stop.on_signals(move |_| {
        flag.store(true, Ordering::Relaxed);
        let _ = writeln!(std::io::stderr(), "\nassay: told to stop: writing what there is");
    })?;
    Ok(())
}

/// Looks that endpoints can be reached at all.
pub(super) fn reach(endpoints: &[Endpoint]) -> Result<(), Failure> {
    load::reach(endpoints).map_err(|error| Failure::Usage(format!("{error}; is the store running there?")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn parse(words: &[&str]) -> Result<BenchArgs, clap::Error> {
        #[derive(Parser)]
        struct Alone {
            #[command(flatten)]
            args: BenchArgs,
        }
        Alone::try_parse_from(std::iter::once("bench").chain(words.iter().copied())).map(|alone| alone.args)
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_remedy() {
        for (words, say) in [
            (&["--workload", "ycsb-z"][..], "known are put"),
            (&["--workload", "mix"], "--mix get=95,put=5"),
            (&["--mix", "get"], "belongs to --workload mix"),
            (&["--workload", "mix", "--mix", "fly"], "known are put"),
            (&["--rate", "fast"], "steps:1000,2000:10s"),
            (&["--clients", "0"], "choose 1 to"),
            (&["--keys", "0"], "choose 1 to"),
            (&["--txn-ops", "500"], "choose 1 to 128"),
            (&["--warmup", "1500ms"], "whole seconds"),
            (&["--client", "tonic", "--workers", "2"], "one worker"),
            (&["--endpoints", "https://localhost:1"], "only http"),
            (&["--system", "zookeeper"], "endpoints:URL"),
            (&["--system", "etcd"], "--etcd-bin PATH"),
        ] {
            let args = parse(words).unwrap();
            let outcome = args
                .bounds()
                .and_then(|()| args.workload().map(drop))
                .and_then(|()| args.load().map(drop))
                .and_then(|()| args.target().map(drop));
            let Err(Failure::Usage(text)) = outcome else { panic!("taken: {words:?}") };
            assert!(text.contains(say), "{words:?}: {text}");
        }
        for words in [&["--slo", "p98<1ms"][..], &["--value-size", "big"], &["--clients", "5", "--rate", "7"]]
        {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn the_command_that_repeats_a_run_says_everything() {
        let args = parse(&["--workload", "ycsb-a", "--rate", "ramp:10-20:5s", "--seed", "7"]).unwrap();
        let target = Target::Running(vec![Endpoint::parse("http://127.0.0.1:2379").unwrap()]);
        let config = args.config(
            &target,
            &args.workload().unwrap_or_else(|_| panic!()),
            &args.load().unwrap_or_else(|_| panic!()),
        );
        let command = command("assay", &config, true);
        let words: Vec<&str> = command.split(' ').skip(2).collect();
        let again = parse(&words).unwrap();
        assert!(again.target_leader && again.seed == 7 && again.rate == "ramp:10-20:5s", "{command}");
        assert_eq!(again.keys, Some(1000));
    }
}
